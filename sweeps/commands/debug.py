"""The module trains one trial in this process, without Ray, so that breakpoints work."""

from __future__ import annotations

import argparse
import contextlib
import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from mpc_router import plugins
from mpc_router.commands.places import places_of
from mpc_router.messages import decimal, quoted
from mpc_router.run_names import whole_key
from mpc_router.tasks import merit
from sweeps.journal import bulk_files
from sweeps.journal.state import State
from sweeps.plan.preparation import Ready
from sweeps.provenance.places import restore_places
from sweeps.records import (
    CHECKPOINTS_FOLDER,
    FAILED,
    INTERRUPTED,
    JOURNAL_FILE,
    LOSS_TOLERANCE,
    PARTS_FOLDER,
    SELECTION,
    STATES_FOLDER,
    STOPPED,
    Ending,
    InputError,
    Message,
    Pack,
    Report,
    Trial,
)
from sweeps.terminal.display import Display
from sweeps.worker.job import Job
from sweeps.worker.pack import run_pack

if TYPE_CHECKING:
    from sweeps.study.study import Study


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Holds what a run has recorded of a trial, which a replay must equal."""

    reports: Mapping[tuple[str, int, str], Report]
    """They are the trial's reports by (key, epoch, split)."""

    routes: pa.Table | None
    """They are the trial's rows of the routing table; None where it left none."""

    ended: bool
    """It is true where the trial ended, and was not interrupted."""

    stopped_after: int = 0
    """It is the epoch after which the trial was stopped; 0 if it was not."""

    @staticmethod
    def read(state: State, key: str, run: Path) -> Recorded:
        """Reads the trial from the run's journal and bulk files."""
        ending = state.endings.get(key)
        part = ending.part if ending else None
        return Recorded(
            reports={
                place: report
                for place, report in state.reports.items()
                if place[0] == key and _is_final(report, ending)
            },
            routes=bulk_files.routes_of(run / PARTS_FOLDER / part, key) if part else None,
            ended=ending is not None and ending.status != INTERRUPTED,
            stopped_after=ending.epochs if ending and ending.status == STOPPED else 0,
        )


def _is_final(report: Report, ending: Ending | None) -> bool:
    """Tells whether a report still counts: not where a stopped trial was finished later."""
    return report.split == SELECTION or ending is None or report.epoch == ending.epoch


def debug(
    trial: Trial,
    ready: Ready,
    display: Display,
    *,
    threads: int,
    gpus: float = 0.0,
    recorded: Recorded | None = None,
) -> bool:
    """Trains the trial alone and prints its reports; False if it failed or differs.

    It leaves nothing on disk.
    """
    print(f"trial {trial.key}: point {trial.point}, seed {trial.seed}")
    succeeded = True
    reports: list[Report] = []
    with tempfile.TemporaryDirectory(prefix="mpc-debug-") as folder:
        job = Job(
            prepared={trial.prepared: ready.inputs.folder},
            parts=Path(folder) / PARTS_FOLDER,
            checkpoints=Path(folder) / CHECKPOINTS_FOLDER,
            states=Path(folder) / STATES_FOLDER,
            measured={trial.prepared: ready.measured},
            threads=threads,
            gpus=gpus,
            trusted=plugins.trusted(),
        )
        pack = Pack(name="debug", trials=(trial,))
        stopped_after = recorded.stopped_after if recorded else 0
        for message in _messages(pack, job, display, stopped_after):
            reports += message.reports
            for ending in message.endings:
                if ending.status == FAILED:
                    succeeded = False
                    print(f"FAILED: {ending.reason}")
        path = job.parts / pack.file()
        routes = bulk_files.routes_of(path, trial.key) if path.exists() else None
    for report in reports:
        print(_line(report))
    if recorded is None or not succeeded:
        return succeeded
    return _compare(reports, routes, recorded)


def _messages(pack: Pack, job: Job, display: Display, stopped_after: int) -> Iterator[Message]:
    """Gives all messages of the pack, whose trial is stopped as it was in its run."""
    messages = run_pack(pack, job, progress=display)
    drop: dict[str, str] | None = None
    with contextlib.suppress(StopIteration):
        while True:
            message = messages.send(drop)
            reached = max((report.epoch for report in message.reports), default=0)
            stops = bool(stopped_after) and reached == stopped_after
            drop = {trial.key: "as in its run" for trial in pack.trials} if stops else None
            yield message


def _compare(reports: Sequence[Report], routes: pa.Table | None, recorded: Recorded) -> bool:
    """Prints how far the replay is from the run; gives whether they are equal."""
    now = {report.place: report for report in reports}
    then = recorded.reports
    places = then.keys() | (now.keys() if recorded.ended else set())
    differing = sorted(place for place in places if not _equal(now.get(place), then.get(place)))
    if differing:
        print(f"differs from the run: {differing}")
        return False
    losses = max((_distance(now[place], then[place]) for place in places), default=0.0)
    verdict = f"equal to the run's numbers: {len(places)} reports, losses within {losses:.1e}"
    if recorded.routes is not None and routes is not None:
        if not routes.drop(["logits"]).equals(recorded.routes.drop(["logits"])):
            print("differs from the run: the routes")
            return False
        distance = np.abs(_logits(routes) - _logits(recorded.routes)).max(initial=0.0)
        verdict += f"; {len(routes)} routes, the router's logits within {distance:.1e}"
    print(verdict)
    return True


