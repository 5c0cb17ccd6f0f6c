"""`mpc-router-export`, `-eval`, `-demo` and `-price`: what is installed under these names.

They hand their words to the commands of the same name in `sweeps.commands`, which take routers out
of runs too. Where another project's package stands in for `sweeps` they take checkpoints alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mpc_router.commands import _sweeps_door
from mpc_router.streams import command


@command("")
def export(arguments: Sequence[str] | None = None) -> int:
    """Runs `mpc-router-export`; returns its exit code."""
    from mpc_router.commands.export import main

    return main(arguments) if _alone(arguments) else _handed("export", arguments)


@command("")
def evaluate(arguments: Sequence[str] | None = None) -> int:
    """Runs `mpc-router-eval`; returns its exit code."""
    from mpc_router.commands.eval import main

    return main(arguments) if _alone(arguments) else _handed("eval", arguments)


@command("")
def demo(arguments: Sequence[str] | None = None) -> int:
    """Runs `mpc-router-demo`; returns its exit code."""
    from mpc_router.commands.demo import main

    return main(arguments) if _alone(arguments) else _handed("demo", arguments)


@command("")
def price(arguments: Sequence[str] | None = None) -> int:
    """Runs `mpc-router-price`; returns its exit code."""
    from mpc_router.commands.price import main

    return main(arguments) if _alone(arguments) else _handed("price", arguments)


def _alone(arguments: Sequence[str] | None) -> bool:
    """Says whether a command goes on without `sweeps`: it is not ours, and no run is named."""
    words = sys.argv[1:] if arguments is None else arguments
    of_run = any(word.partition("=")[0] == "--run" for word in words)
    return not of_run and not _sweeps_door.is_ours()


def _handed(name: str, arguments: Sequence[str] | None) -> int:
    return _sweeps_door.call(f"sweeps.commands.{name}", arguments)
