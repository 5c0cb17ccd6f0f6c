"""Trains what a new or resumed run has left to train: by Ray or, for tests, in this process."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mpc_router import plugins
from mpc_router.threads import cores
from sweeps.driver._gain import Standing, no_gain
from sweeps.driver._ledger import Ledger
from sweeps.driver.queue import Batches
from sweeps.driver.session_clock import SessionClock
from sweeps.journal.journal import Journal
from sweeps.journal.repair import clear
from sweeps.plan.plan import Planner
from sweeps.plan.preparation import Ready
from sweeps.records import (
    BUDGET,
    CHECKPOINTS_FOLDER,
    FAILED,
    PARTS_FOLDER,
    STATES_FOLDER,
    InputError,
    Kept,
    Message,
    Pack,
)
from sweeps.run_folder import STOP_FILE
from sweeps.study.pack_share import PackSettings, packs_a_gpu
from sweeps.study.study import Study
from sweeps.terminal.display import Display
from sweeps.terminal.signals import ASKED, TIME, CleanStop
from sweeps.worker.gpus import count_gpus
from sweeps.worker.job import Job, forget


@dataclass(frozen=True, kw_only=True)
class Share:
    """Holds the share of a machine, or of a cluster, that a pack gets."""

    pack: PackSettings
    address: str | None
    gpus: float
    """Gives a pack's share of a GPU: `pack.gpus`, where `auto` is decided."""

    workers: int
    """Counts the packs at once, on this machine or on the cluster that is joined."""


def share_of(study: Study, address: str | None) -> Share:
    """Gives the share of this machine, or of a cluster, that packs of the study get.

    Raises:
        InputError: the packs would wait for a GPU for ever, settings ask for a GPU and for none,
            there is no such cluster, or none of its nodes has room for a pack.
    """
    nodes: Sequence[Mapping[str, float]] = [{"CPU": cores(), "GPU": count_gpus()}]
    if address is not None:
        from sweeps.driver._supervisor import nodes_of

        nodes = nodes_of(address)
    place = "this machine" if address is None else f"the cluster at {address}"
    available = max((node.get("GPU", 0.0) for node in nodes), default=0.0)
    gpus = study.pack.gpus_of(available, study.base.training.device)
    if gpus and available < 1:
        raise InputError(
            f"pack.gpus is {gpus:g}, but there is no GPU on {place}; set pack.gpus=auto or "
            "pack.gpus=0"
        )
    if not gpus:
        check_without_gpus(
            study, "pack.gpus is 0" if study.pack.gpus == 0 else _why_none(study, place)
        )
    room = sum(_room(node, study.pack.cpus, gpus) for node in nodes)
    if room < 1 and address is not None:
        sizes = {f"{node.get('CPU', 0):g} CPU and {node.get('GPU', 0):g} GPU" for node in nodes}
        raise InputError(
            f"a pack takes {study.pack.cpus:g} CPU and {gpus:g} GPU, but no node of {place} has "
            f"as many: they have {', '.join(sorted(sizes)[:5]) or 'nothing'}; set pack.cpus and "
            "pack.gpus to what one node has"
        )
    return Share(pack=study.pack, address=address, gpus=gpus, workers=max(1, room))


def _room(node: Mapping[str, float], cpus: float, gpus: float) -> int:
    """Counts the packs of such a share that a node runs at once."""
    room = int(node.get("CPU", 0.0) / cpus)
    return min(room, int(node.get("GPU", 0.0)) * packs_a_gpu(gpus)) if gpus else room


def _why_none(study: Study, place: str) -> str:
    """Says why `auto` gives packs no GPU at a place."""
    if study.base.training.device == "cpu":
        return "device is 'cpu'"
    return f"there is no GPU on {place}"


def check_without_gpus(study: Study, why: str) -> None:
    """Checks that packs can do without GPUs.

    Raises:
        InputError: the study is to use GPUs, or limits their hours.
    """
    if study.base.training.device == "cuda":
        raise InputError(
            f"device is 'cuda', but packs get no GPU, because {why}; set device=cpu or "
            "device=auto, or pack.gpus=auto where there is a GPU"
        )
    if study.budget.gpu_hours is not None:
        raise InputError(
            f"budget.gpu_hours is {study.budget.gpu_hours:g}, but {why}, so no GPU hours are ever "
            "spent; limit budget.time or budget.epochs"
        )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Says how a session of a run has ended."""

    failed: int
    unended: int
    unasked: int
    """Counts the points of a search that were never asked."""

    unfinished: bool
    """Tells whether points of the front are still to be followed up."""

    signal: signal.Signals | None
    """Gives the number of the signal that has stopped the run, or that a wish to stop counts as."""

    stopped: str
    """Names that signal, or says that the run was asked to stop; empty if it was not stopped."""

    lost: dict[str, str]
    """Gives the reason by pack that was given up because its worker was lost."""

    used_up: str | None
    """Names the budget that is used up."""

    no_gain: str
    """Says why a resume begins where this session began; empty where it gains something."""

    in_vain: bool
    """Tells whether packs were trained for nothing, because the session's time is too short."""

    @property
    def left(self) -> bool:
        """Tells whether the run has trials left to train."""
        return bool(self.unended or self.unasked or self.unfinished)


def job(run: Path, study: Study, ready: Sequence[Ready], share: Share) -> Job:
    """Gives the job that all packs of a run share."""
    return Job(
        prepared={item.prepared_set.name: item.inputs.folder.resolve() for item in ready},
        parts=(run / PARTS_FOLDER).resolve(),
        checkpoints=(run / CHECKPOINTS_FOLDER).resolve(),
        states=(run / STATES_FOLDER).resolve(),
        measured={item.prepared_set.name: item.measured for item in ready},
        threads=share.pack.threads,
        gpus=share.gpus,
        ranking=study.ranking,
        trusted=plugins.trusted(),
    )


