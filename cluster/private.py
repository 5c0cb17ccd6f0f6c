"""What is its owner's alone: folders that no other user may enter, files that are believed, and
words of the environment that go no further.

A folder is looked at when it is open, and its files are opened in it: what another user makes of
its name meanwhile changes nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

_MOST: Final = 1 << 20
"""Bytes of a file that is read whole."""

_SECRET: Final = re.compile(
    r"SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|TOKEN(?!IZE)|PRIVATE|BEARER|COOKIE|AUTH(?!OR)"
    r"|AUTHORIZATION|(KEY|PASS|PWD|CREDS?|JWT|DSN)S?\d*(?![A-Z0-9])|(?<![A-Z])PAT(?![A-Z])"
)
_WITHIN: Final = re.compile(r"://[^/\s@]*:[^/\s@]+@")
"""A password in a URL."""

_PLAIN: Final = frozenset({"PWD", "OLDPWD"})


class NotPrivate(PermissionError):
    """Says that another user owns a folder or file, or may enter or change it."""


@contextlib.contextmanager
def entered(path: Path, *, link: bool = False) -> Iterator[int]:
    """The number of an open folder that only we may enter; with `link`, also through a link.

    Raises:
        NotPrivate: it is another user's, or open to others.
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
    """The number of an open file in such a folder: ours, no link, and only we may write to it.

    Raises:
        NotPrivate: it is another user's, or others may write to it, or it is no file.
        OSError: there is none, or a link.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY  # a pipe would be waited for
    number = os.open(name, flags, dir_fd=folder)
    try:
        if not stat.S_ISREG(_check(number, name, 0o022)):
            raise NotPrivate(f"{name} is no file")
        yield number
    finally:
        os.close(number)


def _check(number: int, name: object, open_to_others: int) -> int:
    found = os.fstat(number)
    if found.st_uid != os.geteuid() or found.st_mode & open_to_others:
        raise NotPrivate(f"{name} belongs to another user, or others may change it")
    return found.st_mode


def read(folder: int, name: str) -> str:
    """Reads a private file in an open folder.

    Raises:
        NotPrivate, OSError: as `opened`.
        ValueError: it is not text, or too long.
    """
    with opened(folder, name) as number, open(number, "rb", closefd=False) as file:
        content = file.read(_MOST + 1)
    if len(content) > _MOST:
        raise ValueError(f"{name} has more than {_MOST} bytes")
    return content.decode()


def write(path: Path, text: str) -> None:
    """Writes a new file that only its owner may read, from its first byte on."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)


def remove(folder: int, path: Path) -> None:
    """Removes what lies in an open folder, then the folder if it still has its name; nothing at the
    other end of a link."""
    for name in os.listdir(folder):
        try:
            os.unlink(name, dir_fd=folder)
        except OSError:  # a folder
            shutil.rmtree(name, ignore_errors=True, dir_fd=folder)
    with contextlib.suppress(OSError):
        path.rmdir()


def temporary_parent(most: int) -> Path:
    """Where temporary folders are made whose sockets need a path of at most so many characters.

    A folder in which other users may rename what is ours is not taken.
    """
    wanted = Path(tempfile.gettempdir())
    with contextlib.suppress(OSError):
        mode = wanted.stat().st_mode
        shared = mode & 0o022 and not mode & stat.S_ISVTX
        if len(str(wanted)) <= most and not shared:
            return wanted
    return Path("/tmp")


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Gives the variables that do not look like a secret (by name, or a URL with a password).

    What Ray needs to be let in (`RAY_AUTH_...`) stays.
    """
    return {
        name: value
        for name, value in environ.items()
        if name.startswith("RAY_AUTH_") or not _looks_secret(name, value)
    }


def _looks_secret(name: str, value: str) -> bool:
    if _WITHIN.search(value):
        return True
    return name not in _PLAIN and _SECRET.search(name.upper()) is not None
