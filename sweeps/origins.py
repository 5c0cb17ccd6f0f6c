"""Where a run's data and models came from, so that it can be resumed and its trials replayed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sweeps.journal import State
from sweeps.records import InputError
from sweeps.worker import Prepared


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


def check_same(state: State, prepared: Prepared) -> None:
    """Refuses data, experts or a stem other than the run's.

    Raises:
        InputError: their fingerprints differ.
    """
    assert state.opened is not None
    then = state.opened["provenance"]["fingerprints"]
    found = {
        "data": prepared.data_fingerprint,
        "experts": prepared.experts_id,
        "stem": prepared.stem.hash,
    }
    for what, now in found.items():
        if then[what] != now:
            raise InputError(
                f"{what}: not what the run began with ({then[what]}, now {now}); "
                "give the same --data, --models and --cache, or start anew"
            )
