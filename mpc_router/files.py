"""Files that are whole or not there, also after the power has gone; and who may read them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

FILE_MODE: Final = 0o644
"""A file's rights at most: nobody but its owner writes, and nobody runs it."""


def settle(fresh: Path, path: Path) -> None:
    """Gives a file that was written under a temporary name its own, once its content is on disk.

    Both lie in one folder, which says who may read it (`take_rights`).
    """
    with fresh.open("rb+") as file:
        os.fsync(file.fileno())
    take_rights(fresh)
    fresh.replace(path)
    sync_folder(path.parent)


def make_run(path: Path, *, mode: int) -> None:
    """A run's folder with these rights, whatever the process' umask; its group is as ever.

    Raises:
        FileExistsError: it is there.
    """
    path.mkdir(parents=True, mode=0o700)
    path.chmod(mode | path.stat().st_mode & stat.S_ISGID)


def take_rights(path: Path) -> None:
    """Gives a file or folder the rights of the folder it lies in; a file is read by whoever may
    read that folder, and written by its owner alone."""
    allowed = stat.S_IMODE(path.parent.stat().st_mode)
    path.chmod(allowed if path.is_dir() else allowed & FILE_MODE)


def make_folder(path: Path) -> None:
    """A folder with the rights of the one it lies in; one that is there is left as it is.

    The one it lies in is never made: a run that was renamed or removed does not come back.

    Raises:
        FileNotFoundError: the one it lies in is gone.
    """
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    take_rights(path)


def sync_folder(folder: Path) -> None:
    """Makes names in a folder durable: a new file, or one that was renamed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
