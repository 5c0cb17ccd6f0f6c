"""Finds metrics of one's own, and tries each before anything is trained.

Letters: L lanes, N examples, K classes, B weightings.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc_router import plugins
from mpc_router.messages import quoted
from mpc_router.plugins import Part, PartError
from mpc_router.tasks._counts import Counts
from mpc_router.tasks.confidence import Confidence
from mpc_router.tasks.metrics import OF_CLASS, Metric

_Values = NDArray[np.float64]

_parts: Final[dict[str, Part]] = {}
_fitting: Final[dict[tuple[str, bool, int], Metric]] = {}
"""Keep what was loaded and tried, for it is asked for with every evaluation."""

_LANES: Final = 3


def part_of(name: str) -> Part | None:
    """Gives the metric of one's own of this name, as a part; None where there is none.

    Raises:
        PartError: it is not trusted, or cannot be loaded.
    """
    if name.startswith(OF_CLASS):
        return None
    if name not in _parts:
        part = plugins.part(plugins.METRICS, name)
        if part is None:
            return None
        _parts[name] = part
    return _parts[name]


def metric_of_part(part: Part, *, regression: bool, classes: int) -> Metric:
    """Gives the metric of a part for a task of this kind, under the name that the task gives it.

    Raises:
        PartError: it is of the other kind of task, or fails when it is tried.
    """
    case = (part.name, regression, classes)
    if case not in _fitting:
        try:
            check_metric(part.thing, classes=classes)
        except (Exception, SystemExit) as error:
            # Whatever is raised: trying a metric runs the part's own code
            kind = "" if type(error) is AssertionError else f"{type(error).__name__}: "
            cause = f"{kind}{error}"
            raise PartError(
                f"metric {quoted(part.name)} failed as it was tried on made-up predictions: {cause}"
            ) from error
        if part.thing.regression != regression:
            raise PartError(
                f"metric {quoted(part.name)} is of a {_kind(part.thing.regression)}, and the task "
                f"is a {_kind(regression)}; name another metric"
            )
        _fitting[case] = dataclasses.replace(part.thing, name=part.name)
    return _fitting[case]


def _kind(regression: bool) -> str:
    """Names a kind of task."""
    return "regression" if regression else "classification"


def check_metric(metric: object, *, classes: int = 2) -> None:
    """Checks that a metric can stand in a task of so many classes, or in a regression.

    It is a `Metric` with functions of one kind. On a small stack of predictions it gives a number
    for each lane: within its range, the same twice, and the same of a lane alone.

    Raises:
        AssertionError: it is not so; one sentence says what is wrong.
    """
    _check_form(metric)
    assert isinstance(metric, Metric)
    values = _values(metric, slice(None), classes)
    assert values.shape == (_LANES,), (
        f"it gives shape {values.shape} for {_LANES} lanes, and must give ({_LANES},)"
    )
    low, high = metric.range
    assert all(math.isfinite(value) and low <= value <= high for value in values), (
        f"it gives {values.tolist()}, which are not numbers within its range ({low}, {high})"
    )
    assert np.array_equal(values, _values(metric, slice(None), classes)), (
        "it gives other numbers when it is computed again"
    )
    for lane in range(_LANES):
        alone = _values(metric, slice(lane, lane + 1), classes)
        assert math.isclose(values[lane], alone[0], rel_tol=1e-9, abs_tol=1e-12), (
            f"it gives {alone[0]} for a lane alone, and {values[lane]} for it in a stack"
        )
    _check_weighted(metric, values, classes)


def _check_form(metric: object) -> None:
    """Checks the type of a metric, and which functions it has.

    Raises:
        AssertionError: it is none, or its functions are of several kinds.
    """
    assert isinstance(metric, Metric), (
        f"it is {quoted(type(metric).__name__)}, and must be an mpc_router.tasks.Metric"
    )
    functions = (metric.of_counts, metric.of_confidence, metric.of_values)
    assert sum(function is not None for function in functions) == 1, (
        "it must have one of of_counts, of_confidence and of_values"
    )
    assert (metric.of_values is None) == (metric.of_weighted_values is None), (
        "it must have of_values and of_weighted_values together; intervals come from the second"
    )


def _check_weighted(metric: Metric, values: _Values, classes: int) -> None:
    """Checks that a metric of equal weights, or of doubled counts, is the metric without weights.

    Raises:
        AssertionError: it is another, or of another shape.
    """
    stack, labels = _stack(classes if metric.of_counts else 0)
    if metric.of_counts is not None:
        counts = Counts.of(stack, labels, classes)
        doubled = Counts(*(np.stack([part, 2 * part]) for part in _fields(counts)))
        weighted = np.asarray(metric.of_counts(doubled)).T
    elif metric.of_weighted_values is not None:
        weights = np.array([[1.0] * len(labels), [2.0] * len(labels)])
        weighted = np.asarray(metric.of_weighted_values(stack, labels, weights))
    else:
        return
    assert weighted.shape == (_LANES, 2), (
        f"under 2 weightings of {_LANES} lanes it gives shape {weighted.shape}, and must give one "
        "number for each"
    )
    assert np.allclose(weighted, values[:, None], rtol=1e-9, atol=1e-12), (
        "it gives another number where every example counts twice"
    )


def _fields(counts: Counts) -> tuple[_Values, _Values, _Values]:
    """Gives the three arrays of counts."""
    return counts.hits, counts.wrong, counts.missed


def _stack(classes: int) -> tuple[_Values, _Values]:
    """Makes predictions (L, N) and labels (N,) that hold every class; 0 classes are values."""
    if classes == 0:
        labels = np.linspace(0.0, 5.0, 12)
        return np.stack([labels, labels[::-1], np.sqrt(labels)]), labels
    labels = np.arange(4 * classes, dtype=np.float64) % classes
    turned = np.roll(labels, 1)
    return np.stack([labels, turned, np.where(np.arange(len(labels)) % 3, labels, turned)]), labels


def _values(metric: Metric, lanes: slice, classes: int) -> _Values:
    """Computes a metric of some lanes of the small stack."""
    if metric.of_counts is not None:
        stack, labels = _stack(classes)
        counts = Counts.of(stack[lanes], labels, classes)
        if metric.totals:
            right = np.asarray((stack[lanes] == labels).sum(axis=-1), np.float64)
            counts = Counts.of_totals(right, labels.size - right)
        return np.asarray(metric.of_counts(counts), np.float64)
    if metric.of_values is not None:
        stack, labels = _stack(0)
        return np.asarray(metric.of_values(stack[lanes], labels), np.float64)
    assert metric.of_confidence is not None
    stack, labels = _stack(classes)
    outputs = 2.0 * (stack[lanes, :, None] == np.arange(classes))  # logits of the prediction
    confidence = Confidence.of(outputs, labels)
    return np.asarray(metric.of_confidence(confidence, stack[lanes] == labels), np.float64)
