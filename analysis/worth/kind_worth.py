"""Says what every kind of routers is worth over the whole range of costs, with intervals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.baselines.curve_scores import hull_places
from analysis.baselines.yardsticks import Curve, Mix, oracle_curve
from analysis.fronts.survey import Survey
from analysis.runs.load import Run, RunError
from analysis.runs.outcomes import Outcomes, outcomes, roster
from analysis.stats.choice import cheapest_reaching
from analysis.worth._shares import Estimate, Room, best_expert, mean_blind, mean_singles
from analysis.worth.kinds import Cells, Compared, compared, spread
from analysis.worth.worth import least_merit, score_scale
from mpc_router.run_names import SELECTION

if TYPE_CHECKING:
    import pandas as pd


def kind_worth(run: Run, survey: Survey) -> pd.DataFrame:
    """Gives the price of nearly the best single score and both shares of each kind, one a row.

    Columns: `kind` in words, `router_kind`, `combine`, `router_data`.

    `price` is what the kind's cheapest point and bias costs that on selection reaches the best
    single expert's score less half a point (`worth.least_merit`, the same for all kinds),
    `price_point` and `price_bias` say which that is, `price_score` what it scores, and `of_best` is
    its cost over that expert's; NaN and empty where none reaches it. `cheapest` marks the kind
    whose price is least on selection.

    `blind_share` and `labelled_share` are the shares of the room (`shares.Room`) that the hull of
    the kind's points and biases captures, beside the yardsticks of the experts that its own points
    have; the turns of the hull are chosen on selection.

    All but names is quoted on the survey's split, estimates with `_low` and `_high` (95 %).

    Raises:
        RunError: the run has no routes, a table lacks rows, or no router keeps the constraints.
        ValueError: trained experts are one pool on one split and several on the other.
    """
    import pandas as pd

    comparison = compared(run, survey.split, survey.vector.name)
    if not comparison.cells:
        raise RunError("no router under any bias keeps the study's constraints")
    chosen = outcomes(run, roster(run), SELECTION, need_routes=False)
    rows = [
        {
            **kind.columns,
            **_price(survey, comparison, chosen, cells),
            **_shares(survey, comparison, chosen, cells),
        }
        for kind, cells in comparison.cells.items()
    ]
    table = pd.DataFrame(rows)
    price = table.pop("selection_cost").to_numpy(np.float64)
    reached = np.isfinite(price)
    table["cheapest"] = reached & (
        np.arange(len(price)) == np.where(reached, price, np.inf).argmin()
    )
    return table


def _price(survey: Survey, comparison: Compared, chosen: Outcomes, cells: Cells) -> dict[str, Any]:
    """Gives the columns of the cheapest cell that reaches nearly the best single score."""
    cell = cheapest_reaching(cells.merits, cells.costs, score=least_merit(survey, chosen))
    if cell is None:
        return {
            "price_point": "",
            "price_bias": math.nan,
            "of_best": math.nan,
            "selection_cost": math.nan,
            **spread("price", np.full(1, np.nan)),
            **spread("price_score", np.full(1, np.nan)),
        }
    place, bias = cells.places[cell]
    quote = comparison.quote((place, bias))
    expert, _ = best_expert(survey.task, chosen, range(len(chosen.pools)), survey.vector)
    dear = float(survey.vector.experts[expert])
    return {
        "price_point": comparison.curves.points[place].point,
        "price_bias": float(comparison.curves.chosen[place].biases[bias]),
        "of_best": float(quote.cost[0]) / dear if dear else math.inf,
        "selection_cost": float(cells.costs[cell]),
        **spread("price", quote.cost),
        **spread("price_score", quote.score),
    }


def _shares(
    survey: Survey, comparison: Compared, chosen: Outcomes, cells: Cells
) -> dict[str, float]:
    """Gives the columns of both shares of a kind's hull."""
    turns = [cells.places[place] for place in hull_places(cells.costs, cells.merits)]
    quotes = [comparison.quote(cell) for cell in turns]
    blind, labelled = _room(survey, comparison, chosen, cells).shares(
        np.stack([quote.cost for quote in quotes]), np.stack([quote.score for quote in quotes])
    )
    return _columns("blind_share", blind) | _columns("labelled_share", labelled)


def _room(survey: Survey, comparison: Compared, chosen: Outcomes, cells: Cells) -> Room:
    """Measures the room between coin and yardsticks of the experts that a kind's points have."""
    quotes, task, vector = comparison.quotes, survey.task, survey.vector
    points = [comparison.curves.points[number] for number in {place for place, _ in cells.places}]
    pools = sorted(set().union(*(quotes.pools(point) for point in points)))
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


def _columns(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
