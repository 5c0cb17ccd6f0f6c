"""The module sets how torch's threads, and memory, are shared with a machine's other processes."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup")
_MEMORY: Final = Path("/proc/meminfo")
_OWN_CGROUP: Final = Path("/proc/self/cgroup")


def sleep_while_waiting() -> None:
    """Lets the threads of this process and its children sleep while they wait for each other.

    It has an effect only before torch is imported. Else waiting threads spin, which takes
    processors from other work, and a step takes several times as long. The user's own setting
    stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def cores() -> int:
    """Counts the processors that this process may use, by its affinity and container's quota."""
    allowed = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    return max(1, int(min(allowed, _quota(_CGROUP))))


def _quota(folder: Path) -> float:
    """Counts the processors that a cgroup (version 2 or 1) allows; infinite without a limit."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            time, period = " ".join((folder / name).read_text() for name in names).split()
            if float(time) > 0:
                return float(time) / float(period)
    return math.inf


def free_memory(memory: Path = _MEMORY, cgroup: Path = _CGROUP, own: Path = _OWN_CGROUP) -> float:
    """Gives the bytes that this process could still take; infinite where nothing says so.

    It is what the machine has available (Linux), and what the limits of its container, of its
    batch job or of its service leave.
    """
    available = math.inf
    with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
        lines = memory.read_text().splitlines()
        available = next(
            float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")
        )
    return min(available, *map(_memory_left, _groups(cgroup, own)))


def _groups(root: Path, own: Path) -> Iterator[Path]:
    """Gives the folders of the cgroup (version 2) that this process is in and of those around it.

    The last one is `root`, which is all that a container sees.
    """
    name = ""
    with contextlib.suppress(OSError):
        lines = own.read_text().splitlines()
        name = next((line[3:] for line in lines if line.startswith("0::/")), "")
    inside = PurePosixPath(name.strip("/"))
    if ".." not in inside.parts:  # else it lies outside of what is seen here
        for folder in (inside, *inside.parents):
            if folder.parts:
                yield root / folder
    yield root


def _memory_left(folder: Path) -> float:
    """Gives the bytes that a cgroup (version 2 or 1) leaves; infinite without a limit.

    Files that were read count as used there, although they make room where it is needed.
    """
    for limit, used, files in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        with contextlib.suppress(OSError, ValueError):  # the limit may be the word max
            left = float((folder / limit).read_text()) - float((folder / used).read_text())
            return left + _reclaimable((folder / limit).with_name("memory.stat"), files)
    return math.inf


def _reclaimable(facts: Path, name: str) -> float:
    """Gives the bytes of files in a cgroup's memory, which is stated under this name."""
    with contextlib.suppress(OSError, ValueError):
        words = facts.read_text().split()
        return float(dict(zip(words[::2], words[1::2], strict=True)).get(name, 0))
    return 0.0
