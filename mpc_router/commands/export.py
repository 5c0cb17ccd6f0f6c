"""Exports a router: `mpc-router-export --checkpoint PATH FOLDER` needs no cache afterwards.

Exit codes: 0 done; 2 the input is wrong; 3 the surroundings failed; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mpc_router.commands._exits import DONE, InputError, ended
from mpc_router.commands.places import add_place_flags, places_of
from mpc_router.commands.routers import (
    Chosen,
    add_router_flags,
    assembled_of,
    bias_of,
    refuse_idle_vector,
)
from mpc_router.storage.paths import cannot_be_made
from mpc_router.terminal.flags import Parser, add_trust_flag, place
from mpc_router.terminal.streams import command

if TYPE_CHECKING:
    from mpc_router.costs import Bias
    from mpc_router.results.assembled import Assembled

_EXAMPLES: Final = """\
  mpc-router-export --checkpoint outputs/mrpc_best_model exported/mrpc
  mpc-router-export --checkpoint runs/NAME/checkpoints/KEY exported/mrpc --models DIR
  mpc-router-export --checkpoint runs/NAME/checkpoints/KEY --bias 0.1 exported/mrpc
  mpc-router-export --checkpoint outputs/mrpc_best_model --onnx --strict exported/mrpc
"""


def parser() -> Parser:
    """Gives the parser of the command line."""
    command_line = Parser(
        "mpc-router-export",
        "Write a trained router with its experts as one folder that from_pretrained loads.",
        _EXAMPLES,
    )
    add = command_line.add_argument
    add("folder", type=place, metavar="FOLDER", help="the new folder")
    add_router_flags(command_line)
    add("--strict", action="store_true", help="have text refused that is too long, not cut")
    add("--onnx", action="store_true", help="write the parts as ONNX too, to FOLDER/onnx")
    add_place_flags(command_line)
    add_trust_flag(command_line)
    return command_line


@command("")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    from mpc_router.plugins import trust

    trust(args.trust)
    return export(args)


def export(args: argparse.Namespace, chosen: Chosen | None = None) -> int:
    """Does what the flags say, with the bias that was chosen if any; gives the exit code."""
    return ended(lambda: _command(args, chosen))


def _command(args: argparse.Namespace, chosen: Chosen | None) -> int:
    target: Path = args.folder
    if os.path.lexists(target):
        raise InputError(f"{target} exists; give a new folder")
    if (why := cannot_be_made("FOLDER", target.parent)) is not None:
        raise InputError(why)
    refuse_idle_vector(args, chosen)
    from mpc_router.serve.export import write_export
    from mpc_router.serve.licences import with_licences
    from mpc_router.serve.onnx_files import check_onnx

    if args.onnx:
        check_onnx()
    assembled = assembled_of(args)
    if assembled.note:
        print(f"note: {assembled.note}", file=sys.stderr)
    if (bias := bias_of(args, assembled, chosen)) is not None:
        assembled = _folded(assembled, bias, chosen)
    assembled = dataclasses.replace(assembled, strict=args.strict or assembled.strict)
    write_export(with_licences(assembled, places_of(args).models), target, onnx=args.onnx)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    loads = f"RoutedClassifier.from_pretrained({str(target)!r})"
    print(f"{target}: {size / 1e6:.0f} MB; {loads} loads it")
    return DONE


def _folded(assembled: Assembled, bias: Bias, chosen: Chosen | None) -> Assembled:
    """Folds the bias into the router; what it was worth without a bias is not kept."""
    from mpc_router.results.bias import fold

    splits = {} if chosen is None else dict(chosen.splits)
    summary = None if assembled.summary is None else {**assembled.summary, "splits": splits}
    return dataclasses.replace(fold(assembled, bias), summary=summary)


if __name__ == "__main__":
    sys.exit(main())
