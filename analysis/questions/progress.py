"""Follows hypervolume over what was spent, and finds what seeds have in common."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.baselines.curve_scores import aiq, apgr, cpt, pgr, strong_share
from analysis.fronts.survey import Survey
from analysis.runs.load import Run, RunError
from analysis.stats.indicators import (
    Frame,
    Surface,
    attainment,
    contributions,
    epsilon,
    hypervolume_history,
    igd_plus,
)
from mpc_router.tasks import merit

if TYPE_CHECKING:
    import pandas as pd

_Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Holds the literature's numbers for a front; NaN where they have no meaning."""

    aiq: float
    """Mean height of the front's hull between the cheapest and the dearest expert."""

    aiq_coin: float
    """The same of a coin between single experts: what costs no router at all."""

    apgr: float
    """Mean gap recovered between the cheapest and the dearest expert; a coin has about 1/2."""

    cpt50: float
    cpt80: float
    """Least share of dear calls that recovers so much of the gap."""

    igd_plus: float
    epsilon: float
    """Distances of the front to the oracle's curve, in shares of the picture's frame."""


def history(run: Run, survey: Survey) -> pd.DataFrame:
    """Gives the hypervolume of the points so far, in the order in which they were asked.

    A row a point that trained to the end, after a first row of nothing: trials, epochs and hours
    spent until then (those of stopped and failed trials too; a pack's time is shared by its trials
    by their epochs), and the hypervolume on selection under the survey's reference. Points are
    those of the survey that its front may hold.

    Raises:
        RunError: the run's trials name no packs.
    """
    import pandas as pd

    trials = run.trials
    if "pack" not in trials:
        raise RunError(f"{run.path}: trials name no packs, so the order of things is not known")
    packs = trials.groupby("pack", sort=False)
    share = trials["epochs"] / packs["epochs"].transform("sum").clip(lower=1)
    hours = share * packs["seconds"].transform("max") / 3600
    spent = pd.DataFrame(
        {
            "point": trials["point"].astype(str),
            "trials": 1,
            "epochs": trials["epochs"].astype(int),
            "hours": hours.astype(float),
        }
    )
    by_point = spent.groupby("point", sort=False).sum().cumsum()
    eligible = survey.points[survey.judged.eligible]
    eligible_points = eligible.set_index(eligible["point"].astype(str))
    order = [point for point in by_point.index if point in eligible_points.index]
    chosen = eligible_points.loc[order]
    volumes = hypervolume_history(
        merit(survey.task, chosen["selection_score"].to_numpy(np.float64)),
        chosen["selection_cost"].to_numpy(np.float64),
        reference=_reference(survey),
    )
    table = by_point.loc[order].reset_index()
    table["hypervolume"] = volumes
    nothing = {"point": "", "trials": 0, "epochs": 0, "hours": 0.0, "hypervolume": 0.0}
    rows: pd.DataFrame = pd.concat([pd.DataFrame([nothing]), table], ignore_index=True)
    return rows


def surfaces(run: Run, survey: Survey) -> tuple[Surface, ...]:
    """Gives what a quarter, half and three quarters of the seeds attain when quoted.

    A seed's points are those of the survey that its front may hold, with the trials that took
    part; where points lack seeds those count that all points have. With fewer than three seeds
    quartiles say nothing.

    Raises:
        RunError: fewer than three seeds.
    """
    eligible = survey.points[survey.judged.eligible]
    seeds = sorted(set.intersection(*map(set, eligible["seeds"])))
    trials = run.trials[run.trials["point"].astype(str).isin(eligible["point"].astype(str))]
    if len(seeds) < 3:
        raise RunError(
            f"{run.name}: {len(seeds)} seeds; what a share of the seeds attains needs three or more"
        )
    score = f"{survey.split}_score"
    cost = f"{survey.split}_cost_{survey.vector.name}"
    if cost not in trials:
        raise RunError(
            f"{run.name}: trials hold no {cost}; seeds are drawn under the run's vectors"
        )
    tables = [trials.loc[trials["seed"] == seed, [score, cost]].to_numpy() for seed in seeds]
    attained = attainment([(merit(survey.task, table[:, 0]), table[:, 1]) for table in tables])
    return tuple(
        replace(surface, scores=merit(survey.task, surface.scores)) for surface in attained
    )


def quality(survey: Survey) -> Quality:
    """Computes the literature's numbers of the survey's front, quoted, the router paid."""
    singles = survey.singles.sort_values("cost")
    costs = singles["cost"].to_numpy(np.float64)
    task = survey.task
    scores = merit(task, singles["score"].to_numpy(np.float64))
    ends = float(costs[0]), float(costs[-1])
    front = survey.front
    reached = merit(task, front["score"].to_numpy(np.float64))
    front_curve = front["cost"].to_numpy(np.float64), reached
    coin = survey.mix.costs, merit(task, survey.mix.scores[:, 0])
    if not ends[0] < ends[1]:
        return Quality(**dict.fromkeys(Quality.__slots__, np.nan))
    gap = scores[0] < scores[-1]
    shares = strong_share(front_curve[0], weak=ends[0], strong=ends[1])
    recovered = (
        pgr(front_curve[1], weak=float(scores[0]), strong=float(scores[-1])) if gap else None
    )
    best = merit(task, survey.oracle_curve.scores), survey.oracle_curve.costs
    try:
        frame = Frame.of_singles(scores, survey.vector)
        distances = (
            igd_plus((front_curve[1], front_curve[0]), best, frame),
            epsilon((front_curve[1], front_curve[0]), best, frame),
        )
    except ValueError:
        distances = (np.nan, np.nan)
    return Quality(
        aiq=merit(task, aiq(*front_curve, ends=ends, floor=float(scores[0]))),
        aiq_coin=merit(task, aiq(*coin, ends=ends, floor=float(scores[0]))),
        apgr=apgr(shares, recovered) if recovered is not None else np.nan,
        cpt50=cpt(shares, recovered, wanted=0.5) if recovered is not None else np.nan,
        cpt80=cpt(shares, recovered, wanted=0.8) if recovered is not None else np.nan,
        igd_plus=distances[0],
        epsilon=distances[1],
    )


def worth(survey: Survey) -> _Values:
    """Gives what the quoted hypervolume loses without each point of the front, (F,).

    Points are cheapest first.
    """
    front = survey.front
    return contributions(
        merit(survey.task, front["score"].to_numpy(np.float64)),
        front["cost"].to_numpy(np.float64),
        reference=_reference(survey),
    )


def _reference(survey: Survey) -> tuple[float, float]:
    """Gives the reference of hypervolumes as (merit, cost)."""
    return merit(survey.task, survey.reference[0]), survey.reference[1]
