"""The module writes files atomically, complete or not at all, and sets their rights."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_FILE_MODE: Final = 0o644
"""It limits a file's rights: only its owner writes it, and it cannot be run."""


@contextlib.contextmanager
def atomic(path: Path, *, durable: bool = True, sync_name: bool = True) -> Iterator[Path]:
    """Yields an empty file beside `path`, to be written; it replaces `path` as the block ends.

    An exception leaves `path` as it was. The temporary name begins with a dot and ends in `.tmp`.
    The content of a `durable` file is on disk before it takes its name, and its rights come from
    the folder (`take_rights`); a file that can be made again needs neither, and its rights come
    from the umask. The name of a durable file is on disk too, unless the caller syncs the folder
    later (`sync_name=False`).

    Raises:
        OSError: the disk refuses, or the folder is gone.
    """
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}.tmp")
    mode = 0o600 if durable else 0o666
    # always a new file: an existing link would be followed
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    try:
        yield temporary
        if durable:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            take_rights(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if durable and sync_name:
        sync_folder(path.parent)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Writes a text file in UTF-8, complete or not at all (`atomic`)."""
    with atomic(path, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def make_run(path: Path, *, mode: int) -> None:
    """Makes a run's folder with these rights, whatever the process' umask; keeps the group.

    Raises:
        FileExistsError: the folder exists.
    """
    path.mkdir(parents=True, mode=0o700)
    path.chmod(mode | path.stat().st_mode & stat.S_ISGID)


def take_rights(path: Path) -> None:
    """Gives a file or folder the rights of the folder above it.

    Users who may read that folder may read the file; only its owner may write it.
    """
    allowed = stat.S_IMODE(path.parent.stat().st_mode)
    path.chmod(allowed if path.is_dir() else allowed & _FILE_MODE)


def make_folder(path: Path) -> None:
    """Makes a folder with the rights of the folder above it; leaves an existing one as it is.

    The folder above is never made, so that a run that was renamed or removed does not come back.

    Raises:
        FileNotFoundError: the folder above is gone.
    """
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    take_rights(path)


def sync_folder(folder: Path) -> None:
    """Makes names in a folder durable: a new file, or one that was renamed.

    A system without handles of folders has nothing to sync.
    """
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
