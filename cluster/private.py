"""The module opens folders and files only where no other user may change them, and hides secrets.

A folder is checked when it is open, and its files are opened relative to it: a change of its name
by another user meanwhile has no effect.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

_MOST_BYTES: Final = 1 << 20
"""It limits the size of a file that is read."""

_ENDING: Final = 5.0
"""It is the time in which a folder that is being removed may get new files, in seconds."""

_SECRET: Final = re.compile(
    r"SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|TOKEN(?!IZE)|PRIVATE|BEARER|COOKIE|AUTH(?!OR)"
    r"|AUTHORIZATION|(KEY|PASS|PWD|CREDS?|JWT|DSN)S?\d*(?![A-Z0-9])|(?<![A-Z])PAT(?![A-Z])"
)
_IN_URL: Final = re.compile(r"://[^/\s@]*:[^/\s@]+@")
"""It finds a password in a URL."""

_NO_SECRETS: Final = frozenset({"PWD", "OLDPWD"})


class NotPrivate(PermissionError):
    """Says that another user owns a folder or file, or may enter or change it."""


@contextlib.contextmanager
def entered(path: Path, *, link: bool = False) -> Iterator[int]:
    """Opens a folder that only this user may enter; with `link`, also through a link.

    Gives the number of the open folder for the time of the block.

    Raises:
        NotPrivate: the folder is another user's, or open to others.
        OSError: there is no such folder.
    """
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | (0 if link else os.O_NOFOLLOW))
    try:
        _check(number, path, 0o077)
        yield number
    finally:
        os.close(number)


@contextlib.contextmanager
def opened(folder: int, name: str) -> Iterator[int]:
    """Opens a file in such a folder: this user's, no link, and closed to the writing of others.

    Gives the number of the open file for the time of the block.

    Raises:
        NotPrivate: the file is another user's, or others may write to it, or it is no file.
        OSError: there is no such file, or it is a link.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY  # opening a pipe would wait
    number = os.open(name, flags, dir_fd=folder)
    try:
        if not stat.S_ISREG(_check(number, name, 0o022)):
            raise NotPrivate(f"{name} is no file")
        yield number
    finally:
        os.close(number)


def _check(number: int, name: object, forbidden_mode: int) -> int:
    """Checks the owner and the rights of an open file; gives its mode."""
    status = os.fstat(number)
    if status.st_uid != os.geteuid() or status.st_mode & forbidden_mode:
        raise NotPrivate(f"{name} belongs to another user, or others may change it")
    return status.st_mode


def read(folder: int, name: str) -> str:
    """Reads a private file in an open folder.

    Raises:
        NotPrivate, OSError: as `opened`.
        ValueError: the file is not text, or too long.
    """
    with opened(folder, name) as number, open(number, "rb", closefd=False) as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"{name} has more than {_MOST_BYTES} bytes")
    return content.decode()


def write(path: Path, text: str) -> None:
    """Writes a new file that only its owner may read, from its first byte on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)


def remove(folder: int, path: Path) -> None:
    """Removes the content of an open folder, then the folder if it still has its name.

    Links are removed, not what they point to. A process that is ending may write meanwhile: what it
    adds is removed too, for some seconds.
    """
    end = time.monotonic() + _ENDING
    while True:
        for name in os.listdir(folder):
            try:
                os.unlink(name, dir_fd=folder)
            except OSError:  # a folder
                shutil.rmtree(name, ignore_errors=True, dir_fd=folder)
        try:
            path.rmdir()
        except OSError as error:
            if error.errno == errno.ENOTEMPTY and os.listdir(folder) and time.monotonic() < end:
                time.sleep(0.02)
                continue
        return


def temporary_parent(most: int) -> Path:
    """Gives a folder for temporary folders, with a path of at most so many characters.

    A folder in which other users may rename this user's files is not taken.
    """
    usual = Path(tempfile.gettempdir())
    with contextlib.suppress(OSError):
        mode = usual.stat().st_mode
        others_may_rename = mode & 0o022 and not mode & stat.S_ISVTX
        if len(str(usual)) <= most and not others_may_rename:
            return usual
    return Path("/tmp")


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Gives the variables that do not look like a secret (by name, or a URL with a password).

    What Ray needs to join a cluster (`RAY_AUTH_...`) stays.
    """
    return {
        name: value
        for name, value in environ.items()
        if name.startswith("RAY_AUTH_") or not _looks_secret(name, value)
    }


def _looks_secret(name: str, value: str) -> bool:
    """Tells whether a variable looks like a secret, by its name or a URL with a password."""
    if _IN_URL.search(value):
        return True
    return name not in _NO_SECRETS and _SECRET.search(name.upper()) is not None
