"""Prices a pool under secure computation: `mpc-router-price --pool NAME --protocol P --out FILE`.

Exit codes: 0 done; 2 the input is wrong; 3 the surroundings failed; 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mpc_router.commands._exits import DONE, InputError, ended
from mpc_router.commands.places import add_place_flags, places_of
from mpc_router.commands.routers import Chosen, assembled_of
from mpc_router.messages import quoted
from mpc_router.storage.paths import cannot_be_made
from mpc_router.terminal.flags import Parser, add_trust_flag, number, place
from mpc_router.terminal.streams import command

if TYPE_CHECKING:
    from mpc_router.results.assembled import Assembled
    from mpc_router.secure.price_file import PriceMeta

_EXAMPLES: Final = """\
  mpc-router-price --pool minilm --protocol semi2k --models DIR --out price.json
  mpc-router-price --checkpoint exported/mrpc --protocol cheetah --tokens 64,32 --out price.json
  mpc-router-price --run runs/NAME --knee --protocol semi2k --out price.json
"""
_LARGEST: Final = 25.0
"""Millions of weights in the layers of the largest encoder that is measured whole: MiniLM has 10.6,
BERT base 85."""


def parser() -> Parser:
    """Gives the parser of the command line."""
    command_line = Parser(
        "mpc-router-price",
        "Measure what an example costs under secure computation of two parties, as a cost vector.",
        _EXAMPLES,
    )
    add = command_line.add_argument
    add("--pool", metavar="NAME", help="price a named pool, untrained")
    add("--task", metavar="NAME", default=None, help="with --pool: the task (default: mrpc)")
    add("--checkpoint", type=place, metavar="PATH", help="price the pool of a trained router")
    add("--protocol", metavar="NAME", help="semi2k or cheetah")
    add("--out", type=place, metavar="FILE", help="the new file")
    add("--tokens", metavar="N,...", default="32", help="lengths; costs are of the first (32)")
    add("--embeddings", metavar="HOW", default="clear", help="clear (default) or secret lookup")
    add("--gelu", metavar="KIND", default="exact", help="exact (default), polynomial or quad")
    add("--softmax", metavar="KIND", default="exact", help="exact (default) or quad")
    add("--repeats", type=number(int), metavar="N", default=1, help="runs of each part (1)")
    largest = f"millions of weights that are measured whole ({_LARGEST:g}); more are extrapolated"
    add("--largest", type=number(float), metavar="N", default=_LARGEST, help=largest)
    add("--python", type=place, metavar="PATH", help="a Python with spu (default: .venv-secure)")
    add_place_flags(command_line)
    add("--quiet", action="store_true", help="the result, no more")
    add_trust_flag(command_line)
    command_line.set_defaults(bias=None, vector=None)  # what runs are asked by
    return command_line


@command("")
def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    from mpc_router.plugins import trust

    trust(args.trust)
    return price(args)


def price(args: argparse.Namespace, chosen: Chosen | None = None) -> int:
    """Does what the flags say; a bias that was chosen costs nothing. Gives the exit code."""
    return ended(lambda: _command(args), stopped="stopped; nothing was written")


def _command(args: argparse.Namespace) -> int:
    target = _target(args.out)
    _one_pool(args)
    meta = _meta(args)
    from mpc_router.commands._progress import progress
    from mpc_router.secure.pool import measure_pool
    from mpc_router.secure.price_file import price_document, table, write_price

    assembled = assembled_of(args) if args.checkpoint is not None else _untrained(args)
    with progress(args.quiet) as shown:
        if assembled.note:
            shown.say(f"note: {assembled.note}")
        measured = measure_pool(assembled, meta.options, meta.setting, shown)
    write_price(target, price_document(measured, assembled.config, meta))
    for line in table(measured, meta):
        print(line)
    print(f"\n{target}: cost_vector=file:{target} and --costs file:{target} take it")
    return DONE


def _target(out: Path | None) -> Path:
    """Gives the file to write.

    Raises:
        InputError: it is missing, exists, or cannot be made.
    """
    if out is None:
        raise InputError("--out is missing; give a new file")
    if os.path.lexists(out):
        raise InputError(f"{out} exists; give --out another file")
    if why := cannot_be_made("--out", out.parent):
        raise InputError(why)
    return out


def _one_pool(args: argparse.Namespace) -> None:
    """Refuses anything but one pool.

    Raises:
        InputError: none or several are named.
    """
    if (args.pool is None) == (args.checkpoint is None):
        both = args.pool is not None
        raise InputError(
            f"{'both a pool and a router are' if both else 'neither a pool nor a router is'} "
            "named; give one of --pool NAME, --checkpoint PATH and --run RUN"
        )
    idle = [flag for flag in ("sample", "data", "cache") if getattr(args, flag)]
    if args.pool is not None and idle:
        raise InputError(
            f"--{idle[0]} belongs to a trained router, and --pool reads no data; leave it out"
        )
    if args.task is not None and args.pool is None:
        raise InputError("--task belongs to --pool; leave it out, for a router has a task")


def _meta(args: argparse.Namespace) -> PriceMeta:
    """Gives what the flags say of the measurement.

    Raises:
        InputError: a value that cannot be.
        SecureError: there is no Python with spu.
    """
    from mpc_router.secure.environment import other_python
    from mpc_router.secure.jobs import PROTOCOLS, Setting
    from mpc_router.secure.parts import Options
    from mpc_router.secure.price_file import EMBEDDINGS, SECRET, PriceMeta
    from mpc_router.secure.programs.encoders import GELUS, SOFTMAXES

    if args.protocol not in PROTOCOLS:
        raise InputError(
            f"--protocol is {quoted(args.protocol)}, and protocols of two parties here are "
            f"{' and '.join(PROTOCOLS)} (aby3 and securenn are of three); give one of these"
        )
    for flag, allowed in (("gelu", GELUS), ("softmax", SOFTMAXES), ("embeddings", EMBEDDINGS)):
        value = getattr(args, flag)
        if value not in allowed:
            raise InputError(f"--{flag} is {quoted(value)}, allowed are {', '.join(allowed)}")
    if args.repeats < 1:
        raise InputError(f"--repeats is {args.repeats}, but must be at least 1")
    if args.largest < 0:
        raise InputError(f"--largest is {args.largest:g}, but must be at least 0 (million weights)")
    options = Options(
        tokens=_lengths(args.tokens),
        largest=args.largest,
        gelu=args.gelu,
        softmax=args.softmax,
        lookups=args.embeddings == SECRET,
    )
    python = other_python(args.python)
    setting = Setting(python=python, protocol=args.protocol, repeats=args.repeats)
    return PriceMeta(setting=setting, options=options, embeddings=args.embeddings)


def _lengths(text: str) -> tuple[int, ...]:
    """Reads the lengths.

    Raises:
        InputError: one is no whole number from 1, or stands twice.
    """
    words = text.split(",")
    lengths = [int(word[:9]) for word in words if word.isascii() and word.isdecimal()]
    if len(lengths) < len(words) or min(lengths) < 1 or len(set(lengths)) < len(lengths):
        raise InputError(
            f"--tokens is {quoted(text)}, but must be different whole numbers from 1, such as "
            "64,32,16"
        )
    return tuple(lengths)


def _untrained(args: argparse.Namespace) -> Assembled:
    from mpc_router.results.untrained import untrained

    return untrained({"pool": args.pool, "task": args.task or "mrpc"}, places_of(args).models)


if __name__ == "__main__":
    sys.exit(main())
