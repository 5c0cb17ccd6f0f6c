"""Plain data from elsewhere, held to types before it is believed: events, provenance, descriptions.

A type is a scalar, `PlainName`, `X | None`, a tuple of one type (a list in JSON), a mapping, or a
dataclass, whose fields with defaults may be missing. Nothing is converted.
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

Misfit = Callable[[Any, str], str | None]
"""Of a value and its place: what is odd about it, in words; None where nothing is."""

_PLAIN_NAME: Final = "plain name"
PlainName = Annotated[str, _PLAIN_NAME]
"""Names a file or folder of a run, and cannot leave it (`mpc_router.plain_names`)."""

Tree = Mapping[str, Any]
"""Data that others look into."""


@dataclasses.dataclass(frozen=True)
class Optional:
    """A field that may be missing, or null."""

    kind: Any


def fields(wanted: Mapping[str, Any]) -> Misfit:
    """For a mapping that has these fields, and may have others."""
    return _compiled(tuple(wanted.items()))


@functools.cache
def _compiled(wanted: tuple[tuple[str, Any], ...]) -> Misfit:
    checks = [
        (name, _misfit(kind.kind if isinstance(kind, Optional) else kind), type(kind) is Optional)
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
def _misfit(kind: Any) -> Misfit:
    """What checks a JSON value to be of a type."""
    if kind is Any:
        return lambda _value, _at: None
    if get_origin(kind) is Annotated:
        return _plain_name if _PLAIN_NAME in get_args(kind) else _misfit(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        (inner,) = (_misfit(each) for each in get_args(kind) if each is not type(None))
        return lambda value, at: None if value is None else inner(value, at)
    if get_origin(kind) is tuple:
        return _list_of(_misfit(get_args(kind)[0]))
    if get_origin(kind) is collections.abc.Mapping:
        return _mapping_of(*map(_misfit, get_args(kind)))
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
    checks = {field.name: _misfit(hints[field.name]) for field in dataclasses.fields(kind)}
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
