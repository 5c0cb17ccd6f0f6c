"""Takes secrets out of texts that others have written, before they are shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_NAMES: Final = re.compile("KEY|TOKEN|SECRET|PASS|CREDENTIAL", re.IGNORECASE)
"""Is found in the names of environment variables that hold secrets."""

_SHORTEST: Final = 6
"""Counts the characters of the shortest value that counts as a secret."""

_IN_TEXT: Final = (
    (re.compile(r"(?<=://)[^/@\s]+(?=@)"), "***"),
    (re.compile(r"(?i)\b((?:\w*(?:token|key|secret|password))\s*[=:]\s*)[^\s&,;)\"']+"), r"\1***"),
    (re.compile(r"\b(?=\w*\d)\w{32,}\b"), "***"),
)
"""Holds patterns of secrets: of a URL's user, of a named value, and of a long word of a key."""


def without_secrets(text: str, environ: Mapping[str, str]) -> str:
    """Gives the text with `***` in place of what the environment or the text calls a secret."""
    for name, value in environ.items():
        if _NAMES.search(name) and len(value) >= _SHORTEST:
            text = text.replace(value, "***")
    for pattern, replacement in _IN_TEXT:
        text = pattern.sub(replacement, text)
    return text
