"""One trial in this process, without Ray: breakpoints work, every epoch is printed."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from sweeps import parts
from sweeps.display import Display
from sweeps.job import Job
from sweeps.preparation import Ready
from sweeps.records import (
    CHECKPOINTS_FOLDER,
    FAILED,
    INTERRUPTED,
    PARTS_FOLDER,
    SELECTION,
    STOPPED,
    Ending,
    Message,
    Pack,
    Report,
    Trial,
)
from sweeps.state import LOSS_TOLERANCE, State
from sweeps.worker import run_pack


@dataclass(frozen=True, kw_only=True)
class Before:
    """The same trial in a run: what a replay of it must equal."""

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
        """The trial in the run's journal and bulk files."""
        ending = state.endings.get(key)
        part = ending.part if ending else None
        return Before(
            reports={
                place: each
                for place, each in state.reports.items()
                if place[0] == key and _lasts(each, ending)
            },
            routes=parts.routes_of(run / PARTS_FOLDER / part, key) if part else None,
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
        routes = parts.routes_of(path, trial.key) if path.exists() else None
    for report in seen:
        print(line(report))
    if before is None or not sound:
        return sound
    return _compare(seen, routes, before)


def _said(pack: Pack, job: Job, display: Display, stopped_after: int) -> Iterator[Message]:
    """All messages of the pack, whose trial is stopped where it was stopped in its run."""
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
    """Says in a line how far the replay is from the run; whether it is equal."""
    now = {report.place: report for report in seen}
    places = before.reports.keys() | (now.keys() if before.whole else set())
    differing = sorted(
        place for place in places if not equal(now.get(place), before.reports.get(place))
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


def line(report: Report) -> str:
    """A report in a line."""
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in report.metrics.items())
    costs = ", ".join(f"{name} {value:.4f}" for name, value in report.cost.items())
    losses = ", ".join(f"{name} {value:.5f}" for name, value in report.losses.items())
    share = " ".join(f"{value:.3f}" for value in report.share)
    return (
        f"epoch {report.epoch} {report.split}: {metrics}; cost: {costs}; {losses}; shares {share}"
    )


def equal(report: Report | None, other: Report | None) -> bool:
    """Same scores, costs and shares; losses within `LOSS_TOLERANCE`."""
    return (
        report is not None
        and other is not None
        and dict(report.metrics) == dict(other.metrics)
        and dict(report.cost) == dict(other.cost)
        and report.share == other.share
        and _distance(report, other) <= LOSS_TOLERANCE
    )
