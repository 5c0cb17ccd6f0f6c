"""Describes the events of a journal, and checks the type of each field.

Events:

- `opened`: study, what the tables need to know of it, provenance, and the bulk files with hashes
- `reopened`: trials that had ended are to be trained again, and why; `anew` if to other results
- `resumed`: another session of the run begins, with the budget of all sessions; `forced` lists
  what differed from before and was let through by --force (`what`, `then`, `now`), if anything
- `asked`: a batch of points with their trials and packs; of a search also its proposals; at its
  end which points are to be followed up, and in which packs
- `started`: a pack on a worker, its attempt and its trials' keys; on Ray also its `node`, and the
  `gpus` that it has of it, if any
- `reported`: reports of a pack's trials
- `unlike`: from an epoch on a pack gives other numbers than an interrupted attempt of it gave; the
  reports, decisions and endings of that attempt from there on no longer count
- `decided`: which trials go on at a rung
- `ended`: endings of trials, and the bulk files that they name with their hashes
- `kept`: a pack's state after an epoch, from which its training can go on: its file in `states/`
  with the hash, and the keys of the trials that still train, by stack
- `told`: the results of a batch, as the search was told them
- `closed`: the run is over or interrupted

A journal may come from elsewhere, and a checksum is no signature. So every line is checked against
these types before it is used. The records of `sweeps.records` and `sweeps.search.rule` define the
types of their fields.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from typing import Any, Final

from mpc_router.messages import quoted
from mpc_router.shapes import Optional, PlainName, Tree, fields
from sweeps.records import Decision, Ending, InputError, Pack, Point, Report, SweepError
from sweeps.search.rule import Proposal, Result

_TEXTS: Final = Mapping[str, str]


class JournalError(SweepError):
    """Says why a journal cannot be read or written, with file and line."""


class OddEvent(JournalError, InputError):
    """Says why this program cannot have written an event, though its checksum is right."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Places:
    """Says where data and models came from; see `sweeps.provenance.places`."""

    sample: bool
    data: str | None
    models: str | None
    cache: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Forced:
    """Holds a change that --force let through; see `sweeps.provenance.changes`."""

    what: str
    then: Any
    now: Any


HEAD: Final[Mapping[str, Any]] = {
    "v": int,
    "n": int,
    "time": str,
    "mono": float,
    "event": str,
}

KINDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "opened": {
        "run": PlainName,
        "parts": Mapping[PlainName, str],
        "study": Optional(Tree),
        "provenance": Optional(Tree),
        "places": Optional(_Places),
        "task": Optional(str),
        "task_definition": Optional(Tree),
        "pool": Optional(Any),
        "metrics": Optional(tuple[str, ...]),
        "quoted": Optional(tuple[str, ...]),
        "settings": Optional(_TEXTS),
    },
    "reopened": {
        "keys": tuple[PlainName, ...],
        "reason": str,
        "parts": Optional(Mapping[PlainName, str]),
        "anew": Optional(bool),
    },
    "resumed": {"budget": Tree, "forced": Optional(tuple[_Forced, ...])},
    "asked": {
        "points": tuple[Point, ...],
        "packs": tuple[Pack, ...],
        "proposals": Optional(tuple[Proposal, ...]),
        "attributes": Optional(Tree),
        "proposed": Optional(tuple[PlainName, ...]),
        "following": Optional(tuple[PlainName, ...]),
        "decisions": Optional(tuple[Decision, ...]),
    },
    "started": {"pack": PlainName, "attempt": int},
    "reported": {"pack": PlainName, "reports": tuple[Report, ...]},
    "unlike": {
        "pack": PlainName,
        "keys": tuple[PlainName, ...],
        "epoch": int | None,
        "reason": str,
    },
    "decided": {"decisions": tuple[Decision, ...]},
    "ended": {
        "pack": PlainName,
        "endings": tuple[Ending, ...],
        "parts": Mapping[PlainName, str],
    },
    "kept": {
        "pack": PlainName,
        "epoch": int,
        "file": PlainName,
        "sha256": str,
        "stacks": tuple[tuple[PlainName, ...], ...],
    },
    "told": {"batch": int, "results": tuple[Result, ...]},
    "closed": {"outcome": str},
}

BEGUN: Final[Mapping[str, Any]] = {
    "study": Tree,
    "provenance": Tree,
    "places": _Places,
    "metrics": tuple[str, ...],
    "quoted": tuple[str, ...],
    "settings": _TEXTS,
}
"""Gives the fields of `opened` that a resume needs."""

STUDY: Final[Mapping[str, Any]] = {"budget": Tree, "cost_vector": str}
PROVENANCE: Final[Mapping[str, Any]] = {
    "fingerprints": _TEXTS,
    "versions": _TEXTS,
    "cost_vectors": Tree,
    "notes": tuple[str, ...],
    "sets": Optional(tuple[Tree, ...]),
}
SET: Final[Mapping[str, Any]] = {
    "name": PlainName,
    "joint": bool,
    "experts_id": str,
    "cost_vectors": Tree,
    "fingerprints": _TEXTS,
}
"""Give the fields of study, provenance and its sets that a resume needs."""


def oddity(event: Mapping[str, Any]) -> str | None:
    """Says in words which field no event of its kind can have; None where there is none."""
    kind = event.get("event")
    if not isinstance(kind, str) or kind not in KINDS:
        return f"it is of unknown kind {quoted(kind)}"
    problem = fields(HEAD)(event, "") or _misdated(event["time"]) or fields(KINDS[kind])(event, "")
    return None if problem is None else f"{kind}: {problem}"


def _misdated(time: str) -> str | None:
    """Says in words that a text is no time; None where it is one that every clock can show."""
    try:
        datetime.datetime.fromisoformat(time).astimezone()
    except (ValueError, OverflowError, OSError):
        return f"time is {quoted(time)}, but must be a time such as 2026-11-30T16:00:00+00:00"
    return None


def missing_in(opened: Mapping[str, Any]) -> str | None:
    """Says in words what a resume needs and `opened` lacks; None where it lacks nothing."""
    problem = (
        fields(BEGUN)(opened, "")
        or fields(STUDY)(opened["study"], "study.")
        or fields(PROVENANCE)(opened["provenance"], "provenance.")
    )
    if problem is not None:
        return problem
    for place, prepared_set in enumerate(opened["provenance"].get("sets") or ()):
        if (problem := fields(SET)(prepared_set, f"provenance.sets[{place}].")) is not None:
            return problem
    return None
