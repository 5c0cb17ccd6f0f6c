"""Decides which points of a run can be judged, and by which of their trials."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import Any, Final

import numpy as np

from analysis.runs.load import Run, RunError
from analysis.words import settings_label
from mpc_router.run_names import COMPLETED, FAILED, STOPPED

GATED: Final = "gated"
"""Names the kind of routers that are trained by steps; what `router_kind` is where it is not set.
"""

_RACED: Final = "raced with"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Holds a configuration with the replicates that take part in a front."""

    point: str
    label: str
    """Its searched settings in words: `alpha 0.01, beta 0.1`."""

    settings: dict[str, Any]
    seeds: tuple[int, ...]
    keys: tuple[str, ...]
    """Its trials, in the order of `seeds`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Names a point that takes no part in a front, and why."""

    point: str
    label: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """Holds the points of a run that can be judged, in the order of their settings."""

    points: tuple[Point, ...]
    left_out: tuple[LeftOut, ...]
    planned: int = 1
    """Seeds that each point is to have."""

    status: str = COMPLETED
    """How the trials that take part ended: `COMPLETED`, or `STOPPED` where none did."""

    @property
    def partial(self) -> str:
        """Says what takes part where points lack seeds or were stopped early.

        For example `1 to 2 of 3 seeds`; it is empty where no point lacks a seed.
        """
        if self.status != COMPLETED:
            return "trials that were stopped early"
        counts = [len(point.seeds) for point in self.points]
        if min(counts) >= self.planned:
            return ""
        least, most = min(counts), max(counts)
        return f"{least if least == most else f'{least} to {most}'} of {self.planned} seeds"

    @property
    def keys(self) -> tuple[str, ...]:
        """Gives all trials of all points, point after point."""
        return tuple(key for point in self.points for key in point.keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Holds a point as it was asked: every replicate, and how each ended."""

    point: Point
    ended: tuple[str, ...]
    """By replicate, as `point.seeds`."""

    lacks: str
    """Why it is not whole; empty where it is."""

    def only(self, status: str) -> Point | None:
        """Gives the point with those replicates alone that ended so; None without any."""
        kept = [place for place, ended in enumerate(self.ended) if ended == status]
        seeds = tuple(self.point.seeds[place] for place in kept)
        keys = tuple(self.point.keys[place] for place in kept)
        return replace(self.point, seeds=seeds, keys=keys) if kept else None


@lru_cache(maxsize=4)
def roster(run: Run) -> Roster:
    """Sorts a run's points into those that can be judged, and the others.

    A point is whole when all of its replicates completed. Whole points alone take part where they
    are at least half of the points that have a completed replicate and were not stopped, or left
    with few seeds by a race that is over. Else every such point takes part with the seeds that it
    has. Where no trial completed, those that were stopped early take part.

    Raises:
        RunError: no trial has completed or was stopped early; the message counts them by status.
    """
    seeds = run.study.get("seeds")
    planned = len(seeds) if isinstance(seeds, list) else 1
    asked = _asked(run, planned)
    chosen = [asked_point.point for asked_point in asked if not asked_point.lacks]
    status = COMPLETED
    if 2 * len(chosen) < sum(
        _contends(run, asked_point, raced=bool(chosen)) for asked_point in asked
    ):
        some = [
            asked_point.only(COMPLETED)
            for asked_point in asked
            if _contends(run, asked_point, raced=bool(chosen))
        ]
        chosen = [point for point in some if point is not None]
    if not chosen:
        status = STOPPED
        chosen = [
            point for asked_point in asked if (point := asked_point.only(STOPPED)) is not None
        ]
    if not chosen:
        raise RunError(_nothing_ended(run))
    names = {point.point for point in chosen}
    chosen.sort(key=lambda point: (*map(_order, point.settings.values()), point.point))
    return Roster(
        points=tuple(chosen),
        left_out=tuple(
            LeftOut(
                point=asked_point.point.point,
                label=asked_point.point.label,
                reason=asked_point.lacks,
            )
            for asked_point in asked
            if asked_point.point.point not in names
        ),
        planned=planned,
        status=status,
    )


def router_kinds(run: Run) -> dict[str, str]:
    """Gives the kind of each point's routers, as its trials' configuration names it."""
    return {
        str(point): _kind_of(config)
        for point, config in zip(run.trials["point"], run.trials["config"], strict=True)
    }


@lru_cache(maxsize=1024)
def _kind_of(config: object) -> str:
    """Gives the kind that a configuration names; one that names none is of a gate."""
    try:
        settings = json.loads(config) if isinstance(config, str) else {}
        return str(settings["model"]["router_kind"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return GATED


def _contends(run: Run, asked: _Asked, *, raced: bool) -> bool:
    """Says whether a point has a completed replicate, was not stopped, and is still in the race.

    `raced`: whether any point has all of its seeds, so that the race has gone on without others.
    """
    left_behind = raced and asked.lacks.startswith(_RACED)
    return COMPLETED in asked.ended and STOPPED not in asked.ended and not left_behind


def _asked(run: Run, planned: int) -> list[_Asked]:
    raced = int(run.study.get("racing") or 0)
    ordered = run.trials.sort_values(["point", "seed"])
    status, seed, key = (ordered[name].tolist() for name in ("status", "seed", "key"))
    columns = {name: ordered[name].tolist() for name in run.settings}
    numbered = groupby(range(len(ordered)), key=ordered["point"].astype(str).tolist().__getitem__)
    asked = []
    for name, rows in numbered:  # lists, for a table of ten thousand points is slow row by row
        places = list(rows)
        settings = {column: _plain(values[places[0]]) for column, values in columns.items()}
        ended = tuple(str(status[row]) for row in places)
        point = Point(
            point=name,
            label=settings_label(settings),
            settings=settings,
            seeds=tuple(int(seed[row]) for row in places),
            keys=tuple(str(key[row]) for row in places),
        )
        lacks = _why_not_whole(list(ended), planned, raced)
        asked.append(_Asked(point=point, ended=ended, lacks=lacks))
    return asked


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return tuple(value.tolist())
    return value.item() if isinstance(value, np.generic) else value


def _order(value: Any) -> tuple[int, float, str]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return (0, float(value), "") if number else (1, 0.0, str(value))


def _why_not_whole(ended: list[str], expected: int, raced: int) -> str:
    status = Counter(ended)
    others = [f"{count} {name}" for name, count in sorted(status.items()) if name != COMPLETED]
    if others:
        return f"{', '.join(others)} of {len(ended)}"
    if len(ended) < expected:
        how = _RACED if len(ended) == raced else "ended so far:"
        return f"{how} {len(ended)} of {expected} seeds"
    return ""


def _nothing_ended(run: Run) -> str:
    counts = Counter(str(one) for one in run.trials["status"])
    statuses = ", ".join(f"{count} {name}" for name, count in sorted(counts.items())) or "no trial"
    reasons = run.trials.loc[run.trials["status"] == FAILED, "reason"].dropna()
    example = f"; a failed one says: {reasons.iloc[0]}" if len(reasons) else ""
    return (
        f"{run.path / 'trials.parquet'}: no point whose replicates all completed ({statuses}), nor "
        f"one with a replicate that completed or was stopped early{example}"
    )
