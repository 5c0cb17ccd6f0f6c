"""Finds what trained models offer without new training: cost-bias curves and cascades.

Each trial is judged with the experts and the prices of its own prepared set, so pools of different
size and joint trials may stand in one run. Everything is chosen on selection and quoted on another
split.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.baselines.bias_curves import (
    BIASES,
    BiasCurve,
    Operating,
    bias_curve,
    curve_front,
    mean_curve,
    spread_biases,
)
from analysis.baselines.cascades import (
    LEVELS,
    CascadeFront,
    Values,
    candidates,
    cascade_front,
    confidence,
)
from analysis.fronts.constraints import constraints_of, judge, judge_curve
from analysis.fronts.kept import kept_roster
from analysis.runs.alternatives import alternatives
from analysis.runs.load import Run, RunError
from analysis.runs.outcomes import (
    Point,
    Roster,
    outcomes,
    recorded_scores,
    recorded_shares,
    roster,
)
from analysis.runs.recorded import (
    Examples,
    Experts,
    answers,
    examples,
    expert_outputs,
    router_logits,
)
from mpc_router.costs import CostVector
from mpc_router.routes import Decisions
from mpc_router.run_names import SELECTION


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Holds cost-bias curves of the points that can be judged, and of their trials."""

    points: tuple[Point, ...]
    chosen: tuple[BiasCurve, ...]
    """On selection: the mean over a point's seeds, all under the same biases."""

    quoted: tuple[BiasCurve, ...]
    """The same on the quoted split."""

    trials: dict[str, tuple[BiasCurve, BiasCurve]]
    """By key: (on selection, quoted)."""

    breaks: tuple[tuple[str, ...], ...]
    """By point and bias, the names of the study's constraints that it breaks on selection."""

    trial_breaks: dict[str, tuple[str, ...]]
    """By key and bias, the names of the constraints that the trial alone breaks on selection."""

    def front(self) -> tuple[Operating, ...]:
        """Gives the front over all points' biases; `Operating.curve` numbers `points`.

        It holds what keeps the study's constraints, if anything does.
        """
        return curve_front(self.chosen, self.quoted, breaks=self.breaks)

    def barred(self) -> tuple[Operating, ...]:
        """Gives what only a constraint keeps from the front."""
        if not any(not names for row in self.breaks for names in row):
            return ()
        names = self.breaks
        open_front = curve_front(self.chosen, self.quoted)
        marked = [
            replace(operating, breaks=names[operating.curve][self._place(operating)])
            for operating in open_front
        ]
        return tuple(operating for operating in marked if operating.breaks)

    def _place(self, one: Operating) -> int:
        return int(np.flatnonzero(self.chosen[one.curve].biases == one.bias)[0])


def bias_curves(
    run: Run,
    *,
    split: str | None = None,
    vector: str | None = None,
    count: int = BIASES,
    biases: Values | None = None,
    kept: bool = False,
) -> Curves:
    """Computes curves of the points that can be judged, from their routing tables.

    A point's biases are spread over the logits of all its seeds on selection, unless `biases` (G,)
    are given. `split` is the quoted one, `vector` the name of a cost vector, `count` the most
    biases of a curve. `kept` leaves out points whose routers the study does not keep.

    Raises:
        RunError: no point can be judged, or a table lacks rows.
    """
    run_roster = kept_roster(run) if kept else roster(run)
    of_trials = trial_curves(
        run,
        run_roster.points,
        (run.split(split),),
        vector=run.cost_vector(vector).name,
        count=count,
        biases=biases,
    )
    trials = {key: (curves[SELECTION], curves[run.split(split)]) for key, curves in of_trials}
    return _curves(run, run_roster, trials)


