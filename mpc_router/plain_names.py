"""The module checks names that must stay in their folder: of runs, trials, packs, experts."""

from __future__ import annotations

import re
from typing import Final

PLAIN: Final = "up to 100 letters, digits, '.', '_' or '-', the first a letter or a digit"
"""It describes a plain name in messages."""

_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def is_plain(name: object) -> bool:
    """Tells whether a name is one file name that cannot leave its folder, and not hidden."""
    return isinstance(name, str) and _PATTERN.fullmatch(name) is not None
