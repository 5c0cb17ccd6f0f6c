"""Temporary folders for Ray's sessions: short, private, and gone in the end."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PREFIX: Final = "mpcr-ray-"
LOCK: Final = ".mpc-router-session"
"""Both are ours alone: a folder that has the one and not the other is somebody else's."""

_SHORT: Final = 20
"""Sockets lie in the folder, and a socket's path has at most 107 characters."""


@contextlib.contextmanager
def session_folder() -> Iterator[Path]:
    """A folder that only we may read, for Ray's session and Tune's own files.

    It goes with the block. What a killed process had to leave behind goes when the next one comes:
    a folder of ours whose lock nobody holds.
    """
    parent = _parent()
    remove_orphans()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    fresh = folder / f"{LOCK}.new"
    with fresh.open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fresh.rename(folder / LOCK)  # seen by others only when it is held
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _parent() -> Path:
    return Path(tempfile.gettempdir() if len(tempfile.gettempdir()) <= _SHORT else "/tmp")


def remove_orphans() -> None:
    """Removes what killed processes have left: folders of ours whose lock nobody holds."""
    for path in _parent().glob(f"{PREFIX}*/{LOCK}"):
        with contextlib.suppress(OSError), path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path.parent, ignore_errors=True)
