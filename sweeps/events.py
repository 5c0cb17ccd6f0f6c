"""What the events of a journal may hold: the type of each field, by kind of event.

A journal may come from elsewhere, and a checksum is no signature: whatever a line says is held to
these types before it is believed. The nouns of `sweeps.records` and `sweeps.search` say theirs.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import sys
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

from mpc_router.messages import quoted
from mpc_router.plain_names import PLAIN, is_plain
from sweeps.records import (
    PLAIN_NAME,
    Decision,
    Ending,
    Pack,
    PlainName,
    Point,
    Report,
)
from sweeps.search import Proposal, Result

Misfit = Callable[[Any, str], str | None]
"""Of a value and its place: what is odd about it, in words; None where nothing is."""


@dataclasses.dataclass(frozen=True)
class Optional:
    """A field that an event may lack, or hold as null."""

    kind: Any


_TEXTS: Final = Mapping[str, str]
_TREE: Final = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Places:
    """Where data and models came from; see `sweeps.origins`."""

    sample: bool
    data: str | None
    models: str | None
    cache: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Forced:
    """What --force let through; see `sweeps.changes`."""

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
        "study": Optional(_TREE),
        "provenance": Optional(_TREE),
        "places": Optional(_Places),
        "task": Optional(str),
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
    "resumed": {"budget": _TREE, "forced": Optional(tuple[_Forced, ...])},
    "asked": {
        "points": tuple[Point, ...],
        "packs": tuple[Pack, ...],
        "proposals": Optional(tuple[Proposal, ...]),
        "attributes": Optional(_TREE),
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
    "study": _TREE,
    "provenance": _TREE,
    "places": _Places,
    "metrics": tuple[str, ...],
    "quoted": tuple[str, ...],
    "settings": _TEXTS,
}
"""What `opened` says of a run that can be gone on with."""

STUDY: Final[Mapping[str, Any]] = {"budget": _TREE, "cost_vector": str}
PROVENANCE: Final[Mapping[str, Any]] = {
    "fingerprints": _TEXTS,
    "versions": _TEXTS,
    "cost_vectors": _TREE,
    "notes": tuple[str, ...],
    "sets": Optional(tuple[_TREE, ...]),
}
SET: Final[Mapping[str, Any]] = {
    "name": PlainName,
    "joint": bool,
    "experts_id": str,
    "cost_vectors": _TREE,
    "fingerprints": _TEXTS,
}
"""What sessions after the first take of study, provenance and its sets."""


def odd(event: Mapping[str, Any]) -> str | None:
    """What an event holds that none of its kind can hold, in words; None where nothing is odd."""
    if (said := _fields(HEAD)(event, "")) is not None:
        return said
    kind = event["event"]
    if kind not in KINDS:
        return f"it is of unknown kind {quoted(kind)}"
    said = _fields(KINDS[kind])(event, "")
    return None if said is None else f"{kind}: {said}"


def unbegun(opened: Mapping[str, Any]) -> str | None:
    """What keeps a run from being gone on with that was opened so; None where nothing does."""
    said = _fields(BEGUN)(opened, "") or _fields(STUDY)(opened["study"], "study.")
    said = said or _fields(PROVENANCE)(opened["provenance"], "provenance.")
    for place, each in enumerate(opened["provenance"].get("sets") or () if said is None else ()):
        said = said or _fields(SET)(each, f"provenance.sets[{place}].")
    return said


def _fields(wanted: Mapping[str, Any]) -> Misfit:
    """For a mapping that has these fields, and may have others."""
    return _compiled(tuple(wanted.items()))


@functools.cache
def _compiled(wanted: tuple[tuple[str, Any], ...]) -> Misfit:
    checks = [
        (name, misfit(kind.kind if isinstance(kind, Optional) else kind), type(kind) is Optional)
        for name, kind in wanted
    ]

    def of_event(event: Any, at: str) -> str | None:
        for name, check, optional in checks:
            if optional and event.get(name) is None:
                continue
            if name not in event:
                return f"it has no {at}{name}"
            if (said := check(event[name], f"{at}{name}")) is not None:
                return said
        return None

    return of_event


@functools.cache
def misfit(kind: Any) -> Misfit:
    """What checks a JSON value to be of a type: a scalar, `PlainName`, `X | None`, a tuple of one
    type (a list in JSON), a mapping, or a dataclass (whose fields with defaults may be missing)."""
    if kind is Any:
        return lambda _value, _at: None
    if get_origin(kind) is Annotated:
        return _plain_name if PLAIN_NAME in get_args(kind) else misfit(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        (inner,) = (misfit(each) for each in get_args(kind) if each is not type(None))
        return lambda value, at: None if value is None else inner(value, at)
    if get_origin(kind) is tuple:
        return _list_of(misfit(get_args(kind)[0]))
    if get_origin(kind) is collections.abc.Mapping:
        return _mapping_of(*map(misfit, get_args(kind)))
    if dataclasses.is_dataclass(kind):
        return _record(kind)
    return _SCALARS[kind]


def _unlike(value: Any, at: str, wanted: str) -> str:
    return f"{at} is {quoted(value)}, but must be {wanted}"


def _plain_name(value: Any, at: str) -> str | None:
    return None if is_plain(value) else _unlike(value, at, f"a plain name ({PLAIN})")


def _text(value: Any, at: str) -> str | None:
    return None if isinstance(value, str) else _unlike(value, at, "text")


def _flag(value: Any, at: str) -> str | None:
    return None if isinstance(value, bool) else _unlike(value, at, "true or false")


def _count(value: Any, at: str) -> str | None:
    if type(value) is int and abs(value) < 2**63:
        return None
    return _unlike(value, at, "an integer of at most 63 bits")


def _number(value: Any, at: str) -> str | None:
    if type(value) in (int, float) and abs(value) <= sys.float_info.max:  # NaN is not
        return None
    return _unlike(value, at, "a finite number")


_SCALARS: Final[Mapping[Any, Misfit]] = {str: _text, bool: _flag, int: _count, float: _number}


def _list_of(check: Misfit) -> Misfit:
    def of_list(value: Any, at: str) -> str | None:
        if not isinstance(value, list):
            return _unlike(value, at, "a list")
        for place, each in enumerate(value):
            if (said := check(each, f"{at}[{place}]")) is not None:
                return said
        return None

    return of_list


def _mapping_of(of_key: Misfit, of_value: Misfit) -> Misfit:
    def of_mapping(value: Any, at: str) -> str | None:
        if not isinstance(value, dict):
            return _unlike(value, at, "a mapping")
        for name, each in value.items():
            said = of_key(name, f"a name in {at}") or of_value(each, f"{at}.{name}")
            if said is not None:
                return said
        return None

    return of_mapping


def _record(kind: Any) -> Misfit:
    """For the plain data of a dataclass: its fields, and no others."""
    hints = get_type_hints(kind, include_extras=True)
    checks = {field.name: misfit(hints[field.name]) for field in dataclasses.fields(kind)}
    needed = {
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }

    def of_record(value: Any, at: str) -> str | None:
        if not isinstance(value, dict):
            return _unlike(value, at, "a mapping")
        if lacking := needed - value.keys():
            return f"{at} has no {min(lacking)}"
        for name, each in value.items():
            if name not in checks:
                return f"{at} has a field {quoted(name)} that no {kind.__name__} has"
            if (said := checks[name](each, f"{at}.{name}")) is not None:
                return said
        return None

    return of_record
