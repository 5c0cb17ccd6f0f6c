"""Decides at rungs which trials go on, from their reports alone; pure functions.

The worker applies the decisions, and the ledger recomputes them from the journal.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from sweeps.records import Decision, Pack, Report
from sweeps.search.rule import Result
from sweeps.stopping.constraints import Constraint, reported, total, violations
from sweeps.stopping.ranks import Entry, arrival, bracket_of, cut, promotable
from sweeps.stopping.rule import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Says by what points of a study are ranked, and when."""

    rule: Rule
    objectives: Mapping[str, str]
    """Gives the direction by name of an objective: `max` or `min`."""

    cost_vector: str
    epochs: int
    """Counts the epochs of a complete trial."""

    constraints: tuple[Constraint, ...] = ()
    seed: int = 0
    """Seeds the lots that decide between equal points, and the draw of brackets."""

    def rungs(self, bracket: int = 0) -> tuple[int, ...]:
        """Gives the epochs after which points of a bracket are stopped."""
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
                "constraints": tuple(Constraint(**bound) for bound in data["constraints"]),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Holds the means over a point's replicates, at one epoch."""

    values: Mapping[str, float]
    """Gives the mean by objective."""

    violations: Mapping[str, float]
    """Gives the distance to the bound by constraint; at 0 or below the constraint is kept."""


def means_of(
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
        violations=violations(constraints, bounded, [report.expert_share for report in replicates]),
    )


def entry_of(name: str, replicates: Sequence[Report | None], ranking: Ranking) -> Entry:
    """Gives a point's entry at a rung: its means as losses, or NaN if a replicate has no report."""
    reports = [report for report in replicates if report is not None]
    if len(reports) < len(replicates):
        return Entry(name=name, losses=(math.nan,) * len(ranking.objectives))
    point = means_of(reports, ranking.objectives, ranking.cost_vector, ranking.constraints)
    return Entry(
        name=name,
        losses=tuple(
            -point.values[objective] if direction == "max" else point.values[objective]
            for objective, direction in ranking.objectives.items()
        ),
        violation=total(point.violations),
    )


def decide_inside(
    pack: Pack, epoch: int, reports: Mapping[str, Report], ranking: Ranking
) -> tuple[Decision, ...]:
    """Decides which trials go on in a pack that is a bracket; gives a decision for each report.

    Points without any report at this epoch have left before. A point that lacks the report of a
    replicate, which has failed then, has no value and comes last.

    Args:
        pack: all of its trials, those that have ended too.
        epoch: a rung.
        reports: of selection after this epoch, by key.
        ranking: the study's.
    """
    points: dict[str, list[str]] = {}
    for trial in pack.trials:
        points.setdefault(trial.point, []).append(trial.key)
    reached = {name: keys for name, keys in points.items() if any(key in reports for key in keys)}
    entries = [
        entry_of(name, [reports.get(key) for key in keys], ranking)
        for name, keys in reached.items()
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
        for name, keys in reached.items()
        for key in keys
        if key in reports
    )


def decide_between(report: Report, earlier: Iterable[Report], ranking: Ranking) -> Decision | None:
    """Decides whether a trial that arrives at a rung goes on; None where its bracket has no rung.

    Args:
        report: the trial's, on the selection split.
        earlier: the reports about which was decided at this epoch before, of all brackets.
        ranking: the study's.
    """
    bracket = _bracket(report.key, ranking)
    if report.epoch not in ranking.rungs(bracket):
        return None
    verdict = arrival(
        entry_of(report.key, [report], ranking),
        [
            entry_of(past_report.key, [past_report], ranking)
            for past_report in earlier
            if past_report.epoch == report.epoch and _bracket(past_report.key, ranking) == bracket
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
    """Decides which waiting trial goes on next; None where none may.

    It is the best one at the highest rung where a waiting trial is among the best by now.

    Args:
        arrived: the reports on the selection split about which rungs have decided, of all trials.
        paused: keys of the trials that wait at their last rung.
        ranking: the study's.
    """
    last: dict[str, int] = {}
    for report in arrived:
        last[report.key] = max(report.epoch, last.get(report.key, 0))
    for epoch in sorted({report.epoch for report in arrived}, reverse=True):
        for bracket in range(ranking.rule.brackets):
            entries = [
                entry_of(report.key, [report], ranking)
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
    """Gives the names of the results that no other dominates, whatever their epochs.

    If any results are feasible, the others are left out. The first of results that are equal in all
    objectives stands for all. Every result has values, in the order of the objectives.
    """
    signs = [-1.0 if way == "max" else 1.0 for way in objectives.values()]
    import moocore  # it takes a tenth of the start of `--list`

    losses = np.array(
        [[s * v for s, v in zip(signs, result.values, strict=True)] for result in results]
    ).reshape(len(results), len(signs))
    broken = np.array([total(result.violations) for result in results])
    if (broken <= 0).any():
        losses[broken > 0] = np.inf
    nondominated = moocore.is_nondominated(losses) if len(results) else []
    return tuple(
        name
        for name, kept, loss in zip(names, nondominated, losses, strict=True)
        if kept and np.isfinite(loss).all()
    )


def _bracket(key: str, ranking: Ranking) -> int:
    """Gives the bracket that a trial draws."""
    return bracket_of(key, ranking.rule, seed=ranking.seed)
