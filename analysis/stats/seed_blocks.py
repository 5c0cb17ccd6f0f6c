"""Tests whether points differ by more than their seeds do.

It serves where seeds are too few for permutations.

Seeds are blocks: within one, all points saw the same batches and starting weights. A permutation
test over P points and S seeds has (P!)^(S - 1) outcomes, and no p below one over that: two points
and five seeds can never reach .05, however far they lie apart. The analysis of variance below can,
at the price of an assumption: what is left of a value once its point and its seed are taken away is
normal, and varies alike everywhere.

Letters: P points, S seeds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

_Values = NDArray[np.float64]

_LEVEL: Final = 0.95
_ROUNDING: Final = 1e-12
"""Of the largest value: what varies by less does not vary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """Holds a two-way analysis of variance: points, with seeds as blocks."""

    f: float
    """Variance between points over what neither point nor seed explains; infinite where points
    differ and nothing is left."""

    p: float
    """Chance of such an F where points do not differ."""

    span: float
    """Between the least and the greatest of the points' means."""

    span_low: float
    """At least 0."""

    span_high: float
    """95 % interval of that difference, all pairs allowed for (Tukey's studentised range)."""

    residual: float
    """Standard deviation of what neither point nor seed explains."""


def _least_p(points: int, seeds: int) -> float:
    """Gives the smallest p that a permutation of points within seeds can have.

    It is (P!)^-(S - 1).
    """
    return float(math.exp(-(seeds - 1) * math.lgamma(points + 1)))


def block_test(values: _Values) -> Blocks:
    """Tests values (P, S), in which a row is a point and a column is a seed.

    F = (S sum_p (m_p - m)^2 / (P - 1)) / (sum_ps (x_ps - m_p - m_s + m)^2 / ((P - 1)(S - 1))), with
    P - 1 and (P - 1)(S - 1) degrees of freedom. Of two points it is the paired t-test, F = t^2, and
    the interval is the paired one.

    Raises:
        ValueError: fewer than two points or seeds, or a value that is not finite.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or min(values.shape) < 2:
        raise ValueError(f"found values {values.shape}; need at least 2 points and 2 seeds of each")
    if not np.isfinite(values).all():
        raise ValueError("a value is NaN or infinite; leave its seed out at every point")
    points, seeds = values.shape
    free = (points - 1) * (seeds - 1)
    means = values.mean(axis=1)
    left = values - means[:, None] - values.mean(axis=0) + values.mean()
    between = seeds * float(means.var(ddof=1))
    within = float(np.square(left).sum()) / free
    span = float(np.ptp(means))
    if math.sqrt(within) <= _ROUNDING * float(np.abs(values).max()):
        within = 0.0
    f, p = _f_test(between, within, span, (points - 1, free), float(np.abs(values).max()))
    reach = _studentised(points, free) * math.sqrt(within / seeds)
    return Blocks(
        f=f,
        p=p,
        span=span,
        span_low=max(0.0, span - reach),
        span_high=span + reach,
        residual=math.sqrt(within),
    )


def _f_test(
    between: float, within: float, span: float, freedom: tuple[int, int], largest: float
) -> tuple[float, float]:
    from scipy.stats import f as law  # half a second to import: only where it is needed

    if span <= _ROUNDING * largest:
        return 0.0, 1.0
    if not within:
        return math.inf, 0.0
    ratio = between / within
    return ratio, float(law.sf(ratio, *freedom))


@lru_cache(maxsize=64)
def _studentised(points: int, free: int) -> float:
    """Gives the range of P standard normal means over an estimated deviation exceeded in 5 %."""
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(_LEVEL, points, free))
