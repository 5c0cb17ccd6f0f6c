"""Computes PED-ANOVA on histograms: how far the best points lie from all along one setting.

Watanabe et al. 2023, arXiv:2304.10255, with the density estimates of Optuna 5 (Scott's rule on a
grid, a prior of weight 1), whose `PedAnovaImportanceEvaluator` gives the same numbers from trials
one by one. Letters: L points, G cells of a setting's grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

_Values = NDArray[np.float64]

_CELLS: Final = 50
"""Of a range of numbers."""

_TINY: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Cells:
    """Holds where points lie along one setting."""

    index: NDArray[np.intp]
    """(L,) the cell of each."""

    count: int
    """G."""

    ordered: bool
    """Neighbouring cells are alike: numbers of a range, and not choices."""

    @classmethod
    def of_range(cls, values: _Values, *, logarithmic: bool) -> Cells:
        """Puts numbers, not all the same, in `_CELLS` cells; ties go to the lower one."""
        places = np.log(values) if logarithmic else np.asarray(values, np.float64)
        low, high = places.min(), places.max()
        index = np.ceil((places - low) / ((high - low) / (_CELLS - 1)) - 0.5).astype(np.intp)
        return cls(index.clip(0, _CELLS - 1), _CELLS, ordered=True)

    def histogram(self, chosen: NDArray[np.intp]) -> NDArray[np.intp]:
        """Counts how many of the chosen points lie in each cell, (G,)."""
        return np.bincount(self.index[chosen], minlength=self.count)

    def density(self, counts: NDArray[np.intp]) -> _Values:
        """Gives a smoothed histogram (G,) that sums to one; it cannot be written to."""
        return _smoothed(tuple(counts.tolist()), self.ordered)


def best(losses: _Values, portion: float) -> NDArray[np.intp]:
    """Marks the points whose loss is among the least `portion`, with all that tie with the last."""
    last = math.ceil(portion * len(losses)) - 1
    return np.flatnonzero(losses <= np.partition(losses, last)[last])


def divergence(cells: Cells, top: NDArray[np.intp], everyone: NDArray[np.intp]) -> float:
    """Gives the Pearson divergence of the top points from all, times the top's squared portion.

    0 where both are the same points.
    """
    above = cells.density(cells.histogram(top)) + _TINY
    below = cells.density(cells.histogram(everyone)) + _TINY
    portion = len(top) / len(everyone)
    return float(portion**2 * (below @ (above / below - 1) ** 2))


@lru_cache(maxsize=1 << 12)  # shuffles of an objective ask for that of all points every time
def _smoothed(counts: tuple[int, ...], ordered: bool) -> _Values:
    density = (_normals if ordered else _choices)(np.array(counts, np.intp))
    density.flags.writeable = False
    return density


def _choices(counts: NDArray[np.intp]) -> _Values:
    """Builds a kernel for each seen choice and one for the prior, with a little weight on all."""
    seen = np.flatnonzero(counts)
    kernels = np.full((len(seen) + 1, len(counts)), 1 / (len(seen) + 1))
    kernels[np.arange(len(seen)), seen] += 1
    kernels /= kernels.sum(axis=1, keepdims=True)
    weights = np.append(counts[seen], 1.0)
    return np.asarray(weights / weights.sum() @ kernels)


def _normals(counts: NDArray[np.intp]) -> _Values:
    """Builds a normal kernel for each seen cell, cut to the grid, and a wide one for the prior."""
    from scipy.special import ndtr

    seen = np.flatnonzero(counts)
    weights = np.append(counts[seen], 1.0)
    middle = np.append(seen, (len(counts) - 1) / 2)
    width = np.append(np.full(len(seen), _bandwidth(seen, counts[seen])), len(counts))
    edges = np.arange(len(counts) + 1) - 0.5
    below = ndtr((edges[None] - middle[:, None]) / width[:, None])
    kernels = np.diff(below, axis=1) / (below[:, -1:] - below[:, :1])
    return np.asarray(weights / weights.sum() @ kernels)


def _bandwidth(seen: NDArray[np.intp], counts: NDArray[np.intp]) -> float:
    """Applies Scott's rule, and holds at least 90 % of a kernel in its own cell."""
    running = np.cumsum(counts)
    total = int(running[-1])
    mean = seen @ counts / total
    deviation = math.sqrt((seen - mean) ** 2 @ counts / max(1, total - 1))
    first = np.searchsorted(running, total // 4, side="left")
    third = np.searchsorted(running, total * 3 // 4, side="right")
    middle_half = seen[min(len(seen) - 1, int(third))] - seen[first]
    scott = 1.059 * min(middle_half / 1.34, deviation) * total**-0.2
    return float(max(scott, 0.5 / 1.64))
