"""The module finds the front so far of a run in progress, on selection and without intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweeps.journal.state import State
from sweeps.records import FAILED, SELECTION, STOPPED, Point
from sweeps.stopping.constraints import Constraint
from sweeps.stopping.rungs import means_of


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Holds a point's means over its replicates' last reports of selection."""

    point: Point
    values: Mapping[str, float]
    """They are the means by objective, in the study's order."""

    replicates: int
    epoch: int
    """It is the least epoch of the point's replicates."""

    breaks: tuple[str, ...] = ()
    """They name the study's constraints that the point breaks."""


def front(
    state: State,
    objectives: Mapping[str, str],
    cost_vector: str,
    constraints: Sequence[Constraint] = (),
) -> list[Standing]:
    """Gives the points that no other point dominates.

    They are sorted by the last objective. Points with a replicate that failed, was stopped early or
    has reported nothing yet are left out; so are points that break a constraint, as long as other
    points keep all.
    """
    last = {key: report for (key, split), report in state.latest.items() if split == SELECTION}
    replicates: dict[str, list[str]] = {}
    for trial in state.trials.values():
        replicates.setdefault(trial.point, []).append(trial.key)
    standings = []
    for point in state.points.values():
        keys = replicates.get(point.name, [])
        has_ended_early = any(
            key in state.endings and state.endings[key].status in (FAILED, STOPPED) for key in keys
        )
        if has_ended_early or not keys or not all(key in last for key in keys):
            continue
        reports = [last[key] for key in keys]
        measured = means_of(reports, objectives, cost_vector, constraints)
        standings.append(
            Standing(
                point=point,
                values=measured.values,
                replicates=len(reports),
                epoch=min(report.epoch for report in reports),
                breaks=tuple(
                    name for name, excess in measured.violations.items() if not excess <= 0
                ),
            )
        )
    if any(not standing.breaks for standing in standings):
        standings = [standing for standing in standings if not standing.breaks]
    return _not_dominated(standings, objectives)


def _not_dominated(standings: list[Standing], objectives: Mapping[str, str]) -> list[Standing]:
    """Gives the points that no other point dominates, sorted by the last objective."""
    kept: list[tuple[tuple[float, ...], Standing]] = []
    with_losses = [(_losses(standing, objectives), standing) for standing in standings]
    for losses, standing in sorted(with_losses, key=lambda pair: pair[0]):
        # a point that dominates this one comes before it
        if not any(_dominates(kept_losses, losses) for kept_losses, _ in kept):
            kept.append((losses, standing))
    last = list(objectives)[-1]
    return sorted((standing for _, standing in kept), key=lambda standing: standing.values[last])


def _losses(standing: Standing, objectives: Mapping[str, str]) -> tuple[float, ...]:
    """Gives a point's values with signs such that all are minimised."""
    return tuple(
        -standing.values[name] if direction == "max" else standing.values[name]
        for name, direction in objectives.items()
    )


def _dominates(losses: tuple[float, ...], than: tuple[float, ...]) -> bool:
    """Tells whether losses are nowhere larger than others, and somewhere smaller."""
    return losses != than and all(a <= b for a, b in zip(losses, than, strict=True))
