"""The module trains what a run has left, writes its tables, and shows its front."""

from __future__ import annotations

import argparse
import dataclasses
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpc_router.run_names import CURVES, FRONT
from mpc_router.terminal.progress import shown
from sweeps.records import NodesGone, SweepError
from sweeps.terminal.signals import stop_code, tell

if TYPE_CHECKING:
    from analysis.runs.load import Run
    from mpc_router.prepare.inputs import Places
    from sweeps.driver.ray_start import RayStart
    from sweeps.driver.session import Outcome
    from sweeps.driver.share import Share
    from sweeps.journal.journal import Journal
    from sweeps.journal.state import State
    from sweeps.plan.plan import Planner
    from sweeps.plan.preparation import Ready
    from sweeps.study.study import Study
    from sweeps.terminal.display import Display


_FAILED, _SPENT = 4, 5
"""They are the exit codes of a run with FAILED trials, and of a run whose budget was spent."""


def check_gpus(args: argparse.Namespace, study: Study) -> None:
    """Refuses a study that this machine's GPUs cannot train, before anything is prepared.

    The GPUs of a cluster are checked later.
    """
    from sweeps.driver.share import check_without_gpus

    if args.address is None:
        pack_share(args, study)
    elif study.pack.gpus == 0:
        check_without_gpus(study, "pack.gpus is 0")


def end_orphans(display: Display) -> None:
    """Removes what killed runs have left on this machine, and says so."""
    from sweeps.raytune.folders import remove_orphans

    if (orphans := remove_orphans()).folders:
        display.say(str(orphans), style="yellow")


def pack_share(args: argparse.Namespace, study: Study) -> Share:
    """Gives the share of the workers' machine that a pack gets."""
    from sweeps.driver.share import share_of

    return share_of(study, args.address, args.wait_nodes, tell)


def prepared_on(share: Share, places: Places, display: Display) -> Places:
    """Gives the places with encoders trained on the cluster that packs will train on, if any."""
    if share.address is None:
        return places
    from sweeps.plan.cluster_errands import ClusterErrands

    runner = ClusterErrands(
        address=share.address,
        scaled=share.scaled,
        patience=share.patience,
        say=display.tell,
    )
    return dataclasses.replace(places, runner=runner)


def planner_of(study: Study, ready: Sequence[Ready], share: Share) -> Planner:
    """Makes the planner of a study whose sets are prepared."""
    from mpc_router.trainer import stack_key
    from sweeps.plan.plan import Planner
    from sweeps.plan.preparation import prints_of

    return Planner(study=study, prints=prints_of(ready), workers=share.workers, stack_key=stack_key)


def workers_of(study: Study, ready: Sequence[Ready], share: Share) -> int:
    """Gives how many packs to train at once: as many as have room, or fewer where that pays."""
    from sweeps.plan.workers import paying_workers, training_seconds

    if share.address is not None or share.gpus:
        return share.workers
    return paying_workers(share.workers, training_seconds(study, ready))


def run_sweep(
    args: argparse.Namespace,
    run: Path,
    journal: Journal,
    display: Display,
    planner: Planner,
    ready: Sequence[Ready],
    ray: RayStart,
) -> int:
    """Trains what is left, writes the tables, shows the front; gives the exit code.

    Trackers are told meanwhile, and of the tables and the report in the end.
    """
    from sweeps.driver import session
    from sweeps.driver.session_clock import SessionClock
    from sweeps.journal import tables
    from sweeps.tracking.process import tracking

    ray.workers = workers_of(planner.study, ready, ray.share)

    def train() -> Outcome:
        common = session.job(run, planner.study, ready, ray.share)
        refresh = tables.Refresh(journal)
        clock = SessionClock(args.session_end)
        return session.train(journal, display, planner, common, ray, refresh.maybe, clock)

    with tracking(args.track, run, display.say):
        return _run_sweep(args, run, journal, display, train)


def run_rest(
    args: argparse.Namespace,
    run: Path,
    journal: Journal,
    display: Display,
    study: Study | None,
    recorded: Mapping[str, Any] | None = None,
) -> int:
    """Writes tables and front of a run with nothing left to train; gives the exit code.

    Nothing is prepared for it, and no cluster is asked. Without a study the run is done, and
    `recorded` says what its tables, which are up to date, were made from.
    """
    from sweeps.driver import session
    from sweeps.tracking.process import tracking

    with tracking(args.track, run, display.say):
        return _run_sweep(
            args, run, journal, display, lambda: session.rest(journal, study), recorded
        )


