"""Files that start Ray and mostly wait for it: one process of xdist runs them one after another,
and the other processes have the cores meanwhile."""

from __future__ import annotations

from typing import Final

from xdist.scheduler import LoadFileScheduling

WAITING_FILES: Final = (
    "tests/sweeps/raytune/test_tune_loop.py",
    "tests/cluster/test_local.py",
    "tests/sweeps/raytune/test_lost_workers.py",
    "tests/sweeps/worker/test_gpus.py",
)
"""In the order in which they run; relative to the repository."""


class WaitingInOneProcess(LoadFileScheduling):  # type: ignore[misc]  # it has no types
    """Gives a process a file at a time, but all files that wait at once."""

    def _split_scope(self, nodeid: str) -> str:
        """Gives the name of the tests that go to a process together with this one."""
        file: str = super()._split_scope(nodeid)
        return "what waits for Ray" if file in WAITING_FILES else file
