"""The processes that this one has started, and theirs; empty where there is no /proc."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path


def descendants() -> list[int]:
    """Their numbers, parents before children."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parent = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [os.getpid()]
    for process in found:
        found += children.get(process, ())
    return found[1:]


def end_descendants() -> None:
    """Kills them, none of which may outlive this process."""
    for process in descendants():
        with contextlib.suppress(OSError):
            os.kill(process, signal.SIGKILL)
