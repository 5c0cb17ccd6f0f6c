"""Says how sure outputs are, and computes the metrics that depend on it.

Letters: L lanes, N examples, K experts, C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_Values = NDArray[np.float64]

_BINS: Final = 15
"""Bins of equal width between 0 and 1 that the calibration error is a mean over."""

_LEAST_PROBABILITY: Final = float(np.finfo(np.float64).eps)
"""A probability counts as no less, as in scikit-learn's `log_loss`."""

_CELLS: Final = 1 << 22
"""Outputs that are looked at at once: bounds memory."""


@dataclass(frozen=True, slots=True)
class Confidence:
    """Holds what outputs say of their class: with examples along the last axis, (L, N)."""

    surprise: _Values
    """-log of the probability of the label, at most 36.04 (see `_LEAST_PROBABILITY`)."""

    top: _Values
    """The largest probability, that of the class which is predicted: 1 / C to 1."""

    @classmethod
    def of(cls, outputs: NDArray[Any], labels: NDArray[Any]) -> Confidence:
        """Reads logits (..., N, C) with labels (N,); probabilities are their softmax.

        Raises:
            ValueError: an output is NaN or infinite, or a label is none of the C classes.
        """
        truth = labels.astype(np.intp)
        classes = outputs.shape[-1]
        if truth.size and not 0 <= truth.min() <= truth.max() < classes:
            raise ValueError(f"outputs are of {classes} classes, and a label is {truth.max()}")
        surprise, top = (np.empty(outputs.shape[:-1]) for _ in range(2))
        rows = max(1, _CELLS // max(1, math.prod(outputs.shape) // max(1, outputs.shape[-2])))
        for start in range(0, len(truth), rows):
            part = (..., slice(start, start + rows))
            logits = outputs[(*part, slice(None))].astype(np.float64)
            shifted = logits - logits.max(axis=-1, keepdims=True)
            total = np.exp(shifted).sum(axis=-1)
            index = np.broadcast_to(truth[part[1]], total.shape)[..., None]
            of_label = np.take_along_axis(shifted, index, axis=-1)[..., 0]
            surprise[part], top[part] = np.log(total) - of_label, 1 / total
        if not (np.isfinite(surprise).all() and np.isfinite(top).all()):
            raise ValueError("an output is NaN or infinite")
        return cls(np.minimum(surprise, -math.log(_LEAST_PROBABILITY)), top)

    def routed(self, routes: NDArray[Any]) -> Confidence:
        """Gives the confidence (L, N) of routes (L, N) where this one is of experts (K, N)."""
        column = np.arange(routes.shape[-1])
        return Confidence(self.surprise[routes, column], self.top[routes, column])


def log_loss(confidence: Confidence, right: NDArray[np.bool_]) -> _Values:
    """Gives the mean surprise at the label in nats, (L, N) -> (L,); `right` plays no part."""
    return np.asarray(confidence.surprise.mean(axis=-1), np.float64)


def ece(confidence: Confidence, right: NDArray[np.bool_]) -> _Values:
    """Gives the expected calibration error, (L, N) -> (L,)."""
    return calibration_error(confidence.top, right)


def calibration_error(top: _Values, right: NDArray[np.bool_]) -> _Values:
    """Gives the expected calibration error of top probabilities, both (L, N): (L,).

    sum over bins of |right answers - summed confidence| / N. The 15 bins have equal width, so each
    weighs as its examples (Naeini et al. 2015; Guo et al. 2017); 1 belongs to the last bin.
    """
    lanes, examples = top.shape
    place = np.minimum((top * _BINS).astype(np.intp), _BINS - 1)
    place += _BINS * np.arange(lanes)[:, None]
    gaps = np.bincount(place.ravel(), weights=(right - top).ravel(), minlength=lanes * _BINS)
    return np.asarray(np.abs(gaps.reshape(lanes, _BINS)).sum(axis=-1) / examples)