def _run_sweep(
    args: argparse.Namespace,
    run: Path,
    journal: Journal,
    display: Display,
    train: Callable[[], Outcome],
    recorded: Mapping[str, Any] | None = None,
) -> int:
    """Trains what is left, writes the tables, shows the front; gives the exit code."""
    from sweeps.journal import tables
    from sweeps.provenance.facts import code_fingerprint
    from sweeps.terminal.outline import Outline

    display.study(Outline.of(journal.state.study))
    failure: SweepError | OSError | None = None
    outcome: Outcome | None = None
    try:
        outcome = train()
    except (SweepError, OSError) as error:
        failure = error
    try:
        with display, shown(display, "writing the tables"):
            if recorded is None:
                tables.write(run, journal.state, code=code_fingerprint())
            else:
                tables.write_facts(run, journal.state, recorded)
    except (SweepError, OSError) as error:  # the first failure is the one to report
        failure = failure or error
    if failure is not None or outcome is None:
        journal.check_place()  # the run's folder may have been removed
        kind = NodesGone if isinstance(failure, NodesGone) else SweepError
        raise kind(f"{failure}; what was done is safe, go on with {_again(run)}")
    if outcome.signal is not None and outcome.left:
        return _stopped(outcome, outcome.signal, run)
    _show(args, run, journal.state, display)
    spent = outcome.used_up is not None and not outcome.lost and outcome.left
    if spent:
        tell(_spent(outcome, run))
    elif outcome.unended or outcome.unasked:
        reasons = "; ".join(f"{pack}: {reason}" for pack, reason in outcome.lost.items())
        unasked = f", {outcome.unasked} points were not tried" if outcome.unasked else ""
        raise SweepError(
            f"{outcome.unended} trials have not ended{unasked} ({reasons}); go on with "
            f"{_again(run)}"
        )
    if outcome.failed:
        tell(f"{outcome.failed} trials FAILED; `reason` in trials.parquet says why")
    return _SPENT if spent else _FAILED if outcome.failed else 0


def _stopped(outcome: Outcome, number: signal.Signals, run: Path) -> int:
    """Says what a session that was stopped leaves undone; gives the exit code.

    Raises:
        SweepError: another session of the same time would gain as little, which is nothing.
    """
    if outcome.in_vain:
        raise SweepError(f"{outcome.no_gain}: {_again(run)}")
    if outcome.no_gain:
        tell(outcome.no_gain)
    by = f"stopped by {outcome.stopped}" if outcome.stopped == number.name else outcome.stopped
    tell(f"{by}: {outcome.unended} trials have not ended; go on with {_again(run)}")
    return stop_code(number, outcome.stopped)


def _spent(outcome: Outcome, run: Path) -> str:
    """Names what is left undone when a budget is used up."""
    open_ends = []
    if outcome.unended:
        open_ends.append(f"{outcome.unended} trials were interrupted")
    if outcome.unasked:
        open_ends.append(f"{outcome.unasked} points were not tried")
    if outcome.unfinished:
        open_ends.append("points of the front were not followed up")
    assert outcome.used_up is not None
    name = outcome.used_up.split()[0]
    return (
        f"{outcome.used_up} is used up: {' and '.join(open_ends)}; go on with more: "
        f"{_again(run)} {name}=..."
    )


def _again(run: Path) -> str:
    """Writes the command that goes on with a run."""
    return f"mpc-router-sweep --resume {run}"


def _write_curves(loaded: Run) -> None:
    """Writes the table of what routers reach under every bias, where a router has such a knob."""
    from analysis.choices.curves import curves_table
    from analysis.runs.load import RunError
    from mpc_router.messages import one_line
    from sweeps.journal import tables

    try:
        curves = curves_table(loaded)
    except RunError as error:
        tell(f"no curves: {one_line(str(error))}")
        return
    tables.write_further(loaded.path, CURVES, loaded.name, [] if curves is None else [curves])


def _keep_front(loaded: Run, state: State) -> None:
    """Removes the routers of a finished run that are on none of its fronts, if its study says so.

    While a trial has failed all stay, for the front may be another once it is trained again.

    Raises:
        OSError: the disk refuses.
    """
    from analysis.fronts.kept import kept_points
    from analysis.runs.load import RunError
    from sweeps.journal.kept_routers import remove_routers
    from sweeps.records import FAILED

    failed = any(ending.status == FAILED for ending in state.endings.values())
    if not state.done or failed or state.study.get("checkpoints") != FRONT:
        return
    try:
        names = kept_points(loaded)
    except RunError:  # the front is judged, but no cost vector of the run's own: all stay
        return
    keys = {key for name in names for key in state.replicates.get(name, ())}
    remove_routers(loaded.path, state, keep=keys)


def _show(args: argparse.Namespace, run: Path, state: State, display: Display) -> None:
    """Shows the front in the terminal, and writes curves and the report."""
    from analysis.front import print_front
    from analysis.report.page import write_report
    from analysis.runs.load import RunError, load_run
    from analysis.runs.untrusted import guarded
    from mpc_router.messages import one_line
    from mpc_router.terminal.console import LastingConsole

    try:
        with guarded(run):
            loaded = load_run(run)
            print_front(loaded, LastingConsole())
            tell(f"run: {run}", sys.stdout)
            _keep_front(loaded, state)
            _write_curves(loaded)
            if not args.no_report:
                with display, shown(display, "writing the report"):
                    report = write_report(loaded)
                tell(f"report: {report}", sys.stdout)
    except RunError as error:
        tell(f"no front: {one_line(str(error))}")
