"""Trains what a new or resumed run has left to train: by Ray or, for tests, in this process."""

from __future__ import annotations

import contextlib
import math
import signal
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mpc_router import plugins
from mpc_router.run_names import NONE
from sweeps.driver._gain import Standing, no_gain
from sweeps.driver._ledger import Ledger
from sweeps.driver._proposals import check_space
from sweeps.driver._view import show
from sweeps.driver.queue import Batches, unasked_points
from sweeps.driver.ray_start import RayStart
from sweeps.driver.session_clock import SessionClock
from sweeps.driver.share import Share
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
    Kept,
    Message,
    Pack,
)
from sweeps.run_folder import STOP_FILE, VIEW_FILE
from sweeps.study.pack_share import MEASURED
from sweeps.study.study import Study
from sweeps.terminal.display import Display
from sweeps.terminal.signals import ASKED, TIME, CleanStop
from sweeps.worker.job import Job, forget


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
        keeps_routers=study.checkpoints != NONE,
        trusted=plugins.trusted(),
    )


def train(
    journal: Journal,
    display: Display,
    planner: Planner,
    common: Job,
    ray: RayStart,
    refresh: Callable[[], None],
    clock: SessionClock,
) -> Outcome:
    """Trains the unended trials of a run by Ray, and journals that the session is closed.

    Ray is ended as soon as nothing is left to train.
    `refresh` is called whenever a pack is over and work is left, to keep the run's tables up to
    date. `clock` tells when the session closes.
    """
    from sweeps.driver._supervisor import drive
    from sweeps.driver._workers import Workers

    share = ray.share

    def by_ray(batches: Batches, ledger: Ledger, stopped: Callable[[], bool]) -> None:
        workers = Workers(
            count=ray.workers,
            cpus=share.pack.cpus,
            gpus=share.gpus,
            retries=share.pack.retries,
            timeout=share.pack.timeout,
            address=share.address,
            scaled=share.scaled,
            patience=share.patience,
            samples=planner.sample_packs() if share.measures else (),
            may_do_without=_may_do_without(planner.study),
        )
        with ray as process:
            drive(batches, common, ledger, ray=process, workers=workers, stopped=stopped)

    return _train(journal, display, planner, by_ray, common, refresh, clock)


def rest(journal: Journal, study: Study | None) -> Outcome:
    """Closes a session of a run with nothing left to train: it is done, or its budget is used up.

    It says what the last session that trained said, and asks neither planner nor search for more.
    The view for Optuna's tools is written anew. Without a study the run is done and all that was
    written of it is up to date.

    Raises:
        InputError: the journal's points lie outside of the study's space.
    """
    state, used_up = journal.state, None
    unended, unasked = len(state.unended()), 0
    if study is not None:
        budget, unasked = study.budget, unasked_points(study, state)
        check_space(study, state)
        show(journal.path.with_name(VIEW_FILE), state, study, running=False)
        if not state.done:  # its clock and its GPUs are those of the session that trained
            used_up = budget.used_up(time=state.seconds, epochs=state.epochs, gpu_hours=0.0)
            used_up = used_up or budget.used_up(time=math.inf, epochs=0, gpu_hours=math.inf)
    journal.append("closed", outcome="done" if state.done else BUDGET)
    return Outcome(
        failed=sum(ending.status == FAILED for ending in state.endings.values()),
        unended=unended,
        unasked=unasked,
        unfinished=not (state.done or unasked or unended),
        signal=None,
        stopped="",
        lost={},
        used_up=used_up,
        no_gain="",
        in_vain=False,
    )


def _may_do_without(study: Study) -> bool:
    """Tells whether packs of a study may train without the GPUs that there are."""
    return study.base.training.device == "auto" and study.budget.gpu_hours is None


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
        gpus=0.0 if study.pack.gpus == MEASURED else common.gpus,  # until `drive` knows it
        refresh=lambda: None if batches.over else refresh(),  # then they are written anyway
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
            done = batches.over
            journal.append("closed", outcome="done" if done else reason)
            if done:
                forget(journal.state.trials, common)  # of those that waited at a rung
    now = Standing.of(journal.state, joint_sets)
    why = no_gain(before, now, reports=ledger.reports)
    unended = len(journal.state.unended())
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
