"""What is asked of a router: a cost, a score, the knee or a point; and what cannot be asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.runs.load import Run, RunError
from analysis.runs.outcomes import roster
from analysis.stats.choice import best_within, cheapest_reaching
from analysis.stats.choice import knee as knee_of
from mpc_router.messages import quoted

Values = NDArray[np.float64]

_ROUNDING: Final = 1e-9
"""Of a demand, by how much a sum of floats may miss it: 0.3 + 2 is a little more than 2.3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Holds what is asked of a router on selection; of nothing the best or the knee is meant."""

    at_most: float | None = None
    reach: float | None = None
    """A merit: high is better."""

    @property
    def cap(self) -> float:
        """Gives the most that may be paid, with room for rounding."""
        return math.inf if self.at_most is None else self.at_most + _ROUNDING * abs(self.at_most)

    @property
    def least(self) -> float:
        """Gives the least merit, with room for rounding."""
        return -math.inf if self.reach is None else self.reach - _ROUNDING * abs(self.reach)

    def met(self, merits: Values, costs: Values) -> NDArray[np.bool_]:
        """Says which of some routers meet it."""
        return np.asarray((costs <= self.cap) & (merits >= self.least), np.bool_)

    def best(self, merits: Values, costs: Values) -> int | None:
        """Gives the number of the best of some points with biases; None where none meets it."""
        if not len(merits):
            return None
        if self.at_most is not None:
            return best_within(merits, costs, cap=self.cap)
        if self.reach is not None:
            return cheapest_reaching(merits, costs, score=self.least)
        return knee_of(merits, costs)

    def best_seed(self, merits: Values, costs: Values) -> int:
        """Gives the number of the best of some seeds that meet it."""
        if self.reach is not None:
            place = cheapest_reaching(merits, costs, score=self.least)
        else:
            place = best_within(merits, costs, cap=math.inf)
        assert place is not None  # seeds that meet it are not none
        return place


def check_demands(
    at_most: float | None, reach: float | None, knee: bool, point: str | None, seed: int | None
) -> None:
    """Refuses none or several demands, and numbers that are none."""
    named = [
        name
        for name, is_given in (
            ("at_most", at_most is not None),
            ("reach", reach is not None),
            ("knee", knee),
            ("point", point is not None),
        )
        if is_given
    ]
    if len(named) != 1:
        raise RunError(
            f"{' and '.join(named) or 'no demand'} given; give one of at_most (a cost), reach (a "
            "score), knee and point"
        )
    for name, value in (("at_most", at_most), ("reach", reach)):
        if value is not None and not math.isfinite(value):
            raise RunError(f"{name} is {value}, but must be a finite number")
    if seed is not None and point is None:
        raise RunError("a seed is chosen with its point; name both, or leave out the seed")


def named_point(run: Run, name: str, seed: int | None) -> int:
    """Gives the number of a point in the run's roster.

    Raises:
        RunError: the run has no such point or seed, or it cannot be judged.
    """
    run_roster = roster(run)
    names = [point.point for point in run_roster.points]
    if name not in names:
        reasons = {left_out.point: left_out.reason for left_out in run_roster.left_out}
        if name in reasons:
            raise RunError(
                f"{run.name}: point {name} cannot be judged ({reasons[name]}); take one of "
                f"{_listed(names)}, or name a trial by its key"
            )
        raise RunError(f"{run.name} has no point {quoted(name)}; its points are {_listed(names)}")
    place = names.index(name)
    seeds = run_roster.points[place].seeds
    if seed is not None and seed not in seeds:
        raise RunError(
            f"{run.name}: point {name} has no seed {seed} that can be judged; it has "
            f"{', '.join(map(str, seeds))}"
        )
    return place


def _listed(names: Sequence[str]) -> str:
    """Lists names for a message: the first ones of many."""
    most = 12
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