def _distance(report: Report, recorded: Report) -> float:
    """Gives the largest difference of two reports' losses."""
    return max(abs(value - recorded.losses[name]) for name, value in report.losses.items())


def _logits(routes: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Gives the logits of all rows of a routing table, one after the other."""
    return np.asarray(routes["logits"].combine_chunks().flatten().to_numpy(), np.float64)


def _line(report: Report) -> str:
    """Writes a report as a line."""
    metrics = ", ".join(f"{name} {decimal(value, 4)}" for name, value in report.metrics.items())
    costs = ", ".join(f"{name} {decimal(value, 4)}" for name, value in report.cost.items())
    losses = ", ".join(f"{name} {value:.5f}" for name, value in report.losses.items())
    share = " ".join(f"{value:.3f}" for value in report.share)
    return (
        f"epoch {report.epoch} {report.split}: {metrics}; cost: {costs}; {losses}; shares {share}"
    )


def _equal(report: Report | None, recorded: Report | None) -> bool:
    """Tells whether scores, costs and shares are equal, and losses within `LOSS_TOLERANCE`."""
    return (
        report is not None
        and recorded is not None
        and dict(report.metrics) == dict(recorded.metrics)
        and dict(report.cost) == dict(recorded.cost)
        and report.share == recorded.share
        and _distance(report, recorded) <= LOSS_TOLERANCE
    )


def _calm_display(args: argparse.Namespace) -> Display:
    """Makes a display that prints only when a step begins or ends.

    A bar that moves, or a line every minute, would be drawn over the prompt of a debugger.
    """
    return Display(quiet=args.quiet, every_minute=False)


def first_trial(args: argparse.Namespace, study: Study) -> int:
    """Runs `--debug`: trains the study's first point with its first seed.

    Gives 0, or 4 where the trial failed.
    """
    from sweeps.driver.share import share_of
    from sweeps.plan.plan import trials_of
    from sweeps.plan.preparation import prepare_sets

    display = _calm_display(args)
    point, config = study.first
    (ready,) = prepare_sets(study, places_of(args), display, only=study.set_of(config).name)
    (trial,) = trials_of(
        config, point, study.seeds[:1], prepared_set=ready.prepared_set, prints=ready.prints
    )
    share = share_of(study, None)
    succeeded = debug(trial, ready, display, threads=share.pack.threads, gpus=share.gpus)
    return 0 if succeeded else 4


def _key(args: argparse.Namespace, state: State, study: Study) -> str:
    """Gives the key of the trial that the flags name.

    Of a point it is the seed with the best score on selection so far, of equals the first.

    Raises:
        InputError: the run has no such trial, or several.
    """
    if args.key is not None:
        try:
            return whole_key(args.key, state.trials, args.run)
        except ValueError as error:
            raise InputError(str(error)) from error
    keys = state.replicates.get(args.point, [])
    if not keys:
        raise InputError(
            f"{args.run} has no point {quoted(args.point)}; its trials.parquet names them"
        )
    if args.seed is not None:
        of_seed = {state.trials[key].seed: key for key in keys}
        if args.seed not in of_seed:
            raise InputError(
                f"point {args.point} of {args.run} has no seed {args.seed}; it has "
                f"{', '.join(map(str, of_seed))}"
            )
        return of_seed[args.seed]

    def so_far(key: str) -> float:
        report = state.latest.get((key, SELECTION))
        return -math.inf if report is None else merit(study.task, report.metrics["score"])

    return max(keys, key=so_far)


def replay_trial(args: argparse.Namespace) -> int:
    """Runs `--debug --run RUN` with `--key` or `--point`: trains a trial of a run again.

    Gives 0, or 4 where the trial failed or differs from the run.

    Raises:
        InputError: the flags do not go together, or the run has no such trial.
    """
    from sweeps.driver.share import share_of
    from sweeps.journal.journal import check_opened, state_of
    from sweeps.plan.preparation import prepare_sets
    from sweeps.provenance.changes import refuse_other_data
    from sweeps.study.parts import trust_run
    from sweeps.study.read import from_tree

    if not (args.debug and args.run) or (args.key is None) == (args.point is None):
        raise InputError(
            "--debug, --run RUN, and --key KEY or --point POINT go together for a replay; give all "
            "three"
        )
    if args.seed is not None and args.point is None:
        raise InputError("--seed belongs to --point; give both, or leave it out")
    if args.words:
        raise InputError(f"a replay takes the run's own study; leave out {' '.join(args.words)}")
    if not (args.run / JOURNAL_FILE).is_file():
        raise InputError(f"{args.run} holds no {JOURNAL_FILE}; name a run's folder")
    state = state_of(args.run / JOURNAL_FILE)
    if state.opened is None:
        raise InputError(f"{args.run} was not begun; its journal names no study")
    check_opened(args.run / JOURNAL_FILE, state)
    trust_run(args.run, state.opened["study"], args.trust)
    study = from_tree(state.opened["study"])
    key = _key(args, state, study)
    display = _calm_display(args)
    if note := restore_places(args, state):
        display.say(note)
    trial, recorded = state.trials[key], Recorded.read(state, key, args.run)
    (ready,) = prepare_sets(study, places_of(args), display, only=trial.prepared)
    refuse_other_data(state, (ready,))
    share = share_of(study, None)
    threads, gpus = share.pack.threads, share.gpus
    succeeded = debug(trial, ready, display, threads=threads, gpus=gpus, recorded=recorded)
    return 0 if succeeded else 4
