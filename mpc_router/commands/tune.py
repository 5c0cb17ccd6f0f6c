"""`mpc-router-tune`: the door to `sweeps.tune`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mpc_router.commands import _sweeps_door
from mpc_router.streams import command


@command("sweep")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return _sweeps_door.call("sweeps.tune", arguments)


if __name__ == "__main__":
    sys.exit(main())
