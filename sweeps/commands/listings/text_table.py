"""The module writes tables as plain text."""

from __future__ import annotations

from collections.abc import Sequence

from mpc_router.messages import printable


def table_lines(rows: Sequence[Sequence[str]], *, left: int = 1) -> list[str]:
    """Gives rows of equal length as lines; the first `left` columns are texts, others numbers."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            f"{cell:<{width}}" if place < left else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
