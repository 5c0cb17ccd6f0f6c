"""The module holds the error about a user's data, and names files for its messages."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mpc_router.messages import printable, shortened

_LONGEST_PATH: Final = 300
"""It limits the characters of a path in a message, which needs room for more than the path."""

LONGEST_LIST: Final = 200
"""It limits the characters of a list of names in a message."""


class SourceError(ValueError):
    """Reports missing or bad data: what is wrong, where, and what to do."""


def shown(path: Path) -> str:
    """Gives a path as messages name it."""
    return shortened(printable(str(path)), _LONGEST_PATH)


def listed(names: list[str], *, most: int = 5) -> str:
    """Lists some names for a message; `none` without any."""
    end = [f"and {len(names) - most} more"] if len(names) > most else []
    return shortened(printable(", ".join([*names[:most], *end])), LONGEST_LIST) or "none"
