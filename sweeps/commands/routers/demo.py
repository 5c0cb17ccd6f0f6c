"""The command `mpc-router-demo`, which takes routers out of runs as well as checkpoints."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mpc_router.commands.demo import demo
from mpc_router.commands.demo import parser as parser_of_checkpoints
from mpc_router.terminal.flags import Parser
from mpc_router.terminal.streams import command
from sweeps.commands.routers._router_flags import add_run_flags, through


def parser() -> Parser:
    """Makes the parser of the command line."""
    command_line = parser_of_checkpoints()
    add_run_flags(command_line)
    return command_line


@command("analysis")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return through(parser(), demo, arguments)


if __name__ == "__main__":
    sys.exit(main())
