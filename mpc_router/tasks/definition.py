"""Defines a task: its texts, its labels, its metrics, and what of it is quoted.

A task is data. The eight of GLUE are YAML files beside this one, any other is a block of a study
(`task_definition`) in the same form.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mpc_router.messages import quoted
from mpc_router.plain_names import PLAIN, is_plain
from mpc_router.plugins import Part
from mpc_router.run_names import SELECTION, TRAIN, VALIDATION
from mpc_router.tasks.metrics import MEAN, Metric, is_of_table, metric_of
from mpc_router.tasks.own_metrics import metric_of_part, part_of

CLASSIFICATION: Final = "classification"
REGRESSION: Final = "regression"
MOST_CLASSES: Final = 1000
_LONGEST_LABEL: Final = 200
_KEYS: Final = ("name", "text", "label", "kind", "labels", "range", "metrics", "score", "quoted")
_FIRST_METRICS: Final = {CLASSIFICATION: "accuracy", REGRESSION: "pearson"}


class TaskError(ValueError):
    """Says what is wrong with the definition of a task, and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Defines one classification of texts into 2 to 1,000 classes, or one regression.

    Raises:
        TaskError: a name, a label, a metric or the score that cannot be.
    """

    name: str
    columns: tuple[str, ...]
    """Text columns: one, or the two of a pair."""

    label: str = "label"
    """The column of labels."""

    kind: str = CLASSIFICATION
    label_names: tuple[str, ...] = ()
    """Label words in the order of their numbers; empty for a regression."""

    label_range: tuple[float, float] | None = None
    """Least and greatest label of a regression; None where any number may be a label."""

    metrics: tuple[str, ...]
    """The task's own metrics (`mpc_router.tasks.metrics`)."""

    score: str = MEAN
    """The metric that routers are judged by, or `mean`, of all metrics."""

    quoted: tuple[str, ...] = (VALIDATION,)
    """Splits that are quoted and never looked at before; the first one always exists."""

    def __post_init__(self) -> None:
        _check_names(self)
        _check_labels(self)
        _check_metrics(self)

    @property
    def regression(self) -> bool:
        """Whether labels are values, not classes."""
        return self.kind == REGRESSION

    @property
    def outputs(self) -> int:
        """Width of an expert's output: the number of classes, or 1."""
        return len(self.label_names) or 1

    @property
    def bounds(self) -> tuple[float, float]:
        """Gives the least and greatest label as a number; infinite where any may be a label."""
        if not self.regression:
            return 0.0, len(self.label_names) - 1.0
        return self.label_range or (-math.inf, math.inf)

    @property
    def score_metrics(self) -> tuple[str, ...]:
        """Gives the metrics whose mean is the score: all of them, or the one that is named."""
        return self.metrics if self.score == MEAN else (self.score,)

    @property
    def direction(self) -> str:
        """Gives `max` or `min`: which way the score is better."""
        return "min" if self.metric(self.score_metrics[0]).low_is_better else "max"

    def metric(self, name: str) -> Metric:
        """Gives the metric of this name, of the table or of one's own.

        Raises:
            ValueError: there is none, it does not fit the task, or it cannot be loaded.
        """
        part = None if is_of_table(name) else part_of(name)
        if part is None:
            return metric_of(name, regression=self.regression, label_names=self.label_names)
        return metric_of_part(part, regression=self.regression, classes=self.outputs)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Gives the metrics of one's own, with the packages they came from."""
        parts = (part_of(name) for name in self.metrics if not is_of_table(name))
        return tuple(part for part in parts if part is not None)

    def to_json(self) -> dict[str, Any]:
        """Gives the definition as `task_of` reads it, as plain data."""
        tree: dict[str, Any] = {"name": self.name, "text": list(self.columns), "label": self.label}
        tree["kind"] = self.kind
        if self.label_names:
            tree["labels"] = list(self.label_names)
        if self.label_range is not None:
            tree["range"] = list(self.label_range)
        return {
            **tree,
            "metrics": list(self.metrics),
            "score": self.score,
            "quoted": list(self.quoted),
        }

    def identity(self) -> dict[str, Any]:
        """Gives what numbers of a trial depend on: everything but the names of columns."""
        tree = self.to_json()
        return {name: tree[name] for name in tree if name not in ("text", "label")}


def task_of(tree: object, label_names: tuple[str, ...] = ()) -> Task:
    """Reads a task from plain data: a mapping as in `task_definition` of a study.

    `label_names` are those that the data show, for a classification whose definition lists none.

    Raises:
        TaskError: it is no mapping, has an unknown key, or defines no task.
    """
    if not isinstance(tree, Mapping):
        raise TaskError(f"task_definition is {quoted(tree)}, but must be a mapping with `name:`")
    for key in tree:
        if key not in _KEYS:
            raise TaskError(f"task_definition has no key {quoted(key)}; it has {', '.join(_KEYS)}")
    for key in ("name", "text"):
        if key not in tree:
            raise TaskError(f"task_definition lacks `{key}:`; give at least name, text and label")
    kind = tree.get("kind", REGRESSION if "range" in tree else CLASSIFICATION)
    first = _FIRST_METRICS.get(str(kind), "")
    metrics = _words("metrics", tree.get("metrics", first))
    return Task(
        name=tree["name"],
        columns=_words("text", tree["text"]),
        label=tree.get("label", "label"),
        kind=kind,
        label_names=_labels(tree["labels"]) if "labels" in tree else label_names,
        label_range=_range(tree["range"]) if tree.get("range") is not None else None,
        metrics=metrics,
        score=tree.get("score", metrics[0] if len(metrics) == 1 else MEAN),
        quoted=_words("quoted", tree.get("quoted", VALIDATION)),
    )