def trial_curves(
    run: Run,
    points: Sequence[Point],
    splits: Sequence[str],
    *,
    vector: str,
    count: int = BIASES,
    biases: Values | None = None,
) -> Iterator[tuple[str, dict[str, BiasCurve]]]:
    """Gives the key of each trial of some points, and its curves by split, selection among them.

    Biases are as `bias_curves` has them.

    Raises:
        RunError: a table lacks rows.
    """
    reader = _Reader(run, splits, vector)
    keys = [key for point in points for key in point.keys]
    logits = {side: router_logits(run, keys, side) for side in reader.sides}
    for point in points:
        lead, tried = point.keys[0], biases
        if tried is None:
            of_seeds = [logits[SELECTION][key] for key in point.keys]
            price, decisions = reader.price(lead), reader.decisions(lead)
            tried = spread_biases(of_seeds, price, count=count, decisions=decisions)
        for key in point.keys:
            yield (
                key,
                {
                    side: bias_curve(
                        run.task,
                        logits[side][key],
                        reader.routes(key, side).prediction,
                        reader.examples[side].labels,
                        vector=reader.price(key),
                        biases=tried,
                        decisions=reader.decisions(key),
                    )
                    for side in reader.sides
                },
            )


def unbiased_curves(
    run: Run, *, split: str | None = None, vector: str | None = None, kept: bool = False
) -> Curves:
    """Gives curves whose one bias is 0, from what trials recorded; no routes are needed.

    `kept` is as `bias_curves` has it.

    Raises:
        RunError: no point can be judged, or a trial lacks a score or a share.
    """
    run_roster = kept_roster(run) if kept else roster(run)
    name, choices = run.cost_vector(vector).name, alternatives(run)
    of_lanes = [
        (list(choices.places[key]), _own_price(run, point.point, key, name))
        for point in run_roster.points
        for key in point.keys
    ]
    by_side = []
    for side in (SELECTION, run.split(split)):
        scores = recorded_scores(run, run_roster, side)
        shares = recorded_shares(run, run_roster, side)
        by_side.append(
            [
                BiasCurve(
                    biases=np.zeros(1),
                    costs=price.mean(share[None, places]),
                    scores=np.asarray([score]),
                    shares=share[None, places],
                    low_is_better=run.task.direction == "min",
                )
                for score, share, (places, price) in zip(scores, shares, of_lanes, strict=True)
            ]
        )
    pairs = zip(*by_side, strict=True)
    trials = {key: (pair[0], pair[1]) for key, pair in zip(run_roster.keys, pairs, strict=True)}
    return _curves(run, run_roster, trials)


def _curves(run: Run, run_roster: Roster, trials: dict[str, tuple[BiasCurve, BiasCurve]]) -> Curves:
    """Averages the trials' curves by point, and judges both by the study's constraints."""
    judged = (
        judge(run, run_roster, outcomes(run, run_roster, SELECTION, need_routes=False))
        if constraints_of(run)
        else None
    )
    chosen, quoted = [], []
    breaks: list[tuple[str, ...]] = []
    trial_breaks: dict[str, tuple[str, ...]] = {}
    for number, point in enumerate(run_roster.points):
        on_selection = [trials[key][0] for key in point.keys]
        chosen.append(mean_curve(on_selection))
        quoted.append(mean_curve([trials[key][1] for key in point.keys]))
        if judged is None:
            breaks.append(("",) * len(chosen[-1].biases))
            trial_breaks |= dict.fromkeys(point.keys, breaks[-1])
            continue
        choices = alternatives(run)
        vectors = {
            name: choices.own_price(point.keys[0], vector)
            for name, vector in run.sets[run.set_of_point[point.point]].vectors.items()
        }
        breaks.append(judge_curve(judged, number, chosen[-1], on_selection, vectors))
        for key, curve in zip(point.keys, on_selection, strict=True):
            trial_breaks[key] = judge_curve(judged, number, curve, [curve], vectors)
    return Curves(
        points=run_roster.points,
        chosen=tuple(chosen),
        quoted=tuple(quoted),
        trials=trials,
        breaks=tuple(breaks),
        trial_breaks=trial_breaks,
    )


