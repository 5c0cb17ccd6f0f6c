"""Says what the front's routers are worth beside the label-blind yardstick and a coin.

A share of the headroom rises when the cheapest expert gets worse, so three plain figures stand
beside it: points over the coin at stated costs, the price of nearly the best single score, and how
much of the oracle is luck. Points are chosen on selection and quoted on the survey's split.

Letters: F points of the front, B weightings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from analysis.baselines.yardsticks import has_bounds
from analysis.fronts.points import example_draws
from analysis.fronts.survey import Survey
from analysis.runs.load import Run
from analysis.runs.outcomes import Outcomes, outcomes, roster
from analysis.stats.choice import best_within, cheapest_reaching
from analysis.worth._shares import Estimate as Estimate
from analysis.worth._shares import Room, best_expert, mean_blind
from mpc_router.run_names import SELECTION
from mpc_router.tasks import merit

if TYPE_CHECKING:
    import pandas as pd

_Values = NDArray[np.float64]

_HALF_POINT: Final = 0.005
_CAPS: Final = (0.1, 0.25, 0.5)
"""Stated costs, as shares of the way from the cheapest expert's cost to the dearest's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AtCost:
    """Says what the best router for at most a cost has over the coin of its own cost."""

    cap: float
    point: str
    label: str
    cost: float
    over_coin: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Holds the cheapest router that scores the best single expert's score less half a point."""

    point: str
    label: str
    score: Estimate
    cost: Estimate
    of_best: float
    """Its cost over the best single expert's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """Holds the label-blind yardstick and what the front captures of it."""

    expert: str
    """The single expert that scores best on selection, by the mean over pools."""

    pools: int
    """Pools of trained experts, each with its own best expert; yardsticks are means over them."""

    tolerance: float
    """How far values may lie apart to agree; 0 for classes."""

    score: Estimate
    free: Estimate
    """The yardstick's cost where looking costs nothing."""

    paid: Estimate
    """Its cost where the cheapest expert always runs first."""

    blind_share: Estimate
    """(A(front) - A(coin)) / (A(yardstick, free) - A(coin)), with A the mean height of the upper
    hull between the cheapest and the dearest expert's cost. The interval is that of the numerator,
    over seeds and examples, in shares of the room as estimated."""

    labelled_share: Estimate
    """The same with the labelled oracle in the yardstick's place."""

    at_costs: tuple[AtCost, ...]
    price: Price | None
    """None where no point of the front scores so much on selection."""

    luck: float | None
    """How much of the oracle's lead over the best expert shows already between two seeds of that
    expert; None where the run has one seed of experts, or the task is a regression."""


def worth(run: Run, survey: Survey, *, costs: Sequence[float] | None = None) -> Worth:
    """Measures what the survey's front is worth; `costs` are those to state points over the coin.

    Where trials are held against several pools of trained experts, yardsticks are means over them.

    Raises:
        RunError: a table lacks rows.
    """
    run_roster = roster(run)
    quoted = outcomes(run, run_roster, survey.split, need_routes=False)
    chosen = outcomes(run, run_roster, SELECTION, need_routes=False)
    pools = range(len(quoted.pools))
    weights = example_draws(run, quoted, survey.resamples, 0, 3)
    blind = mean_blind(run.task, chosen, quoted, pools, vector=survey.vector, weights=weights)
    singles = survey.singles[survey.singles["score"].notna()]  # a partial run may lack experts
    room = Room.of(
        survey.task,
        mix=survey.mix,
        oracle=survey.oracle_curve,
        blind=blind,
        singles=(singles["cost"].to_numpy(np.float64), singles["score"].to_numpy(np.float64)),
        scale=score_scale(survey),
    )
    blind_share, labelled_share = room.shares(survey.front_costs, survey.front_scores)
    return Worth(
        expert=run.expert_names[blind.expert],
        pools=len(pools),
        tolerance=blind.tolerance,
        score=Estimate.of(blind.scores),
        free=Estimate.of(blind.free),
        paid=Estimate.of(blind.paid),
        blind_share=blind_share,
        labelled_share=labelled_share,
        at_costs=_at_costs(survey, costs),
        price=_price(survey, least_merit(survey, chosen), blind.expert),
        luck=_luck(run, quoted, survey, blind.expert),
    )


