"""Errands on this machine: side by side in processes of their own, where that pays.

Training a small encoder keeps about one core busy, so a machine of several trains as many at once
as its memory has room for. Small work, work on a GPU, and an errand that is alone are left to the
process that needs what they leave.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mpc_router.experts._errand_children import Children
from mpc_router.threads import cores, free_memory

if TYPE_CHECKING:
    from mpc_router.experts.errands import Errand
    from mpc_router.experts.work import Work
    from mpc_router.terminal.progress import Progress

PAYS: Final = 20.0
"""Seconds that other processes must save, as estimated, to be started: each takes about five until
it has imported torch and transformers."""

_ROOM: Final = 0.8
"""Share of the free memory that errands may take by their estimates."""


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Does errands in processes of this machine; what it leaves undone is done where it is needed.

    Errands of one process use as many threads as an equal share of the cores. On one thread an
    errand leaves the same bits wherever it is done.
    """

    cores: Callable[[], int] = cores
    memory: Callable[[], float] = free_memory
    pays: float = PAYS

    @property
    def elsewhere(self) -> bool:
        """Tells that errands are done on this machine."""
        return False

    def run(self, errands: Sequence[Errand], progress: Progress) -> None:
        """Leaves in the cache what errands leave, or does nothing where that pays no other process.

        Raises:
            ModelError: a model is bad, or diverges.
            OSError: the disk refuses, or a process was killed.
        """
        most = min(len(errands), self.cores())
        if most < 2 or not _on_processor(errands):
            return
        works = works_of(errands)
        count = self._processes([*works.values()], most)
        if count < 2:
            return
        order = sorted(errands, key=lambda errand: -works[errand.key].seconds)
        progress.start(
            f"{len(order)} encoders, {count} at a time", sum(work.steps for work in works.values())
        )
        with Children(count, threads=max(1, self.cores() // count)) as children:
            _do(deque(order), works, children, progress)
        progress.finish()

    def _processes(self, works: Sequence[Work], most: int) -> int:
        """Gives how many processes pay; 1 where this process is to do all."""
        count = min(most, fitting([work.memory for work in works], _ROOM * self.memory()))
        return count if saved([work.seconds for work in works], count) >= self.pays else 1


HERE: Final = SideBySide()
"""Does errands on this machine, as its cores and its memory allow."""


def works_of(errands: Sequence[Errand]) -> dict[str, Work]:
    """Estimates the work of errands, by their keys."""
    from mpc_router.experts.work import work_of

    return {errand.key: work_of(errand) for errand in errands}


def fitting(memories: Sequence[float], room: float) -> int:
    """Counts how many errands have room at once, whichever they are: the largest of them do."""
    taken, count = 0.0, 0
    for memory in sorted(memories, reverse=True):
        taken += memory
        if taken > room:
            break
        count += 1
    return count


def saved(seconds: Sequence[float], count: int) -> float:
    """Gives the seconds that so many processes save at most, against one after the other.

    They take no less than an equal share of all, and no less than the longest errand.
    """
    return sum(seconds) - max(sum(seconds) / max(1, count), max(seconds, default=0.0))


def _on_processor(errands: Sequence[Errand]) -> bool:
    from mpc_router.experts.finetune import resolve_device

    return all(resolve_device(errand.device).type == "cpu" for errand in errands)


def _do(
    waiting: deque[Errand], works: Mapping[str, Work], children: Children, progress: Progress
) -> None:
    """Gives each process an errand, and another one as soon as that is done."""
    left = {key: work.steps for key, work in works.items()}
    for number in range(min(children.count, len(waiting))):
        children.give(number, waiting.popleft())
    while children.busy:
        for number, errand, steps in children.reports():
            done = left[errand.key] if steps is None else min(steps, left[errand.key])
            left[errand.key] -= done
            progress.advance(done)
            if steps is None and waiting:
                children.give(number, waiting.popleft())
