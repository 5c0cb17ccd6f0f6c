"""What values a setting takes: stated once, at the setting, for its check, for lists and schemas.

A setting of a frozen dataclass is annotated with what it takes: `Annotated[float, Number(0)]`. Of a
setting that holds several values, each is such a value.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Protocol, get_args, get_origin, get_type_hints

from mpc_router.messages import quoted
from mpc_router.settings.rules import ConfigError, is_number, not_among


class Allowed(Protocol):
    """Describes the values that a setting takes."""

    def fault(self, name: str, value: Any) -> str | None:
        """Says in one message why a value is none of them; None where it is one."""

    def schema(self) -> dict[str, Any]:
        """Gives the values as JSON Schema."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """Allows names; where there are `others`, in words, any name, which is checked elsewhere."""

    names: tuple[str, ...]
    others: str = ""

    def fault(self, name: str, value: Any) -> str | None:
        """Says that it is none of the names, and which is near."""
        if self.others or value in self.names:
            return None
        return not_among(name, value, [name for name in self.names if name])

    def schema(self) -> dict[str, Any]:
        """Gives the names; others are any text."""
        names: dict[str, Any] = {"enum": list(self.names)}
        return {"anyOf": [names, {"type": "string"}]} if self.others else names

    def __str__(self) -> str:
        """Lists the names."""
        return ", ".join(
            [name or "''" for name in self.names] + ([self.others] * bool(self.others))
        )


@dataclass(frozen=True, slots=True)
class Number:
    """Allows finite numbers from `least` (`above`: without it) to `most`, or to below `below`."""

    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    below: float = math.inf

    def fault(self, name: str, value: Any) -> str | None:
        """Says that it is not such a number."""
        if is_number(value) and math.isfinite(value):
            low = value > self.least if self.above else value >= self.least
            if low and value <= self.most and value < self.below:
                return None
        return f"{name} is {quoted(value)}, but must be {self}"

    def schema(self) -> dict[str, Any]:
        """Gives the bounds."""
        ends = {
            "exclusiveMinimum" if self.above else "minimum": self.least,
            "maximum": self.most,
            "exclusiveMaximum": self.below,
        }
        return {"type": "number", **{end: at for end, at in ends.items() if math.isfinite(at)}}

    def __str__(self) -> str:
        """Gives the bounds in words."""
        low = f" {'above' if self.above else 'from'} {self.least:g}"
        ends = {low: self.least, f" to {self.most:g}": self.most, f", below {self.below:g}": 0.0}
        if math.isinf(self.below):
            ends.popitem()
        return "a finite number" + "".join(text for text, at in ends.items() if math.isfinite(at))


@dataclass(frozen=True, slots=True)
class Whole:
    """Allows whole numbers from `least`."""

    least: int

    def fault(self, name: str, value: Any) -> str | None:
        """Says that it is not such a number."""
        if isinstance(value, int) and not isinstance(value, bool) and value >= self.least:
            return None
        return f"{name} is {quoted(value)}, but must be {self}"

    def schema(self) -> dict[str, Any]:
        """Gives the bound."""
        return {"type": "integer", "minimum": self.least}

    def __str__(self) -> str:
        """Gives the bound in words."""
        return f"an integer from {self.least}"


@dataclass(frozen=True, slots=True)
class Flag:
    """Allows true and false."""

    def fault(self, name: str, value: Any) -> str | None:
        """Says that it is neither."""
        if isinstance(value, bool):
            return None
        return f"{name} is {quoted(value)}, but must be {self}"

    def schema(self) -> dict[str, Any]:
        """Gives the type."""
        return {"type": "boolean"}

    def __str__(self) -> str:
        """Gives the values in words."""
        return "true or false"


@dataclass(frozen=True, slots=True)
class Text:
    """Allows texts of a pattern; `words` say which."""

    pattern: str
    words: str

    def fault(self, name: str, value: Any) -> str | None:
        """Says which texts are allowed."""
        if isinstance(value, str) and re.fullmatch(self.pattern, value):
            return None
        return f"{name} is {quoted(value)}, allowed are {self.words}"

    def schema(self) -> dict[str, Any]:
        """Gives the pattern."""
        return {"type": "string", "pattern": f"^(?:{self.pattern})$"}

    def __str__(self) -> str:
        """Gives the texts in words."""
        return self.words


_BY_TYPE: Final[Mapping[type, dict[str, Any]]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Says what a setting holds."""

    name: str
    types: tuple[type, ...]
    """Holds its value's types, and those of its items where it holds several."""

    several: bool
    optional: bool
    """Whether it may be null."""

    allowed: Allowed | None
    """None where its type says everything."""

    def choices(self) -> tuple[str, ...]:
        """Gives the values that have names, as YAML has them."""
        if isinstance(self.allowed, OneOf):
            return tuple(filter(None, self.allowed.names))
        if isinstance(self.allowed, Flag) or self.types == (bool,):
            return ("true", "false")
        return ()

    def schema(self, *, item: bool = False) -> dict[str, Any]:
        """Gives its values as JSON Schema, or those of an item of it."""
        if self.allowed is not None:
            value = self.allowed.schema()
            if value.get("type") == "number" and self.types == (int,):
                value["type"] = "integer"
        else:
            kinds = [_BY_TYPE.get(kind, {"type": "object"}) for kind in self.types]
            value = dict(kinds[0]) if len(kinds) == 1 else {"anyOf": kinds}
        if self.several and not item:
            return {"type": "array", "items": value}
        return {"anyOf": [value, {"type": "null"}]} if self.optional else value

    def __str__(self) -> str:
        """Gives its values in words."""
        if self.allowed is not None:
            text = str(self.allowed)
            if self.types == (int,):
                text = text.replace("a finite number", "an integer")
        else:
            names = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}
            text = " or ".join(names.get(kind, "a mapping") for kind in self.types)
        if self.several:
            return f"a list, each {text}"
        return f"{text}, or null" if self.optional else text


