"""Makes the rows of the tables of trials and reports from a run's state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mpc_router.run_names import REPORT_LISTS, REPORT_NUMBERS
from sweeps.journal.state import State
from sweeps.records import FIRST_SET, INTERRUPTED, SELECTION, Ending, Report, Trial


class RowOrder:
    """Orders rows by trial as asked, by epoch, and by split, selection first.

    The order depends on the plan and not on the order of arrival, so equal runs have equal tables.
    """

    def __init__(self, state: State) -> None:
        assert state.opened is not None
        self._keys = list(state.trials)
        self._splits = [SELECTION, *state.opened["quoted"]]
        self._rank = {key: rank for rank, key in enumerate(self._keys)}

    def of_report(self, report: Report) -> tuple[int, int, int]:
        """Gives the sort key of a report."""
        return self._rank[report.key], report.epoch, self._splits.index(report.split)

    def sorted(self, table: pa.Table) -> pa.Table:
        """Sorts a table by trial and split; within a split the rows keep their order."""
        ranks = pa.table(
            {
                "trial": pc.index_in(table["key"], pa.array(self._keys)),
                "split": pc.index_in(table["split"], pa.array(self._splits)),
                "row": np.arange(len(table)),
            }
        )
        return table.take(
            pc.sort_indices(ranks, [(name, "ascending") for name in ranks.column_names])
        )


def trial_rows(state: State) -> Iterator[dict[str, Any]]:
    """Gives a row for each trial, with its results on every split that it reported."""
    assert state.opened is not None
    experts = _frozen_experts(state.opened)
    for trial in state.trials.values():
        ending = state.endings.get(trial.key) or _never_ended(trial, state)
        row: dict[str, Any] = {
            "key": trial.key,
            "point": trial.point,
            "seed": trial.seed,
            "pack": state.pack_of[trial.key],
            "status": ending.status,
            "reason": ending.reason,
            "epochs": ending.epochs,
            "attempt": ending.attempt,
            "seconds": ending.seconds,
            "paths_id": ending.paths_id,
            "experts_id": experts.get(trial.prepared, trial.key),
            **state.points[trial.point].settings,
            "config": trial.config,
        }
        yield row | results_of(state, trial.key)


def results_of(state: State, key: str) -> dict[str, float | None]:
    """Gives the columns with a trial's results on every split that it reported.

    They are those of the epoch that its ending names, else of its last one.
    """
    assert state.opened is not None
    ending = state.endings.get(key)
    columns: dict[str, float | None] = {}
    for split in (SELECTION, *state.opened["quoted"]):
        report = (
            state.reports.get((key, ending.epoch, split))
            if ending and ending.epoch
            else state.latest.get((key, split))
        )
        if report is not None:
            columns |= _results(report, state.opened)
    return columns


def vectors_of(opened: Mapping[str, Any]) -> tuple[str, ...]:
    """Gives the names of the cost vectors that any set has, those of the first set first."""
    sets = opened["provenance"].get("sets", ())
    all_vectors = [opened["provenance"]["cost_vectors"], *(item["cost_vectors"] for item in sets)]
    return tuple(dict.fromkeys(name for vectors in all_vectors for name in vectors))


def _frozen_experts(opened: Mapping[str, Any]) -> dict[str, str]:
    """Gives the id of the experts by set whose trials share them; joint trials train their own."""
    provenance = opened["provenance"]
    if "sets" not in provenance:
        return {FIRST_SET: provenance["fingerprints"]["experts"]}
    return {item["name"]: item["experts_id"] for item in provenance["sets"] if not item["joint"]}


def priced(prepared: str, opened: Mapping[str, Any]) -> Mapping[str, Any]:
    """Gives the cost vectors of a prepared set by name, as they are written."""
    provenance = opened["provenance"]
    by_set = {item["name"]: item["cost_vectors"] for item in provenance.get("sets", ())}
    vectors: Mapping[str, Any] = by_set.get(prepared, provenance["cost_vectors"])
    return vectors


def _results(report: Report, opened: Mapping[str, Any]) -> dict[str, float | None]:
    """Gives a split's columns of a trial; null under a cost vector that its set lacks."""
    vectors = vectors_of(opened)
    split = report.split
    return {
        **{f"{split}_{name}": report.metrics[name] for name in ("score", *opened["metrics"])},
        f"{split}_cost": report.cost[opened["study"]["cost_vector"]],
        **{f"{split}_cost_{vector}": report.cost.get(vector) for vector in vectors},
    }


def _never_ended(trial: Trial, state: State) -> Ending:
    """Gives the ending of a trial that never started, or whose run was killed."""
    last = state.latest.get((trial.key, SELECTION))
    attempt = state.attempts.get(state.pack_of[trial.key], 0)
    return Ending(
        key=trial.key,
        status=INTERRUPTED,
        epochs=last.epoch if last else 0,
        seconds=last.seconds if last else 0.0,
        attempt=max(1, attempt),
        reason="the run ended before it" if attempt else "not started",
    )


def report_rows(state: State) -> Iterator[dict[str, Any]]:
    """Gives a row for each report."""
    assert state.opened is not None
    vector = state.opened["study"]["cost_vector"]
    for report in sorted(state.reports.values(), key=RowOrder(state).of_report):
        yield {
            "key": report.key,
            "epoch": report.epoch,
            "split": report.split,
            **report.metrics,
            "cost": report.cost[vector],
            **report.losses,
            **{name: list(getattr(report, name)) for name in REPORT_LISTS},
            **{name: getattr(report, name) for name in REPORT_NUMBERS},
            "seconds": report.seconds,
        }
