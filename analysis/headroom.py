"""What routers and cascades capture of what there is to capture, each with its interval.

Captured headroom (FACTS: 0 a coin, 1 the oracle) = (score - coin) / (oracle - coin), both at the
same cost. The interval is that of the difference to the coin, paired over resamples of examples,
in shares of the headroom as estimated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis import offers, resampling
from analysis.cascades import Cascade, CascadeFront, cascade_routes, confidence
from analysis.choice import best_within
from analysis.fronts import ABOVE, BELOW, EQUAL, SELECTION, Survey
from analysis.held import Yards, seed_draws
from analysis.load import Run, RunError
from analysis.outcomes import outcomes, roster
from analysis.recorded import expert_outputs
from analysis.resampling import interval
from analysis.yardsticks import LEAST_ROOM

if TYPE_CHECKING:
    import pandas as pd

Values = NDArray[np.float64]

GATE: Final = "gate"
CASCADE: Final = "cascade"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A gate of the front beside the cascade that the same money buys."""

    point: str
    label: str
    cascade: str
    gate_score: float
    gate_cost: float
    cascade_score: float
    cascade_cost: float
    difference: float
    """Of scores, the gate's less the cascade's, on the quoted split."""

    low: float
    high: float


def headroom(run: Run, survey: Survey) -> pd.DataFrame:
    """The front's gates, then the front of the cascades: a row each, cheapest first.

    Columns: kind (`gate`, `cascade`), label, score, cost, over_mix, over_mix_low, over_mix_high,
    selection_over_mix (to choose by: the same on selection),
    headroom, headroom_low, headroom_high (NaN where coin and oracle lie closer than `LEAST_ROOM`),
    verdict.
    Cascades are chosen on selection and quoted on the survey's split, as gates are.

    Raises:
        RunError: experts differ between trials, or a table lacks rows. A regression has no
            cascades: its rows are gates alone.
    """
    import pandas as pd

    rows = [_gate(survey, row) for _, row in survey.front.iterrows()]
    if not run.task.regression:
        rows += _Cascades.of(run, survey).rows()
    return pd.DataFrame(rows)


def against_cascades(run: Run, survey: Survey) -> list[Rival]:
    """Every gate of the front beside the best cascade that costs no more, chosen on selection.

    A gate that is cheaper than every cascade has no rival. The difference's interval is paired over
    resamples of examples and leans of seeds.

    Raises:
        RunError: the task is a regression, or experts differ between trials.
    """
    mine = _Cascades.of(run, survey)
    whole = roster(run)
    leans = seed_draws(whole, survey.resamples, 0)
    quoted = outcomes(run, whole, survey.split)
    scores = resampling.weighted_scores(run.task, quoted.predictions, quoted.labels, mine.weights)
    place = {key: number for number, key in enumerate(whole.keys)}
    members = {point.point: [place[key] for key in point.keys] for point in whole.points}
    found = []
    for _, row in survey.front.iterrows():
        chosen = best_within(
            mine.front.chosen.scores, mine.front.chosen.costs, cap=float(row["selection_cost"])
        )
        if chosen is None:
            continue
        lanes = scores[members[str(row["point"])]] - mine.scores[chosen]
        gap = resampling.over_seeds(lanes, leans[len(lanes)])
        low, high = interval(gap)
        found.append(
            Rival(
                point=str(row["point"]),
                label=str(row["label"]),
                cascade=mine.label(chosen),
                gate_score=float(row["score"]),
                gate_cost=float(row["cost"]),
                cascade_score=float(mine.front.quoted.scores[chosen]),
                cascade_cost=float(mine.front.quoted.costs[chosen]),
                difference=float(row["score"]) - float(mine.front.quoted.scores[chosen]),
                low=float(low),
                high=float(high),
            )
        )
    return found


def _gate(survey: Survey, row: Any) -> dict[str, Any]:
    return _row(
        GATE,
        str(row["label"]),
        float(row["score"]),
        float(row["cost"]),
        (float(row["over_mix"]), float(row["over_mix_low"]), float(row["over_mix_high"])),
        best=float(row["score"]) + float(row["regret"]),
    ) | {"selection_over_mix": float(row["selection_over_mix"])}


