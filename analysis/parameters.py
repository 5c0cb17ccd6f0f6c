"""Which setting moved which objective: PED-ANOVA over the points of a run, by Optuna.

PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255) asks how far the distribution of a setting among
the best points differs from that among all; shares sum to one over the settings. It says what
mattered for being among the best, and nothing of the sign: the pictures of each setting do that.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from analysis.load import Run, RunError

if TYPE_CHECKING:
    import pandas as pd
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

LEAST_POINTS: Final = 8
"""Fewer say nothing of several settings."""

RESAMPLES: Final = 50

_LISTED: Final = 12
"""Numbers of so few values are a choice between them, and no range."""

_FEW: Final = 100
"""Of fewer points the best quarter is looked at, of more the best tenth."""


def fidelity(run: Run) -> int:
    """The last epoch that every point has reached with a replicate that did not fail.

    Points that were stopped early and points that were not are compared at this epoch.

    Raises:
        RunError: no trial has reported.
    """
    reports = _selection(run)
    if reports.empty:
        raise RunError(f"{run.path}: no trial has reported on selection")
    return int(reports.groupby("point")["epoch"].max().min())


def settings_table(run: Run) -> pd.DataFrame:
    """A row a point: its searched settings, and the means of score and cost at `fidelity`.

    Columns: point, every setting, score, cost (the study's vector), on selection; n replicates.

    Raises:
        RunError: no trial has reported.
    """
    epoch = fidelity(run)
    reports = _selection(run)
    at = reports[reports["epoch"] == epoch]
    means = at.groupby("point").agg(
        score=("score", "mean"), cost=("cost", "mean"), n=("score", "size")
    )
    settings = run.trials.drop_duplicates("point").set_index("point")[list(run.settings)]
    found: pd.DataFrame = settings.join(means, how="inner").reset_index()
    return found


def importance(run: Run, *, seed: int = 0) -> pd.DataFrame:
    """Importance of every searched setting for score and for cost.

    A row an objective and setting: objective, parameter, importance (shares that sum to one by
    objective), low and high (95 % percentile interval over resamples of the points), points, epoch
    (see `fidelity`), method.

    Raises:
        RunError: fewer than two settings differ, or too few points.
    """
    import pandas as pd

    table = settings_table(run)
    names = [name for name in run.settings if table[name].astype(str).nunique() > 1]
    if len(names) < 2:
        raise RunError(
            f"{run.name}: {len(names)} settings differ between points; importance is a question "
            "between two or more"
        )
    if len(table) < LEAST_POINTS:
        raise RunError(
            f"{run.name}: {len(table)} points; the importance of settings needs {LEAST_POINTS}"
        )
    rng = np.random.default_rng(seed)
    draws = [np.arange(len(table))]
    draws += [rng.integers(0, len(table), len(table)) for _ in range(RESAMPLES)]
    rows = []
    for objective, higher in (("score", True), ("cost", False)):
        found = np.array([_shares(table.iloc[draw], names, objective, higher) for draw in draws])
        low, high = np.nanpercentile(found[1:], [2.5, 97.5], axis=0)
        for place, name in enumerate(names):
            rows.append(
                {
                    "objective": objective,
                    "parameter": name,
                    "importance": float(found[0, place]),
                    "low": float(low[place]),
                    "high": float(high[place]),
                    "points": len(table),
                    "epoch": fidelity(run),
                    "method": "PED-ANOVA",
                }
            )
    return pd.DataFrame(rows)


def _shares(table: pd.DataFrame, names: Sequence[str], objective: str, higher: bool) -> list[float]:
    """Shares by setting; NaN where a resample is all of one kind."""
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(direction="maximize" if higher else "minimize")
        study.add_trials(trials(table, names, [objective]))
        best = 0.1 if len(table) >= _FEW else 0.25
        evaluator = PedAnovaImportanceEvaluator(target_quantile=best)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    except (ValueError, RuntimeError):
        return [math.nan] * len(names)
    finally:
        optuna.logging.set_verbosity(level)
    total = math.fsum(found.values())
    return [found.get(name, 0.0) / total if total > 0 else math.nan for name in names]


def trials(
    table: pd.DataFrame, names: Sequence[str], objectives: Sequence[str]
) -> list[FrozenTrial]:
    """The points as Optuna's trials: settings by name, values in the order of the objectives.

    A column `state`, where there is one, names each one's state; values are those of the COMPLETE.
    """
    from optuna.trial import TrialState, create_trial

    kinds = {name: _distribution(table[name].tolist()) for name in names}
    found = []
    for row in table.to_dict("records"):
        state = TrialState[row.get("state", "COMPLETE")]
        whole = state == TrialState.COMPLETE
        found.append(
            create_trial(
                state=state,
                params={name: _value(row[name], kinds[name]) for name in names},
                distributions=kinds,
                values=[float(row[objective]) for objective in objectives] if whole else None,
            )
        )
    return found


def _distribution(values: Sequence[Any]) -> BaseDistribution:
    """Many numbers as a range, by their logarithm where they span a factor of ten; else choices."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    plain = [_plain(value) for value in values]
    numbers = [v for v in plain if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len(plain) or len(set(numbers)) <= _LISTED:
        return CategoricalDistribution(list(dict.fromkeys(map(_told, plain))))
    low, high = float(min(numbers)), float(max(numbers))
    return FloatDistribution(low, high, log=low > 0 and high / low >= 10)


def _value(value: Any, kind: BaseDistribution) -> Any:
    from optuna.distributions import FloatDistribution

    plain = _plain(value)
    return float(plain) if isinstance(kind, FloatDistribution) else _told(plain)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _told(value: Any) -> Any:
    """A list as Optuna takes it: its JSON."""
    return json.dumps(value) if isinstance(value, list | tuple) else value


def _selection(run: Run) -> pd.DataFrame:
    """Reports on selection with their points, those of failed trials left out."""
    known = run.trials.loc[run.trials["status"] != "FAILED", ["key", "point"]]
    reports = run.reports.loc[run.reports["split"] == "selection"]
    found: pd.DataFrame = reports.merge(known, on="key")
    return found
