"""The processes that this harness has started, and theirs: found by descent, not by name."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Collection, Iterable
from typing import Any, Final

import psutil

_SET_CHILD_SUBREAPER: Final = 36
"""Of Linux's prctl."""

WORKER: Final = ("ray::PackTrainable", "ray::ResourceTrainable")
"""What Ray calls the process of an actor that trains packs, idle and at work."""

RAY: Final = "sweeps.raytune"
"""In the command of the process that Ray lives in."""

AWAITED: Final[set[int]] = set()
"""Children of our own: whoever has started them waits for them."""

_PATIENCE: Final = 30.0


def adopt_orphans() -> None:
    """From now on processes whose parent has died become children of this one: none is lost."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this system lets nobody adopt orphans; Linux does")


def descendants(process: int) -> list[Any]:
    """Those that live, parents before children."""
    with contextlib.suppress(psutil.NoSuchProcess):
        found = psutil.Process(process).children(recursive=True)
        return [each for each in found if _lives(each)]
    return []


def orphans(*, but: Collection[int] = ()) -> list[Any]:
    """Descendants of this process that live, without those of these numbers."""
    _reap()
    return [each for each in descendants(os.getpid()) if each.pid not in but]


def workers(among: Iterable[Any]) -> list[Any]:
    """Those that train packs."""
    return [each for each in among if _says(each).startswith(WORKER)]


def rays(among: Iterable[Any]) -> list[Any]:
    """The one that Ray lives in."""
    return [each for each in among if RAY in _says(each)]


def end(processes: Iterable[Any]) -> None:
    """Kills them and waits for their end; who is nobody's to wait for any more is waited for."""
    found = list(processes)
    for each in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    deadline = time.monotonic() + _PATIENCE
    while any(_lives(each) for each in found):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{found} outlive a kill -9 by {_PATIENCE:.0f} s")
        time.sleep(0.01)


def _says(process: Any) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _lives(process: Any) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _reap() -> None:
    """Takes leave of adopted processes that have ended; those we wait for ourselves are known."""
    for each in psutil.Process().children():
        if each.pid not in AWAITED and not _lives(each):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(each.pid, os.WNOHANG)
