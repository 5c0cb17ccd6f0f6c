"""Text that is safe to show: one line, of readable length, without control characters."""

from __future__ import annotations

from typing import Final

LONGEST_VALUE: Final = 200
"""Characters of a value that a message repeats."""

_LONGEST_MESSAGE: Final = 1000
"""Characters of a whole message."""


def quoted(value: object) -> str:
    """The value as a message repeats it: `repr`, printable, cut to `LONGEST_VALUE`."""
    return shortened(printable(repr(value)), LONGEST_VALUE)


def shown(name: object) -> str:
    """The name of a file or folder as a message repeats it: as it is, printable, cut."""
    return shortened(printable(str(name)), LONGEST_VALUE)


def one_line(text: str) -> str:
    """A message on one line: white space folded, printable, at most `_LONGEST_MESSAGE` characters.

    What is cut is cut from the middle, because a message begins with what was found and ends with
    what to do.
    """
    return shortened(printable(" ".join(text.split())), _LONGEST_MESSAGE)


def printable(text: str) -> str:
    """The text with every character that a terminal would obey, or could not show, written as an
    escape."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape", "surrogatepass").decode()
        for each in text
    )


def shortened(text: str, longest: int) -> str:
    """The text, its middle replaced by an ellipsis where it is longer than `longest` characters."""
    if len(text) <= longest:
        return text
    tail = (longest - 5) // 3
    return f"{text[: longest - 5 - tail]} ... {text[len(text) - tail :]}"
