"""Keeps the journal while Ray works in a process of its own, and watches it from outside."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sweeps.driver._ledger import Ledger
from sweeps.driver.queue import Batches
from sweeps.raytune.process import RayGone, RayProcess, ray_process
from sweeps.records import BETWEEN, BUDGET, Message, Pack, SweepError
from sweeps.study.budget import said
from sweeps.worker.job import Job

TURN: Final = 0.2
"""Seconds between two looks at the surroundings, where nobody says anything."""

PAUSE: Final = 5.0
"""Seconds between two looks beyond which they do not count as silence of packs."""

SILENCE: Final = 60.0
"""Seconds without a turn of Ray's loop after which it is taken to hang."""

STARTING: Final = 600.0
"""Seconds that Ray has to start or be joined, and workers to start where none runs."""

STOPPING: Final = 5.0
"""Seconds that Ray has to end its workers when the run is stopped."""

FAILURES: Final = 3
"""Workers in a row that did not start, or whose surroundings failed, end the run."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Says where packs run: how many at once, each one's share, and how often one is retried."""

    count: int
    cpus: float
    gpus: float = 0.0
    retries: int = 0
    """Times that a pack is tried again whose worker or node died."""

    timeout: float = float("inf")
    """Seconds without a word of a pack after which it is taken to hang."""

    address: str | None = None
    """A running Ray cluster; None starts one on this machine for the time of the run."""

    @property
    def place(self) -> str:
        """Describes the workers in words."""
        return f"the cluster at {self.address}" if self.address else "this machine"


def drive(
    batches: Batches,
    job: Job,
    ledger: Ledger,
    *,
    workers: Workers,
    stopped: Callable[[], bool],
) -> None:
    """Trains the packs as they become due; returns when all are over, when no budget is left, or
    soon after `stopped()` turns true.

    A pack whose worker is lost is tried again; one that is given up is noted in `ledger.lost`, and
    the others go on.

    Raises:
        SweepError: Ray could not be started or joined, gave up, or is gone.
        OSError: the journal cannot be written.
    """
    with ray_process(workers.address) as ray:
        wanted = {
            "what": "drive",
            "address": workers.address,
            "count": workers.count,
            "cpus": workers.cpus,
            "gpus": workers.gpus,
            "folder": str(ray.folder),
            "job": job.to_json(),
        }
        _Supervisor(ray, wanted, batches, ledger, workers, stopped).run()


def resources_of(address: str) -> Mapping[str, float]:
    """What a running cluster has, by Ray's names: `CPU`, `GPU`, ...

    Raises:
        SweepError: there is no such cluster.
    """
    found: Mapping[str, float] = {}
    with ray_process(address) as ray:
        while True:
            asked = ray.question(STARTING)
            if asked is None:
                raise SweepError(f"Ray on the cluster at {address} has not answered")
            word, data = asked
            if word == "failed":
                raise SweepError(data["reason"])
            found = data.get("found", found)
            ray.answer({"what": "room", "address": address})
            if word == "done":
                return found


