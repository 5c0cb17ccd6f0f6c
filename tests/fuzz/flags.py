"""Flags of every command: misspelt, empty, long, doubled, without a value, against each other."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mpc_router.messages import printable
from tests.fuzz.harness import Case, module_of
from tests.fuzz.odd import VALUES, mutated

CONFIG: Final = str(Path(__file__).parents[2] / "configs" / "task_mrpc.yaml")

COMMANDS: Final = {
    "sweeps.run": ("mrpc_grid", "--sample"),
    "sweeps.tune": ("--config", CONFIG, "--sample", "--debug"),
    "mpc_router.commands.init": ("gone",),
    "mpc_router.commands.train": ("--config", CONFIG, "--sample"),
    "sweeps.commands.routers.eval": ("--checkpoint", "gone", "--sample"),
    "sweeps.commands.routers.demo": ("--checkpoint", "gone", "--sample", "a", "b"),
    "sweeps.commands.routers.export": ("--checkpoint", "gone", "--sample", "gone_too"),
    "sweeps.commands.routers.price": (
        "--checkpoint",
        "gone",
        "--protocol",
        "semi2k",
        "--out",
        "gone_too",
    ),
    "sweeps.commands.runs": ("status", "gone"),
    "analysis.front": ("gone",),
    "analysis.report": ("gone",),
    "analysis.compare": ("gone", "gone"),
    "analysis.export": ("gone", "--to", "csv", "gone_too"),
    "cluster.local": ("status", "--bogus"),
    "cluster.slurm": ("status", "--run", "gone"),
    "cluster": ("slurm", "status", "--run", "gone"),
}
"""Modules with words that lead far into them, and that start nothing."""

PATHS: Final = (
    *("", " ", "~nobody/x", "~", "x" * 300, "x/" * 3000, "a\nb", "\x1b[2J", "\udcff", "\x00"),
    *("/dev/null/x", "/proc/x", "/proc/self/mem", "gone"),
)


def cases(seed: int, count: int, folder: Path) -> Iterator[Case]:
    """Words for all commands in turn."""
    draw = random.Random(f"flags {seed}")
    flags = {name: _flags(name) for name in COMMANDS}
    for number in range(count):
        module = list(COMMANDS)[number % len(COMMANDS)]
        odd = _odd(draw, flags[module])
        arguments = [*COMMANDS[module], *odd]
        if draw.random() < 0.3:
            arguments = [*odd, *COMMANDS[module]]
        if module.endswith("train"):
            out = str(folder / "outputs")
            arguments += [] if "--out" in arguments else ["--out", out]
        if not module.startswith(("sweeps.run", "analysis", "cluster")):
            cache = str(folder / "cache")
            arguments += [] if "--cache" in arguments else ["--cache", cache]
        words = [word if word.strip() else repr(word) for word in (*odd, *COMMANDS[module])]
        words += [word.partition("=")[2] for word in odd if word.partition("=")[2].strip()]
        words.append("required")  # of what is missing the message names that
        yield Case(
            kind="flags",
            name=f"{number} {module} {printable(' '.join(odd))[:60]}",
            command=module,
            arguments=tuple(arguments),
            culprits=tuple(printable(word.partition("=")[0])[:40] for word in words),
        )


def _flags(module: str) -> list[str]:
    made = module_of(module).parser()
    found = {flag for action in made._actions for flag in action.option_strings}
    return sorted(found - {"-h", "--help", "--list", "--settings", "--schema"})


def _odd(draw: random.Random, flags: list[str]) -> list[str]:
    flag = draw.choice(flags or ["--nodes"])
    other = draw.choice(flags or ["--port"])
    value = draw.choice(PATHS if draw.random() < 0.6 else VALUES)
    return draw.choice(
        (
            [flag],
            [flag, value],
            [f"{flag}={value}"],
            [flag, value, other, draw.choice(PATHS)],
            [flag, "x", flag, value],
            [mutated(flag, draw)],
            [mutated(flag, draw), "x"],
            [flag[:-1]],
            [flag[1:]],
            [value],
            ["--" + "x" * 3000],
            [flag.replace("-", "\u2013")],
            [flag, other],
            [flag.upper(), "x"],
        )
    )
