"""The module makes short, private folders for Ray's sessions, and removes them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cluster import private
from cluster.processes import boot, kill, members, processes

PREFIX: Final = "mpcr-ray-"
_LOCK: Final = ".mpc-router-session"
"""A session's folder has this name and the file; a folder with only one of them is let be."""

_LEADER: Final = "leader"
"""The file names the process that leads the session: its number, its start and the boot."""

RAY: Final = "r"
"""It is Ray's folder below the session's: Ray opens it to all users of the machine."""

_DYING: Final = 10.0
"""It is the time for killed processes to end, in seconds; one that waits for a disk may never."""

_SHORT: Final = 20
"""It limits the parent folder's path, for a socket's path has at most 107 characters."""


@contextlib.contextmanager
def session_folder() -> Iterator[Path]:
    """Gives a folder that only this user may enter, for Ray's session and Tune's files.

    It is removed at the end of the block. The folder of a killed process, whose lock is free, is
    removed by the next session.
    """
    parent = private.temporary_parent(_SHORT)
    remove_orphans()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    new_lock = folder / f"{_LOCK}.new"
    with private.entered(folder) as number, new_lock.open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        new_lock.chmod(0o600)
        new_lock.rename(folder / _LOCK)  # others see it only when it is locked
        try:
            yield folder
        finally:
            private.remove(number, folder)


@dataclass(frozen=True, kw_only=True)
class Orphans:
    """Counts the folders and processes that killed sessions have left behind."""

    folders: int
    processes: int
    undying: tuple[int, ...] = ()
    """They are processes that cannot be ended, because they wait for a disk or a driver."""

    def __str__(self) -> str:
        folders = "a temporary folder" if self.folders == 1 else f"{self.folders} temporary folders"
        processes = f" and {self.processes} processes" if self.processes else ""
        cause = f"killed runs had left {folders}{processes} of Ray's"
        if not self.undying:
            return f"{cause}; they are removed now"
        pids = ", ".join(map(str, self.undying))
        return f"{cause}; not even kill -9 ends process {pids}"


def remove_orphans() -> Orphans:
    """Ends the processes of killed sessions, and removes their folders, whose locks are free.

    On a shared machine another user may make a folder of such a name: what other users own, may
    enter or have linked is let be.
    """
    folders = ended = 0
    undying: list[int] = []
    for path in private.temporary_parent(_SHORT).glob(f"{PREFIX}*"):
        with (
            contextlib.suppress(OSError),
            private.entered(path) as folder,
            private.opened(folder, _LOCK) as lock,
        ):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            count, survivors = end_session(path)
            folders, ended, undying = folders + 1, ended + count, undying + survivors
            if not survivors:
                private.remove(folder, path)
    return Orphans(folders=folders, processes=ended, undying=tuple(undying))


def lead(folder: Path, pid: int) -> None:
    """Writes down which process leads the session of a folder."""
    if (leader := processes().get(pid)) is not None:
        private.write(folder / _LEADER, json.dumps([leader.pid, leader.start, boot()]))


def end_session(folder: Path) -> tuple[int, list[int]]:
    """Kills all processes of a folder's session, and waits some seconds until they have ended.

    Gives how many processes there were, and the numbers of those that still run. The file with the
    leader is read only if folder and file are this user's, and no other user may change them.
    """
    try:
        with private.entered(folder) as number:
            pid, start, boot_name = json.loads(private.read(number, _LEADER))
    except (OSError, ValueError, TypeError):
        return 0, []
    if boot_name != boot() or not (type(pid) is type(start) is int):
        return 0, []
    session = members({pid: start}, processes())
    survivors = {(process.pid, process.start): process for process in session}
    end = time.monotonic() + _DYING
    while survivors and time.monotonic() < end:
        kill(survivors.values())
        time.sleep(0.02)
        running = {(process.pid, process.start) for process in processes().values()}
        survivors = {name: process for name, process in survivors.items() if name in running}
    return len(session), [pid for pid, _ in survivors]
