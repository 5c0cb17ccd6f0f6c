"""Evaluates stacks of predictions by a task's metrics.

Letters: L lanes, N examples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc_router.tasks.definition import Task


def evaluate(
    task: Task, predictions: NDArray[Any], labels: NDArray[Any]
) -> dict[str, NDArray[np.float64]]:
    """Score and metrics of a stack of predictions: "score" first, then each of `task.metrics`.

    `predictions` is (L, N), `labels` (N,); every value is (L,) float64.

    Raises:
        ValueError: the shapes do not fit, there is no example, or a prediction is not finite.
    """
    stack = np.asarray(predictions, dtype=np.float64)
    truth = np.asarray(labels, dtype=np.float64)
    if stack.ndim != 2 or truth.shape != stack.shape[1:]:
        raise ValueError(f"predictions {stack.shape} and labels {truth.shape}: need (L, N), (N,)")
    if truth.size == 0:
        raise ValueError(f"{task.name}: no example to score")
    if not np.isfinite(stack).all():
        raise ValueError(f"{task.name}: a prediction is NaN or infinite")
    values = {name: np.asarray(task.metric(name).function(stack, truth)) for name in task.metrics}
    return {"score": np.mean([values[name] for name in task.score_metrics], axis=0), **values}
