"""The error of data that a user gave, and how its messages name files."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mpc_router.messages import printable, shortened

_LONGEST_PATH: Final = 300
"""Characters of a path that a message repeats: what is said of it must have room too."""

LONGEST_LIST: Final = 200
"""Characters of a list of names in a message."""


class SourceError(ValueError):
    """Missing or bad data: what, where, and what to do."""


def shown(path: Path) -> str:
    """A path as messages name it."""
    return shortened(printable(str(path)), _LONGEST_PATH)


def listed(names: list[str], *, most: int = 5) -> str:
    """Some names as messages list them; `none` without any."""
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return shortened(printable(", ".join([*names[:most], *more])), LONGEST_LIST) or "none"
