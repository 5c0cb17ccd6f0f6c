"""The module keeps what is slow to make in folders that this user alone may enter."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from mpc_router.storage.files import atomic


def is_private(folder: Path) -> bool:
    """Tells whether a folder, which is made where it is missing, is one that only we may enter."""
    try:
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        status = folder.stat()
    except OSError:
        return False
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)


def kept_text(folder: Path, make: Callable[[], str], *made_from: str) -> str:
    """Gives the text that `make` gives, which is kept in a folder under a hash of `made_from`.

    `made_from` is all that the text follows from. It is made anew where none is kept, where the
    file is damaged (its first line is a hash of the others), and where others may enter the folder
    or it cannot be written to.
    """
    if not is_private(folder):
        return make()
    path = folder / _hash("\0".join(made_from).encode())
    with contextlib.suppress(OSError):  # most often none is kept yet
        check, _, kept = path.read_bytes().partition(b"\n")
        if check.decode("latin-1") == _hash(kept):
            return kept.decode()
    text = make()
    raw = text.encode()
    with contextlib.suppress(OSError), atomic(path, durable=False) as draft:
        draft.write_bytes(f"{_hash(raw)}\n".encode() + raw)
    return text


def _hash(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
