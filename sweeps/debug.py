"""One trial in this process, without Ray: breakpoints work, every epoch is printed."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from sweeps.display import Display
from sweeps.journal import LOSS_TOLERANCE
from sweeps.records import FAILED, Pack, Report, Trial
from sweeps.worker import Job, run_pack


def debug(
    trial: Trial,
    prepared: Path,
    display: Display,
    *,
    threads: int,
    then: Mapping[tuple[str, int, str], Report],
) -> bool:
    """Trains the trial alone and prints its reports; gives whether it failed, or differs.

    `then` are the reports of the same trial in a run, to compare with. Nothing is left on disk.
    """
    print(f"trial {trial.key}: point {trial.point}, seed {trial.seed}")
    bad = False
    seen: list[Report] = []
    with tempfile.TemporaryDirectory(prefix="mpc-debug-") as folder:
        job = Job(
            prepared=prepared,
            parts=Path(folder) / "parts",
            checkpoints=Path(folder) / "checkpoints",
            threads=threads,
        )
        pack = Pack(name="debug", trials=(trial,))
        with display:
            for message in run_pack(pack, job, progress=display):
                seen += message.reports
                for ending in message.endings:
                    if ending.status == FAILED:
                        bad = True
                        print(f"FAILED: {ending.reason}")
    for report in seen:
        print(line(report))
    if then and not bad:
        differing = [report.place for report in seen if not equal(report, then.get(report.place))]
        bad = bool(differing) or len(seen) != len(then)
        print("differs from the run: " + str(differing) if bad else "equal to the run's numbers")
    return bad


def line(report: Report) -> str:
    """A report in a line."""
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in report.metrics.items())
    costs = ", ".join(f"{name} {value:.4f}" for name, value in report.cost.items())
    losses = ", ".join(f"{name} {value:.5f}" for name, value in report.losses.items())
    share = " ".join(f"{value:.3f}" for value in report.share)
    return (
        f"epoch {report.epoch} {report.split}: {metrics}; cost: {costs}; {losses}; shares {share}"
    )


def equal(report: Report, other: Report | None) -> bool:
    """Same scores, costs and shares; losses within `LOSS_TOLERANCE`."""
    return other is not None and (
        dict(report.metrics) == dict(other.metrics)
        and dict(report.cost) == dict(other.cost)
        and report.share == other.share
        and all(
            abs(value - other.losses[name]) <= LOSS_TOLERANCE
            for name, value in report.losses.items()
        )
    )
