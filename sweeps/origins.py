"""Where a run's data and models came from, so that it can be resumed and its trials replayed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.state import State

if TYPE_CHECKING:
    from mpc_router.outputs import Places


def said(args: argparse.Namespace, *, cache: Path) -> dict[str, Any]:
    """The flags that say it, as plain data for the journal; paths are absolute."""
    return {
        "sample": args.sample,
        "data": str(args.data.absolute()) if args.data else None,
        "models": str(args.models.absolute()) if args.models else None,
        "cache": str(cache),
    }


def restore(args: argparse.Namespace, state: State) -> None:
    """Flags that were not given again become those of the run's beginning."""
    assert state.opened is not None
    places = state.opened["places"]
    if not args.sample and args.data is None:
        args.sample = places["sample"]
        args.data = Path(places["data"]) if places["data"] else None
    for name in ("models", "cache"):
        if getattr(args, name) is None and places[name]:
            setattr(args, name, Path(places[name]))


def places(args: argparse.Namespace) -> Places:
    """Where data and models come from, and where what is prepared is kept."""
    import platformdirs

    from mpc_router.models import Models
    from mpc_router.outputs import Places
    from mpc_router.sources import Source

    kind: Any = "sample" if args.sample else "folder" if args.data else "hub"
    cache = args.cache or platformdirs.user_cache_path("mpc-router")
    return Places(
        source=Source(kind=kind, folder=args.data),
        models=Models(args.models),
        cache=cache.absolute(),
    )