def _row(
    kind: str, label: str, score: float, cost: float, over: tuple[float, float, float], best: float
) -> dict[str, Any]:
    left = best - (score - over[0])
    share = [each / left if left >= LEAST_ROOM else np.nan for each in over]
    verdict = ABOVE if over[1] > 0 else BELOW if over[2] < 0 else EQUAL
    return {
        "kind": kind,
        "label": label,
        "score": score,
        "cost": cost,
        **dict(zip(("over_mix", "over_mix_low", "over_mix_high"), over, strict=True)),
        **dict(zip(("headroom", "headroom_low", "headroom_high"), share, strict=True)),
        "verdict": verdict,
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class _Cascades:
    """The front of the cascades of a run's experts, under every weighting of the examples."""

    survey: Survey
    front: CascadeFront
    names: tuple[str, ...]
    weights: resampling.Weights
    scores: Values
    """(T, B) on the quoted split."""

    over: Values
    """(T, B): above a coin between the single experts at the cascade's cost."""

    chosen_over: Values
    """(T,) the same on selection."""

    @classmethod
    def of(cls, run: Run, survey: Survey) -> _Cascades:
        fronts = offers.cascades(run, split=survey.split, vector=survey.vector.name)
        if len(fronts) > 1:
            raise RunError(
                f"{run.name}: its trials have {len(fronts)} sets of experts; headroom and cascades "
                "are those of one set: look at one pool at a time (analysis.offers.cascades)"
            )
        (front,) = fronts.values()
        quoted = outcomes(run, roster(run), survey.split, need_routes=False)
        (pool,) = quoted.pools
        weights = resampling.example_weights(
            len(quoted.labels), survey.resamples, np.random.default_rng([0, 3])
        )
        routes, costs = _routes(run, front.cascades, survey)
        said = np.take_along_axis(pool.prediction, routes, axis=0)
        scores = resampling.weighted_scores(run.task, said, quoted.labels, weights)
        scores[:, 0] = front.quoted.scores
        paid = _weighted_means(costs, weights)
        yards = Yards.of(run.task, quoted, survey.vector, weights)
        coin = np.asarray([yards.mix.at(row[None])[0] for row in paid])
        chosen = outcomes(run, roster(run), SELECTION, need_routes=False)
        once = np.ones((1, len(chosen.labels)), np.float32)
        there = Yards.of(run.task, chosen, survey.vector, once).mix
        return cls(
            survey=survey,
            front=front,
            chosen_over=front.chosen.scores - there.at(front.chosen.costs[:, None])[:, 0],
            names=run.expert_names,
            weights=weights,
            scores=scores,
            over=scores - coin,
        )

    def label(self, place: int) -> str:
        """`2 layers, then 6 layers under .83`."""
        one = self.front.cascades[place]
        steps = [self.names[one.chain[0]]]
        for threshold, expert in zip(one.thresholds, one.chain[1:], strict=True):
            steps.append(f"{self.names[expert]} under {threshold:.3g}")
        return ", then ".join(steps)

    def rows(self) -> list[dict[str, Any]]:
        low, high = interval(self.over)
        costs, scores = self.front.quoted.costs, self.front.quoted.scores
        order = np.argsort(costs, kind="stable")
        return [
            _row(
                CASCADE,
                self.label(int(place)),
                float(scores[place]),
                float(costs[place]),
                (float(self.over[place, 0]), float(low[place]), float(high[place])),
                best=float(self.survey.oracle_curve.at(costs[place])),
            )
            | {"selection_over_mix": float(self.chosen_over[place])}
            for place in order
        ]


def _routes(
    run: Run, cascades: tuple[Cascade, ...], survey: Survey
) -> tuple[NDArray[np.intp], Values]:
    """Whose answer each cascade takes, and what it pays: (T, N) both, on the quoted split."""
    key = roster(run).points[0].keys[0]
    (experts_id,) = run.trials.loc[run.trials["key"] == key, "experts_id"].astype(str)
    sure = confidence(expert_outputs(run, experts_id, survey.split).output)
    return cascade_routes(cascades, sure, vector=survey.vector)


def _weighted_means(values: Values, weights: resampling.Weights) -> Values:
    """(T, N) and (B, N) -> (T, B)."""
    return np.asarray(values @ weights.T / weights.sum(axis=1))
