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
    """One that runs; number and start together name it, for numbers are used again."""

    pid: int
    parent: int
    session: int
    start: int
    """In ticks since the machine began."""


def processes() -> dict[int, Process]:
    """All that run on this machine, by number; who has ended and waits to be reaped is none."""
    found: dict[int, Process] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            # the name, in brackets, may hold blanks and brackets; state is the first word after it
            words = path.read_text(errors="replace").rpartition(")")[2].split()
            if words[0] not in "ZX":
                pid = int(path.parent.name)
                found[pid] = Process(
                    pid=pid, parent=int(words[1]), session=int(words[3]), start=int(words[19])
                )
    return found


def members(leaders: Mapping[int, int], running: Mapping[int, Process]) -> list[Process]:
    """Who belongs to the sessions of these leaders (number -> start), or descends from who does.

    A session keeps its members when the leader, or a parent in between, is gone. If the leader's
    number is somebody else's by now, the session has long ended.
    """
    ours = {
        pid for pid, start in leaders.items() if pid not in running or running[pid].start == start
    }
    found = {each.pid for each in running.values() if each.session in ours}
    while fresh := {each.pid for each in running.values() if each.parent in found} - found:
        found |= fresh
    return [running[pid] for pid in sorted(found)]


def boot() -> str:
    """What tells this start of the machine from every other."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def descendants(of: int) -> list[Process]:
    """Whom this process has started, and whom they have; parents before children."""
    children: dict[int, list[Process]] = {}
    for each in processes().values():
        children.setdefault(each.parent, []).append(each)
    found = list(children.get(of, ()))
    for each in found:
        found += children.get(each.pid, ())
    return found


def kill(found: Iterable[Process]) -> None:
    """Ends them at once; who has ended meanwhile is passed over."""
    for each in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each.pid, signal.SIGKILL)
