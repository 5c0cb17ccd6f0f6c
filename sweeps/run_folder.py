"""Lays out a run's folder, and refuses links in it.

A run folder may come from an untrusted source. Names in it that come from its journal must be plain
names. Only files and folders of the run itself are written, appended to or deleted, never links.
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
    FURTHER_TABLES,
    JOURNAL_FILE,
    PARTS_FOLDER,
    PROVENANCE_FILE,
    REPORT_FILE,
    STATES_FOLDER,
    STUDY_FILE,
    TABLES,
)
from sweeps.records import InputError, SweepError

VIEW_FILE: Final = "optuna.journal"
"""Names the file with the points for Optuna's own tools, which can be rebuilt at any time."""

_TENSORBOARD_FOLDER: Final = "tensorboard"
"""Names the folder that `--track tensorboard` writes, and writes anew each time."""

_LOGS_FOLDER: Final = "slurm"
"""Names the folder that the batch script of a sweep on Slurm moves the logs of its nodes to."""

STOP_FILE: Final = "stop"
"""Names the file that ends a run cleanly when a user makes it in the run's folder.

It is for users who cannot send SIGTERM to the run's process.
"""

_LARGEST_JOURNAL: Final = 2**32
"""Limits the bytes that are read; a journal of ten thousand trials has a hundredth of it."""


class RunMoved(SweepError):
    """Says that a run's folder was renamed or removed while the run went on."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Gives the place of everything in a run's folder."""

    path: Path

    @property
    def journal(self) -> Path:
        """Gives the file of the journal, from which all other files can be rebuilt."""
        return self.path / JOURNAL_FILE

    @property
    def study(self) -> Path:
        """Gives the file of the resolved study, for readers."""
        return self.path / STUDY_FILE

    @property
    def provenance(self) -> Path:
        """Gives the file that says where the numbers come from, for readers."""
        return self.path / PROVENANCE_FILE

    @property
    def report(self) -> Path:
        """Gives the file of the report's page."""
        return self.path / REPORT_FILE

    @property
    def view(self) -> Path:
        """Gives the file of the points as Optuna's journal."""
        return self.path / VIEW_FILE

    @property
    def stop(self) -> Path:
        """Gives the file that ends the run cleanly when it is made."""
        return self.path / STOP_FILE

    @property
    def parts(self) -> Path:
        """Gives the folder of bulk files, which the journal names with their hashes."""
        return self.path / PARTS_FOLDER

    @property
    def tensorboard(self) -> Path:
        """Gives the folder of events for TensorBoard, which has a folder for each trial."""
        return self.path / _TENSORBOARD_FOLDER

    @property
    def checkpoints(self) -> Path:
        """Gives the folder of checkpoints, which has a folder for each trial."""
        return self.path / CHECKPOINTS_FOLDER

    @property
    def states(self) -> Path:
        """Gives the folder of unfinished packs' states, of which the journal names the newest."""
        return self.path / STATES_FOLDER

    @property
    def logs(self) -> Path:
        """Gives the folder of the nodes' logs on Slurm, which has a folder for each session."""
        return self.path / _LOGS_FOLDER

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

    def owns(self, name: str) -> bool:
        """Tells whether runs write a file or folder of this name at the top of their folder."""
        parts = (self.journal, self.study, self.provenance, self.report, self.view, self.stop)
        folders, tables = (
            (self.parts, self.checkpoints, self.states, self.tensorboard, self.logs),
            map(self.table, (*TABLES, *FURTHER_TABLES)),
        )
        return (
            name in {path.name for path in (*parts, *folders, *tables)}
            or name.startswith(f"{JOURNAL_FILE}.damaged-")
            or (name.startswith(".") and name.endswith(".tmp"))
        )

    def check(self) -> None:
        """Checks the type of every file and folder that a session, or its batch script, writes.

        Raises:
            InputError: one is a link, a pipe, a device, a file in place of a folder or the other
                way round, or the journal has a second name (a hard link).
        """
        files = [self.journal, self.study, self.provenance, self.report, self.view, self.stop]
        for path in (*files, *map(self.table, (*TABLES, *FURTHER_TABLES))):
            _check_file(path)
        for folder in (self.parts, self.checkpoints, self.states, self.tensorboard, self.logs):
            for path, is_folder in _below(folder):
                if not is_folder:
                    _check_file(path)
        if (facts := _facts_of(self.journal)) is not None and facts.st_nlink > 1:
            raise InputError(_linked_journal(self.journal))


def _plain(name: str) -> str:
    """Gives a name if it is plain.

    Raises:
        InputError: it is not.
    """
    if not is_plain(name):
        raise InputError(f"{quoted(name)} is no name in a run's folder, which is {PLAIN}")
    return name


def _facts_of(path: Path) -> os.stat_result | None:
    """Gives the facts of a path without following a link; None where it does not exist."""
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _check_file(path: Path) -> None:
    """Refuses a path that is neither a file nor free.

    Raises:
        InputError: it is something else.
    """
    facts = _facts_of(path)
    if facts is not None and not stat.S_ISREG(facts.st_mode):
        raise InputError(_type_error(path, facts.st_mode, "file"))


def _below(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Gives every path below a folder, and whether it is a folder itself.

    Raises:
        InputError: the folder, or one below it, is a link or no folder.
    """
    facts = _facts_of(folder)
    if facts is None:
        return
    if not stat.S_ISDIR(facts.st_mode):
        raise InputError(_type_error(folder, facts.st_mode, "folder"))
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


def _type_error(path: Path, mode: int, wanted: str) -> str:
    """Says that a path is no file or folder as a run needs it there."""
    kind = next((words for is_kind, words in _KINDS if is_kind(mode)), "a device")
    return (
        f"{path} is {kind}, but a run writes and deletes a {wanted} of its own there; remove it, "
        "or put a copy in its place"
    )


def _linked_journal(path: Path) -> str:
    """Says that a journal has a second name."""
    return (
        f"{path} has another name elsewhere (a hard link), and the file there would grow too; "
        "go on with a copy of the run's folder (cp -r)"
    )


def open_journal(path: Path) -> IO[bytes]:
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
    return os.fdopen(handle, "a+b", buffering=0)  # every write reaches the file at once


def read_journal(path: Path, *, start: int = 0) -> bytes:
    """Reads the bytes of a journal from this one on.

    Raises:
        InputError: it is no file of the run's own, or too large.
        OSError: it cannot be read.
    """
    _check_file(path)
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > _LARGEST_JOURNAL:
            raise InputError(
                f"{path} has {size} bytes, and the limit of a journal is {_LARGEST_JOURNAL}"
            )
        file.seek(start)
        return file.read()
