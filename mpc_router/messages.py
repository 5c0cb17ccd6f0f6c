"""The module makes text safe to show: one line, of readable length, without control characters."""

from __future__ import annotations

import math
from typing import Final

LONGEST_VALUE: Final = 200
"""It limits the characters of a value that a message repeats."""

_LONGEST_MESSAGE: Final = 1000
"""It limits the characters of a message."""


def quoted(value: object) -> str:
    """Gives a value as a message repeats it: `repr`, printable, cut to `LONGEST_VALUE`."""
    return shortened(printable(repr(value)), LONGEST_VALUE)


def shown(name: object) -> str:
    """Gives the name of a file or folder as a message repeats it: printable and cut."""
    return shortened(printable(str(name)), LONGEST_VALUE)


def one_line(text: str) -> str:
    """Puts a message on one line: white space folded, printable, at most `_LONGEST_MESSAGE` long.

    A long message loses its middle, because it begins with the cause and ends with the remedy.
    """
    return shortened(printable(" ".join(text.split())), _LONGEST_MESSAGE)


def decimal(value: float, decimals: int) -> str:
    """Writes a number below 10 with so many decimals, and a larger one with as many digits in all.

    A metric may be of any size: 0.812, 23.46, 12346 with three decimals.
    """
    if math.isfinite(value) and abs(value) >= 10:
        decimals = max(0, decimals - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}"


def printable(text: str) -> str:
    """Writes every character that a terminal would obey, or could not show, as an escape."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )


def shortened(text: str, longest: int) -> str:
    """Replaces the middle of a text of more than `longest` characters by an ellipsis."""
    if len(text) <= longest:
        return text
    tail = (longest - 5) // 3
    return f"{text[: longest - 5 - tail]} ... {text[len(text) - tail :]}"
