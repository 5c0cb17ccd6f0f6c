"""Sums up what the trials of a point have reported and how they ended."""

from __future__ import annotations

from sweeps.journal.state import State
from sweeps.records import FAILED, INSIDE, INTERRUPTED, SELECTION, STOPPED, Report
from sweeps.search.rule import OPEN, Result
from sweeps.stopping import rungs
from sweeps.study.study import Study


def result_of(state: State, point: str, study: Study) -> Result:
    """Gives a point's result, the means over its replicates at the last epoch that all reached.

    Where trials keep their best epoch, the best one of each up to that epoch counts. A failed
    replicate makes the point failed; one that has yet to end, or was interrupted, leaves it open.
    """
    keys = state.replicates[point]
    endings = [state.endings.get(key) for key in keys]
    ended = [ending for ending in endings if ending and ending.status != INTERRUPTED]
    if len(ended) < len(keys):
        return OPEN
    if any(ending.status == FAILED for ending in ended):
        return Result(ended="failed", reached=0.0)
    stopped = any(ending.status == STOPPED for ending in ended)
    shared_epochs = min(ending.epochs for ending in ended)
    means = rungs.means_of(
        [_report_of(state, key, shared_epochs, study) for key in keys],
        study.objectives,
        study.cost_vector,
        study.constraints,
    )
    return Result(
        ended="stopped" if stopped else "complete",
        values=tuple(means.values.values()),
        violations=means.violations,
        reached=shared_epochs / study.base.training.epochs if stopped else 1.0,
    )


def _report_of(state: State, key: str, epochs: int, study: Study) -> Report:
    """Gives the report that counts for a trial after so many epochs."""
    if study.base.training.epoch != "best_score":
        return state.reports[key, epochs, SELECTION]
    reports = [state.reports[key, epoch, SELECTION] for epoch in range(1, epochs + 1)]
    # of equal ones the first
    return max(reports, key=lambda report: study.merit(report.metrics["score"]))


def ranked_inside(state: State, point: str) -> bool:
    """Tells whether a point's trials were ranked inside packs, which soon train them again."""
    return all(
        state.packs[state.pack_of[key]].stopping == INSIDE for key in state.replicates[point]
    )