def score_scale(survey: Survey) -> float:
    """Gives what a point of score is a hundredth of: 1, or without bounds the best constant's."""
    return 1.0 if has_bounds(survey.task) else abs(survey.majority["score"])


def half_words(survey: Survey) -> str:
    """Names the margin under the best single score."""
    return "half a point" if has_bounds(survey.task) else "half a per cent"


def least_merit(survey: Survey, chosen: Outcomes, pools: Sequence[int] = ()) -> float:
    """Gives the best single expert's merit on selection less half a point.

    The expert is the best by the mean over `pools`, or over all; see `best_expert`.
    """
    pools = pools or range(len(chosen.pools))
    _, score = best_expert(survey.task, chosen, pools, survey.vector)
    return float(merit(survey.task, score)) - _HALF_POINT * score_scale(survey)


def stated_costs(cheapest: float, dearest: float) -> list[float]:
    """Gives the costs at which routers are quoted, between those of two experts."""
    return [float(f"{cheapest + share * (dearest - cheapest):.2g}") for share in _CAPS]


def _at_costs(survey: Survey, costs: Sequence[float] | None) -> tuple[AtCost, ...]:
    """Finds the best front point on selection for at most each cost; caps too low for all go."""
    if costs is None:
        costs = stated_costs(float(survey.mix.costs[0]), float(survey.mix.costs[-1]))
    front = survey.front
    merits = merit(survey.task, front["selection_score"].to_numpy(np.float64))
    stated = []
    for cap in costs:
        place = best_within(merits, front["selection_cost"].to_numpy(np.float64), cap=cap)
        if place is None:
            continue
        row = front.iloc[place]
        stated.append(
            AtCost(
                cap=cap,
                point=str(row["point"]),
                label=str(row["label"]),
                cost=float(row["cost"]),
                over_coin=_of_row(row, "over_mix"),
            )
        )
    return tuple(stated)


def _of_row(row: pd.Series, name: str) -> Estimate:
    value, low, high = (float(row[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return Estimate(value=value, low=low, high=high)


def _price(survey: Survey, least: float, expert: int) -> Price | None:
    """Finds the cheapest front point that reaches a merit on selection."""
    front = survey.front
    merits = merit(survey.task, front["selection_score"].to_numpy(np.float64))
    place = cheapest_reaching(merits, front["selection_cost"].to_numpy(np.float64), score=least)
    if place is None:
        return None
    row = front.iloc[place]
    dear = float(survey.vector.experts[expert])
    return Price(
        point=str(row["point"]),
        label=str(row["label"]),
        score=_of_row(row, "score"),
        cost=_of_row(row, "cost"),
        of_best=float(row["cost"]) / dear if dear else math.inf,
    )


def _luck(run: Run, quoted: Outcomes, survey: Survey, expert: int) -> float | None:
    """Compares the oracle of two seeds of one expert with the oracle of the whole pool.

    Both are leads in accuracy over the better one; the mean over pairs of pools.
    """
    pools = [pool for pool in quoted.pools if expert in pool.members]
    seeds = run.trials["expert_seed"].nunique() if "expert_seed" in run.settings else 1
    if run.task.regression or survey.joint or len(pools) < 2 or len(pools) != seeds:
        return None
    right = np.asarray([pool.right[pool.members.index(expert)] for pool in pools])
    twins = [
        float((right[i] | right[j]).mean() - max(right[i].mean(), right[j].mean()))
        for i, j in combinations(range(len(pools)), 2)
    ]
    leads = [float(pool.right.any(axis=0).mean() - pool.right.mean(axis=1).max()) for pool in pools]
    lead = float(np.mean(leads))
    return float(np.mean(twins)) / lead if lead > 0 else None
