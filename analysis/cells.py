"""What a terminal shows of a run: text as it stands, never markup or a control character."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mpc_router.messages import printable

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def text(value: object, *, style: str = "") -> Text:
    """A line or a cell; a name in square brackets is no markup."""
    from rich.text import Text

    return Text(printable(str(value)), style=style)


def new_table() -> Table:
    """A table with lines under its head alone."""
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)


def add_row(table: Table, cells: Sequence[object]) -> None:
    """Adds a row; a cell that is no `Text` yet becomes one."""
    from rich.text import Text

    table.add_row(*(cell if isinstance(cell, Text) else text(cell) for cell in cells))
