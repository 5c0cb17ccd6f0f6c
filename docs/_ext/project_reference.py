"""The module holds directives that write the reference from code: commands, settings, tables.

`command-help` gives a command's own help, `settings-table` the settings of a frozen dataclass with
defaults and the docstrings that follow them, `columns-table` the columns of a run's table.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive, directives
from docutils.statemachine import StringList

from mpc_router.settings.allowed import forms_of
from mpc_router.settings.setting_lines import plain_default, texts_of, yaml_text


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

    headings = ("setting", "default", "allowed", "what it is")

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Gives name, default, allowed values and docstring of every field."""
        owner = load_object(self.arguments[0])
        texts, forms = texts_of(owner), forms_of(owner)
        prefix = self.options.get("prefix", "")
        for field in dataclasses.fields(owner):
            default = plain_default(field)
            shown = "needed" if default is dataclasses.MISSING else f"`{yaml_text(default)}`"
            yield (
                f"`{prefix}{field.name}`",
                shown,
                str(forms[field.name]),
                texts.get(field.name, ""),
            )


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
