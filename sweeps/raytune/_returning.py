"""The module returns what a pack writes on a node that does not see the run's folder.

Files travel beside Tune's results: the pack's worker sends them in chunks to the depot on the
sweep's machine, which appends them to files of its own and renames a file that is complete. So
Tune's process never holds a file, and a message comes after the files that it names.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

import ray
from ray.exceptions import ActorUnavailableError

from mpc_router.storage.files import make_folder, sync_folder, take_rights
from sweeps.raytune._ship import CHUNK, ReachError, inside
from sweeps.records import CHECKPOINTS_FOLDER
from sweeps.worker.job import EPOCHS

ARRIVING: Final = ".arriving.tmp"
"""It is the folder in the run's folder with files that have not arrived whole.

A session removes it at its beginning, and at its end.
"""

_TRIES: Final = 60
_PAUSE: Final = 2.0
"""They are how often a connection that breaks is tried again, and the seconds in between."""


class Arrivals:
    """Puts files together in a run's folder, on the sweep's machine."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._appending = threading.Lock()
        """A worker that lost its connection may append again while its first bytes are written."""

    def begin(self, name: str, sha256: str) -> int:
        """Gives how many bytes of this file with this content have arrived.

        Raises:
            ReachError: the name points out of the folder.
            OSError: the disk refuses.
        """
        make_folder(self._run / ARRIVING)
        part = self._part(name, sha256)
        part.touch()
        return part.stat().st_size

    def append(self, name: str, sha256: str, start: int, chunk: bytes) -> None:
        """Adds bytes of a file from this one on; those that came before are not added again.

        Raises:
            ReachError: bytes before these are missing.
            OSError: the disk refuses.
        """
        with self._appending, self._part(name, sha256).open("ab") as file:
            size = file.tell()
            if start > size:
                raise ReachError(f"{name!r} has arrived up to byte {size}, and not to {start}")
            file.write(chunk[size - start :])

    def complete(self, name: str, sha256: str) -> None:
        """Gives a file that has arrived its name, durable on return.

        Raises:
            ReachError: it was damaged on its way; what has arrived is removed.
            OSError: the disk refuses.
        """
        part, path = self._part(name, sha256), inside(self._run, name)
        with part.open("rb+") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                part.unlink()
                raise ReachError(f"{name!r} was damaged on its way")
        for parent in reversed(path.relative_to(self._run).parents[:-1]):
            make_folder(self._run / parent)
        _make_durable(part)
        part.replace(path)
        take_rights(path)
        sync_folder(path.parent)

    def keep_epochs(self, keys: Sequence[str], names: Sequence[str]) -> None:
        """Removes those epochs of these trials that are not among the names."""
        wanted = {inside(self._run, name) for name in names}
        for key in keys:
            folder = self._epochs(key)
            for path in sorted(folder.rglob("*"), reverse=True):  # a folder after what is in it
                if path.is_dir() and not path.is_symlink():
                    if not any(path.iterdir()):
                        path.rmdir()
                elif path not in wanted:
                    path.unlink()
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def epochs(self, keys: Sequence[str]) -> list[str]:
        """Gives the names in the run's folder of the files of these trials' epochs."""
        paths = (path for key in keys for path in files_below(self._epochs(key)))
        return [path.relative_to(self._run).as_posix() for path in paths]

    def _epochs(self, key: str) -> Path:
        """Gives the folder of a trial's epochs."""
        return inside(self._run, f"{CHECKPOINTS_FOLDER}/{key}/{EPOCHS}")

    def _part(self, name: str, sha256: str) -> Path:
        """Gives the file that a file with this content is put together in."""
        inside(self._run, name)
        both = hashlib.sha256(f"{name}\0{sha256}".encode()).hexdigest()
        return self._run / ARRIVING / both


def _make_durable(path: Path) -> None:
    """Forces a written file onto the disk (fsync)."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def files_below(folder: Path) -> Iterator[Path]:
    """Gives the complete files below a folder: names that begin with a dot are being written."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part[0] == "." for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden:
            yield path


@dataclass(kw_only=True)
class Returns:
    """Sends what a pack writes below a folder of its node, on the pack's worker."""

    home: Path
    call: Callable[..., Any]
    """It calls a method of `Arrivals` by its name, and waits for what that gives."""

    keys: Sequence[str]
    """They are the keys of the pack's trials, some of which may keep epochs."""

    pause: float = _PAUSE
    _facts: dict[str, tuple[int, int]] = field(default_factory=dict)
    """They are size and time of the epochs' files as they were sent or fetched."""

    def note(self, names: Sequence[str]) -> None:
        """Notes files of epochs that were fetched, and are not to be sent back."""
        self._facts |= {name: _facts_of(self.home / name) for name in names}

    def send(self) -> None:
        """Sends every complete file that is new; all but epochs are removed here.

        Epochs that have gone here are removed from the run's folder too.

        Raises:
            ReachError: a file was damaged on its way.
            OSError: a disk refuses, here or there.
        """
        had_epochs, epochs = bool(self._facts), {}
        for path in files_below(self.home):
            name = PurePosixPath(*path.relative_to(self.home).parts).as_posix()
            if EPOCHS not in path.parts[len(self.home.parts) :]:
                self._send(path, name)
                path.unlink()
                continue
            epochs[name] = _facts_of(path)
            if self._facts.get(name) != epochs[name]:
                self._send(path, name)
        if had_epochs and self._facts.keys() - epochs.keys():
            self.call("keep_epochs", list(self.keys), list(epochs))
        self._facts = epochs

    def _send(self, path: Path, name: str) -> None:
        """Sends a file, and goes on from what has arrived where the connection breaks."""
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        for left in reversed(range(_TRIES)):
            try:
                self._send_from(path, name, sha256)
                return
            except ActorUnavailableError:
                if not left:
                    raise
                time.sleep(self.pause)

    def _send_from(self, path: Path, name: str, sha256: str) -> None:
        """Sends what has not arrived of a file."""
        with path.open("rb") as file:
            file.seek(self.call("begin", name, sha256))
            while chunk := file.read(CHUNK):
                self.call("append", name, sha256, file.tell() - len(chunk), chunk)
        self.call("complete", name, sha256)


def _facts_of(path: Path) -> tuple[int, int]:
    """Gives a file's size and time."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def caller(depot: Any) -> Callable[..., Any]:
    """Gives what calls a method of the depot's arrivals by its name.

    Raises:
        ReachError, OSError: as the method does.
    """

    def call(method: str, *arguments: Any) -> Any:
        try:
            return ray.get(depot.arrive.remote(method, *arguments))
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ReachError | OSError):
                raise error.cause from error
            raise

    return call
