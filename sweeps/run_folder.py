"""The layout of a run's folder: every file and folder name, and what of it is never followed.

A run folder may come from somebody else. Names in it that come from its journal are plain names;
what is written, appended to or deleted is a file or folder of the run itself, and no link.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from mpc_router.messages import quoted
from mpc_router.plain_names import PLAIN, is_plain
from mpc_router.run_names import (
    CHECKPOINTS_FOLDER,
    JOURNAL_FILE,
    PARTS_FOLDER,
    PROVENANCE_FILE,
    REPORT_FILE,
    STUDY_FILE,
    TABLES,
)
from sweeps.records import InputError, SweepError

VIEW_FILE: Final = "optuna.journal"
"""The search for Optuna's own tools; rebuilt at any time."""

STOP_FILE: Final = "stop"
"""This file, made in a run's folder, ends the run cleanly as SIGTERM does; for users who cannot
send signals to its process."""

_LARGEST_JOURNAL: Final = 2**32
"""Bytes that are read; those of ten thousand trials have a hundredth of it."""


class RunMoved(SweepError):
    """Says that a run's folder was renamed or removed while the run went on."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Gives the place of everything in a run's folder."""

    path: Path

    @property
    def journal(self) -> Path:
        """The journal is the truth of a run, a line an event."""
        return self.path / JOURNAL_FILE

    @property
    def study(self) -> Path:
        """The file holds the resolved study, for readers."""
        return self.path / STUDY_FILE

    @property
    def provenance(self) -> Path:
        """The file says where the numbers come from, for readers."""
        return self.path / PROVENANCE_FILE

    @property
    def report(self) -> Path:
        """The file holds the page of the report."""
        return self.path / REPORT_FILE

    @property
    def view(self) -> Path:
        """The file holds the search as Optuna's journal."""
        return self.path / VIEW_FILE

    @property
    def stop(self) -> Path:
        """The file ends the run cleanly while it is there."""
        return self.path / STOP_FILE

    @property
    def parts(self) -> Path:
        """The folder holds bulk files, which the journal names with their hashes."""
        return self.path / PARTS_FOLDER

    @property
    def checkpoints(self) -> Path:
        """The folder holds checkpoints, a folder a trial."""
        return self.path / CHECKPOINTS_FOLDER

    def table(self, name: str) -> Path:
        """Gives the file of a table by its name, such as `trials`."""
        return self.path / f"{_plain(name)}.parquet"

    def part(self, name: str) -> Path:
        """Gives a bulk file by its name.

        Raises:
            InputError: the name is no plain name.
        """
        return self.parts / _plain(name)

    def checkpoint(self, key: str) -> Path:
        """Gives a trial's checkpoint by the trial's key.

        Raises:
            InputError: the key is no plain name.
        """
        return self.checkpoints / _plain(key)

    def check(self) -> None:
        """Holds everything that a session writes, appends to or deletes to what it has to be.

        Raises:
            InputError: a link, a pipe or a device is there, a file where a folder belongs or the
                other way round, or a journal that has another name elsewhere.
        """
        files = [self.journal, self.study, self.provenance, self.report, self.view, self.stop]
        for path in (*files, *map(self.table, TABLES)):
            _check_file(path)
        for folder in (self.parts, self.checkpoints):
            for path, is_folder in _below(folder):
                if not is_folder:
                    _check_file(path)
        if (facts := _mode_of(self.journal)) is not None and facts.st_nlink > 1:
            raise InputError(_linked_journal(self.journal))


def _plain(name: str) -> str:
    if not is_plain(name):
        raise InputError(f"{quoted(name)} is no name in a run's folder, which is {PLAIN}")
    return name


def _mode_of(path: Path) -> os.stat_result | None:
    """Gives a path's own facts, without following a link; None where nothing is there."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _check_file(path: Path) -> None:
    facts = _mode_of(path)
    if facts is not None and not stat.S_ISREG(facts.st_mode):
        raise InputError(_stranger(path, facts.st_mode, "file"))


def _below(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Gives every path below a folder, and whether it is a folder itself.

    Raises:
        InputError: the folder, or one below it, is a link or no folder.
    """
    facts = _mode_of(folder)
    if facts is None:
        return
    if not stat.S_ISDIR(facts.st_mode):
        raise InputError(_stranger(folder, facts.st_mode, "folder"))
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                path, is_folder = Path(entry.path), entry.is_dir(follow_symlinks=False)
                yield path, is_folder
                if is_folder:
                    waiting.append(path)


_KINDS: Final = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISREG, "a file"),
)


def _stranger(path: Path, mode: int, wanted: str) -> str:
    what = next((words for is_it, words in _KINDS if is_it(mode)), "a device")
    return (
        f"{path} is {what}, and a run keeps a {wanted} of its own there, which is written and "
        "deleted; take it away or put a copy in its place"
    )


def _linked_journal(path: Path) -> str:
    return (
        f"{path} is a file that has another name elsewhere (a hard link), where it would grow too; "
        "go on with a copy of the run's folder (cp -r)"
    )


def open_own(path: Path) -> IO[bytes]:
    """Opens a journal for reading and appending, unbuffered; makes it if it is not there.

    Raises:
        InputError: it is no file of the run's own.
        OSError: it cannot be opened.
    """
    _check_file(path)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    handle = os.open(path, flags, 0o600)
    if os.fstat(handle).st_nlink > 1:
        os.close(handle)
        raise InputError(_linked_journal(path))
    return os.fdopen(handle, "a+b", buffering=0)  # nothing is left to be written later


def read_own(path: Path) -> bytes:
    """Reads all bytes of a journal.

    Raises:
        InputError: it is no file of the run's own, or larger than any of ours.
        OSError: it cannot be read.
    """
    _check_file(path)
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > _LARGEST_JOURNAL:
            raise InputError(f"{path} has {size} bytes, and no journal has {_LARGEST_JOURNAL}")
        return file.read()
