"""Measures which share of the headroom over a coin is captured, as a ratio of areas.

Letters: K experts, P points, B weightings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.baselines.label_blind import LabelBlind, hull_area, label_blind, mix_area
from analysis.baselines.yardsticks import Curve, Mix
from analysis.runs.outcomes import Outcomes
from analysis.stats.resampling import Weights, interval
from mpc_router.costs import CostVector
from mpc_router.tasks import Task, merit, score_of

Values = NDArray[np.float64]

_LEAST_AREA: Final = 0.002
"""A share is quoted where the yardstick's area lies at least this far over the coin's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Holds a number with its 95 % interval; NaN where there is none."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, draws: Values) -> Estimate:
        """Gives the first draw, which is the sample's own, and the interval of all, (B,)."""
        low, high = interval(draws)
        return cls(value=float(draws[0]), low=float(low), high=float(high))


NO_ESTIMATE: Final = Estimate(value=math.nan, low=math.nan, high=math.nan)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Room:
    """Holds the areas between coin and yardsticks, against which shares are measured.

    All are means of merits (`mpc_router.tasks.merit`) between the two ends.
    """

    task: Task
    ends: tuple[float, float]
    """The costs of the cheapest and of the dearest expert."""

    floor: Values
    """(B,) the merit that is always had: that of the cheapest expert alone."""

    coin: Values
    """(B,)"""

    blind: float
    """How far the label-blind yardstick, looking free, lies over the coin; NaN without room."""

    labelled: float
    """How far the oracle lies over it, the router paid."""

    @classmethod
    def of(
        cls,
        task: Task,
        *,
        mix: Mix,
        oracle: Curve,
        blind: LabelBlind,
        singles: tuple[Values, Values],
        scale: float,
    ) -> Room:
        """Measures how far the yardsticks lie over the coin.

        `singles` are costs and scores (K,) of the single experts; `scale` is 1, or of a score
        without bounds the score of the best constant.
        """
        ends = float(mix.costs[0]), float(mix.costs[-1])
        floor = np.asarray(merit(task, mix.scores[0]), np.float64)
        coin = np.asarray(merit(task, mix_area(mix)), np.float64)
        rooms = [math.nan, math.nan]
        if ends[0] < ends[1]:
            costs, merits = singles[0], np.asarray(merit(task, singles[1]))
            with_blind = (
                np.append(costs, blind.free[0]),
                np.append(merits, merit(task, blind.scores[0])),
            )
            for place, (paid, reached) in enumerate(
                [with_blind, (oracle.costs, np.asarray(merit(task, oracle.scores)))]
            ):
                area = hull_area(paid[:, None], reached[:, None], ends=ends, floor=floor[:1])
                if area[0] - coin[0] >= _LEAST_AREA * abs(scale):
                    rooms[place] = float(area[0] - coin[0])
        return cls(task=task, ends=ends, floor=floor, coin=coin, blind=rooms[0], labelled=rooms[1])

    def shares(self, costs: Values, scores: Values) -> tuple[Estimate, Estimate]:
        """Gives the points' share of the label-blind and of the labelled room: (P, B) twice.

        The interval is that of `share_draws`.
        """
        blind, labelled = self.share_draws(costs, scores)
        return Estimate.of(blind), Estimate.of(labelled)

    def share_draws(self, costs: Values, scores: Values) -> tuple[Values, Values]:
        """Gives the points' shares of both rooms by draw, (B,) each; NaN where there is no room.

        (A(points) - A(coin)) / (A(yardstick) - A(coin)). The numerator is that of the draw, in
        shares of the room as estimated.
        """
        if math.isnan(self.blind) and math.isnan(self.labelled):
            return np.full_like(self.coin, np.nan), np.full_like(self.coin, np.nan)
        merits = np.asarray(merit(self.task, scores))
        over = hull_area(costs, merits, ends=self.ends, floor=self.floor) - self.coin
        return over / self.blind, over / self.labelled


def mean_blind(
    task: Task,
    chosen: Outcomes,
    quoted: Outcomes,
    pools: Sequence[int],
    *,
    vector: CostVector,
    weights: Weights,
) -> LabelBlind:
    """Gives the label-blind yardstick of some pools, each with its own best expert: their mean.

    `chosen` are the outcomes on selection. Its expert is `best_expert`, a number among all of the
    run, its tolerance the widest.

    Raises:
        ValueError: trained experts are one pool on one split and several on the other.
    """
    if len(chosen.pools) != len(quoted.pools):
        raise ValueError(
            f"trained experts agree on one of the splits {chosen.split} and {quoted.split} and "
            "differ on the other"
        )
    blinds = [
        label_blind(
            task,
            (chosen.pools[number].prediction, chosen.labels),
            quoted.pools[number].prediction,
            quoted.labels,
            vector=vector.of_members(quoted.pools[number].members),
            weights=weights,
        )
        for number in pools
    ]
    return LabelBlind(
        expert=best_expert(task, chosen, pools, vector)[0],
        tolerance=max(blind.tolerance for blind in blinds),
        scores=np.mean([blind.scores for blind in blinds], axis=0),
        free=np.mean([blind.free for blind in blinds], axis=0),
        paid=np.mean([blind.paid for blind in blinds], axis=0),
    )


def best_expert(
    task: Task, outcomes: Outcomes, pools: Sequence[int], vector: CostVector
) -> tuple[int, float]:
    """Gives the expert of the best score and its score, each the mean over the pools that have it.

    Of equals the cheapest; the expert is a number among all of the run.
    """
    costs, scores = mean_singles(task, outcomes, pools, vector)
    merits = np.where(np.isnan(scores), -np.inf, merit(task, scores))
    best = int(np.lexsort((costs, -merits))[0])
    return best, float(scores[best])


def mean_singles(
    task: Task, outcomes: Outcomes, pools: Sequence[int], vector: CostVector
) -> tuple[Values, Values]:
    """Gives costs and scores (K,) of all experts of the run; NaN where no pool has the expert."""
    sums, having = np.zeros(len(vector.experts)), np.zeros(len(vector.experts))
    for number in pools:
        rows = list(outcomes.pools[number].members)
        sums[rows] += score_of(task, outcomes.pools[number].prediction, outcomes.labels)
        having[rows] += 1
    scores = np.where(having > 0, sums / np.maximum(having, 1), np.nan)
    return np.asarray(vector.experts, np.float64), scores
