"""Where a run's data and models came from, so that it can be resumed and its trials replayed."""

from __future__ import annotations

import argparse
import os
import stat
from pathlib import Path
from typing import Any, Final

from mpc_router.messages import quoted
from sweeps.journal.state import State
from sweeps.records import InputError

_CACHED: Final = frozenset(
    {"experts", "frames", "hashes", "joint", "orders", "outputs", "passes", "tokens"},
)
"""Folders of a cache; a test holds them to what is really prepared."""


def said(args: argparse.Namespace, *, cache: Path) -> dict[str, Any]:
    """Gives the flags of data and models as plain data; paths are absolute."""
    return {
        "sample": args.sample,
        "data": str(args.data.absolute()) if args.data else None,
        "models": str(args.models.absolute()) if args.models else None,
        "cache": str(cache),
    }


def restore(args: argparse.Namespace, state: State) -> str:
    """Flags that were not given again become those of the run's beginning; says which.

    Data and models are read, and held to the run's fingerprints. The cache is written to, so that
    it is taken only where it is ours.

    Raises:
        InputError: no --cache was given, and the one of the beginning is not there or not ours.
    """
    assert state.opened is not None
    places = state.opened["places"]
    taken = []
    if not args.sample and args.data is None:
        args.sample = places["sample"]
        args.data = Path(places["data"]) if places["data"] else None
        taken += [f"--data {args.data}"] if args.data else []
    for name in ("models", "cache"):
        if getattr(args, name) is None and places[name]:
            setattr(args, name, Path(places[name]))
            taken.append(f"--{name} {places[name]}")
            if name == "cache":
                _refuse_others_cache(args.cache)
    return f"as the run began: {' '.join(taken)}" if taken else ""


def _refuse_others_cache(cache: Path) -> None:
    """Refuses a cache that a journal names, for the journal may come from another user."""
    import platformdirs

    if cache == platformdirs.user_cache_path("mpc-router"):
        return  # what would be taken without the journal's word
    if why := _not_ours(cache):
        raise InputError(
            f"the run's journal names the cache {quoted(str(cache))}, which {why}; give --cache "
            "and the folder where what is prepared is to be kept"
        )


def _not_ours(cache: Path) -> str:
    """Says why a folder is no cache of this project; empty where it is one."""
    try:
        facts = cache.stat()
        names = {path.name for path in cache.iterdir()} if stat.S_ISDIR(facts.st_mode) else set()
    except (OSError, ValueError):
        return "is not there"
    if not stat.S_ISDIR(facts.st_mode):
        return "is no folder"
    if facts.st_uid != os.geteuid():
        return "belongs to another user"
    if facts.st_mode & stat.S_IWOTH:
        return "every user may write to"
    if not names <= _CACHED or not names:
        return "holds other things than a cache, or nothing"
    return ""