def cascades(
    run: Run,
    *,
    split: str | None = None,
    vector: str | None = None,
    levels: int = LEVELS,
    joint: bool = True,
) -> dict[str, CascadeFront]:
    """Gives the front of cascades of every set of trained experts, by `experts_id`.

    Where experts train with each trial, every trial has a front of its own; those are left out
    unless `joint`.

    Raises:
        RunError: the task is a regression (no confidence to decide by), no point can be judged, or
            a table lacks rows.
    """
    if run.task.regression:
        raise RunError(
            f"{run.name}: {run.task.name} is a regression, whose experts do not say how sure they "
            "are; a cascade needs classes"
        )
    reader = _Reader(run, (run.split(split),), run.cost_vector(vector).name)
    fronts: dict[str, CascadeFront] = {}
    for point in roster(run).points:
        if run.sets[run.set_of_point[point.point]].joint and not joint:
            continue
        for key in point.keys:
            if reader.experts_id(key) in fronts:
                continue
            price = reader.experts_price(point.point)
            on, quoted = (reader.split_arrays(key, side) for side in (SELECTION, reader.sides[-1]))
            tried = candidates(on[1], vector=price, levels=levels)
            fronts[reader.experts_id(key)] = cascade_front(
                run.task, tried, on, quoted, vector=price
            )
    return fronts


def _own_price(run: Run, point: str, key: str, vector: str) -> CostVector:
    """Gives the vector over a trial's own routes, priced as its own set is."""
    return alternatives(run).own_price(key, run.sets[run.set_of_point[point]].vectors[vector])


class _Reader:
    """Reads a run's tables by trial and split, each set of experts once."""

    def __init__(self, run: Run, quoted: Sequence[str], vector: str) -> None:
        self._run, self._vector = run, vector
        self.sides = tuple(dict.fromkeys((SELECTION, *quoted)))
        self.examples: dict[str, Examples] = {side: examples(run, side) for side in self.sides}
        ids = zip(run.trials["key"].astype(str), run.trials["experts_id"].astype(str), strict=True)
        self._ids = dict(ids)
        self._said: dict[tuple[str, str], Experts] = {}
        self._answers: dict[tuple[str, str, str], Experts] = {}
        self._points = dict(zip(run.trials["key"].astype(str), run.trials["point"], strict=True))

    def experts_id(self, key: str) -> str:
        """Says whose experts a trial was trained with."""
        return self._ids[key]

    def experts_price(self, point: str) -> CostVector:
        """Gives the vector over the experts of the point's own set."""
        return self._run.sets[self._run.set_of_point[point]].vectors[self._vector]

    def price(self, key: str) -> CostVector:
        """Gives the vector over a trial's own routes."""
        return _own_price(self._run, str(self._points[key]), key, self._vector)

    def decisions(self, key: str) -> Decisions | None:
        """Says how a trial's logits become routes; None where the largest one is the route."""
        return alternatives(self._run).decisions(key)

    def routes(self, key: str, side: str) -> Experts:
        """Reads what a trial's routes, its experts or its paths, answer on a split."""
        paths = alternatives(self._run).paths.get(key)
        if paths is None:
            return self.experts(key, side)
        place = self._ids[key], side, paths.name
        if place not in self._answers:
            regression = self._run.task.regression
            self._answers[place] = answers(self.experts(key, side), paths, regression=regression)
        return self._answers[place]

    def experts(self, key: str, side: str) -> Experts:
        """Reads what a trial's experts predicted on a split."""
        where = self._ids[key], side
        if where not in self._said:
            self._said[where] = expert_outputs(self._run, *where)
        return self._said[where]

    def split_arrays(self, key: str, side: str) -> tuple[Values, Values, Values]:
        """Gives predictions, confidences and labels of a split."""
        outputs = self.experts(key, side)
        return outputs.prediction, confidence(outputs.output), self.examples[side].labels
