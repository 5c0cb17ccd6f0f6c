"""One trial in this process, without Ray: breakpoints work, every epoch is printed."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from mpc_router.commands.places import places_of
from mpc_router.messages import quoted
from sweeps.journal import bulk_files
from sweeps.journal.state import State
from sweeps.plan.preparation import Ready
from sweeps.provenance import places
from sweeps.records import (
    CHECKPOINTS_FOLDER,
    FAILED,
    INTERRUPTED,
    JOURNAL_FILE,
    LOSS_TOLERANCE,
    PARTS_FOLDER,
    SELECTION,
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
class Before:
    """Holds a trial as its run has it, which a replay must equal."""

    reports: Mapping[tuple[str, int, str], Report]
    """By (key, epoch, split)."""

    routes: pa.Table | None
    """Its rows of the routing table; None where it left none."""

    whole: bool
    """Whether it ended, and was not interrupted."""

    stopped_after: int = 0
    """The epoch after which it was stopped; 0 if it was not."""

    @staticmethod
    def of(state: State, key: str, run: Path) -> Before:
        """Reads the trial from the run's journal and bulk files."""
        ending = state.endings.get(key)
        part = ending.part if ending else None
        return Before(
            reports={
                place: each
                for place, each in state.reports.items()
                if place[0] == key and _lasts(each, ending)
            },
            routes=bulk_files.routes_of(run / PARTS_FOLDER / part, key) if part else None,
            whole=ending is not None and ending.status != INTERRUPTED,
            stopped_after=ending.epochs if ending and ending.status == STOPPED else 0,
        )


def _lasts(report: Report, ending: Ending | None) -> bool:
    """Not so what a trial quoted where it was stopped, if it was finished later."""
    return report.split == SELECTION or ending is None or report.epoch == ending.epoch


def debug(
    trial: Trial,
    ready: Ready,
    display: Display,
    *,
    threads: int,
    gpus: float = 0.0,
    before: Before | None = None,
) -> bool:
    """Trains the trial alone and prints its reports; False if it failed, or differs from `before`.

    Nothing is left on disk.
    """
    print(f"trial {trial.key}: point {trial.point}, seed {trial.seed}")
    sound = True
    seen: list[Report] = []
    with tempfile.TemporaryDirectory(prefix="mpc-debug-") as folder:
        job = Job(
            prepared={trial.prepared: ready.inputs.folder},
            parts=Path(folder) / PARTS_FOLDER,
            checkpoints=Path(folder) / CHECKPOINTS_FOLDER,
            measured={trial.prepared: ready.measured},
            threads=threads,
            gpus=gpus,
        )
        pack = Pack(name="debug", trials=(trial,))
        with display:
            for message in _said(pack, job, display, before.stopped_after if before else 0):
                seen += message.reports
                for ending in message.endings:
                    if ending.status == FAILED:
                        sound = False
                        print(f"FAILED: {ending.reason}")
        path = job.parts / pack.file()
        routes = bulk_files.routes_of(path, trial.key) if path.exists() else None
    for report in seen:
        print(_line(report))
    if before is None or not sound:
        return sound
    return _compare(seen, routes, before)


def _said(pack: Pack, job: Job, display: Display, stopped_after: int) -> Iterator[Message]:
    """Gives all messages of the pack, whose trial is stopped as it was in its run."""
    messages = run_pack(pack, job, progress=display)
    drop: dict[str, str] | None = None
    with contextlib.suppress(StopIteration):
        while True:
            message = messages.send(drop)
            reached = max((report.epoch for report in message.reports), default=0)
            here = bool(stopped_after) and reached == stopped_after
            drop = {trial.key: "as in its run" for trial in pack.trials} if here else None
            yield message


