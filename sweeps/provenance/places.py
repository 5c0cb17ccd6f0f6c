"""The module records where a run's data and models came from, for a resume or a replay."""

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
"""They are the folders of a cache; a test compares them with what is really prepared."""


def record_places(args: argparse.Namespace, *, cache: Path) -> dict[str, Any]:
    """Gives the flags of data and models as plain data; paths are absolute."""
    return {
        "sample": args.sample,
        "data": str(args.data.absolute()) if args.data else None,
        "models": str(args.models.absolute()) if args.models else None,
        "cache": str(cache),
    }


def restore_places(args: argparse.Namespace, state: State) -> str:
    """Sets the flags that were not given again to those of the run's beginning; names them.

    Data and models are read, and compared with the run's fingerprints. The cache is written to, so
    it is taken only where it is this user's.

    Raises:
        InputError: no --cache was given, and the run's own is missing or not this user's.
    """
    assert state.opened is not None
    places = state.opened["places"]
    flags = []
    if not args.sample and args.data is None:
        args.sample = places["sample"]
        args.data = Path(places["data"]) if places["data"] else None
        flags += [f"--data {args.data}"] if args.data else []
    for name in ("models", "cache"):
        if getattr(args, name) is None and places[name]:
            setattr(args, name, Path(places[name]))
            flags.append(f"--{name} {places[name]}")
            if name == "cache":
                _refuse_others_cache(args.cache)
    return f"as the run began: {' '.join(flags)}" if flags else ""


def _refuse_others_cache(cache: Path) -> None:
    """Refuses a cache that a journal names, for the journal may come from another user."""
    import platformdirs

    if cache == platformdirs.user_cache_path("mpc-router"):
        return  # it would be taken without the journal too
    if why := _why_unsafe(cache):
        raise InputError(
            f"the run's journal names the cache {quoted(str(cache))}, which {why}; give --cache "
            "with a folder for what is prepared"
        )


def _why_unsafe(cache: Path) -> str:
    """Tells why a folder is not a safe cache of this project; empty where it is one."""
    try:
        status = cache.stat()
        names = {path.name for path in cache.iterdir()} if stat.S_ISDIR(status.st_mode) else set()
    except (OSError, ValueError):
        return "is not there"
    if not stat.S_ISDIR(status.st_mode):
        return "is no folder"
    if status.st_uid != os.geteuid():
        return "belongs to another user"
    if status.st_mode & stat.S_IWOTH:
        return "every user may write to"
    if not names <= _CACHED or not names:
        return "holds other things than a cache, or nothing"
    return ""
