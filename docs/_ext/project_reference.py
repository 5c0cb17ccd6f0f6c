"""The module holds directives that write the reference from code: commands, settings, tables.

`command-help` gives a command's own help, `settings-table` the settings of a frozen dataclass with
defaults and the docstrings that follow them, `columns-table` the columns of a run's table.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from docutils.statemachine import StringList


def attribute_docs(owner: type) -> dict[str, str]:
    """Gives the docstring that follows each attribute of a class, by its name."""
    (definition,) = ast.parse(inspect.getsource(owner)).body
    assert isinstance(definition, ast.ClassDef)
    texts: dict[str, str] = {}
    for statement, after in zip(definition.body, definition.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            texts[statement.target.id] = " ".join(str(after.value.value).split())
    return texts


def load_object(path: str) -> Any:
    """Imports the object that `package.module:name` names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


class CommandHelp(Directive):
    """Shows a command's own help; the argument `package.module:parser` makes the parser."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Gives the help as a literal block."""
        text = load_object(self.arguments[0])().format_help()
        return [nodes.literal_block(text, text, language="text")]


class Table(Directive):
    """Draws a table whose rows a subclass gives; cells are Markdown."""

    required_arguments = 1
    option_spec = {"prefix": directives.unchanged}  # noqa: RUF012  docutils' own form
    headings: tuple[str, ...] = ()

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Gives the cells of each row."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Gives the table, parsed as the page around it is."""
        lines = ["| " + " | ".join(self.headings) + " |", "|" + " -- |" * len(self.headings)]
        lines += [
            "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
            for row in self.rows()
        ]
        holder = nodes.container()
        self.state.nested_parse(StringList(lines, "reference"), self.content_offset, holder)
        return list(holder.children)


class SettingsTable(Table):
    """Draws the settings of a frozen dataclass."""

    headings = ("setting", "default", "what it is")

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Gives name, default and docstring of every field."""
        owner = load_object(self.arguments[0])
        texts: dict[str, str] = {}
        for base in filter(dataclasses.is_dataclass, owner.__mro__):
            texts |= attribute_docs(base)
        for field in dataclasses.fields(owner):
            default = field.default
            if default is dataclasses.MISSING:
                factory = field.default_factory
                default = factory() if factory is not dataclasses.MISSING else "needed"
            shown = default if default == "needed" else f"`{shown_value(default)}`"
            prefix = self.options.get("prefix", "")
            yield f"`{prefix}{field.name}`", str(shown), texts.get(field.name, "")


def shown_value(value: Any) -> str:
    """Writes a default as in YAML."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(shown_value, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {shown_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) if value != "" else "''"


class ColumnsTable(Table):
    """Draws the columns of a run's table."""

    headings = ("column", "type", "may be null")

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Gives name, Arrow type and whether the column may be null."""
        table = load_object(self.arguments[0])
        schema = table(("accuracy", "f1")) if callable(table) else table
        for field in schema:
            yield f"`{field.name}`", f"`{field.type}`", "yes" if field.nullable else ""


def setup(app: Any) -> dict[str, Any]:
    """Adds the directives to Sphinx."""
    app.add_directive("command-help", CommandHelp)
    app.add_directive("settings-table", SettingsTable)
    app.add_directive("columns-table", ColumnsTable)
    return {"parallel_read_safe": True}