@functools.cache
def forms_of(section: type) -> Mapping[str, Form]:
    """Gives what each setting of a frozen dataclass holds, by its name, in the class's order."""
    hints = get_type_hints(section, include_extras=True)
    return {
        setting.name: _form(setting.name, hints[setting.name])
        for setting in dataclasses.fields(section)
    }


def _form(name: str, hint: Any) -> Form:
    """Reads a type: `float`, `bool | None`, `Annotated[tuple[int, ...], Number(0)]`."""
    allowed = None
    if get_origin(hint) is Annotated:
        hint, allowed = get_args(hint)
    arguments = get_args(hint) or (hint,)
    return Form(
        name=name,
        types=tuple(kind for kind in arguments if kind not in (type(None), Ellipsis)),
        several=Ellipsis in arguments,
        optional=type(None) in arguments,
        allowed=allowed,
    )


def faults(settings: object, prefix: str = "") -> Iterator[str]:
    """Gives a message for each value of a frozen dataclass that its setting does not take."""
    section: Any = type(settings)
    values_of, forms, defaults = _checked(section)
    for value, form, default in zip(values_of(settings), forms, defaults, strict=True):
        if value is default:  # most are, and thousands of points are checked
            continue
        for item in value if form.several else (value,):
            fault = form.allowed.fault(f"{prefix}{form.name}", item) if form.allowed else None
            if fault is not None:
                yield fault


@functools.cache
def _checked(
    section: type,
) -> tuple[Callable[[object], tuple[Any, ...]], tuple[Form, ...], tuple[object, ...]]:
    """Gives what reads the settings that say what they take, their forms, and their defaults."""
    forms = tuple(form for form in forms_of(section).values() if form.allowed is not None)
    defaults = {setting.name: setting.default for setting in dataclasses.fields(section)}
    names = [form.name for form in forms]
    assert len(names) > 1  # of one name attrgetter gives no tuple
    return operator.attrgetter(*names), forms, tuple(defaults[name] for name in names)


def check_allowed(
    settings: object, prefix: str = "", *, error: type[ValueError] = ConfigError
) -> None:
    """Refuses values that their settings do not take; `prefix` stands before their names.

    Raises:
        ValueError: of the class `error`, about the first of them.
    """
    for fault in faults(settings, prefix):
        raise error(fault)
