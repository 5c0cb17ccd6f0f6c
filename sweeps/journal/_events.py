"""What the events of a journal may hold: the type of each field, by kind of event.

A journal may come from elsewhere, and a checksum is no signature: whatever a line says is held to
these types before it is believed. The nouns of `sweeps.records` and `sweeps.search.ask` say theirs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from mpc_router.messages import quoted
from mpc_router.shapes import Optional, PlainName, Tree, fields
from sweeps.records import Decision, Ending, Pack, Point, Report
from sweeps.search.rule import Proposal, Result

_TEXTS: Final = Mapping[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Places:
    """Where data and models came from; see `sweeps.provenance.places`."""

    sample: bool
    data: str | None
    models: str | None
    cache: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Forced:
    """What --force let through; see `sweeps.provenance.changes`."""

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
"""What `opened` says of a run that can be gone on with."""

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
"""What sessions after the first take of study, provenance and its sets."""


def odd(event: Mapping[str, Any]) -> str | None:
    """What an event holds that none of its kind can hold, in words; None where nothing is odd."""
    kind = event.get("event")
    if not isinstance(kind, str) or kind not in KINDS:
        return f"it is of unknown kind {quoted(kind)}"
    said = fields(HEAD)(event, "") or fields(KINDS[kind])(event, "")
    return None if said is None else f"{kind}: {said}"


def unbegun(opened: Mapping[str, Any]) -> str | None:
    """What keeps a run from being gone on with that was opened so; None where nothing does."""
    said = fields(BEGUN)(opened, "") or fields(STUDY)(opened["study"], "study.")
    said = said or fields(PROVENANCE)(opened["provenance"], "provenance.")
    for place, each in enumerate(opened["provenance"].get("sets") or () if said is None else ()):
        said = said or fields(SET)(each, f"provenance.sets[{place}].")
    return said
