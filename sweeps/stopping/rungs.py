"""What a rung decides of trials, from their reports alone. Pure functions.

The worker applies it, the ledger recomputes it from the journal, tests call it: one and the same.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import moocore
import numpy as np

from sweeps.records import Decision, Pack, Report
from sweeps.search.rule import Result
from sweeps.stopping.constraints import Constraint, reported, total, violations
from sweeps.stopping.ranks import Entry, arrival, bracket_of, cut, promotable
from sweeps.stopping.rule import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Says what points of a study are ranked by, and when."""

    rule: Rule
    objectives: Mapping[str, str]
    """`max` or `min` by name."""

    cost_vector: str
    epochs: int
    """Of a whole trial."""

    constraints: tuple[Constraint, ...] = ()
    seed: int = 0
    """Of the lots that settle ties, and of the brackets that trials draw."""

    def rungs(self, bracket: int = 0) -> tuple[int, ...]:
        """Epochs after which points are stopped."""
        return self.rule.rungs(self.epochs, bracket)

    def to_json(self) -> dict[str, Any]:
        """Gives plain data, the way Ray carries it."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Ranking:
        """Reads the ranking that `to_json` wrote."""
        return Ranking(
            **{
                **data,
                "rule": Rule(**data["rule"]),
                "constraints": tuple(Constraint(**each) for each in data["constraints"]),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Holds the means over a point's replicates, at one epoch."""

    values: Mapping[str, float]
    """By objective."""

    violations: Mapping[str, float]
    """By constraint; 0 or below is kept."""


def means(
    replicates: Sequence[Report],
    objectives: Iterable[str],
    cost_vector: str,
    constraints: Sequence[Constraint],
) -> Means:
    """Gives the means over one report of each replicate."""

    def mean(name: str) -> float:
        return fmean(report.value(name, cost_vector) for report in replicates)

    bounded = {name: mean(name) for name in reported(constraints)}
    return Means(
        values={name: mean(name) for name in objectives},
        violations=violations(constraints, bounded, [report.share for report in replicates]),
    )


def inside(
    pack: Pack, epoch: int, reports: Mapping[str, Report], ranking: Ranking
) -> tuple[Decision, ...]:
    """Decides which trials go on in a pack that is a bracket: one decision for each that reported.

    Points without any report at this epoch have left before. One that lacks a replicate's report,
    which therefore failed, has no value and comes last.

    Args:
        pack: all of its trials, those that have ended too.
        epoch: a rung.
        reports: of selection after this epoch, by key.
        ranking: the study's.
    """
    points: dict[str, list[str]] = {}
    for trial in pack.trials:
        points.setdefault(trial.point, []).append(trial.key)
    there = {name: keys for name, keys in points.items() if any(key in reports for key in keys)}
    entries = [
        _entry(name, [reports.get(key) for key in keys], ranking) for name, keys in there.items()
    ]
    verdicts = {
        verdict.name: verdict
        for verdict in cut(entries, ranking.rule, seed=ranking.seed, epoch=epoch)
    }
    return tuple(
        Decision(
            key=key,
            epoch=epoch,
            goes_on=verdicts[name].goes_on,
            reason=verdicts[name].reason,
        )
        for name, keys in there.items()
        for key in keys
        if key in reports
    )


def between(report: Report, earlier: Iterable[Report], ranking: Ranking) -> Decision | None:
    """Whether a trial that arrives at a rung goes on; None where its bracket has none there.

    Args:
        report: of selection, the trial's own.
        earlier: those that were decided of at this epoch before, of all brackets.
        ranking: the study's.
    """
    mine = _bracket(report.key, ranking)
    if report.epoch not in ranking.rungs(mine):
        return None
    verdict = arrival(
        _entry(report.key, [report], ranking),
        [
            _entry(each.key, [each], ranking)
            for each in earlier
            if each.epoch == report.epoch and _bracket(each.key, ranking) == mine
        ],
        ranking.rule,
        seed=ranking.seed,
        epoch=report.epoch,
    )
    return Decision(
        key=report.key, epoch=report.epoch, goes_on=verdict.goes_on, reason=verdict.reason
    )


def promotion(
    arrived: Sequence[Report], paused: Collection[str], ranking: Ranking
) -> Decision | None:
    """The waiting trial that goes on next: of the highest rung where one is among the best by now,
    the best one; None where there is none.

    Args:
        arrived: of selection, of every trial at every rung that was decided of.
        paused: keys of the trials that wait at their last rung.
        ranking: the study's.
    """
    last: dict[str, int] = {}
    for report in arrived:
        last[report.key] = max(report.epoch, last.get(report.key, 0))
    for epoch in sorted({report.epoch for report in arrived}, reverse=True):
        for bracket in range(ranking.rule.brackets):
            entries = [
                _entry(report.key, [report], ranking)
                for report in arrived
                if report.epoch == epoch and _bracket(report.key, ranking) == bracket
            ]
            waiting = {key for key in paused if last[key] == epoch}
            best = promotable(entries, waiting, ranking.rule, seed=ranking.seed, epoch=epoch)
            if best is not None:
                return Decision(key=best.name, epoch=epoch, goes_on=True, reason=best.reason)
    return None


def front(
    results: Sequence[Result], names: Sequence[str], objectives: Mapping[str, str]
) -> tuple[str, ...]:
    """The names of the results that none beats, whatever their epochs; feasible ones, if any are.

    Of results that are equal in all objectives the first stands for all.

    `results` have values, in the order of the objectives.
    """
    signs = [-1.0 if way == "max" else 1.0 for way in objectives.values()]
    losses = np.array(
        [[s * v for s, v in zip(signs, each.values, strict=True)] for each in results]
    ).reshape(len(results), len(signs))
    broken = np.array([total(each.violations) for each in results])
    if (broken <= 0).any():
        losses[broken > 0] = np.inf
    found = moocore.is_nondominated(losses) if len(results) else []
    return tuple(
        name
        for name, kept, loss in zip(names, found, losses, strict=True)
        if kept and np.isfinite(loss).all()
    )


def _bracket(key: str, ranking: Ranking) -> int:
    return bracket_of(key, ranking.rule, seed=ranking.seed)


def _entry(name: str, replicates: Sequence[Report | None], ranking: Ranking) -> Entry:
    whole = [report for report in replicates if report is not None]
    if len(whole) < len(replicates):
        return Entry(name=name, losses=(math.nan,) * len(ranking.objectives))
    found = means(whole, ranking.objectives, ranking.cost_vector, ranking.constraints)
    return Entry(
        name=name,
        losses=tuple(
            -found.values[each] if way == "max" else found.values[each]
            for each, way in ranking.objectives.items()
        ),
        violation=total(found.violations),
    )
