"""Torch's threads, on a machine that others use too."""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from typing import Final

_CGROUP: Final = Path("/sys/fs/cgroup")


def sleep_while_waiting() -> None:
    """Lets the threads of this process and its children sleep while they wait for each other.

    Only before torch is imported. Else they spin, which takes the processors from whoever has work,
    and a step takes several times as long beside other work. What the user has set stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def cores() -> int:
    """Processors that this process may use: by its affinity, and by its container's quota."""
    allowed = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    return max(1, int(min(allowed, _quota(_CGROUP))))


def _quota(folder: Path) -> float:
    """Processors that a folder of cgroups, version 2 or 1, allows; infinite where it says none."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
            time, period = " ".join((folder / name).read_text() for name in names).split()
            if float(time) > 0:
                return float(time) / float(period)
    return math.inf
