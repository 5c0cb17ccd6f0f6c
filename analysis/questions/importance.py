"""Says which setting moved which objective, by PED-ANOVA over points, as Optuna has it.

PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255) asks how far the distribution of a setting among
the best points differs from that among all; shares sum to one over the settings. It says what
mattered for being among the best, and nothing of the sign: the pictures of each setting do that.
Shares of nothing sum to one too, so every share comes with an interval and with a p.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.runs.load import Run, RunError
from analysis.stats.ped_anova import Cells, best, divergence
from mpc_router.run_names import FAILED, SELECTION
from mpc_router.tasks import merit

if TYPE_CHECKING:
    import pandas as pd
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

_Values = NDArray[np.float64]

_LEAST_POINTS: Final = 8
"""Fewer say nothing of several settings."""

_RESAMPLES: Final = 200
_KEPT: Final = 0.75
"""Of the points, in each subsample that an interval is made of."""

_SHUFFLES: Final = 199

_EQUAL: Final = 1e-12

_LISTED: Final = 12
"""Numbers of so few values are a choice between them, and no range."""

_FEW: Final = 100
"""Of fewer points the best quarter is looked at, of more the best tenth."""


def fidelity(run: Run) -> int:
    """Gives the last epoch that every point reached with a replicate that did not fail.

    Points that were stopped early and points that were not are compared at this epoch.

    Raises:
        RunError: no trial has reported.
    """
    reports = _selection(run)
    if reports.empty:
        raise RunError(f"{run.path}: no trial has reported on selection")
    return int(reports.groupby("point")["epoch"].max().min())


def settings_table(run: Run) -> pd.DataFrame:
    """Gives a row a point: searched settings, and mean score and cost at `fidelity`.

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
    table: pd.DataFrame = settings.join(means, how="inner").reset_index()
    return table


def importance(run: Run, *, seed: int = 0) -> pd.DataFrame:
    """Measures the importance of every searched setting for score and for cost.

    A row an objective and setting: objective, parameter, importance (shares that sum to one by
    objective; NaN where the best points do not differ from the others), low and high (95 %
    interval over subsamples of the points, see `_ends`; it holds the share), p (how often a setting
    that has nothing to do with the objective looks as important: over shuffles of the objective),
    points, epoch (see `fidelity`), method.

    Raises:
        RunError: fewer than two settings differ, or too few points.
    """
    import pandas as pd

    table = settings_table(run)
    table = table[np.isfinite(table["score"]) & np.isfinite(table["cost"])]
    names = [name for name in run.settings if table[name].astype(str).nunique() > 1]
    if len(names) < 2:
        raise RunError(
            f"{run.name}: {len(names)} settings differ between points; importance is a question "
            "between two or more"
        )
    if len(table) < _LEAST_POINTS:
        raise RunError(
            f"{run.name}: {len(table)} points; the importance of settings needs {_LEAST_POINTS}"
        )
    rng = np.random.default_rng(seed)
    kept = round(_KEPT * len(table))
    draws = [np.sort(rng.permutation(len(table))[:kept]) for _ in range(_RESAMPLES)]
    portion = 0.1 if len(table) >= _FEW else 0.25
    orders = [rng.permutation(len(table)) for _ in range(_SHUFFLES)]
    everyone = np.arange(len(table))
    cells = [_cells(table[name].tolist()) for name in names]
    rows = []
    for objective, sign in (("score", -merit(run.task, 1.0)), ("cost", 1.0)):
        losses = sign * table[objective].to_numpy(np.float64)
        seen = _moved(cells, everyone, losses, portion)
        shuffled = np.array([_moved(cells, everyone, losses[order], portion) for order in orders])
        p = (1 + (shuffled >= seen - _EQUAL).sum(axis=0)) / (1 + _SHUFFLES)
        shares = _shares(seen)
        drawn = np.array([_shares(_moved(cells, d, losses[d], portion)) for d in draws])
        low, high = _ends(shares, drawn, math.sqrt(kept / (len(table) - kept)))
        for place, (name, share) in enumerate(zip(names, shares, strict=True)):
            rows.append(
                {
                    "objective": objective,
                    "parameter": name,
                    "importance": float(share),
                    "low": float(low[place]),
                    "high": float(high[place]),
                    "p": float(p[place]),
                    "points": len(table),
                    "epoch": fidelity(run),
                    "method": "PED-ANOVA",
                }
            )
    return pd.DataFrame(rows)


