"""Asks for the lock of a journal, which the session that writes it holds."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from sweeps.journal.state import JournalError


def is_running(path: Path) -> bool:
    """Tells whether a session writes this journal now.

    Raises:
        OSError: the journal cannot be read, or is a link.
    """
    with _opened(path) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Keeps sessions from writing this journal for the time of the block.

    Raises:
        JournalError: a session writes it.
        OSError: the journal cannot be read, or is a link.
    """
    with _opened(path) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JournalError(f"{path} is being written by a sweep that runs") from error
        yield


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Opens a journal without following a link; closing it frees the lock."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)