def lists_labels(tree: object) -> bool:
    """Says whether a definition knows its labels without looking at data."""
    if not isinstance(tree, Mapping):
        return True  # `task_of` refuses it
    return bool({"labels", "range"} & set(tree)) or tree.get("kind") == REGRESSION


def _words(key: str, value: object) -> tuple[str, ...]:
    words = value if isinstance(value, list | tuple) else [value]
    if not words or not all(isinstance(word, str) and word for word in words):
        raise TaskError(f"{key} of task_definition is {quoted(value)}, but must be names")
    if len(set(words)) < len(words):
        raise TaskError(f"{key} of task_definition names one thing twice: {quoted(value)}")
    return tuple(words)


def _labels(value: object) -> tuple[str, ...]:
    """Reads label words; a number stands for its text, as in `labels: [1, 2, 3, 4, 5]`."""
    if not isinstance(value, list | tuple) or not value:
        raise TaskError(
            f"labels of task_definition is {quoted(value)}, but must be a list of at least 2 labels"
        )
    for label in value:
        if isinstance(label, bool) or not isinstance(label, str | int):
            raise TaskError(
                f'labels of task_definition holds {quoted(label)}; put it into quotes: "..."'
            )
    return tuple(str(label) for label in value)


def _range(value: object) -> tuple[float, float]:
    is_pair = isinstance(value, list | tuple) and len(value) == 2
    numbers = is_pair and all(
        isinstance(end, int | float) and not isinstance(end, bool)
        for end in value  # type: ignore[attr-defined]
    )
    if not numbers or not -1e300 < value[0] < value[1] < 1e300:  # type: ignore[index]
        raise TaskError(
            f"range of task_definition is {quoted(value)}, but must be [least, greatest]"
        )
    return float(value[0]), float(value[1])  # type: ignore[index]


def _check_names(task: Task) -> None:
    if not is_plain(task.name):
        raise TaskError(f"the name of task_definition is {quoted(task.name)}, but must be {PLAIN}")
    if task.kind not in _FIRST_METRICS:
        allowed = ", ".join(_FIRST_METRICS)
        raise TaskError(f"kind of task_definition is {quoted(task.kind)}; allowed are {allowed}")
    if not 1 <= len(task.columns) <= 2:
        raise TaskError(
            f"text of task_definition names {len(task.columns)} columns; an encoder reads one text "
            "or a pair of texts"
        )
    if not isinstance(task.label, str) or not task.label:
        raise TaskError(f"label of task_definition is {quoted(task.label)}; name one column")
    if task.label in task.columns:
        raise TaskError(f"column {quoted(task.label)} is text and label of task_definition")
    for split in task.quoted:
        if not is_plain(split) or split in (TRAIN, SELECTION):
            raise TaskError(f"quoted of task_definition is {quoted(split)}; name validation splits")
    if task.quoted[0] != VALIDATION:
        raise TaskError("quoted of task_definition must begin with validation")


def _check_labels(task: Task) -> None:
    if task.regression:
        if task.label_names:
            raise TaskError("task_definition has labels and is a regression; keep one of them")
        return
    count = len(task.label_names)
    if task.label_range is not None:
        raise TaskError("range of task_definition is of a regression; add `kind: regression`")
    if not 2 <= count <= MOST_CLASSES:
        raise TaskError(
            f"task {quoted(task.name)} has {count} labels, but a classification has 2 to "
            f"{MOST_CLASSES:,}; for values as labels write `kind: regression`"
        )
    for label in task.label_names:
        if not label.strip() or len(label) > _LONGEST_LABEL:
            raise TaskError(
                f"a label of task {quoted(task.name)} is {quoted(label)}, but must be a text of up "
                f"to {_LONGEST_LABEL} characters"
            )
    twice = [label for label in task.label_names if task.label_names.count(label) > 1]
    if twice:
        raise TaskError(f"labels of task {quoted(task.name)} has {quoted(twice[0])} twice")


def _check_metrics(task: Task) -> None:
    metrics = _all_metrics(task)
    if not isinstance(task.score, str) or task.score not in (*task.metrics, MEAN):
        raise TaskError(
            f"score of task {quoted(task.name)} is {quoted(task.score)}; allowed are "
            f"{', '.join((*task.metrics, MEAN))}"
        )
    scored = [metrics[name] for name in task.score_metrics]
    if any(metric.of_outputs for metric in scored):
        names = ", ".join(metric.name for metric in scored if metric.of_outputs)
        raise TaskError(
            f"{names} cannot be part of the score: what a random mix of experts reaches has no "
            "value there; name one of the other metrics as `score:`"
        )
    if len({metric.low_is_better for metric in scored}) > 1:
        raise TaskError(
            f"the score of task {quoted(task.name)} is the mean of metrics, some better high and "
            "some low; name one of them as `score:`"
        )


def _all_metrics(task: Task) -> dict[str, Metric]:
    try:
        return {name: task.metric(name) for name in task.metrics}
    except ValueError as error:
        raise TaskError(str(error)) from error
