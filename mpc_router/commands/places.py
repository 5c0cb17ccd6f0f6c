"""The flags that say where data and models come from: the same for every command, sweeps too."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mpc_router.terminal.flags import place

if TYPE_CHECKING:
    from mpc_router.prepare.inputs import Places


def add_place_flags(parser: argparse.ArgumentParser) -> None:
    """Adds `--sample`, `--data`, `--models` and `--cache`."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--sample", action="store_true", help="the embedded synthetic sample")
    where.add_argument("--data", type=place, metavar="DIR", help="holds <task>/<split>.parquet")
    add = parser.add_argument
    add("--models", type=place, metavar="DIR", help="holds models as org/name or name")
    add("--cache", type=place, metavar="DIR", help="what is prepared (default: the user's cache)")


def places_of(args: argparse.Namespace) -> Places:
    """Gives the places that the flags name; without `--sample` and `--data` data are the hub's."""
    import platformdirs

    from mpc_router.data.sources import Source
    from mpc_router.model.sources import Models
    from mpc_router.prepare.inputs import Places

    kind: Literal["sample", "folder", "hub"] = (
        "sample" if args.sample else "folder" if args.data else "hub"
    )
    cache: Path = args.cache or platformdirs.user_cache_path("mpc-router")
    return Places(
        source=Source(kind=kind, folder=args.data),
        models=Models(args.models),
        cache=cache.absolute(),
    )
