"""Has encoders trained and asked on a cluster, so that a machine without a GPU trains nothing."""

from __future__ import annotations

import base64
import contextlib
import pickle
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mpc_router.experts.side_by_side import PAYS, works_of
from mpc_router.model.sources import ModelError
from mpc_router.storage import cache as caching
from mpc_router.terminal.progress import shown
from sweeps.raytune.process import RayProcess, ray_process
from sweeps.records import NodesGone, SweepError

if TYPE_CHECKING:
    from mpc_router.experts.errands import Errand
    from mpc_router.experts.work import Work
    from mpc_router.terminal.progress import Progress

_ERRANDS: Final = "errands"
"""Is the folder of a cache with a lock by errand, and with what arrives of those from nodes."""

_ARRIVING: Final = "-arriving"
"""Ends the name of a folder that entries arrive in."""

_KINDS: Final = ("orders", "experts", "passes")
"""Names the folders of a cache that errands leave entries in."""

_SILENCE: Final = 600.0
"""Limits the seconds until the process with Ray has joined, and in which it asks nothing."""

_ROUNDS: Final = 2
"""Limits how often an errand is done whose entries are not in the cache then."""

_NAMED: Final = 3
"""Limits the errands that a message names."""

_PAUSE: Final = 1.0
"""Gives the seconds between two looks at an errand that another sweep does."""


@dataclass(frozen=True, kw_only=True)
class ClusterErrands:
    """Does errands on the nodes of a cluster that is joined; an `ErrandRunner`.

    Little work is left to this process, for which to join a cluster would take longer, unless it is
    to be done on a GPU. Of two sweeps with one cache the first one does an errand, and the other
    waits for what it leaves.
    """

    address: str
    scaled: bool
    """Tells whether the cluster has an autoscaler."""

    patience: float
    """Limits the seconds without any node that has room for an errand."""

    say: Callable[[str], None]
    """Is told which errand is done where."""

    pays: float = PAYS
    now: Callable[[], float] = time.monotonic

    @property
    def elsewhere(self) -> bool:
        """Tells that errands are done on other machines."""
        return True

    def run(self, errands: Sequence[Errand], progress: Progress) -> None:
        """Leaves in the cache what errands leave, unless they are little work.

        Raises:
            ModelError: a model is bad, or diverges.
            SweepError: the cluster cannot be joined, or has lost an errand again and again.
        """
        works = works_of(errands)
        needs_gpu = any(errand.device == "cuda" for errand in errands)  # there may be none here
        if not needs_gpu and sum(work.seconds for work in works.values()) < self.pays:
            return
        from mpc_router.experts.errands import unfinished  # with torch

        left = tuple(sorted(errands, key=lambda errand: -works[errand.key].seconds))
        over: Counter[str] = Counter()
        while left:
            with _claimed(left) as claimed:
                to_do = unfinished(claimed)  # another sweep may have done one meanwhile
                if to_do:
                    self._run(to_do, works, progress)
            left = unfinished(left)
            over.update(errand.key for errand in to_do)
            self._check_whole([errand for errand in left if over[errand.key] >= _ROUNDS])
            if left and not to_do:
                _wait_for(left[0], progress)

    def _check_whole(self, errands: Sequence[Errand]) -> None:
        """Raises SweepError where the cluster has done errands, but has not left what they leave.

        An errand is given up after some rounds: of a shared folder, this machine may see for
        seconds what was there before, and the next round then finds all of it.
        """
        if errands:
            labels = ", ".join(errand.label for errand in errands[:_NAMED])
            more = f" and {len(errands) - _NAMED} more" if len(errands) > _NAMED else ""
            raise SweepError(
                f"the cluster at {self.address} has prepared {labels}{more} {_ROUNDS} times, but "
                f"the cache {errands[0].cache} does not hold all that they leave; look whether its "
                "disk is full, and whether nodes that share it see what this machine sees, then "
                "begin again"
            )

    def _run(
        self, errands: Sequence[Errand], works: Mapping[str, Work], progress: Progress
    ) -> None:
        """Does errands that no other sweep with this cache does."""
        staging = _arriving(errands[0])
        staging.mkdir()
        count = "an encoder" if len(errands) == 1 else f"{len(errands)} encoders"
        progress.start(
            f"{count} on the cluster at {self.address}",
            sum(works[errand.key].steps for errand in errands),
        )
        try:
            with ray_process(self.address) as ray:
                _Dispatch(self, ray, errands, works, staging, progress).run()
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        progress.finish()


def _lock_of(errand: Errand) -> Path:
    """Names what stands for an errand while it is done."""
    return errand.cache / _ERRANDS / errand.key


def _arriving(errand: Errand) -> Path:
    """Names the folder that entries arrive in from nodes, of an errand and those beside it."""
    return errand.cache / _ERRANDS / f".{errand.key}{_ARRIVING}"


def _remove_orphans(folder: Path) -> None:
    """Removes what has arrived for sweeps that were killed: no process holds its errand's lock."""
    for orphan in folder.glob(f".*{_ARRIVING}"):
        with caching.removable(folder / orphan.name[1:].removesuffix(_ARRIVING)) as free:
            if free:
                shutil.rmtree(orphan, ignore_errors=True)


