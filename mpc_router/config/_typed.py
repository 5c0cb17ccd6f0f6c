"""A value given for a setting, as the kind of value that the setting holds; nothing is guessed."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any, Final

from mpc_router.config.sections import SECTIONS
from mpc_router.messages import quoted
from mpc_router.settings.allowed import Form, forms_of
from mpc_router.settings.rules import ConfigError
from mpc_router.settings.yaml_text import LARGEST
from mpc_router.tasks import Task, TaskError, task_of

WORDS: Final = {
    str: "a name (in quotes, if it looks like a number or like yes and no)",
    int: "a whole number such as 3",
    float: "a number such as 0.1",
    bool: "true or false",
}

_NUMBER: Final = re.compile(
    r"[-+]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|[-+]?inf|nan", re.ASCII
)
"""A number as text: in quotes, or spelled otherwise than YAML does."""


@functools.cache
def _forms() -> dict[str, Form]:
    """Gives what every setting holds by leaf name."""
    return {leaf: form for part in SECTIONS.values() for leaf, form in forms_of(part).items()}


def typed(leaf: str, value: Any) -> Any:
    """Gives the value as the setting's type has it: a list as a tuple, 1 as 1.0.

    Raises:
        ConfigError: it is of another kind.
    """
    form = _forms()[leaf]
    kind = form.types[0]
    if form.optional and value is None:
        return None
    if form.several:
        return _several(leaf, value, kind)
    if kind is Task:
        return value if isinstance(value, Task) else _task(value)
    return _one(leaf, value, kind)


def _task(value: Any) -> Task:
    try:
        return task_of(value)
    except TaskError as error:
        raise ConfigError(str(error)) from None


def _several(leaf: str, value: Any, kind: type) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(
            f"{leaf} is {quoted(value)}, but must be a list; write '{leaf}=[VALUE, VALUE]'"
        )
    if value and all(isinstance(item, list | tuple) for item in value):
        raise ConfigError(
            f"{leaf} is {quoted(value)}, but an item of a list is {WORDS[kind]}{_search(leaf)}"
        )
    items = []
    for item in value:
        try:
            items.append(_one(leaf, item, kind))
        except ConfigError as error:
            raise ConfigError(f"{leaf}={quoted(list(value))}: an item of a list: {error}") from None
    return tuple(items)


def _one(leaf: str, value: Any, kind: type) -> Any:
    if isinstance(value, str) and ("${" in value or value == "???"):
        raise ConfigError(
            f"{leaf} is {quoted(value)}, but references are not followed; give a value"
        )
    if isinstance(value, str) and kind in (int, float) and _NUMBER.fullmatch(value):
        value = float(value) if kind is float or not value.lstrip("+-").isdigit() else int(value)
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if is_whole and abs(value) >= LARGEST:
        raise ConfigError(f"{leaf} is {quoted(value)}, more than any setting takes (2^63)")
    if kind is float and is_whole:
        return float(value)
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise ConfigError(f"{leaf} is {quoted(value)}, but must be {WORDS[kind]}{_hint(leaf, value)}")


def _hint(leaf: str, value: Any) -> str:
    """Says how several values are searched, where several were given."""
    many = isinstance(value, list | tuple) or (isinstance(value, str) and "," in value)
    if isinstance(value, Mapping):
        return "; in a study, values to search stand in `space`"
    return _search(leaf) if many else ""


def _search(leaf: str) -> str:
    return f"; to search several in a study, write {leaf}='{{grid: [VALUE, VALUE]}}'"
