"""The module lists, follows and kills the processes of this machine."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, kw_only=True)
class Process:
    """Names a running process by its number and start, because numbers are used again."""

    pid: int
    parent: int
    session: int
    start: int
    """It counts hundredths of a second since the machine began."""


def processes() -> dict[int, Process]:
    """Lists all processes of this machine by number, without those that have ended.

    Linux calls a process a zombie as soon as its first thread has ended; others may still write.
    """
    import psutil  # of the extra [sweep]; commands that start no process do without it

    boot_time = psutil.boot_time()
    running: dict[int, Process] = {}
    for pid in psutil.pids():
        if not pid:  # the kernel on macOS; to `getsid` it is the calling process
            continue
        # not `process_iter`: it keeps the start of an earlier process with the same number
        with contextlib.suppress(psutil.Error, OSError):  # it has ended meanwhile
            process = psutil.Process(pid)
            with process.oneshot():
                ended = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
                if ended and process.num_threads() <= 1:
                    continue
                # the difference stays the same when the clock is set
                start = round((process.create_time() - boot_time) * 100)
                running[pid] = Process(
                    pid=pid, parent=process.ppid(), session=os.getsid(pid), start=start
                )
    return running


def members(leaders: Mapping[int, int], running: Mapping[int, Process]) -> list[Process]:
    """Lists the processes in the sessions of the leaders (number -> start), and their descendants.

    A session keeps its members when the leader, or a parent in between, is gone. If another process
    has the leader's number by now, the session has long ended.
    """
    sessions = {
        pid for pid, start in leaders.items() if pid not in running or running[pid].start == start
    }
    pids = {process.pid for process in running.values() if process.session in sessions}
    while children := {child.pid for child in running.values() if child.parent in pids} - pids:
        pids |= children
    return [running[pid] for pid in sorted(pids)]


def boot() -> str:
    """Names this boot of the machine."""
    if _BOOT_ID.exists():
        return _BOOT_ID.read_text().strip()
    import psutil

    return str(int(psutil.boot_time()))  # it changes when the clock is set; Linux's name does not


def descendants(ancestor: int) -> list[Process]:
    """Lists the children of a process and their children; parents come first."""
    children: dict[int, list[Process]] = {}
    for process in processes().values():
        children.setdefault(process.parent, []).append(process)
    below = list(children.get(ancestor, ()))
    for process in below:
        below += children.get(process.pid, ())
    return below


def kill(victims: Iterable[Process]) -> None:
    """Kills processes at once; one that has ended meanwhile is passed over."""
    for process in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
