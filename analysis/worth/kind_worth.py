"""Says what every kind of routers is worth over the whole range of costs, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.baselines.curve_scores import hull_places
from analysis.baselines.yardsticks import Curve, Mix, oracle_curve
from analysis.fronts.survey import Survey
from analysis.runs.load import Run, RunError
from analysis.runs.outcomes import Outcomes, outcomes, roster
from analysis.stats.choice import cheapest_reaching
from analysis.worth._quotes import EXPERT_SEEDS, mean_over_seeds
from analysis.worth._shares import Room, best_expert, mean_blind, mean_singles
from analysis.worth.kinds import Cells, Compared, compared, spread
from analysis.worth.worth import least_merit, score_scale
from mpc_router.run_names import SELECTION

if TYPE_CHECKING:
    import pandas as pd


def kind_worth(run: Run, survey: Survey) -> pd.DataFrame:
    """Gives the price of nearly the best single score and both shares of each kind, one a row.

    Columns: `kind` in words, `router_kind`, `combine`, `router_data`.

    `price` is what the kind's cheapest point and bias costs that on selection reaches the best
    single expert's score less half a point (`worth.least_merit`, the same for all kinds that have
    the same experts),
    `price_point` and `price_bias` say which that is, `price_score` what it scores, and `of_best` is
    its cost over that expert's; NaN and empty where none reaches it. `cheapest` marks the kind
    whose price is least on selection.

    `blind_share` and `labelled_share` are the shares of the room (`shares.Room`) that the hull of
    the kind's points and biases captures, beside the yardsticks of the experts that its own points
    have; the turns of the hull are chosen on selection.

    Of several seeds of experts all is the mean: points are chosen, and shares measured, with each
    seed; `price_point` names the points of all, and `price_bias` is NaN. A kind reaches a score
    that it reaches with every seed.

    All but names is quoted on the survey's split, estimates with `_low` and `_high` (95 %).

    Raises:
        RunError: the run has no routes, a table lacks rows, or no router keeps the constraints.
        ValueError: trained experts are one pool on one split and several on the other.
    """
    import pandas as pd

    comparison = compared(run, survey.split, survey.vector.name)
    if not comparison.cells:
        several = " with each seed of experts" if "expert_seed" in run.settings else ""
        raise RunError(f"no router under any bias keeps the study's constraints{several}")
    chosen = outcomes(run, roster(run), SELECTION, need_routes=False)
    rows = [
        {
            **kind.columns,
            **_price(survey, comparison, chosen, seeds),
            **_shares(survey, comparison, chosen, seeds),
        }
        for kind, seeds in comparison.cells.items()
    ]
    table = pd.DataFrame(rows)
    price = table.pop("selection_cost").to_numpy(np.float64)
    reached = np.isfinite(price)
    table["cheapest"] = reached & (
        np.arange(len(price)) == np.where(reached, price, np.inf).argmin()
    )
    return table


def _price(
    survey: Survey, comparison: Compared, chosen: Outcomes, seeds: Sequence[Cells]
) -> dict[str, Any]:
    """Gives the columns of the cheapest cells that reach nearly the best single score."""
    numbers = [_cheapest(survey, comparison, chosen, cells) for cells in seeds]
    reached = [cell for cell in numbers if cell is not None]
    if len(reached) < len(numbers):
        return {
            "price_point": "",
            "price_bias": math.nan,
            "of_best": math.nan,
            "selection_cost": math.nan,
            **spread("price", np.full(1, np.nan)),
            **spread("price_score", np.full(1, np.nan)),
        }
    places = [cells.places[cell] for cells, cell in zip(seeds, reached, strict=True)]
    quote, names = comparison.mean(places), comparison.names(places)
    dear = np.mean([_dear(survey, comparison, chosen, cells) for cells in seeds])
    selected = [cells.costs[cell] for cells, cell in zip(seeds, reached, strict=True)]
    return {
        "price_point": names["point"],
        "price_bias": names["bias"],
        "of_best": float(quote.cost[0]) / dear if dear else math.inf,
        "selection_cost": float(np.mean(selected)),
        **spread("price", quote.cost),
        **spread("price_score", quote.score),
    }


def _cheapest(survey: Survey, comparison: Compared, chosen: Outcomes, cells: Cells) -> int | None:
    """Gives the number of the cheapest cell that reaches nearly its experts' best score."""
    pools = _pools(comparison, cells)
    least = least_merit(survey, chosen, pools)
    return cheapest_reaching(cells.merits, cells.costs, score=least)


def _dear(survey: Survey, comparison: Compared, chosen: Outcomes, cells: Cells) -> float:
    """Gives the cost of the best single expert on selection."""
    expert, _ = best_expert(survey.task, chosen, _pools(comparison, cells), survey.vector)
    return float(survey.vector.experts[expert])


def _shares(
    survey: Survey, comparison: Compared, chosen: Outcomes, seeds: Sequence[Cells]
) -> dict[str, float]:
    """Gives the columns of both shares of a kind's hull."""
    by_seed = []
    for cells in seeds:
        turns = [cells.places[place] for place in hull_places(cells.costs, cells.merits)]
        quotes = [comparison.quote(*cell) for cell in turns]
        by_seed.append(
            _room(survey, comparison, chosen, cells).share_draws(
                np.stack([quote.cost for quote in quotes]),
                np.stack([quote.score for quote in quotes]),
            )
        )
    blind, labelled = (mean_over_seeds(draws, EXPERT_SEEDS) for draws in zip(*by_seed, strict=True))
    return spread("blind_share", blind) | spread("labelled_share", labelled)


def _pools(comparison: Compared, cells: Cells) -> list[int]:
    """Gives the numbers of the pools of trained experts that a kind's points have."""
    points = [comparison.curves.points[number] for number in {place for place, _ in cells.places}]
    return sorted(set().union(*(comparison.quotes.pools(point) for point in points)))


def _room(survey: Survey, comparison: Compared, chosen: Outcomes, cells: Cells) -> Room:
    """Measures the room between coin and yardsticks of the experts that a kind's points have."""
    quotes, task, vector = comparison.quotes, survey.task, survey.vector
    pools = _pools(comparison, cells)
    curves = [
        oracle_curve(
            task,
            quotes.seen.pools[number].prediction,
            quotes.seen.labels,
            vector=vector.of_members(quotes.seen.pools[number].members),
        )
        for number in pools
    ]
    costs, scores = mean_singles(task, quotes.seen, pools, vector)
    known = ~np.isnan(scores)
    return Room.of(
        task,
        mix=Mix.mean([quotes.mix(number) for number in pools]),
        oracle=Curve.mean(curves),
        blind=mean_blind(task, chosen, quotes.seen, pools, vector=vector, weights=quotes.weights),
        singles=(costs[known], scores[known]),
        scale=score_scale(survey),
    )