def _compare(seen: Sequence[Report], routes: pa.Table | None, before: Before) -> bool:
    """Prints how far the replay is from the run; gives whether they are equal."""
    now = {report.place: report for report in seen}
    places = before.reports.keys() | (now.keys() if before.whole else set())
    differing = sorted(
        place for place in places if not _equal(now.get(place), before.reports.get(place))
    )
    if differing:
        print(f"differs from the run: {differing}")
        return False
    losses = max((_distance(now[place], before.reports[place]) for place in places), default=0.0)
    said = f"equal to the run's numbers: {len(places)} reports, losses within {losses:.1e}"
    if before.routes is not None and routes is not None:
        if not routes.drop(["logits"]).equals(before.routes.drop(["logits"])):
            print("differs from the run: the routes")
            return False
        far = np.abs(_logits(routes) - _logits(before.routes)).max(initial=0.0)
        said += f"; {len(routes)} routes, the router's logits within {far:.1e}"
    print(said)
    return True


def _distance(report: Report, other: Report) -> float:
    return max(abs(value - other.losses[name]) for name, value in report.losses.items())


def _logits(routes: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.asarray(routes["logits"].combine_chunks().flatten().to_numpy(), np.float64)


def _line(report: Report) -> str:
    """Writes a report as a line."""
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in report.metrics.items())
    costs = ", ".join(f"{name} {value:.4f}" for name, value in report.cost.items())
    losses = ", ".join(f"{name} {value:.5f}" for name, value in report.losses.items())
    share = " ".join(f"{value:.3f}" for value in report.share)
    return (
        f"epoch {report.epoch} {report.split}: {metrics}; cost: {costs}; {losses}; shares {share}"
    )


def _equal(report: Report | None, other: Report | None) -> bool:
    """Tells whether scores, costs and shares equal, and losses within `LOSS_TOLERANCE`."""
    return (
        report is not None
        and other is not None
        and dict(report.metrics) == dict(other.metrics)
        and dict(report.cost) == dict(other.cost)
        and report.share == other.share
        and _distance(report, other) <= LOSS_TOLERANCE
    )


def first_trial(args: argparse.Namespace, study: Study) -> int:
    """`--debug`: the study's first point with its first seed; 0, or 4 where it failed."""
    from sweeps.driver.session import share_of
    from sweeps.plan.plan import trial_of
    from sweeps.plan.preparation import prepare_sets
    from sweeps.terminal.live import make_display

    display = make_display(quiet=args.quiet)
    point, config = study.first
    (ready,) = prepare_sets(study, places_of(args), display, only=study.set_of(config).name)
    trial = trial_of(
        config, point, study.seeds[0], prepared_set=ready.prepared_set, prints=ready.prints
    )
    share = share_of(study, None)
    sound = debug(trial, ready, display, threads=share.pack.threads, gpus=share.gpus)
    return 0 if sound else 4


def replay_trial(args: argparse.Namespace) -> int:
    """`--debug --key KEY --run RUN`: 0, or 4 where it failed or differs from the run.

    Raises:
        InputError: flags that do not go together, or no such trial.
    """
    from sweeps.driver.session import share_of
    from sweeps.journal.journal import check_opened, state_of
    from sweeps.plan.preparation import prepare_sets
    from sweeps.provenance.changes import refuse_other_data
    from sweeps.study.read import from_tree
    from sweeps.terminal.live import make_display

    if not (args.debug and args.key and args.run):
        raise InputError("--key and --run go together, and with --debug")
    if args.words:
        raise InputError(f"a replay takes the run's own study; leave out {' '.join(args.words)}")
    if not (args.run / JOURNAL_FILE).is_file():
        raise InputError(f"{args.run} holds no {JOURNAL_FILE}; name a run's folder")
    state = state_of(args.run / JOURNAL_FILE)
    if state.opened is None or args.key not in state.trials:
        raise InputError(
            f"{args.run} has no trial {quoted(args.key)}; its trials.parquet names them"
        )
    check_opened(args.run / JOURNAL_FILE, state)
    study = from_tree(state.opened["study"])
    display = make_display(quiet=args.quiet)
    if taken := places.restore(args, state):
        display.say(taken)
    trial, before = state.trials[args.key], Before.of(state, args.key, args.run)
    (ready,) = prepare_sets(study, places_of(args), display, only=trial.prepared)
    refuse_other_data(state, (ready,))
    share = share_of(study, None)
    sound = debug(trial, ready, display, threads=share.pack.threads, gpus=share.gpus, before=before)
    return 0 if sound else 4
