"""Measures points under every draw, a part of them at a time, and makes the rows of their table.

Ten thousand points under a thousand draws are 80 MB a measure and there are a dozen of them, so no
more is held at once than a part of the points, and of all points what goes into the table. A point
in a part is measured to the bit as it is among all. Where some points have one seed and others
several, the intervals of the former need all of the latter: they are one part.

Letters: P points, Q points of a part, B weightings, A alternatives, K experts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.baselines import yardsticks
from analysis.fronts.constraints import Judged
from analysis.fronts.points import (
    Measured,
    Yards,
    alike,
    best_keys,
    by_excess,
    by_point,
    cost_range,
    part_of,
)
from analysis.runs.alternatives import alternatives
from analysis.runs.load import Run
from analysis.runs.outcomes import Outcomes, Roster
from analysis.stats import resampling
from analysis.stats.choice import Optimism, optimism
from analysis.stats.dominance import contenders
from analysis.stats.resampling import interval
from mpc_router.costs import CostVector
from mpc_router.tasks import merit

if TYPE_CHECKING:
    import pandas as pd

_Values = NDArray[np.float64]
_Numbers = NDArray[np.intp]

ABOVE, BELOW, EQUAL = "above", "below", "not distinguishable"
"""How a point stands to the random mix at its cost: by more than its interval, or not."""

_AT_ONCE: Final = 512
"""Counts the points that are measured at once: bounds memory."""

_FEW: Final = 48
"""Counts the points up to which all are measured with those of the front."""

_NEAR: Final = 1e-9
"""Bounds how far two sums of one point's cost may differ, as a share of the dearest route's."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Holds some points as they were measured under every draw, in the order of `numbers`."""

    numbers: _Numbers
    """(Q,) their numbers in the roster."""

    first: Measured
    """On selection."""

    second: Measured
    """On the quoted split."""

    columns: dict[str, Any]
    """The columns of the table of points that a point decides alone, each with Q values."""


