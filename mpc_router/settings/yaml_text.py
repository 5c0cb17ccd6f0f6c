"""YAML as studies and configurations are written: plain data, and no number with two readings.

Less than YAML: one document, names for keys, no tags, no dates. What YAML 1.1 reads otherwise than
a person (`017` is 15, `1:30` is 90) is refused; anchors, aliases and `<<` are followed.
"""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import yaml

LARGEST_FILE: Final = 1_000_000
"""Bytes of a file; a study is a page of text."""

DEEPEST: Final = 50
"""Lists and mappings inside each other."""

MOST_VALUES: Final = 100_000
"""Of a document, with every alias written out."""

LARGEST: Final = 2**63
"""Whole numbers lie below it."""

_CORE: Final = "tag:yaml.org,2002:"
_ODD: Final = "!odd"
_WHOLE: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*)$")
_REAL: Final = re.compile(
    r"[-+]?(?:[0-9]+(?:_[0-9]+)*\.[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?"
    r"|[0-9]+(?:_[0-9]+)*[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$"
)
_OTHER_BASE: Final = re.compile(
    r"[-+]?(?:0[0-7_]+|0x[0-9a-fA-F_]+|0b[01_]+|[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?)$"
)


class YamlError(ValueError):
    """Says that a text is no YAML, or a number in two ways: what was found, and where."""


class _Loader(yaml.SafeLoader):
    """Composes nodes with the tags that are read here."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Gives the next node.

        Raises:
            YamlError: it has a tag, or lies too deep.
        """
        event = self.peek_event()  # type: ignore[no-untyped-call]
        tag = getattr(event, "tag", None)
        if tag is not None:
            tag = tag.replace(_CORE, "!!")
            raise YamlError(f"the tag {tag[:100]} is not read{_at(event)}; write the value alone")
        self.depth += 1
        if self.depth > DEEPEST:
            raise YamlError(f"more than {DEEPEST} lists or mappings are inside each other")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


