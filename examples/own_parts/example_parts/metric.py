"""Defines a metric: the recall of the class that is recognised worst."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc_router.tasks import Counts, Metric


def _worst_recall(counts: Counts) -> NDArray[np.float64]:
    """Gives min over the classes that occur of hits / occurrences, (..., K) -> (...)."""
    recall = np.ones_like(counts.true)
    np.divide(counts.hits, counts.true, out=recall, where=counts.true > 0)
    return np.asarray(recall.min(axis=-1), np.float64)


worst_recall: Final = Metric(name="worst_recall", of_counts=_worst_recall)
"""Lies between 0, where a class is never recognised, and 1."""
