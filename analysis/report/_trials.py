"""Gives the report's table of trials as data, which the page's script draws."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from analysis.fronts.survey import Survey
from analysis.runs.load import Run
from analysis.words import setting_text
from mpc_router.run_names import SELECTION


@dataclass(frozen=True, slots=True)
class _Column:
    """Describes a column of the table of trials."""

    name: str
    value: Callable[[Mapping[Any, Any]], Any]
    """What is made of a row of `trials`: a number, a text, or None where there is nothing."""

    digits: int | None = None
    """How many the page shows behind the point; else four significant ones."""


def trial_table(run: Run, survey: Survey) -> dict[str, Any]:
    """Gives the columns, digits and rows of the table, and each trial's complete configuration.

    `columns` name the cells of `rows`; a number is a number, sorted as such and shown with `digits`
    of its column. `base` is the first trial's configuration, by its paths, and `own` names for
    every row what differs from it: together they are that trial's complete configuration.
    """
    columns = _columns(run, survey)
    rows = run.trials.sort_values(["point", "seed"]).to_dict("records")
    configs = [_flat(json.loads(row["config"])) if row.get("config") else {} for row in rows]
    base = configs[0] if configs else {}
    return {
        "columns": [column.name for column in columns],
        "digits": {column.name: column.digits for column in columns if column.digits},
        "rows": [[column.value(row) for column in columns] for row in rows],
        "base": base,
        "own": [
            {path: value for path, value in config.items() if base.get(path) != value}
            for config in configs
        ],
    }


def _columns(run: Run, survey: Survey) -> list[_Column]:
    """Lists the columns, without those for which this run has nothing."""
    breaks = dict(zip(survey.points["point"], survey.points["breaks"], strict=True))
    bounds = [_Column("bounds", lambda row: _bounds(breaks.get(str(row["point"]))))]
    reason = [_Column("reason", lambda row: _cell(row["reason"]))]
    return [
        _Column("status", lambda row: row["status"]),
        _Column("point", lambda row: row["point"]),
        *(_setting_column(name) for name in run.settings),
        _Column("seed", lambda row: _cell(row["seed"])),
        *_measured_columns(run, survey),
        *(bounds if survey.judged.constraints else []),
        _Column("epochs", lambda row: _cell(row["epochs"])),
        _Column("seconds", lambda row: _cell(row["seconds"], 1), 1),
        _Column("key", lambda row: str(row["key"])),
        *(reason if run.trials["reason"].notna().any() else []),
    ]


def _setting_column(name: str) -> _Column:
    """Shows a setting, a number with four digits: the trial's configuration has them all."""

    def brief(row: Mapping[Any, Any]) -> Any:
        cell = _cell(row[name])
        return float(f"{cell:.4g}") if isinstance(cell, float) else cell

    return _Column(name, brief)


def _measured_columns(run: Run, survey: Survey) -> list[_Column]:
    """Shows what the table of trials has of score, metrics and cost on both splits."""

    def column(name: str, field: str) -> _Column:
        return _Column(name, lambda row: _cell(row[field], 4), 3)

    quoted, cost = survey.split, f"cost_{survey.vector.name}"
    fields = {
        f"{quoted} score": f"{quoted}_score",
        **{name: f"{quoted}_{name}" for name in run.task.metrics if len(run.task.metrics) > 1},
        f"{quoted} cost": f"{quoted}_{cost}",
        f"{SELECTION} score": f"{SELECTION}_score",
        f"{SELECTION} cost": f"{SELECTION}_{cost}",
    }
    return [column(name, field) for name, field in fields.items() if field in run.trials]


def _bounds(breaks: str | None) -> str:
    """Says which constraints a trial's point breaks; empty where the point is not judged."""
    return "" if breaks is None else f"breaks {breaks}" if breaks else "kept"


def _cell(value: Any, digits: int | None = None) -> Any:
    """Gives a number or text, or None where there is nothing."""
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int | float):
        number = float(value)
        if not math.isfinite(number):
            return None
        return number if digits is None else round(number, digits)
    return None if value is None else setting_text(value)


def _flat(tree: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Gives nested settings by their dotted path."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{before}{name}"
        flat |= _flat(value, f"{path}.") if isinstance(value, dict) else {path: value}
    return flat
