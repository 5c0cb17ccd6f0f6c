"""Shares and scores of many ways to route the same examples between the same experts.

Letters: N examples, K experts (or paths, where these are the routes), G ways to route.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mpc_router.tasks import Counts, Task, score_of

_Values = NDArray[np.float64]
_Routes = NDArray[np.integer[Any]]

_MOST: Final = 1 << 24
"""Examples that float32 counts exactly."""


def shares_and_scores(
    task: Task, routes: _Routes, predictions: _Values, labels: _Values
) -> tuple[_Values, _Values]:
    """Gives the share (G, K) that each expert gets, and the score (G,), of routes (G, N).

    `predictions` are the experts' (K, N), `labels` (N,). A score that counts decide is made of what
    each expert adds to them: its routes times what it says, whole numbers, so that the score is
    that of the routed predictions to the bit, in a fifth of the time.

    Raises:
        ValueError: there is no example, or a prediction that is asked for is not finite.
    """
    metrics = [task.metric(name) for name in task.score_metrics]
    totals = task.outputs != 2 and all(metric.totals for metric in metrics)
    counted = task.outputs == 2 or totals
    if not counted or any(metric.of_counts is None for metric in metrics):
        return _of_predictions(task, routes, predictions, labels)
    if not (0 < len(labels) < _MOST and np.isfinite(predictions).all()):
        return _of_predictions(task, routes, predictions, labels)
    right = predictions == labels if totals else (predictions == 1) & (labels == 1)
    traits = np.stack([np.ones_like(right), right, predictions == 1], axis=-1).astype(np.float32)
    numbers = range(len(predictions))
    sums = np.stack([(routes == number).astype(np.float32) @ traits[number] for number in numbers])
    by_expert = sums.astype(np.float64)
    hits, guessed = by_expert[..., 1].sum(axis=0), by_expert[..., 2].sum(axis=0)
    if totals:
        counts = Counts.of_totals(hits, len(labels) - hits)
    else:
        wrong, missed = guessed - hits, (labels == 1).sum() - hits
        counts = Counts.of_two(hits, wrong, missed, len(labels) - hits - wrong - missed)
    values = [metric.of_counts(counts) for metric in metrics if metric.of_counts is not None]
    return by_expert[..., 0].T / len(labels), np.asarray(np.mean(values, axis=0))


def _of_predictions(
    task: Task, routes: _Routes, predictions: _Values, labels: _Values
) -> tuple[_Values, _Values]:
    """Gives shares and scores of whatever task, by what is predicted for every example."""
    places = np.multiply(routes, len(labels), dtype=np.intp) + np.arange(len(labels))
    counts = [(routes == number).sum(axis=1) for number in range(len(predictions))]
    return (
        np.stack(counts, axis=-1) / len(labels),
        score_of(task, np.take(predictions, places), labels),
    )
