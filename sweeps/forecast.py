"""What `--dry-run` prints: the packs, and how long they will take."""

from __future__ import annotations

from collections.abc import Sequence

from sweeps.execution import Share
from sweeps.plan import Plan, estimate
from sweeps.preparation import Ready
from sweeps.study import Study
from sweeps.timing import Measurement, measured_steps


def forecast(study: Study, ready: Sequence[Ready], planned: Plan, share: Share) -> None:
    """Measures steps of the first pack of every set and prints the plan with an estimate."""
    workers = share.workers()
    measured: dict[str, Measurement] = {}
    for pack in planned.packs:
        name = pack.trials[0].prepared
        if name not in measured:
            inputs = next(each.inputs for each in ready if each.of.name == name)
            measured[name] = measured_steps(pack, inputs, threads=share.pack.threads)
    seconds = estimate(
        planned.packs,
        workers=workers,
        epoch_seconds=lambda trial: measured[trial.prepared].epoch,
    )
    for pack in planned.packs:
        points = dict.fromkeys(trial.point for trial in pack.trials)
        trials = f"{len(pack.trials)} trial{'' if len(pack.trials) == 1 else 's'}"
        print(f"{pack.name}: {trials}, points {' '.join(points)}")
    print(
        f"{len(planned.points)} points x {len(study.seeds)} seeds = {len(planned.trials)} trials "
        f"in {len(planned.packs)} packs on {workers} workers"
    )
    steps = ", ".join(
        f"{measured[each.of.name].step * 1e3:.3f} ms a step and {_what(each)}" for each in ready
    )
    print(f"about {seconds:.0f} s of training, at {steps} (measured)")


def _what(each: Ready) -> str:
    what = "pool" if each.of.joint else "router"
    return f"{what} of {each.of.label}" if each.of.label else what
