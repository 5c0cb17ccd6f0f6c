"""The commands of this project, and how a line that calls one is read."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Sequence

import analysis.compare
import analysis.export
import analysis.front
import analysis.report.__main__
import cluster.local
import cluster.slurm
from mpc_router.commands import init, train
from sweeps import tune
from sweeps.commands import arguments, runs
from sweeps.commands.routers import demo, export, price
from sweeps.commands.routers import eval as evaluate

COMMANDS: dict[str, Callable[[], argparse.ArgumentParser]] = {
    "mpc-router-sweep": arguments.parser,
    "mpc-router-init": init.parser,
    "mpc-router-train": train.parser,
    "mpc-router-eval": evaluate.parser,
    "mpc-router-demo": demo.parser,
    "mpc-router-export": export.parser,
    "mpc-router-price": price.parser,
    "mpc-router-tune": tune.parser,
    "mpc-router-runs": runs.parser,
    "mpc-router-front": analysis.front.parser,
    "mpc-router-report": analysis.report.__main__.parser,
    "mpc-router-compare": analysis.compare.parser,
    "mpc-router-cluster local": cluster.local.parser,
    "mpc-router-cluster slurm": cluster.slurm.parser,
    "python -m analysis.export": analysis.export.parser,
}
"""How each command is written in pages, and what makes its parser."""


def command_of(words: Sequence[str]) -> str | None:
    """The command that these words call; None where it is none of ours."""
    starts = {name: name.split() for name in COMMANDS}
    return next((name for name, start in starts.items() if words[: len(start)] == start), None)


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """The words of a command of ours as its parser reads them; ends where it refuses them."""
    name = command_of(words)
    assert name is not None, words
    rest = list(words[len(name.split()) :])
    made = COMMANDS[name]()
    if name == "mpc-router-tune":
        args, sweep_words = made.parse_known_args(rest)
        arguments.parser().parse_intermixed_args(["mrpc_grid", *sweep_words])
        return args
    rest = rest[: rest.index("--")] if "--" in rest else rest  # flags of a sweep follow
    if any(isinstance(action, argparse._SubParsersAction) for action in made._actions):
        args = made.parse_args(rest)
    else:
        args = made.parse_intermixed_args(rest)
    assert isinstance(args, argparse.Namespace)
    return args


def unquoted_patterns(line: str) -> set[str]:
    """The characters of a line, outside quotes and comments, that a shell takes for a pattern.

    zsh refuses a command with such a word where no file matches it.
    """
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", line)
    return set(re.sub(r"(^|\s)#.*", "", bare)) & set("[]{}*?()")


def examples(name: str) -> list[str]:
    """The example lines of a command's help, and of its subcommands'."""
    lines = _examples(COMMANDS[name]())
    return list(dict.fromkeys(lines))


def _examples(parser: argparse.ArgumentParser) -> list[str]:
    _, _, text = (parser.epilog or "").partition("examples:\n")
    lines = [line.strip() for line in text.split("\n\n")[0].splitlines()]
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for subparser in action.choices.values():
                lines += _examples(subparser)
    assert all(command_of(shlex.split(line)) is not None for line in lines)
    return lines
