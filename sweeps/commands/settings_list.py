"""The module prints every setting of a study, and the JSON Schema of a study's file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mpc_router.config.sections import SECTIONS
from mpc_router.settings.allowed import forms_of
from mpc_router.settings.setting_lines import line_of, plain_default, texts_of, yaml_text
from sweeps.study.part_settings import PARTS
from sweeps.study.schema import study_schema

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WIDE: Final = 120
"""Counts the columns of a terminal from which on every setting has four cells."""

_PLAIN_WIDTH: Final = 500
"""Counts the columns of a file or a pipe, which keeps each setting on a line for grep."""


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """Holds what is shown of a setting."""

    name: str
    default: str
    allowed: str
    line: str


def _settings(section: type, prefix: str) -> Iterator[_Setting]:
    """Gives the settings of a class in its order."""
    texts, forms = texts_of(section), forms_of(section)
    for setting in dataclasses.fields(section):
        yield _Setting(
            name=f"{prefix}{setting.name}",
            default=yaml_text(plain_default(setting)),
            allowed=str(forms[setting.name]),
            line=line_of(texts[setting.name]),
        )


def show_settings(console: Console) -> int:
    """Prints every setting with its default, its values and a line; gives exit code 0."""
    if not console.is_terminal:
        console.width = max(console.width, _PLAIN_WIDTH)
    groups = {f"trial: {name}": (section, "") for name, section in SECTIONS.items()}
    groups |= {f"study: {name}": (section, f"{name}.") for name, section in PARTS.items()}
    for title, (section, prefix) in groups.items():
        console.print(_table(title, list(_settings(section, prefix)), wide=console.width >= _WIDE))
    console.print(
        "Settings of a trial are given by name or path (alpha, loss_weights.alpha), in `trial` and "
        "`space` of a study, and as key=value.",
        markup=False,
    )
    return 0


def _table(title: str, settings: list[_Setting], *, wide: bool) -> Table:
    """Makes the table of a class's settings; in a narrow terminal values stand below the line."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title_justify="left")
    table.title = Text(title, style="bold")
    table.add_column("setting", no_wrap=True, style="bold")
    table.add_column("default", overflow="fold", max_width=24)
    if wide:
        table.add_column("allowed", ratio=2)
        table.add_column("what it is", ratio=3)
    else:
        table.add_column("what it is")
    for setting in settings:
        cells = [Text(setting.name), Text(setting.default)]
        if wide:
            cells += [Text(setting.allowed), Text(setting.line)]
        else:
            cells.append(Text.assemble(setting.line, "\n", (f"allowed: {setting.allowed}", "dim")))
        table.add_row(*cells)
    return table


def print_schema() -> int:
    """Prints the JSON Schema of a study's file; gives exit code 0."""
    print(json.dumps(study_schema(), indent=1))
    return 0
