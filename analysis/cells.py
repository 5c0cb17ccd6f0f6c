"""Shows text of a run in the terminal as it stands: no markup, no control characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mpc_router.messages import printable

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def text(value: object, *, style: str = "") -> Text:
    """Makes a line or a cell; a name in square brackets is no markup."""
    from rich.text import Text

    return Text(printable(str(value)), style=style)


def new_table() -> Table:
    """Makes a table with lines under its head alone."""
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)


def add_row(table: Table, cells: Sequence[object]) -> None:
    """Adds a row; a cell that is no `Text` yet becomes one."""
    from rich.text import Text

    table.add_row(*(cell if isinstance(cell, Text) else text(cell) for cell in cells))


def fits(table: Table, width: int) -> bool:
    """Says whether nothing of a table is cut in so many columns of a terminal."""
    from rich.console import Console

    return Console(width=10 * width).measure(table).maximum <= width
