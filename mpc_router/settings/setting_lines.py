"""The sentences that say what settings are: the text that follows each in its class."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import re
from collections.abc import Mapping


def texts_of(section: type) -> dict[str, str]:
    """Gives what follows each setting of a frozen dataclass, on one line, by its name."""
    texts: dict[str, str] = {}
    for base in filter(dataclasses.is_dataclass, section.__mro__):
        texts |= _attribute_texts(base)
    return texts


def line_of(text: str) -> str:
    """Gives the first sentence of a setting's text, without marks of Markdown or its stop."""
    return re.split(r"(?<=[^.])\.(?:\s|$)", text.replace("`", ""), maxsplit=1)[0]


@functools.cache
def _attribute_texts(section: type) -> Mapping[str, str]:
    """Gives the texts that follow the attributes in a class's own source."""
    (definition,) = ast.parse(inspect.getsource(section)).body
    assert isinstance(definition, ast.ClassDef)
    return {
        statement.target.id: " ".join(str(after.value.value).split())
        for statement, after in zip(definition.body, definition.body[1:], strict=False)
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
    }


def plain_default(setting: dataclasses.Field[object]) -> object:
    """Gives the default of a setting; `dataclasses.MISSING` where it has none."""
    if setting.default_factory is not dataclasses.MISSING:
        return setting.default_factory()
    return setting.default


def yaml_text(value: object) -> str:
    """Writes a default as YAML has it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(yaml_text, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {yaml_text(item)}" for name, item in value.items()) + "}"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) or "''"
