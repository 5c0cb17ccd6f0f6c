"""Measures whether routers agree: between epochs, between seeds, and along the front."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.fronts.survey import Survey
from analysis.runs.alternatives import alternatives
from analysis.runs.load import Run, RunError
from analysis.runs.outcomes import outcomes, roster
from mpc_router.run_names import COMPLETED, SELECTION
from mpc_router.tasks import mean_ranks

if TYPE_CHECKING:
    import pandas as pd

_Values = NDArray[np.float64]

_LEAST_POINTS: Final = 4
_RESAMPLES: Final = 200


def spearman(first: _Values, second: _Values) -> _Values:
    """Gives rank correlations of rows (..., N), ties at their mean rank; NaN where one is flat."""
    a, b = mean_ranks(first), mean_ranks(second)
    a, b = a - a.mean(axis=-1, keepdims=True), b - b.mean(axis=-1, keepdims=True)
    size = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    flat = np.full_like(size, np.nan)
    return np.asarray(np.divide((a * b).sum(axis=-1), size, out=flat, where=size > 0))


def epoch_agreement(run: Run) -> pd.DataFrame:
    """Says how far the order of points after each epoch is that after the last.

    Means over replicates on selection, of the points that trained to the end: those that were
    stopped have no last epoch, so after early stopping this is the order among the survivors. A row
    an epoch and objective: epoch, objective (`score`, `cost`), rho (Spearman), low, high (95 %
    percentile interval over resamples of the points), points.

    Raises:
        RunError: one epoch, or fewer than `_LEAST_POINTS` such points.
    """
    import pandas as pd

    done = run.trials[run.trials["status"] == COMPLETED]
    reports = run.reports[run.reports["split"] == SELECTION].merge(done[["key", "point"]], on="key")
    last = int(reports["epoch"].max()) if len(reports) else 0
    if last < 2:
        raise RunError(
            f"{run.name}: no completed trial has more than {last} epoch{'' if last == 1 else 's'}; "
            "agreement compares two or more epochs"
        )
    means = reports.groupby(["point", "epoch"])[["score", "cost"]].mean().unstack("epoch")
    trained = means.dropna()
    if len(trained) < _LEAST_POINTS:
        raise RunError(
            f"{run.name}: {len(trained)} points trained to the end; the agreement of ranks needs "
            f"{_LEAST_POINTS}"
        )
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(trained), (_RESAMPLES, len(trained)))
    rows: list[dict[str, Any]] = []
    for objective in ("score", "cost"):
        final = trained[objective, last].to_numpy(np.float64)
        for epoch in range(1, last):
            if (objective, epoch) not in trained:
                continue
            here = trained[objective, epoch].to_numpy(np.float64)
            resampled = spearman(here[draws], final[draws])
            low, high = (
                np.nanpercentile(resampled, [2.5, 97.5])
                if np.isfinite(resampled).any()
                else (np.nan,) * 2
            )
            rows.append(
                {
                    "epoch": epoch,
                    "objective": objective,
                    "rho": float(spearman(here, final)),
                    "low": float(low),
                    "high": float(high),
                    "points": len(trained),
                }
            )
    return pd.DataFrame(rows)


def trusted_epoch(table: pd.DataFrame, floor: float = 0.9) -> int | None:
    """Gives the first epoch from which every objective's order agrees with the last's.

    The rank correlation is at least `floor` from there on.

    None where even the last epoch but one is not. A rung before it stops points by an order that
    does not last. An objective that does not vary after an epoch has no order to trust there.
    """
    worst = table.groupby("epoch")["rho"].min(skipna=False).sort_index(ascending=False)
    trusted = None
    for epoch, rho in zip(worst.index.tolist(), worst.tolist(), strict=True):
        if not rho >= floor:
            break
        trusted = int(epoch)
    return trusted


def seed_agreement(run: Run, survey: Survey) -> pd.DataFrame:
    """Measures whether the seeds of a point send the same examples to the same experts, or paths.

    A row a point: point, label, agreement (share of examples with equal routes, mean over pairs of
    seeds), chance (what shares alone would give), kappa ((agreement - chance) / (1 - chance); 1 the
    same routes, 0 no more than shares explain, NaN where both always take one expert).

    Raises:
        RunError: no point has two seeds.
    """
    import pandas as pd

    run_roster = roster(run)
    routes = outcomes(run, run_roster, survey.split).routes
    count = len(alternatives(run).experts)
    rows: list[dict[str, Any]] = []
    first = 0
    for point in run_roster.points:
        replicates = routes[first : first + len(point.keys)]
        first += len(point.keys)
        if len(replicates) < 2:
            continue
        share = np.stack([(replicates == expert).mean(axis=1) for expert in range(count)], axis=-1)
        pairs = list(itertools.combinations(range(len(replicates)), 2))
        same = float(np.mean([(replicates[a] == replicates[b]).mean() for a, b in pairs]))
        luck = float(np.mean([(share[a] * share[b]).sum() for a, b in pairs]))
        rows.append(
            {
                "point": point.point,
                "label": point.label,
                "agreement": same,
                "chance": luck,
                "kappa": (same - luck) / (1 - luck) if luck < 1 - 1e-12 else float("nan"),
            }
        )
    if not rows:
        raise RunError(f"{run.name}: every point has one seed; agreement is between two or more")
    return pd.DataFrame(rows)


def moving_examples(run: Run, survey: Survey) -> pd.DataFrame:
    """Counts examples that change experts from one point of the front to the next dearer one.

    A row a step: from_point, to_point, up, down, stay (shares of the examples, by the cost of the
    route, mean over the seeds that both points have). A front that buys score with dearer experts
    alone has no `down`.

    Raises:
        RunError: the front is one point.
    """
    import pandas as pd

    front = survey.front
    if len(front) < 2:
        raise RunError(f"{run.name}: the front is one point; nothing moves along it")
    run_roster = roster(run)
    routes = outcomes(run, run_roster, survey.split).routes
    price = np.asarray(alternatives(run).price(survey.vector).routed)
    lanes: dict[str, dict[int, int]] = {}
    first = 0
    for point in run_roster.points:
        lanes[point.point] = {seed: first + n for n, seed in enumerate(point.seeds)}
        first += len(point.keys)
    names = front["point"].astype(str).tolist()
    rows: list[dict[str, Any]] = []
    for cheaper, dearer in itertools.pairwise(names):
        shared = sorted(lanes[cheaper].keys() & lanes[dearer].keys())
        if not shared:
            continue
        steps = np.stack(
            [
                price[routes[lanes[dearer][seed]]] - price[routes[lanes[cheaper][seed]]]
                for seed in shared
            ]
        )
        rows.append(
            {
                "from_point": cheaper,
                "to_point": dearer,
                "up": float((steps > 0).mean()),
                "down": float((steps < 0).mean()),
                "stay": float((steps == 0).mean()),
            }
        )
    return pd.DataFrame(rows)
