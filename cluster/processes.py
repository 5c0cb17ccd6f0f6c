"""Processes as Linux's /proc tells of them."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Process:
    """Names a running process by number and start, for numbers are used again."""

    pid: int
    parent: int
    session: int
    start: int
    """In ticks since the machine began."""


def processes() -> dict[int, Process]:
    """Lists all processes of this machine by number, without zombies."""
    running: dict[int, Process] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            # the name, in brackets, may hold blanks and brackets; state is the first word after it
            words = path.read_text(errors="replace").rpartition(")")[2].split()
            if words[0] not in "ZX":
                pid = int(path.parent.name)
                running[pid] = Process(
                    pid=pid, parent=int(words[1]), session=int(words[3]), start=int(words[19])
                )
    return running


def members(leaders: Mapping[int, int], running: Mapping[int, Process]) -> list[Process]:
    """Who belongs to the sessions of these leaders (number -> start), or descends from who does.

    A session keeps its members when the leader, or a parent in between, is gone. If the leader's
    number is somebody else's by now, the session has long ended.
    """
    ours = {
        pid for pid, start in leaders.items() if pid not in running or running[pid].start == start
    }
    pids = {process.pid for process in running.values() if process.session in ours}
    while children := {each.pid for each in running.values() if each.parent in pids} - pids:
        pids |= children
    return [running[pid] for pid in sorted(pids)]


def boot() -> str:
    """Names this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def descendants(of: int) -> list[Process]:
    """Lists the children of a process and their children; parents first."""
    children: dict[int, list[Process]] = {}
    for each in processes().values():
        children.setdefault(each.parent, []).append(each)
    below = list(children.get(of, ()))
    for process in below:
        below += children.get(process.pid, ())
    return below


def kill(found: Iterable[Process]) -> None:
    """Kills processes at once; one that has ended meanwhile is passed over."""
    for each in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each.pid, signal.SIGKILL)