for _tag, _pattern, _first in (
    ("bool", re.compile(r"(?:true|True|TRUE|yes|Yes|YES|on|On|ON)$"), "tTyYoO"),
    ("bool", re.compile(r"(?:false|False|FALSE|no|No|NO|off|Off|OFF)$"), "fFnNoO"),
    ("null", re.compile(r"(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("merge", re.compile(r"<<$"), "<"),
    ("int", _WHOLE, "-+0123456789"),
    ("float", _REAL, "-+.0123456789"),
    (None, _OTHER_BASE, "-+0123456789"),
):
    _Loader.add_implicit_resolver(f"{_CORE}{_tag}" if _tag else _ODD, _pattern, list(_first))


def _at(node: Any) -> str:
    return f" (line {node.start_mark.line + 1})"


def read(path: Path) -> Any:
    """Gives what a file says, as plain data.

    Raises:
        OSError: it cannot be read.
        YamlError: it is no file of text, too large, or no YAML.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not hang us
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise YamlError("it is not a regular file")
        raw = file.read(LARGEST_FILE + 1)
    if len(raw) > LARGEST_FILE:
        raise YamlError(f"it is larger than {LARGEST_FILE // 1000} kB")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise YamlError(f"it is no text in utf-8 ({error.reason} at byte {error.start})") from error
    return plain(text)


def plain(text: str) -> Any:
    """Gives what a text says, as plain data; None where it says nothing.

    Raises:
        YamlError: it is no YAML, or holds a number with two readings.
    """
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        raise YamlError(f"{reason} (line {mark.line + 1})" if mark else reason) from error
    except yaml.YAMLError as error:
        raise YamlError(str(error).partition("\n")[0]) from error
    return None if root is None else _Values().value(root, 0)


class _Values:
    """Turns nodes into plain data; counts them, for an alias may stand for many."""

    def __init__(self) -> None:
        self._left = MOST_VALUES

    def value(self, node: yaml.Node, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise YamlError(f"it holds more than {MOST_VALUES} values")
        if depth > DEEPEST:
            raise YamlError(f"an alias stands within itself, or too deep{_at(node)}")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, depth + 1) for item in node.value]
        try:
            return _SCALARS[node.tag.removeprefix(_CORE)](node.value)
        except YamlError as error:
            raise YamlError(f"{error}{_at(node)}") from None

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        entries: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag == f"{_CORE}merge":
                merged = self._merged(value, depth) | merged
                continue
            if key.tag != f"{_CORE}str":
                raise YamlError(f"the key {_shown(key)} is no name{_at(key)}; quote it if it is")
            if ":" in key.value and isinstance(value, yaml.ScalarNode) and not value.value:
                raise YamlError(f"write a blank after the colon of {key.value[:100]}{_at(key)}")
            if key.value in entries:
                raise YamlError(f"duplicate key {key.value[:100]}{_at(key)}")
            entries[key.value] = self.value(value, depth + 1)
        return merged | entries

    def _merged(self, node: yaml.Node, depth: int) -> dict[str, Any]:
        """Gives the mapping after `<<`, or the list of them, of which the first wins."""
        entries: dict[str, Any] = {}
        for item in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            if not isinstance(item, yaml.MappingNode):
                raise YamlError(f"<< takes a mapping, or a list of mappings{_at(node)}")
            entries = self.value(item, depth + 1) | entries
        return entries


def _shown(key: yaml.Node) -> str:
    return str(key.value)[:100] if isinstance(key, yaml.ScalarNode) else "that is a list or mapping"


def _bool(text: str) -> bool:
    return text.lower() in ("true", "yes", "on")


def _whole(text: str) -> int:
    digits = text.replace("_", "")
    if len(digits) > 20 or abs(int(digits)) >= LARGEST:
        raise YamlError(f"{_short(text)} is larger than any number that is taken (2^63)")
    return int(digits)


def _real(text: str) -> float:
    lower = text.replace("_", "").lower()
    value = float(lower.replace(".inf", "inf").replace(".nan", "nan"))
    if math.isinf(value) and "inf" not in lower:
        raise YamlError(
            f"{_short(text)} is infinite to a computer and a number to a person; write a number "
            "below 1.7e308"
        )
    if value == 0 and re.search("[1-9]", lower.partition("e")[0]):
        raise YamlError(
            f"{_short(text)} is 0 to a computer and above 0 to a person; write 0, or a number "
            "that is not so small (1e-300)"
        )
    return value + 0.0  # -0.0 becomes 0.0


def _odd(text: str) -> Any:
    """Refuses a number in another base than ten, with what YAML and a person read."""
    digits = text.replace("_", "").lower()
    sign, digits = ("-" if digits.startswith("-") else ""), digits.lstrip("-+")
    if len(digits) > 20:
        raise YamlError(f"{_short(text)} is no decimal number; write one, or text in quotes")
    if ":" in digits:
        total: float = 0
        for part in digits.split(":"):
            total = total * 60 + float(part)
        raise YamlError(
            f"{text} is {sign}{total:.12g} to YAML (base 60) and a time or text to a person; write "
            f"{sign}{total:.12g}, a length of time as 1h30m, or text in quotes"
        )
    base = {"0x": 16, "0b": 2}.get(digits[:2], 8)
    number = f"{sign}{int(digits if base == 8 else digits[2:], base)}"
    decimal = f"{sign}{int(digits)}" if base == 8 else "text"
    if number == decimal:  # 00 and 07 are what they look like
        return int(number)
    choices = [decimal, number] if base == 8 else [number]
    raise YamlError(
        f"{text} is {number} to YAML (base {base}) and {decimal} to a person; write "
        f"{' or '.join(choices)}, or text in quotes"
    )


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:40]}... ({len(text)} characters)"


_SCALARS: Final[dict[str, Callable[[str], Any]]] = {
    "str": str,
    "null": lambda text: None,
    "bool": _bool,
    "int": _whole,
    "float": _real,
    "merge": str,
    _ODD: _odd,
}
