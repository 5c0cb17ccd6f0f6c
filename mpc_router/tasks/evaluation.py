"""Evaluates stacks of predictions by a task's metrics.

Letters: L lanes, N examples, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from mpc_router.tasks._counts import Counts
from mpc_router.tasks.confidence import Confidence
from mpc_router.tasks.definition import Task
from mpc_router.tasks.metrics import Metric

Values = NDArray[np.float64]
Score = TypeVar("Score", float, Values)

_CELLS: Final = 1 << 22
"""Counts that are held at once: bounds the memory of many lanes and many classes."""


def evaluate(
    task: Task,
    predictions: NDArray[Any],
    labels: NDArray[Any],
    confidence: Confidence | None = None,
) -> dict[str, Values]:
    """Gives score and metrics of a stack of predictions: "score" first, then each metric.

    `predictions` is (L, N), `labels` (N,); every value is (L,) float64. `confidence` (L, N) is what
    metrics of outputs need (log loss, calibration error).

    Raises:
        ValueError: the shapes do not fit, there is no example, a prediction is not finite, or a
            metric of outputs is asked for without them.
    """
    stack, truth = _checked(task, predictions, labels)
    metrics = [task.metric(name) for name in task.metrics]
    if confidence is None:
        lacking = [metric.name for metric in metrics if metric.of_outputs]
        if lacking:
            raise ValueError(f"{task.name}: {', '.join(lacking)} needs outputs, not predictions")
    values = _metrics(task, metrics, stack, truth)
    for metric in metrics:
        if metric.of_confidence is not None and confidence is not None:
            values[metric.name] = metric.of_confidence(confidence, stack == truth)
    return {"score": _mean(task, values), **{name: values[name] for name in task.metrics}}


def score_of(task: Task, predictions: NDArray[Any], labels: NDArray[Any]) -> Values:
    """Gives the score alone of predictions (L, N) with labels (N,): (L,).

    Raises:
        ValueError: the shapes do not fit, there is no example, or a prediction is not finite.
    """
    stack, truth = _checked(task, predictions, labels)
    metrics = [task.metric(name) for name in task.score_metrics]
    return _mean(task, _metrics(task, metrics, stack, truth))


def merit(task: Task, score: Score) -> Score:
    """Gives a score so that high is better: itself, or where low is better its negative.

    Twice gives the score again. A difference of two merits is what the first is better by.
    """
    return score if task.direction == "max" else 0.0 - score


def _checked(task: Task, predictions: NDArray[Any], labels: NDArray[Any]) -> tuple[Values, Values]:
    stack = np.asarray(predictions, dtype=np.float64)
    truth = np.asarray(labels, dtype=np.float64)
    if stack.ndim != 2 or truth.shape != stack.shape[1:]:
        raise ValueError(f"predictions {stack.shape} and labels {truth.shape}: need (L, N), (N,)")
    if truth.size == 0:
        raise ValueError(f"{task.name}: no example to score")
    if not np.isfinite(stack).all():
        raise ValueError(f"{task.name}: a prediction is NaN or infinite")
    return stack, truth


def _mean(task: Task, values: dict[str, Values]) -> Values:
    return np.asarray(np.mean([values[name] for name in task.score_metrics], axis=0))


def _metrics(
    task: Task, metrics: Sequence[Metric], stack: Values, truth: Values
) -> dict[str, Values]:
    """Computes the metrics that need no outputs, by name."""
    values = {
        metric.name: np.asarray(metric.of_values(stack, truth))
        for metric in metrics
        if metric.of_values is not None
    }
    counted = [metric for metric in metrics if metric.of_counts is not None]
    if not counted:
        return values
    totals = all(metric.totals for metric in counted)
    lanes = max(1, _CELLS // task.outputs)
    parts: dict[str, list[Values]] = {metric.name: [] for metric in counted}
    for start in range(0, max(1, len(stack)), lanes):
        block = stack[start : start + lanes]
        if totals:
            right = np.asarray((block == truth).sum(axis=-1), np.float64)
            counts = Counts.of_totals(right, truth.size - right)
        else:
            counts = Counts.of(block, truth, task.outputs)
        for metric in counted:
            if metric.of_counts is not None:
                parts[metric.name].append(metric.of_counts(counts))
    return values | {name: np.concatenate(blocks) for name, blocks in parts.items()}
