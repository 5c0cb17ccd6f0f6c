"""The module checks plain data from elsewhere against types: events, provenance, descriptions.

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

_Misfit = Callable[[Any, str], str | None]
"""It tells of a value and its place what is wrong, in words; None where nothing is."""

_PLAIN_NAME: Final = "plain name"
PlainName = Annotated[str, _PLAIN_NAME]
"""Names a file or folder of a run, and cannot leave it (`mpc_router.plain_names`)."""

Tree = Mapping[str, Any]
"""It is plain data whose fields other code checks."""


@dataclasses.dataclass(frozen=True)
class Optional:
    """Marks a field that may be missing, or null."""

    kind: Any


def fields(wanted: Mapping[str, Any]) -> _Misfit:
    """Makes the check of a mapping that has these fields, and may have others."""
    return _compiled(tuple(wanted.items()))


@functools.cache
def _compiled(wanted: tuple[tuple[str, Any], ...]) -> _Misfit:
    """Makes the check of a mapping with these fields, once for each set of fields."""
    checks = [
        (name, _misfit(kind.kind if isinstance(kind, Optional) else kind), type(kind) is Optional)
        for name, kind in wanted
    ]

    def check_event(event: Any, at: str) -> str | None:
        for name, check, optional in checks:
            if optional and event.get(name) is None:
                continue
            if name not in event:
                return f"it has no {at}{name}"
            if (fault := check(event[name], f"{at}{name}")) is not None:
                return fault
        return None

    return check_event


@functools.cache
def _misfit(kind: Any) -> _Misfit:
    """Makes the check that a JSON value is of a type."""
    if kind is Any:
        return lambda _value, _at: None
    if get_origin(kind) is Annotated:
        return _plain_name if _PLAIN_NAME in get_args(kind) else _misfit(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        (inner,) = (_misfit(option) for option in get_args(kind) if option is not type(None))
        return lambda value, at: None if value is None else inner(value, at)
    if get_origin(kind) is tuple:
        return _list_of(_misfit(get_args(kind)[0]))
    if get_origin(kind) is collections.abc.Mapping:
        return _mapping_of(*map(_misfit, get_args(kind)))
    if dataclasses.is_dataclass(kind):
        return _record(kind)
    return _SCALARS[kind]


def _unlike(value: Any, at: str, wanted: str) -> str:
    """Describes a value that is not what was wanted."""
    return f"{at} is {quoted(value)}, but must be {wanted}"


def _plain_name(value: Any, at: str) -> str | None:
    """Checks a plain name."""
    return None if is_plain(value) else _unlike(value, at, f"a plain name ({PLAIN})")


def _text(value: Any, at: str) -> str | None:
    """Checks a text."""
    return None if isinstance(value, str) else _unlike(value, at, "text")


def _flag(value: Any, at: str) -> str | None:
    """Checks a truth value."""
    return None if isinstance(value, bool) else _unlike(value, at, "true or false")


def _count(value: Any, at: str) -> str | None:
    """Checks an integer that fits into 64 bits."""
    if type(value) is int and abs(value) < 2**63:
        return None
    return _unlike(value, at, "an integer of at most 63 bits")


def _number(value: Any, at: str) -> str | None:
    """Checks a finite number."""
    if type(value) in (int, float) and abs(value) <= sys.float_info.max:  # NaN is not
        return None
    return _unlike(value, at, "a finite number")


_SCALARS: Final[Mapping[Any, _Misfit]] = {str: _text, bool: _flag, int: _count, float: _number}


def _list_of(check: _Misfit) -> _Misfit:
    """Makes the check of a list from the check of its items."""

    def check_list(value: Any, at: str) -> str | None:
        if not isinstance(value, list):
            return _unlike(value, at, "a list")
        for place, item in enumerate(value):
            if (fault := check(item, f"{at}[{place}]")) is not None:
                return fault
        return None

    return check_list


def _mapping_of(check_key: _Misfit, check_value: _Misfit) -> _Misfit:
    """Makes the check of a mapping from the checks of its keys and values."""

    def check_mapping(value: Any, at: str) -> str | None:
        if not isinstance(value, dict):
            return _unlike(value, at, "a mapping")
        for name, item in value.items():
            fault = check_key(name, f"a name in {at}") or check_value(item, f"{at}.{name}")
            if fault is not None:
                return fault
        return None

    return check_mapping


def _record(kind: Any) -> _Misfit:
    """Makes the check of a dataclass's plain data: its fields, and no others."""
    hints = get_type_hints(kind, include_extras=True)
    checks = {field.name: _misfit(hints[field.name]) for field in dataclasses.fields(kind)}
    needed = {
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }

    def check_record(value: Any, at: str) -> str | None:
        if not isinstance(value, dict):
            return _unlike(value, at, "a mapping")
        if lacking := needed - value.keys():
            return f"{at} has no {min(lacking)}"
        for name, item in value.items():
            if name not in checks:
                return f"{at} has a field {quoted(name)} that no {kind.__name__} has"
            if (fault := checks[name](item, f"{at}.{name}")) is not None:
                return fault
        return None

    return check_record