def train(
    journal: Journal,
    display: Display,
    planner: Planner,
    common: Job,
    share: Share,
    refresh: Callable[[], None],
    clock: SessionClock,
) -> Outcome:
    """Trains the unended trials of a run by Ray, and journals that the session is closed.

    `refresh` is called whenever a pack is over, to keep the run's tables up to date. `clock` tells
    when the session closes.
    """
    from sweeps.driver._supervisor import Workers, drive

    def by_ray(batches: Batches, ledger: Ledger, stopped: Callable[[], bool]) -> None:
        workers = Workers(
            count=planner.workers,
            cpus=share.pack.cpus,
            gpus=share.gpus,
            retries=share.pack.retries,
            timeout=share.pack.timeout,
            address=share.address,
        )
        drive(batches, common, ledger, workers=workers, stopped=stopped)

    return _train(journal, display, planner, by_ray, common, refresh, clock)


def _run_pack(
    pack: Pack, job: Job, *, kept: Kept | None = None
) -> Generator[Message, Mapping[str, str] | None, None]:
    """Trains a pack in this process, as `sweeps.worker.pack` does."""
    from sweeps.worker import pack as worker  # with torch, which a run with Ray does without

    return worker.run_pack(pack, job, kept=kept)


def train_in_process(
    journal: Journal,
    display: Display,
    planner: Planner,
    common: Job,
    refresh: Callable[[], None] = lambda: None,
    clock: SessionClock | None = None,
) -> Outcome:
    """Trains the unended trials of a run in this process, a pack after the other, without Ray."""

    def in_process(batches: Batches, ledger: Ledger, stopped: Callable[[], bool]) -> None:
        while not (stopped() or ledger.used_up()) and (pack := batches.take()) is not None:
            ledger.started(pack)
            messages = _run_pack(pack, common, kept=journal.state.kept.get(pack.name))
            drop: Mapping[str, str] = {}
            while (message := _next(messages, drop)) is not None:
                drop = ledger.received(pack, message)
                if stopped():
                    return
                if ledger.breaks_off(pack, message):
                    ledger.interrupted(pack, BUDGET)
                    break
            else:
                ledger.finished(pack)

    return _train(journal, display, planner, in_process, common, refresh, clock or SessionClock())


def _next(
    messages: Generator[Message, Mapping[str, str] | None, None], drop: Mapping[str, str]
) -> Message | None:
    """Gives the worker's next message after this answer; None after the last."""
    try:
        return messages.send(drop or None)
    except StopIteration:
        return None


def _ask(stop: CleanStop, stop_file: Path, clock: SessionClock) -> None:
    """Asks for a clean stop where the stop file is there or the session's time is over.

    A file that comes after the session was stopped stays, because a batch script looks for it.
    """
    if stop_file.exists() and not stop.asked():
        with contextlib.suppress(OSError):  # a folder of that name stops the run too
            stop_file.unlink(missing_ok=True)  # it is not to stop the resumed run as well
        stop.ask(ASKED)
    if clock.closes:
        stop.ask(TIME)


def _train(
    journal: Journal,
    display: Display,
    planner: Planner,
    drive: Callable[[Batches, Ledger, Callable[[], bool]], None],
    common: Job,
    refresh: Callable[[], None],
    clock: SessionClock,
) -> Outcome:
    """Trains the unended trials of a run by `drive`, and journals how that has ended."""
    study = planner.study
    batches = Batches(journal, planner, clock.lets_start)
    ledger = Ledger(
        journal,
        display,
        ranking=study.ranking,
        budget=study.budget,
        gpus=common.gpus,
        refresh=refresh,
        clock=clock,
    )
    joint_sets = {item.name for item in study.sets if item.joint}
    before = Standing.of(journal.state, joint_sets)
    reason = "the run broke off"
    with CleanStop(display.abandon) as stop:
        stop_file = journal.path.with_name(STOP_FILE)

        def stopped() -> bool:
            _ask(stop, stop_file, clock)
            if stop.asked():
                display.stopping()
            display.turn(journal.state)
            return stop.asked()

        try:
            if not batches.complete and not ledger.used_up():
                with display:
                    display.training(journal.state)
                    drive(batches, ledger, stopped)
                if clock.held_back and not (batches.complete or ledger.used_up()):
                    stop.ask(TIME)  # what ran is over, and there was no time for more
            if ledger.used_up():
                reason = BUDGET
        finally:
            if stop.number:
                reason = stop.reason
            ledger.interrupt_all(reason)
            clear(journal.path.parent, journal.state)  # of workers that were ended while they wrote
            batches.tell()
            batches.conclude()
            batches.show(running=False)
            unended = len(journal.state.unended())
            done = not unended and batches.complete
            journal.append("closed", outcome="done" if done else reason)
            if done:
                forget(journal.state.trials, common)  # of those that waited at a rung
    now = Standing.of(journal.state, joint_sets)
    why = no_gain(before, now, reports=ledger.reports)
    return Outcome(
        failed=sum(ending.status == FAILED for ending in journal.state.endings.values()),
        unended=unended,
        unasked=batches.unasked,
        unfinished=not batches.complete and not batches.unasked and not unended,
        signal=stop.number,
        stopped=stop.reason,
        lost=ledger.lost,
        used_up=ledger.used_up(),
        no_gain=why,
        in_vain=bool(why) and now.starts > before.starts and stop.reason == TIME,
    )
