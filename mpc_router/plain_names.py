"""Names that stay in their folder: of runs, trials, packs, bulk files, stored experts."""

from __future__ import annotations

import re
from typing import Final

PLAIN: Final = "up to 100 letters, digits, '.', '_' or '-', the first a letter or a digit"
"""What a plain name is, for messages."""

_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def is_plain(name: object) -> bool:
    """Whether it is one file name that cannot leave its folder, and is no hidden file."""
    return isinstance(name, str) and _PATTERN.fullmatch(name) is not None
