"""The module sets how torch's threads share a machine with other processes."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup")


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