@dataclass(frozen=True, kw_only=True)
class Basis:
    """Holds what all points of a survey are measured by."""

    run: Run
    roster: Roster
    vector: CostVector
    seeds: dict[int, _Values]
    chosen: Outcomes
    """Those on selection."""

    quoted: Outcomes
    chosen_weights: resampling.Weights
    quoted_weights: resampling.Weights
    yards: Yards
    judged: Judged

    @cached_property
    def _plain(self) -> tuple[Measured, Measured]:
        """Gives all points on both splits without draws, B = 1."""
        leans = {size: drawn[:1] for size, drawn in self.seeds.items()}
        run, members, costs = self.run, self.roster, self.vector
        return (
            Measured.of(run, members, self.chosen, costs, leans, self.chosen_weights[:1]),
            Measured.of(run, members, self.quoted, costs, leans, self.quoted_weights[:1]),
        )

    @cached_property
    def _yards_there(self) -> Yards:
        """Gives the yardsticks on selection, without draws."""
        weights = np.ones((1, len(self.chosen.labels)), np.float32)
        return Yards.of(self.run.task, self.chosen, self.vector, weights)

    @cached_property
    def _least_room(self) -> float:
        constant = yardsticks.majority(self.run.task, self.chosen.labels, self.quoted.labels)[1]
        return yardsticks.least_room(self.run.task, constant["score"])

    def near_front(self) -> _Numbers:
        """Numbers the points among which those of the front and of `Survey.barred` are."""
        first = self._plain[0]
        if not alike(self.roster.points) or len(first.score) <= _FEW:
            return np.arange(len(first.score))
        merits, costs = merit(self.run.task, first.score[:, 0]), first.cost[:, 0]
        near = _NEAR * cost_range(self.run, self.chosen, self.vector)[1]
        eligible = self.judged.eligible
        kept = contenders(merits, costs, near=near)
        kept[eligible] |= contenders(merits[eligible], costs[eligible], near=near)
        return np.flatnonzero(kept)

    def on_selection(self, part: Part) -> tuple[_Values, _Values]:
        """Gives merit and cost of all points on selection, (P,); of a part's as measured there."""
        merits = np.array(merit(self.run.task, self._plain[0].score[:, 0]))
        costs = np.array(self._plain[0].cost[:, 0])
        merits[part.numbers] = merit(self.run.task, part.first.score[:, 0])
        costs[part.numbers] = part.first.cost[:, 0]
        return merits, costs

    def measure(self, numbers: _Numbers) -> Part:
        """Measures some points under every draw."""
        run, task = self.run, self.run.task
        members, chosen = part_of(self.roster, self.chosen, numbers)
        _, quoted = part_of(self.roster, self.quoted, numbers)
        ranges = [cost_range(run, seen, self.vector) for seen in (self.chosen, self.quoted)]
        first = Measured.of(
            *(run, members, chosen, self.vector, self.seeds, self.chosen_weights), costs=ranges[0]
        )
        second = Measured.of(
            *(run, members, quoted, self.vector, self.seeds, self.quoted_weights), costs=ranges[1]
        )
        coin, lane_coin = self.yards.coin(members.points, second.lane_cost, quoted)
        plain = by_point(second.lane_score, members.points, None)
        apart = merit(task, second.lane_score - lane_coin)
        over = by_point(apart, members.points, self.seeds, merit(task, plain - coin))
        coin = resampling.bounded(task, by_point(lane_coin, members.points, self.seeds, coin))
        on_selection = self._yards_there.coin(members.points, first.lane_cost[:, :1], chosen)[0][
            :, 0
        ]
        best = merit(task, self.yards.best(run, members, second, quoted))
        reached, mixed = merit(task, second.score[:, 0]), merit(task, coin[:, 0])
        room = yardsticks.captured_headroom(reached, mixed, best, least=self._least_room)
        columns = _point_columns(run, members, first)
        columns |= spread("score", second.score) | spread("cost", second.cost)
        columns |= spread("mix", coin) | spread("over_mix", over)
        columns |= {
            "verdict": _verdicts(run, columns),
            "headroom": room,
            "regret": yardsticks.regret(reached, best),
            "speed_up": float(self.yards.mix.costs[-1]) / second.cost[:, 0],
        }
        columns |= spread("selection_score", first.score) | spread("selection_cost", first.cost)
        columns["selection_over_mix"] = merit(task, first.score[:, 0] - on_selection)
        # without routes the chance in the examples is not known
        columns["seed_excess"] = (
            by_excess(apart, members.points) if run.routed else np.full(len(numbers), np.nan)
        )
        return Part(numbers=numbers, first=first, second=second, columns=columns)

    def rows(self, part: Part, on_front: NDArray[np.bool_]) -> pd.DataFrame:
        """Makes the rows of a part's points, without the chance to be on the front."""
        return self._frame(part.columns, part.numbers, on_front)

    def table(self, on_front: NDArray[np.bool_], part: Part) -> tuple[pd.DataFrame, Optimism]:
        """Makes the rows of all points, and says what choosing the front has added.

        `part` is one that was measured before.
        """
        shape = len(self.roster.points), len(self.chosen_weights)
        first, costs, second = np.empty(shape), np.empty(shape), np.empty(shape)
        columns: dict[str, list[Any]] = {}
        numbers: list[_Numbers] = []
        for measured in self._parts(part):
            numbers.append(measured.numbers)
            first[measured.numbers] = merit(self.run.task, measured.first.score)
            costs[measured.numbers] = measured.first.cost
            second[measured.numbers] = merit(self.run.task, measured.second.score)
            for name, values in measured.columns.items():
                columns.setdefault(name, []).append(values)
        order = np.argsort(np.concatenate(numbers))
        joined = {name: _joined(parts, order) for name, parts in columns.items()}
        table = self._frame(
            joined, np.arange(shape[0]), on_front, self.judged.chances(first, costs)
        )
        return table, optimism(first, second, on_front)

    def _parts(self, part: Part) -> Iterator[Part]:
        """Gives all points, part after part: first the one that was measured before."""
        yield part
        unmeasured = np.delete(np.arange(len(self.roster.points)), part.numbers)
        for start in range(0, len(unmeasured), _AT_ONCE):
            yield self.measure(unmeasured[start : start + _AT_ONCE])

    def _frame(
        self,
        columns: dict[str, Any],
        numbers: _Numbers,
        on_front: NDArray[np.bool_],
        chances: _Values | None = None,
    ) -> pd.DataFrame:
        """Puts the columns in their order, with those that all points decide together."""
        import pandas as pd

        share = self._plain[1].share
        runs = share @ alternatives(self.run).runs
        late = {
            "share": list(share[numbers].tolist()),
            "runs": list(runs[numbers].tolist()),
        }
        ordered: dict[str, Any] = {}
        for name, values in columns.items():
            ordered[name] = values
            if name == "speed_up":
                ordered |= late
        ordered["on_front"] = on_front[numbers]
        if chances is not None:
            ordered["chance"] = chances
        ordered["feasible"] = self.judged.feasible[numbers]
        breaks = self.judged.breaks
        ordered["breaks"] = [breaks[number] for number in numbers]
        return pd.DataFrame(ordered)


def _joined(parts: list[Any], order: _Numbers) -> Any:
    """Joins the values of several parts in an order: arrays to an array, lists to a list."""
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)[order]
    values = [value for part in parts for value in part]
    return [values[place] for place in order]


def _point_columns(run: Run, members: Roster, first: Measured) -> dict[str, Any]:
    """Gives the columns that say which points these are."""
    task, points = run.task, members.points
    columns: dict[str, Any] = {
        "point": [point.point for point in points],
        "label": [point.label for point in points],
    }
    columns |= {name: [point.settings[name] for point in points] for name in run.settings}
    return columns | {
        "seeds": [point.seeds for point in points],
        "keys": [point.keys for point in points],
        "key": best_keys(members, merit(task, first.lane_score[:, 0]), first.lane_cost[:, 0]),
        "n": [len(point.seeds) for point in points],
    }


def _verdicts(run: Run, columns: dict[str, Any]) -> NDArray[np.str_]:
    """Says how points stand to the random mix by the interval over it."""
    low, high = columns["over_mix_low"], columns["over_mix_high"]
    return np.select([run.routed & (low > 0), run.routed & (high < 0)], [ABOVE, BELOW], EQUAL)


def spread(name: str, values: _Values) -> dict[str, _Values]:
    """Gives the estimate and the ends of the interval of a measure, (Q,) each."""
    low, high = interval(values)
    return {name: values[:, 0].copy(), f"{name}_low": low, f"{name}_high": high}
