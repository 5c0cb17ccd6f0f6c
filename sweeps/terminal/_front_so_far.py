"""The front so far: what a run in progress shows. Selection only; no intervals."""

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
    """By objective, in the study's order."""

    replicates: int
    epoch: int
    """The least of its replicates'."""

    breaks: tuple[str, ...] = ()
    """The names of the study's constraints that it breaks."""


def front(
    state: State,
    objectives: Mapping[str, str],
    cost_vector: str,
    constraints: Sequence[Constraint] = (),
) -> list[Standing]:
    """Gives the points that no other point dominates.

    Sorted by the last objective. Points with a failed replicate, one that was stopped early, or one
    that has reported nothing yet, are left out; and those that break a constraint, as long as
    others keep all.
    """
    last = {key: report for (key, split), report in state.latest.items() if split == SELECTION}
    replicates: dict[str, list[str]] = {}
    for trial in state.trials.values():
        replicates.setdefault(trial.point, []).append(trial.key)
    standings = []
    for point in state.points.values():
        keys = replicates.get(point.name, [])
        out = any(
            key in state.endings and state.endings[key].status in (FAILED, STOPPED) for key in keys
        )
        if out or not keys or not all(key in last for key in keys):
            continue
        reports = [last[key] for key in keys]
        measured = means_of(reports, objectives, cost_vector, constraints)
        standings.append(
            Standing(
                point=point,
                values=measured.values,
                replicates=len(reports),
                epoch=min(report.epoch for report in reports),
                breaks=tuple(name for name, far in measured.violations.items() if not far <= 0),
            )
        )
    if any(not each.breaks for each in standings):
        standings = [each for each in standings if not each.breaks]
    return _unbeaten(standings, objectives)


def _unbeaten(standings: list[Standing], objectives: Mapping[str, str]) -> list[Standing]:
    kept: list[tuple[tuple[float, ...], Standing]] = []
    for losses, each in sorted(
        ((_losses(each, objectives), each) for each in standings), key=lambda pair: pair[0]
    ):  # what beats a point comes before it
        if not any(_beats(other, losses) for other, _ in kept):
            kept.append((losses, each))
    final = list(objectives)[-1]
    return sorted((each for _, each in kept), key=lambda each: each.values[final])


def _losses(standing: Standing, objectives: Mapping[str, str]) -> tuple[float, ...]:
    """Gives a point's values, all to be minimised."""
    return tuple(
        -standing.values[name] if way == "max" else standing.values[name]
        for name, way in objectives.items()
    )


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
