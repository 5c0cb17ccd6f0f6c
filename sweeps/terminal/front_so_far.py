"""The module finds the front so far of a run in progress, on selection and without intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sweeps.journal.state import State
from sweeps.records import FAILED, SELECTION, STOPPED, Point
from sweeps.stopping.rungs import means_of
from sweeps.terminal.outline import Outline


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Holds a point's means over its replicates' last reports of selection."""

    point: Point
    values: Mapping[str, float]
    """They are the means by objective, in the study's order."""

    epoch: int
    """It is the least epoch of the point's replicates."""

    stopped: bool = False
    """Tells whether the point was stopped early and does not train on."""

    breaks: tuple[str, ...] = ()
    """They name the study's constraints that the point breaks."""


def front(state: State, outline: Outline) -> list[Standing]:
    """Gives the points that no other point dominates.

    They are sorted by the last objective. A point counts once its first replicates have
    reported, with the means of all that have. Stopped points count with what they had reached;
    points with a failed replicate are left out. So are points that break a constraint, as long as
    other points keep all.
    """
    last = {key: report for (key, split), report in state.latest.items() if split == SELECTION}
    standings = []
    for point in state.points.values():
        keys = state.replicates.get(point.name, [])
        statuses = {
            state.endings[key].status
            for key in keys
            if key in state.endings and key not in state.finishing
        }
        reports = [last[key] for key in keys if key in last]
        if FAILED in statuses or len(reports) < outline.seeds:
            continue
        measured = means_of(reports, outline.objectives, outline.cost_vector, outline.constraints)
        standings.append(
            Standing(
                point=point,
                values=measured.values,
                epoch=min(report.epoch for report in reports),
                stopped=STOPPED in statuses,
                breaks=tuple(
                    name for name, excess in measured.violations.items() if not excess <= 0
                ),
            )
        )
    if any(not standing.breaks for standing in standings):
        standings = [standing for standing in standings if not standing.breaks]
    return _not_dominated(standings, outline.objectives)


def _not_dominated(standings: list[Standing], objectives: Mapping[str, str]) -> list[Standing]:
    """Gives the points that no other point dominates, sorted by the last objective.

    Of points that are equal the first stands for all, as when the front is followed up. A stopped
    point takes the place of stopped points alone, for it is on no front unless it trains on.
    """
    kept: list[tuple[tuple[float, ...], Standing]] = []
    with_losses = [(_losses(standing, objectives), standing) for standing in standings]
    for losses, standing in sorted(with_losses, key=lambda pair: pair[0]):
        # a point that covers this one comes before it
        if not any(
            _covers(kept_losses, losses)
            for kept_losses, other in kept
            if standing.stopped or not other.stopped
        ):
            kept.append((losses, standing))
    last = list(objectives)[-1]
    return sorted((standing for _, standing in kept), key=lambda standing: standing.values[last])


def _losses(standing: Standing, objectives: Mapping[str, str]) -> tuple[float, ...]:
    """Gives a point's values with signs such that all are minimised."""
    return tuple(
        -standing.values[name] if direction == "max" else standing.values[name]
        for name, direction in objectives.items()
    )


def _covers(losses: tuple[float, ...], other_losses: tuple[float, ...]) -> bool:
    """Tells whether losses are nowhere larger than others."""
    return all(a <= b for a, b in zip(losses, other_losses, strict=True))
