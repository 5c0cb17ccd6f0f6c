"""The command `mpc-router-tune --config FILE` sweeps the published grid over alpha and beta.

It turns its flags into those of `mpc-router-sweep` and calls it. The study is
`<task>_grid`; the configuration's settings are fixed in it, and all flags and `key=value` words of
`sweeps.run` may follow.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from mpc_router.terminal.completion import answer_shell, is_asked
from mpc_router.terminal.flags import BAD_INPUT, Parser, number, place
from mpc_router.terminal.streams import command, say_error, tell
from sweeps import run
from sweeps.records import InputError

if TYPE_CHECKING:
    from mpc_router.config.yaml_files import Settled

_SEARCHED: Final = ("alpha", "beta")

_EXAMPLES: Final = """\
  mpc-router-tune --config configs/task_mrpc.yaml --sample
  mpc-router-tune --config configs/task_sst2.yaml --alphas 0.01,0.1 --betas 0,0.01 --data DIR
  mpc-router-tune --config configs/task_rte.yaml experts=frozen 'seeds=[0,1,2]' --dry-run

Everything else is passed on: mpc-router-sweep --help
"""


def parser() -> Parser:
    """Makes the parser of the command line."""
    command_line = Parser(
        "mpc-router-tune",
        "Train the grid of alpha and beta for a task, and show its front.",
        _EXAMPLES,
    )
    _add_flags(command_line)
    return command_line


def _add_flags(command_line: Parser) -> None:
    """Adds the flags that the command has beside those of a sweep."""
    add = command_line.add_argument
    add("--config", type=place, required=True, metavar="FILE", help="a YAML file")
    for name in _SEARCHED:
        add(f"--{name}s", type=_numbers, metavar="X,Y", help=f"values of {name}")


def _numbers(text: str) -> list[float]:
    """Reads a flag of numbers with commas between."""
    try:
        return [number(float)(part.strip()) for part in text.split(",")]
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}; write numbers: 0.01,0.1") from error


@command("sweep")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code of the sweep."""
    from sweeps.commands.arguments import parser as sweep_parser

    if is_asked():
        all_flags = sweep_parser()
        _add_flags(all_flags)
        answer_shell(all_flags)
    words = list(sys.argv[1:] if arguments is None else arguments)
    command_line = parser()
    command_line.check_flags(words, also=sweep_parser().flags())
    args, sweep_words = command_line.parse_known_args(words)
    from mpc_router.config.trial import ConfigError
    from mpc_router.config.yaml_files import settle

    try:
        settled = settle(args.config, {}, sample="--sample" in sweep_words)
        passed_on = _sweep_arguments(settled, args, sweep_words)
        run.study_of(sweep_parser().parse_intermixed_args(passed_on))  # errors come before notes
    except (ConfigError, InputError) as error:
        return say_error(str(error), BAD_INPUT)
    for note in settled.notes:
        tell(f"note: {note}")
    return run.main(passed_on)


def _sweep_arguments(
    settled: Settled, args: argparse.Namespace, sweep_words: Sequence[str]
) -> list[str]:
    """Turns the configuration files into the arguments of `sweeps.run`.

    Raises:
        ConfigError: a setting is given twice, or has no value.
    """
    from mpc_router.config.trial import ConfigError, parse_overrides, settings, trial_config

    overrides = [word for word in sweep_words if "=" in word and not word.startswith("-")]
    config = settled.config
    defaults = settings(trial_config({"task": config.data.task, "pool": config.model.pool}))
    fixed = {"pool": config.model.pool} | {
        name: value
        for name, value in settings(config).items()
        if value != defaults[name] and name not in _SEARCHED
    }
    taken = {name.rpartition(".")[2] for name in parse_overrides(overrides)}
    for name in _SEARCHED:
        if name in taken and getattr(args, f"{name}s"):
            raise ConfigError(f"{name} is given twice, by --{name}s and {name}=; leave out one")
    axes = {name: {"grid": values} for name in _SEARCHED if (values := getattr(args, f"{name}s"))}
    return [
        f"{config.data.task}_grid",
        *(f"{name}={_yaml(value)}" for name, value in (fixed | axes).items() if name not in taken),
        *sweep_words,
    ]


def _yaml(value: Any) -> str:
    """Writes a value as one word of YAML: JSON, with a blank after a colon."""
    return json.dumps(list(value) if isinstance(value, tuple) else value)


if __name__ == "__main__":
    sys.exit(main())