def _moved(
    cells: Sequence[Cells], chosen: NDArray[np.intp], losses: _Values, portion: float
) -> _Values:
    """Says how far the best of the chosen points lie from all, (settings,); losses by chosen."""
    top = chosen[best(losses, portion)]
    return np.array([divergence(setting_cells, top, chosen) for setting_cells in cells])


def _shares(moved: _Values) -> _Values:
    total = moved.sum()
    return moved / total if total > _EQUAL else np.full(len(moved), math.nan)


def _ends(shares: _Values, drawn: _Values, scale: float) -> tuple[_Values, _Values]:
    """Gives 95 % intervals of shares (settings,) from those of subsamples (B, settings).

    Subsamples of m of n points, without replacement: points drawn twice would look like choices
    that the best share. They differ less than samples of n would, by sqrt((n - m) / m), whose
    inverse is `scale` (Shao & Wu 1989, "A general theory for jackknife variance estimation"), and
    few points even out the shares of all settings: so deviations are taken from the subsamples'
    median, and put on the share. Subsamples that say nothing are passed over.
    """
    finite = drawn[np.isfinite(drawn).all(axis=1)]
    if not len(finite) or not np.isfinite(shares).all():
        nothing = np.full(shares.shape, math.nan)
        return nothing, nothing
    apart = scale * (finite - np.median(finite, axis=0))
    low, high = np.percentile(apart, [2.5, 97.5], axis=0)
    return np.clip(shares + low, 0, 1), np.clip(shares + high, 0, 1)


def _cells(values: Sequence[Any]) -> Cells:
    """Puts a setting into cells as `trials` tells Optuna: a range of numbers, or choices."""
    from optuna.distributions import FloatDistribution

    kind = _distribution(values)
    told = [_value(value, kind) for value in values]
    if isinstance(kind, FloatDistribution):
        return Cells.of_range(np.asarray(told, np.float64), logarithmic=kind.log)
    index = np.asarray([kind.to_internal_repr(value) for value in told], np.intp)
    return Cells(index, 1 + int(index.max()), ordered=False)


def optuna_trials(
    table: pd.DataFrame, names: Sequence[str], objectives: Sequence[str]
) -> list[FrozenTrial]:
    """Gives points as Optuna's trials: settings by name, values in the order of objectives.

    A column `state`, where there is one, names each one's state; values, and what a column
    `constraints` holds, are those of the COMPLETE.
    """
    from optuna.trial import TrialState, create_trial

    kinds = {name: _distribution(table[name].tolist()) for name in names}
    frozen_trials = []
    for row in table.to_dict("records"):
        state = TrialState[row.get("state", "COMPLETE")]
        complete = state == TrialState.COMPLETE
        frozen_trials.append(
            create_trial(
                state=state,
                params={name: _value(row[name], kinds[name]) for name in names},
                distributions=kinds,
                values=[float(row[objective]) for objective in objectives] if complete else None,
                constraints=row.get("constraints") if complete else None,
            )
        )
    return frozen_trials


def _distribution(values: Sequence[Any]) -> BaseDistribution:
    """Makes many numbers a range and others choices.

    A range is by logarithm where it spans a factor of ten.
    """
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
    plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    return None if isinstance(plain, float) and math.isnan(plain) else plain


def _told(value: Any) -> Any:
    """Writes a list as Optuna takes it: its JSON."""
    return json.dumps(value) if isinstance(value, list | tuple) else value


def _selection(run: Run) -> pd.DataFrame:
    """Gives reports on selection with their points, without those of failed trials."""
    kept = run.trials.loc[run.trials["status"] != FAILED, ["key", "point"]]
    reports = run.reports.loc[run.reports["split"] == SELECTION]
    merged: pd.DataFrame = reports.merge(kept, on="key")
    return merged
