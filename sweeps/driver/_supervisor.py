"""Keeps the journal while Ray works in a separate process, and watches that process."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sweeps.driver._ledger import Ledger
from sweeps.driver._node_faults import FAILURES, NodeFaults
from sweeps.driver._workers import STARTING, Workers
from sweeps.driver.queue import Batches
from sweeps.raytune.process import RayGone, RayProcess
from sweeps.records import BETWEEN, BUDGET, Message, NodesGone, Pack, SweepError
from sweeps.study.lengths import duration_text
from sweeps.worker.job import Job

TURN: Final = 0.2
"""Limits the wait for a question of Ray's process, in seconds, before the clock is looked at."""

PAUSE: Final = 5.0
"""Limits the seconds between two turns; longer ones do not count as silence of packs."""

SILENCE: Final = 60.0
"""Limits the seconds without a turn of Ray's loop; then it counts as hanging."""

STOPPING: Final = 5.0
"""Limits the seconds in which Ray ends its workers when the run is stopped."""


def drive(
    batches: Batches,
    job: Job,
    ledger: Ledger,
    *,
    ray: RayProcess,
    workers: Workers,
    stopped: Callable[[], bool],
) -> None:
    """Trains the packs by Ray as they become due.

    It returns when all packs are over, when no budget is left, or soon after `stopped()` turns
    true. A pack whose worker is lost is retried. One that is given up is noted in `ledger.lost`,
    and the others go on.

    Raises:
        SweepError: Ray could not be started or joined, gave up, or is gone.
        OSError: the journal cannot be written.
    """
    settings = {
        "what": "drive",
        **workers.to_json(),
        "folder": str(ray.folder),
        "job": job.to_json(),
    }
    _Supervisor(ray, settings, batches, ledger, workers, stopped).run()


