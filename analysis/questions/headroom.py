"""Measures which share of the headroom routers and cascades capture, with intervals.

Captured headroom (FACTS: 0 a coin, 1 the oracle) = (score - coin) / (oracle - coin), both at the
same cost. The interval is that of the difference to the coin, paired over resamples of examples,
in shares of the headroom as estimated.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.baselines.cascades import CascadeFront, cascade_routes, confidence
from analysis.baselines.yardsticks import least_room
from analysis.choices import operating_points
from analysis.fronts.points import Yards, seed_draws
from analysis.fronts.survey import ABOVE, BELOW, EQUAL, Survey
from analysis.runs.load import Run, RunError
from analysis.runs.outcomes import Outcomes, outcomes, roster
from analysis.runs.recorded import expert_outputs
from analysis.stats import resampling
from analysis.stats.choice import best_within
from analysis.stats.resampling import interval
from mpc_router.run_names import SELECTION
from mpc_router.tasks import merit

if TYPE_CHECKING:
    import pandas as pd

_Values = NDArray[np.float64]

_GATE: Final = "gate"
_CASCADE: Final = "cascade"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """Compares a gate of the front with the cascade that the same money buys."""

    point: str
    label: str
    cascade: str
    gate_score: float
    gate_cost: float
    cascade_score: float
    cascade_cost: float
    difference: float
    """How much better the gate's score is than the cascade's on the quoted split."""

    low: float
    high: float


def headroom(run: Run, survey: Survey) -> pd.DataFrame:
    """Gives a row for each gate of the front, then for each cascade of the sets' fronts.

    Columns: kind (`gate`, `cascade`), point (empty of a cascade), label, pool (which set of
    experts a cascade is of, where the run has several; else empty), score, cost, over_mix,
    over_mix_low, over_mix_high, selection_over_mix (to choose by: the same on selection),
    selection_score, selection_cost,
    headroom, headroom_low, headroom_high (NaN where coin and oracle lie closer than `least_room`),
    verdict.
    Cascades are chosen on selection and quoted on the survey's split, as gates are; coin and oracle
    are those of their own experts. Regressions have no cascades, and where experts train with each
    trial there would be others for every trial: then rows are gates alone.

    Raises:
        RunError: a table lacks rows.
    """
    import pandas as pd

    rows = [_gate(survey, row) for _, row in survey.front.iterrows()]
    if not run.task.regression:
        for cascades in _cascades(run, survey).values():
            rows += cascades.rows(survey)
    return pd.DataFrame(rows)


def against_cascades(run: Run, survey: Survey) -> list[Rival]:
    """Compares every gate of the front with its experts' best cascade that costs no more.

    Cascades are chosen on selection; a gate that is cheaper than all of them has no rival. The
    difference's interval is paired over resamples of examples and leans of seeds.

    Raises:
        RunError: the task is a regression, or experts train with each trial.
    """
    cascades_of = _cascades(run, survey)
    if not cascades_of:
        raise RunError(
            f"{run.name}: experts train with each trial, so every trial has cascades of its own "
            "(analysis.choices.operating_points.cascades gives them); gates are held against "
            "the coin and the oracle of their own experts, and cascades are not shown"
        )
    run_roster = roster(run)
    leans = seed_draws(run_roster, survey.resamples, 0)
    quoted = outcomes(run, run_roster, survey.split)
    weights = _weights(quoted, survey)
    scores = resampling.weighted_scores(run.task, quoted.predictions, quoted.labels, weights)
    place = {key: number for number, key in enumerate(run_roster.keys)}
    members = {point.point: point.keys for point in run_roster.points}
    ids = _experts_ids(run)
    rivals = []
    for _, row in survey.front.iterrows():
        keys = members[str(row["point"])]
        same = {ids[key] for key in keys}
        rival = cascades_of.get(same.pop()) if len(same) == 1 else None
        chosen = None if rival is None else rival.within(float(row["selection_cost"]))
        if rival is None or chosen is None:
            continue
        lanes = merit(run.task, scores[[place[key] for key in keys]] - rival.scores[chosen])
        low, high = interval(resampling.over_seeds(lanes, leans[len(lanes)]))
        rivals.append(
            Rival(
                point=str(row["point"]),
                label=str(row["label"]),
                cascade=rival.label(chosen),
                gate_score=float(row["score"]),
                gate_cost=float(row["cost"]),
                cascade_score=float(rival.front.quoted.scores[chosen]),
                cascade_cost=float(rival.front.quoted.costs[chosen]),
                difference=merit(
                    run.task, float(row["score"]) - float(rival.front.quoted.scores[chosen])
                ),
                low=float(low),
                high=float(high),
            )
        )
    return rivals


def _gate(survey: Survey, row: Any) -> dict[str, Any]:
    return (
        _row(
            survey,
            _GATE,
            str(row["label"]),
            "",
            float(row["score"]),
            float(row["cost"]),
            (float(row["over_mix"]), float(row["over_mix_low"]), float(row["over_mix_high"])),
            best=merit(survey.task, float(row["score"])) + float(row["regret"]),
        )
        | {
            name: float(row[name])
            for name in ("selection_over_mix", "selection_score", "selection_cost")
        }
        | {"point": str(row["point"])}
    )


def _row(
    survey: Survey,
    kind: str,
    label: str,
    pool: str,
    score: float,
    cost: float,
    over: tuple[float, float, float],
    best: float,
) -> dict[str, Any]:
    """Makes a row; `best` is the merit of the oracle's score at the same cost."""
    room = best - (merit(survey.task, score) - over[0])
    wide = room >= least_room(survey.task, survey.majority["score"])
    share = [difference / room if wide else np.nan for difference in over]
    verdict = ABOVE if over[1] > 0 else BELOW if over[2] < 0 else EQUAL
    return {
        "kind": kind,
        "point": "",
        "label": label,
        "pool": pool,
        "score": score,
        "cost": cost,
        **dict(zip(("over_mix", "over_mix_low", "over_mix_high"), over, strict=True)),
        **dict(zip(("headroom", "headroom_low", "headroom_high"), share, strict=True)),
        "verdict": verdict,
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class _Cascades:
    """Holds the front of the cascades of one set of experts, under every weighting."""

    front: CascadeFront
    names: tuple[str, ...]
    """(K,) of the set's experts."""

    pool: str
    """The set's name, where the run has several; else empty."""

    scores: _Values
    """(T, B) on the quoted split."""

    over: _Values
    """(T, B): how much better than a coin between the set's single experts of the same cost."""

    chosen_over: _Values
    """(T,) the same on selection."""

    merits: _Values
    """(T,) scores on selection, so that high is better."""

    best: _Values
    """(T,) the merit of what the oracle of the set's experts reaches at the cascade's cost."""

    def within(self, cap: float) -> int | None:
        """Gives the cascade that scores best for at most this cost on selection."""
        return best_within(self.merits, self.front.chosen.costs, cap=cap)

    def label(self, place: int) -> str:
        """Gives `2 layers, then 6 layers under .83`, with the set where there are several."""
        one = self.front.cascades[place]
        steps = [self.names[one.chain[0]]]
        for threshold, expert in zip(one.thresholds, one.chain[1:], strict=True):
            steps.append(f"{self.names[expert]} under {threshold:.3g}")
        return ", then ".join(steps) + (f" [{self.pool}]" if self.pool else "")

    def rows(self, survey: Survey) -> list[dict[str, Any]]:
        low, high = interval(self.over)
        costs, scores = self.front.quoted.costs, self.front.quoted.scores
        order = np.argsort(costs, kind="stable")
        return [
            _row(
                survey,
                _CASCADE,
                self.label(int(place)),
                self.pool,
                float(scores[place]),
                float(costs[place]),
                (float(self.over[place, 0]), float(low[place]), float(high[place])),
                best=float(self.best[place]),
            )
            | {
                "selection_over_mix": float(self.chosen_over[place]),
                "selection_score": float(self.front.chosen.scores[place]),
                "selection_cost": float(self.front.chosen.costs[place]),
            }
            for place in order
        ]


def _cascades(run: Run, survey: Survey) -> dict[str, _Cascades]:
    """Gives, by `experts_id`, the cascades of every set that was trained once for all trials."""
    fronts = operating_points.cascades(
        run, split=survey.split, vector=survey.vector.name, joint=False
    )
    if not fronts:
        return {}
    task, run_roster = run.task, roster(run)
    quoted = outcomes(run, run_roster, survey.split, need_routes=False)
    chosen = outcomes(run, run_roster, SELECTION, need_routes=False)
    weights = _weights(quoted, survey)
    yards = Yards.of(run.task, quoted, survey.vector, weights)
    once = np.ones((1, len(chosen.labels)), np.float32)
    selection_yards = Yards.of(run.task, chosen, survey.vector, once)
    ids = _experts_ids(run)
    lanes = {ids[key]: lane for lane, key in reversed(list(enumerate(run_roster.keys)))}
    called = _called(run, {name: quoted.own[lanes[name]] for name in fronts})
    cascades = {}
    for name, front in fronts.items():
        lane = lanes[name]
        members = quoted.own[lane]
        mix = yards.mixes[int(quoted.pool_of[lane]), members]
        mix_there = selection_yards.mixes[int(chosen.pool_of[lane]), members]
        vector = survey.vector.of_members(members)
        outputs = expert_outputs(run, name, survey.split)
        routes, costs = cascade_routes(front.cascades, confidence(outputs.output), vector=vector)
        answers = np.take_along_axis(outputs.prediction, routes, axis=0)
        scores = resampling.weighted_scores(run.task, answers, quoted.labels, weights)
        scores[:, 0] = front.quoted.scores
        paid = _weighted_means(costs, weights)
        over = merit(task, scores - np.asarray([mix.at(row[None])[0] for row in paid]))
        best = yards.curves[int(quoted.pool_of[lane]), members].at(front.quoted.costs)
        coin_there = mix_there.at(front.chosen.costs[:, None])[:, 0]
        cascades[name] = _Cascades(
            front=front,
            names=tuple(run.expert_names[member] for member in members),
            pool=called[name],
            scores=scores,
            over=over,
            chosen_over=merit(task, front.chosen.scores - coin_there),
            merits=merit(task, front.chosen.scores),
            best=merit(task, best),
        )
    return cascades


def _called(run: Run, sets: dict[str, tuple[int, ...]]) -> dict[str, str]:
    """Names sets of experts by number or members; equals also by the beginning of their id."""
    if len(sets) == 1:
        return dict.fromkeys(sets, "")
    if len({len(members) for members in sets.values()}) == len(sets):
        return {name: f"pool of {len(members)}" for name, members in sets.items()}
    plain = {
        name: ", ".join(run.expert_names[one] for one in members) for name, members in sets.items()
    }
    twins = Counter(plain.values())
    return {
        name: f"{text}; experts {name[:6]}" if twins[text] > 1 else text
        for name, text in plain.items()
    }


def _experts_ids(run: Run) -> dict[str, str]:
    """Says by trial whose experts it was trained with."""
    return dict(
        zip(run.trials["key"].astype(str), run.trials["experts_id"].astype(str), strict=True)
    )


def _weights(quoted: Outcomes, survey: Survey) -> resampling.Weights:
    """Draws the resamples of examples that the survey drew."""
    return resampling.stream_weights(len(quoted.labels), survey.resamples, 0, 3)


def _weighted_means(values: _Values, weights: resampling.Weights) -> _Values:
    """Averages (T, N) by weights (B, N): (T, B)."""
    return np.asarray(values @ weights.T / weights.sum(axis=1))
