"""The module checks paths that users give: whether they can exist, and can be written to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from mpc_router.messages import shown

_LONGEST_NAME: Final = 255
"""It limits the bytes of a file's or folder's name."""

_LONGEST_PATH: Final = 4000
"""It limits the bytes of a path, with room for what is made below it."""


def fault(text: str) -> str | None:
    """Tells why a text cannot be used as a path; None if it can."""
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        return "is no text in utf-8"
    if not text.strip():
        return "is empty"
    if not text.isprintable():
        return "holds a character that cannot be printed"
    if text.startswith("~"):
        return "begins with ~, which only a shell replaces: write the whole path"
    longest = max(map(len, raw.split(b"/")))
    if longest > _LONGEST_NAME or len(raw) > _LONGEST_PATH:
        return f"is longer than a file system takes ({max(longest, len(raw))} bytes)"
    return None


def _unmakeable(folder: Path) -> str | None:
    """Tells why nothing can be made in a folder, or the folder itself; None if it can.

    The test makes and removes an empty folder in the nearest folder that exists.
    """
    import tempfile

    above = folder.absolute()
    while not os.path.lexists(above):
        above = above.parent
    if not above.is_dir():
        return f"{shown(above)} is no folder" + (
            ", but a dangling link" if above.is_symlink() else ""
        )
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".mpc-router-", dir=above))
    except OSError as error:
        return f"{shown(above)}: {error.strerror or error}"
    return None


def cannot_be_made(flag: str, folder: Path) -> str | None:
    """Gives the message for a folder in which nothing can be made; None if something can."""
    try:
        why = _unmakeable(folder)
    except OSError as error:  # a wrong name, or a folder above that may not be read
        why = error.strerror or str(error)
    if why is None:
        return None
    return f"{flag} {shown(folder)} cannot be written to ({why}); give another folder"
