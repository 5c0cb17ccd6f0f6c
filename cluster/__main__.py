"""`mpc-router-cluster local | slurm` starts Ray where a sweep can run: here, or by a Slurm job.

A place is a module of `_PLACES`, under the word of its commands: it has `DESCRIPTION` (one line of
help), `EXAMPLES` (lines of the command), `add_commands(parser)`, which adds its commands to the
place's parser, and `main(arguments)`, which runs one and gives its exit code.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from cluster import local, slurm
from mpc_router.messages import quoted
from mpc_router.terminal.flags import Parser
from mpc_router.terminal.streams import Main, command

_PLACES: Final = {"local": local, "slurm": slurm}

_EXAMPLES: Final = "".join(place.EXAMPLES for place in _PLACES.values())


def parser() -> Parser:
    """Makes the parser of the command line, with the commands of each place."""
    command_line = Parser(
        "mpc-router-cluster", "Start Ray on this machine, or a sweep on Slurm.", _EXAMPLES
    )
    places = command_line.add_subparsers(required=True, metavar=" | ".join(_PLACES))
    for name, place in _PLACES.items():
        place.add_commands(
            places.add_parser(
                name, help=place.DESCRIPTION, description=place.DESCRIPTION, examples=place.EXAMPLES
            )
        )
    return command_line


@command("sweep")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command of a place; returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] and words[0] in _PLACES:
        main: Main = _PLACES[words[0]].main
        return main(words[1:])
    command_line = parser()
    command_line.parse_args(words)  # it shows help, or says what is wrong
    command_line.error(f"the first word is {quoted(words[0])}; begin with {' or '.join(_PLACES)}")


if __name__ == "__main__":
    sys.exit(main())