class _Supervisor:
    """Answers the questions of the process that Ray lives in."""

    def __init__(
        self,
        ray: RayProcess,
        wanted: dict[str, Any],
        batches: Batches,
        ledger: Ledger,
        workers: Workers,
        stopped: Callable[[], bool],
    ) -> None:
        self._ray, self._wanted, self._workers = ray, wanted, workers
        self._batches, self._ledger, self._stopped = batches, ledger, stopped
        self._out: dict[str, Pack] = {}
        """Holds the packs that Ray was given, until they are over."""

        self._spoke: dict[str, float] = {}
        """When each that runs said something last, by the monotonic clock."""

        self._condemned: dict[str, float] = {}
        """Packs that hang, and since when they are to be ended."""

        self._losses: dict[str, int] = {}
        self._cancelled: set[str] = set()
        """Packs whose last actor was cancelled before it had started."""

        self._unstarted = 0
        """Workers in a row that did not start."""

        self._failed = 0
        """Packs in a row whose surroundings failed."""

        self._turned = self._moved = self._looked = time.monotonic()
        self._begun = False
        self._stopping: float | None = None

    def run(self) -> None:
        """Until Ray has nothing left to do, or is to be left alone.

        Raises:
            SweepError: Ray gave up, hangs or is gone.
        """
        try:
            self._answer()
        except RayGone:
            if self._stopping is None and not self._stopped():
                raise  # else it may have been ended by who has stopped this run

    def _answer(self) -> None:
        answers: dict[str, Callable[..., Any]] = {
            "begun": lambda: self._wanted,
            "turn": self._turn,
            "next": self._next,
            "started": self._started,
            "heard": self._heard,
            "over": self._over,
            "lost": self._lost,
        }
        while not self._stopped_long_ago():
            self._allow_for_pauses()
            asked = self._ray.question(TURN)
            if asked is None:
                self._watch_ray()
                continue
            self._turned = time.monotonic()
            word, data = asked
            if word == "failed":
                raise RayGone(data["reason"])
            answer = answers[word](**data) if word in answers else None
            self._ray.answer(answer)
            self._turned = time.monotonic()  # what we took to answer is no silence of Ray's
            if word == "done":
                return

    def _stopped_long_ago(self) -> bool:
        if self._stopping is None and self._stopped():
            self._stopping = time.monotonic()
            return not self._begun  # nobody works yet, and Ray would have to start first
        return self._stopping is not None and time.monotonic() - self._stopping > STOPPING

    def _turn(self) -> dict[str, Any]:
        """Notes that Ray's loop turns, though no worker has a message."""
        self._begun = True
        self._watch_packs(self._turned)
        return {"end": self._stopping is not None, "kill": list(self._condemned)}

    def _next(self) -> dict[str, Any]:
        """Gives the next pack; None where there is none now, or for good."""
        batches, ledger = self._batches, self._ledger
        done = self._stopping is not None or ledger.used_up() is not None
        pack = None if done else batches.take()
        if pack is not None:
            ledger.over.discard(pack.name)
            self._out[pack.name] = pack
            if pack.name not in self._cancelled:  # else nothing has moved since then
                self._moved = time.monotonic()
            return {"pack": dataclasses.asdict(pack), "over": False}
        return {"pack": None, "over": not self._out}  # whoever is out may be lost, and due again

    def _started(self, pack: str, node: str, pid: int, gpus: Sequence[str] = ()) -> None:
        self._spoke[pack] = self._moved = time.monotonic()
        self._unstarted = 0
        self._cancelled.clear()
        self._ledger.started(self._out[pack], node=node, gpus=gpus)

    def _heard(self, pack: str, message: Mapping[str, Any]) -> dict[str, Any]:
        self._condemned.pop(pack, None)
        self._spoke[pack] = self._moved = time.monotonic()
        whole, news = self._out[pack], Message.from_json(message)
        drop = self._ledger.heard(whole, news)
        end = self._ledger.breaks_off(whole, news)
        if end:
            self._ledger.interrupted(whole, BUDGET)
            self._forget(pack)
        return {"end": end, "drop": drop if whole.stopping == BETWEEN else {}}

    def _over(self, pack: str) -> None:
        if pack in self._out:
            self._failed = 0
            self._ledger.finished(self._out[pack])
            self._forget(pack)

    def _lost(self, pack: str, reason: str, how: str) -> None:
        """A worker died, its surroundings failed, or the machine's memory ran out; or there never
        was one, which is no loss."""
        whole, started = self._out[pack], pack in self._spoke
        if how == "cancelled" and not started:
            self._forget(pack)
            self._cancelled.add(pack)
            self._batches.again(whole)
            return
        if pack in self._condemned:
            reason, how = f"said nothing for {said(self._workers.timeout)}, pack.timeout", "died"
        self._forget(pack)
        if how == "memory":
            self._ledger.failed(whole, f"out of memory on the host: {reason}")
            return
        self._losses[pack] = self._losses.get(pack, 0) + 1
        again = how == "died" and self._losses[pack] <= self._workers.retries
        self._ledger.interrupted(whole, reason, lost=True, again=again)
        if again:
            self._batches.again(whole)
        self._unstarted += not started
        self._failed += how == "failed"
        if max(self._unstarted, self._failed) >= FAILURES:
            what = "did not start" if self._unstarted >= FAILURES else "failed"
            place = self._workers.place
            raise SweepError(f"{FAILURES} workers in a row {what} on {place}: {reason}")

    def _forget(self, pack: str) -> None:
        self._out.pop(pack, None)
        self._spoke.pop(pack, None)
        self._condemned.pop(pack, None)

    def _allow_for_pauses(self) -> None:
        """Leaves time in which this process was busy or suspended out of all packs' silence."""
        now = time.monotonic()
        if (gone := now - self._looked) > PAUSE:
            self._moved += gone
            self._spoke = {pack: then + gone for pack, then in self._spoke.items()}
            self._condemned = {pack: then + gone for pack, then in self._condemned.items()}
        self._looked = now

    def _watch_ray(self) -> None:
        silent = time.monotonic() - self._turned
        if silent > (SILENCE if self._begun else STARTING):
            raise SweepError(f"Ray on {self._workers.place} has not answered for {silent:.0f} s")

    def _watch_packs(self, now: float) -> None:
        """Looks for packs that hang.

        Raises:
            SweepError: no worker starts, or a worker cannot be ended.
        """
        if (self._out or self._cancelled) and not self._spoke and now - self._moved > STARTING:
            raise SweepError(
                f"no worker has started on {self._workers.place} for {now - self._moved:.0f} s"
            )
        for pack, spoke in self._spoke.items():
            if now - spoke > self._workers.timeout:
                since = self._condemned.setdefault(pack, now)
                if now - since > SILENCE:
                    raise SweepError(f"{pack} hangs, and Ray cannot end its worker")