@contextlib.contextmanager
def _claimed(errands: Sequence[Errand]) -> Iterator[list[Errand]]:
    """Gives the errands that no other sweep does, and keeps others from them for the block.

    What killed sweeps have left is removed.
    """
    for folder in {_lock_of(errand).parent for errand in errands}:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_orphans(folder)
    with contextlib.ExitStack() as stack:
        claimed = []
        for errand in errands:
            if stack.enter_context(caching.removable(_lock_of(errand))):
                claimed.append(errand)
        yield claimed


def _wait_for(errand: Errand, progress: Progress) -> None:
    """Waits until no other sweep does an errand any more."""
    with shown(progress, f"{errand.label}: waiting for another process that prepares it"):
        while True:
            with caching.removable(_lock_of(errand)) as free:
                if free:
                    return
            time.sleep(_PAUSE)


class _Dispatch:
    """Answers the questions of the process that Ray lives in, while it has errands done."""

    def __init__(
        self,
        runner: ClusterErrands,
        ray: RayProcess,
        errands: Sequence[Errand],
        works: Mapping[str, Work],
        staging: Path,
        progress: Progress,
    ) -> None:
        self._runner, self._ray, self._staging, self._progress = runner, ray, staging, progress
        self._errands = {errand.key: errand for errand in errands}
        self._left = {errand.key: works[errand.key].steps for errand in errands}
        """Counts by errand the steps that the progress has not heard of."""

        self._steps = {errand.key: works[errand.key].steps for errand in errands}
        self._memory = {errand.key: works[errand.key].memory for errand in errands}
        self._places: dict[str, str] = {}
        self._waits_since: float | None = None

    def run(self) -> None:
        """Answers questions until all errands are done.

        Raises:
            ModelError: an errand is refused.
            SweepError: Ray gave up, or an errand is lost.
        """
        answers: dict[str, Callable[..., None]] = {"turn": self._turn, "over": self._over}
        while True:
            question = self._ray.question(_SILENCE)
            if question is None:
                raise SweepError(f"Ray on the cluster at {self._runner.address} has not answered")
            word, data = question
            if word == "failed":
                raise SweepError(data["reason"])
            if word in answers:
                answers[word](**data)
            self._ray.answer(self._wanted() if word == "begun" else None)
            if word == "done":
                return

    def _wanted(self) -> dict[str, Any]:
        """Gives what the process with Ray is to do."""
        return {
            "what": "errands",
            "scaled": self._runner.scaled,
            "device": next(iter(self._errands.values())).device,
            "staging": str(self._staging),
            "errands": [
                {
                    "name": name,
                    "memory": self._memory[name],
                    "folders": {str(folder): names for folder, names in errand.folders.items()},
                    "pickled": base64.b64encode(pickle.dumps(errand.pinned())).decode(),
                }
                for name, errand in self._errands.items()
            ],
        }

    def _turn(self, facts: Mapping[str, Mapping[str, Any]], room: int, cpus: float) -> None:
        """Shows where errands are done and how far they are; `room` counts those at once.

        Raises:
            NodesGone: no node had room for an errand for too long.
        """
        for name, fact in facts.items():
            place = f"node {fact['node']}" + (" (GPU)" if fact["gpu"] else "")
            if self._places.get(name) != place:
                self._places[name] = place
                self._runner.say(f"{self._errands[name].label} on {place}")
            self._advance(name, fact["steps"])
        if room > 0:
            self._waits_since = None
            return
        now = self._runner.now()
        if self._waits_since is None:
            self._waits_since = now
            self._runner.say(f"waiting for a node with room for an encoder ({cpus:g} CPU)")
        if now - self._waits_since > self._runner.patience:
            raise NodesGone(
                f"no node of the cluster at {self._runner.address} had room for an encoder for "
                f"{now - self._waits_since:.0f} s; what is done is cached, begin again"
            )

    def _advance(self, name: str, steps: int) -> None:
        """Shows that so many steps of an errand are done, of which it may begin anew."""
        new = min(steps, self._steps[name]) - (self._steps[name] - self._left[name])
        if new > 0:
            self._left[name] -= new
            self._progress.advance(new)

    def _over(self, name: str, refused: str | None, lost: str | None, arrived: str | None) -> None:
        """Takes what an errand has left into the cache, or says why it has left nothing.

        `arrived` is the folder below the staging folder that its files came to, and no others'.

        Raises:
            ModelError: it is refused.
            SweepError: its worker or its node is lost, or a disk or the way there refuses, and Ray
                has tried it again in vain; or it has failed in another way.
        """
        errand = self._errands[name]
        if refused is not None:
            raise ModelError(refused)
        if lost is not None:
            raise SweepError(
                f"{errand.label} was not prepared on the cluster at {self._runner.address} "
                f"({lost}); what is done is cached, begin again"
            )
        if arrived is not None:
            for kind in _KINDS:
                for entry in (self._staging / arrived / kind).glob("[!.]*"):
                    caching.take_in(entry, errand.cache / kind / entry.name)
        self._advance(name, self._steps[name])
