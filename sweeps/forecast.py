"""What `--dry-run` prints: the packs, and how long they will take."""

from __future__ import annotations

from sweeps.execution import Share
from sweeps.plan import Plan, estimate, steps_an_epoch
from sweeps.study import Study
from sweeps.worker import Prepared, measured_step


def forecast(study: Study, prepared: Prepared, planned: Plan, share: Share) -> None:
    """Measures a step of the first pack and prints the plan with an estimate."""
    workers = share.workers()
    step = measured_step(planned.packs[0], prepared, threads=share.pack.threads)
    rows = len(prepared.splits["train"].labels)
    seconds = estimate(
        planned.packs,
        workers=workers,
        lane_epoch_seconds=step * steps_an_epoch(study.base, rows),
    )
    for pack in planned.packs:
        points = dict.fromkeys(trial.point for trial in pack.trials)
        print(f"{pack.name}: {len(pack.trials)} trials, points {' '.join(points)}")
    print(
        f"{len(planned.points)} points x {len(study.seeds)} seeds = {len(planned.trials)} trials "
        f"in {len(planned.packs)} packs on {workers} workers"
    )
    print(f"about {seconds:.0f} s of training, at {step * 1e3:.3f} ms a step and router (measured)")