class _Supervisor:
    """Answers the questions of the process that Ray lives in."""

    def __init__(
        self,
        ray: RayProcess,
        settings: dict[str, Any],
        batches: Batches,
        ledger: Ledger,
        workers: Workers,
        stopped: Callable[[], bool],
    ) -> None:
        self._ray, self._settings, self._workers = ray, settings, workers
        self._batches, self._ledger, self._stopped = batches, ledger, stopped
        self._out: dict[str, Pack] = {}
        """Holds the packs that Ray was given, until they are over."""

        self._last_message: dict[str, float] = {}
        """Gives the time of its last message by running pack, by the monotonic clock."""

        self._hanging: dict[str, float] = {}
        """Gives the time since which its worker is to be ended by pack that hangs."""

        self._losses: dict[str, int] = {}
        """Counts the lost workers by pack."""

        self._places: dict[str, str] = {}
        """Gives the node by running pack."""

        self._node_names: dict[str, str] = {}
        self._node_faults = NodeFaults()
        self._given_up: dict[str, str] = {}
        """Gives the node by pack whose surroundings failed before another node had trained."""

        self._cancelled: set[str] = set()
        """Holds the packs whose last actor was cancelled before it had started."""

        self._unstarted = 0
        """Counts the workers in a row that did not start."""

        self._failed = 0
        """Counts the packs in a row whose surroundings failed."""

        self._last_turn = self._last_progress = self._last_look = time.monotonic()
        self._begun = False
        self._waits = False
        """Tells whether packs wait, and no node has room for one."""

        self._stopping: float | None = None
        """Gives the time at which the run was stopped; None while it was not."""

    def run(self) -> None:
        """Answers questions until Ray has no packs left, or the run is stopped.

        Raises:
            SweepError: Ray gave up, hangs or is gone.
        """
        try:
            self._answer()
        except RayGone:
            if self._stopping is None and not self._stopped():
                raise  # else the signal that has stopped this run may have ended Ray too

    def _answer(self) -> None:
        """Answers one question after the other, and watches the clock between them."""
        answers: dict[str, Callable[..., Any]] = {
            "begun": lambda: self._settings,
            "measured": self._measured,
            "turn": self._turn,
            "next": self._next,
            "started": self._started,
            "heard": self._received,
            "over": self._over,
            "lost": self._lost,
        }
        while not self._stopped_long_ago():
            self._allow_for_pauses()
            question = self._ray.question(TURN)
            if question is None:
                self._watch_ray()
                continue
            self._last_turn = time.monotonic()
            word, data = question
            if word == "failed":
                raise RayGone(data["reason"])
            answer = answers[word](**data) if word in answers else None
            self._ray.answer(answer)
            self._last_turn = time.monotonic()  # the time of the answer is no silence of Ray's
            if word == "done":
                return

    def _stopped_long_ago(self) -> bool:
        """Tells whether the run was stopped, and Ray has had its time to end the workers."""
        if self._stopping is None and self._stopped():
            self._stopping = time.monotonic()
            return not self._begun  # no worker runs yet, and Ray would have to start first
        return self._stopping is not None and time.monotonic() - self._stopping > STOPPING

    def _measured(self, gpus: float, room: int, text: str) -> None:
        """Notes a pack's measured share of a GPU, and how many packs have room with it."""
        self._workers = dataclasses.replace(self._workers, gpus=gpus)
        self._ledger.measured(gpus, text)
        self._batches.resize(max(1, room))

    def _turn(self, room: int) -> dict[str, Any]:
        """Notes that Ray's loop turns while no worker has a message; gives the packs to end.

        `room` counts the packs that the nodes have room for by now.
        """
        self._begun = True
        waits = bool(room < 1 and self._out and not self._last_message)
        if waits and not self._waits:
            self._ledger.waits(self._workers.share)
        if self._waits and not waits:  # there is room again: from now on a worker has time to start
            self._last_progress = time.monotonic()
        self._waits = waits
        self._watch_packs(self._last_turn)
        return {
            "end": self._stopping is not None or (self._spent and not self._last_message),
            "kill": list(self._hanging),
            "leave": self._node_faults.left_out,
        }

    def _next(self) -> dict[str, Any]:
        """Gives the next pack, or None, and whether the run is over."""
        batches, ledger = self._batches, self._ledger
        done = self._stopping is not None or ledger.used_up() is not None
        pack = None if done else batches.take()
        if pack is not None:
            ledger.over.discard(pack.name)
            self._out[pack.name] = pack
            if pack.name not in self._cancelled:  # else there was no progress since then
                self._last_progress = time.monotonic()
            kept = ledger.state.kept.get(pack.name)
            kept_json = kept and dataclasses.asdict(kept)
            return {"pack": dataclasses.asdict(pack), "kept": kept_json, "over": False}
        return {"pack": None, "over": not self._out}  # a pack that is out may be lost, and retried

    def _started(
        self, pack: str, node: str, pid: int, gpus: Sequence[str] = (), node_id: str = ""
    ) -> dict[str, Any]:
        """Notes that a worker has started a pack; says whether the pack ends before it trains."""
        if self._spent:  # meanwhile: it may have waited long for a node
            self._forget(pack)
            return {"end": True}
        self._places[pack] = node_id or node
        self._node_names[node_id or node] = node
        self._last_message[pack] = self._last_progress = time.monotonic()
        self._unstarted = 0
        self._cancelled.clear()
        self._ledger.started(self._out[pack], node=node, gpus=gpus)
        return {"end": False}

    @property
    def _spent(self) -> bool:
        """Tells whether a budget is used up, and this session has trained something.

        A first pack always trains, for a worker's start may take longer than the budget.
        """
        return bool(self._ledger.reports) and self._ledger.used_up() is not None

    def _received(self, pack: str, message: Mapping[str, Any]) -> dict[str, Any]:
        """Journals a worker's message; says whether the pack ends, and which trials it drops."""
        self._hanging.pop(pack, None)
        self._last_message[pack] = self._last_progress = time.monotonic()
        running_pack, worker_message = self._out[pack], Message.from_json(message)
        self._node_faults.trained(self._places[pack])
        self._take_back(self._places[pack])
        drop = self._ledger.received(running_pack, worker_message)
        end = self._ledger.breaks_off(running_pack, worker_message)
        if end:
            self._ledger.interrupted(running_pack, BUDGET)
            self._forget(pack)
        return {"end": end, "drop": drop if running_pack.stopping == BETWEEN else {}}

    def _take_back(self, node: str) -> None:
        """Retries the packs that were given up on other nodes, for this one is sound."""
        for pack in [pack for pack, failed in self._given_up.items() if failed != node]:
            del self._given_up[pack]
            self._failed = 0
            self._batches.requeue(self._ledger.state.packs[pack])
            self._ledger.lost.pop(pack, None)

    def _over(self, pack: str) -> None:
        """Notes that a worker has sent all messages of a pack."""
        if pack in self._out:
            self._failed = 0
            self._node_faults.finished(self._places[pack])
            self._ledger.finished(self._out[pack])
            self._forget(pack)

    def _lost(self, pack: str, reason: str, how: str) -> None:
        """Retries, fails or gives up a pack whose worker is lost.

        `how` says why it is lost: the worker died, or left with its node, its surroundings failed,
        or the machine's memory ran out. A worker that was cancelled before it started is no loss.
        What fails on one node alone is retried, on others as soon as that node is left out.

        Raises:
            SweepError: too many workers in a row were lost.
        """
        lost_pack, started = self._out[pack], pack in self._last_message
        if how == "cancelled" and not started:
            self._forget(pack)
            self._cancelled.add(pack)
            self._batches.requeue(lost_pack)
            return
        if pack in self._hanging:
            timeout = duration_text(self._workers.timeout)
            reason, how = f"sent no message for {timeout}, pack.timeout", "died"
        sound_elsewhere = how == "failed" and started and self._fails_alone(pack, reason)
        if how == "failed" and started and not sound_elsewhere:
            self._given_up[pack] = self._places[pack]
        self._forget(pack)
        if how == "memory":
            self._ledger.failed(lost_pack, f"out of memory on the host: {reason}")
            return
        self._losses[pack] = self._losses.get(pack, 0) + 1
        allowed = self._workers.retries + (FAILURES if sound_elsewhere else 0)
        retry = (how in ("died", "left") or sound_elsewhere) and self._losses[pack] <= allowed
        self._ledger.interrupted(lost_pack, reason, lost=True, again=retry)
        if retry:
            self._batches.requeue(lost_pack)
        self._unstarted += not started and not self._last_message and how != "left"
        self._failed += how == "failed" and not sound_elsewhere
        if max(self._unstarted, self._failed) >= FAILURES:
            failure = "did not start" if self._unstarted >= FAILURES else "failed"
            place = self._workers.place
            raise SweepError(f"{FAILURES} workers in a row {failure} on {place}: {reason}")

    def _fails_alone(self, pack: str, reason: str) -> bool:
        """Notes that a pack's surroundings failed; tells whether they do on its node alone."""
        node, count = self._places[pack], len(self._node_faults.left_out)
        sound_elsewhere = self._node_faults.failed(node)
        if len(self._node_faults.left_out) > count:
            self._ledger.left_out(self._node_names[node], reason)
        return sound_elsewhere

    def _forget(self, pack: str) -> None:
        """Removes a pack that is over from everything that is watched."""
        self._out.pop(pack, None)
        self._last_message.pop(pack, None)
        self._places.pop(pack, None)
        self._hanging.pop(pack, None)

    def _allow_for_pauses(self) -> None:
        """Leaves time in which this process was busy or suspended out of all packs' silence."""
        now = time.monotonic()
        if (pause := now - self._last_look) > PAUSE:
            self._last_progress += pause
            self._last_message = {pack: at + pause for pack, at in self._last_message.items()}
            self._hanging = {pack: since + pause for pack, since in self._hanging.items()}
        self._last_look = now

    def _watch_ray(self) -> None:
        """Checks that Ray's process still asks questions.

        Raises:
            SweepError: it has not for too long.
        """
        silence = time.monotonic() - self._last_turn
        if silence > (SILENCE if self._begun else STARTING):
            raise SweepError(f"Ray on {self._workers.place} has not answered for {silence:.0f} s")

    def _watch_packs(self, now: float) -> None:
        """Notes packs that hang.

        Raises:
            SweepError: no worker starts, or a worker cannot be ended.
        """
        waiting = (self._out or self._cancelled) and not self._last_message
        waited = now - self._last_progress
        if self._waits and waited > self._workers.patience:
            raise NodesGone(
                f"no node of {self._workers.place} had room for a pack ({self._workers.share}) for "
                f"{waited:.0f} s"
            )
        if waiting and not self._waits and waited > STARTING:
            raise SweepError(f"no worker has started on {self._workers.place} for {waited:.0f} s")
        for pack, last_message in self._last_message.items():
            if now - last_message > self._workers.timeout:
                since = self._hanging.setdefault(pack, now)
                if now - since > SILENCE:
                    raise SweepError(f"{pack} hangs, and Ray cannot end its worker")
