"""Temporary folders for Ray's sessions, removed with its processes: short and private."""

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

_PREFIX: Final = "mpcr-ray-"
_LOCK: Final = ".mpc-router-session"
"""Both are ours alone: a folder that has the one and not the other is somebody else's."""

_LEADER: Final = "leader"
"""In the folder: number and start of the process that leads the session, and of which boot."""

RAY: Final = "r"
"""Below it, Ray's own: Ray opens its folder, and every one in it, to all users of the machine."""

_DYING: Final = 10.0
"""Seconds that killed processes have to be gone: one that waits for a disk may never be."""

_SHORT: Final = 20
"""Sockets lie in the folder, and a socket's path has at most 107 characters."""


@contextlib.contextmanager
def session_folder() -> Iterator[Path]:
    """Gives a folder that only this user may enter, for Ray's session and Tune's files.

    It goes with the block. What a killed process had to leave behind goes when the next one comes:
    a folder of ours whose lock nobody holds.
    """
    parent = private.temporary_parent(_SHORT)
    remove_orphans()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    fresh = folder / f"{_LOCK}.new"
    with private.entered(folder) as number, fresh.open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fresh.chmod(0o600)
        fresh.rename(folder / _LOCK)  # seen by others only when it is held
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
    """Processes that cannot be ended: they wait for a disk or a driver."""

    def __str__(self) -> str:
        rest = f" and {self.processes} processes" if self.processes else ""
        where = "a temporary folder" if self.folders == 1 else f"{self.folders} temporary folders"
        gone = f"runs that were killed had left {where}{rest} of Ray's"
        if not self.undying:
            return f"{gone}; that is gone now"
        pids = ", ".join(map(str, self.undying))
        return f"{gone}; not even kill -9 ends process {pids}"


def remove_orphans() -> Orphans:
    """Ends and removes what killed processes have left: folders of ours whose lock nobody holds,
    and who was at work there.

    On a shared machine anybody may give anything our names: of what others own, may enter or have
    put a link to, we let be.
    """
    folders = ended = 0
    undying: list[int] = []
    for path in private.temporary_parent(_SHORT).glob(f"{_PREFIX}*"):
        with (
            contextlib.suppress(OSError),
            private.entered(path) as folder,
            private.opened(folder, _LOCK) as lock,
        ):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            count, left = end_session(path)
            folders, ended, undying = folders + 1, ended + count, undying + left
            if not left:
                private.remove(folder, path)
    return Orphans(folders=folders, processes=ended, undying=tuple(undying))


def lead(folder: Path, pid: int) -> None:
    """Writes down which process leads the session of a folder."""
    if (leader := processes().get(pid)) is not None:
        private.write(folder / _LEADER, json.dumps([leader.pid, leader.start, boot()]))


def end_session(folder: Path) -> tuple[int, list[int]]:
    """Kills everybody of a folder's session and waits until all are gone; how many there were, and
    who is still there after some seconds.

    Who leads it is believed only if folder and file are ours, and no other user may change them.
    """
    try:
        with private.entered(folder) as number:
            pid, start, when = json.loads(private.read(number, _LEADER))
    except (OSError, ValueError, TypeError):
        return 0, []
    if when != boot() or not (type(pid) is type(start) is int):
        return 0, []
    found = members({pid: start}, processes())
    left = {(each.pid, each.start): each for each in found}
    end = time.monotonic() + _DYING
    while left and time.monotonic() < end:
        kill(left.values())
        time.sleep(0.02)
        running = {(each.pid, each.start) for each in processes().values()}
        left = {name: each for name, each in left.items() if name in running}
    return len(found), [pid for pid, _ in left]
