"""Checks that labels which were read are the task's, and that splits agree in them.

Letters: N rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mpc_router.run_names import TRAIN
from mpc_router.source_error import SourceError, listed
from mpc_router.tasks import Task
from mpc_router.tasks.labels import classes_of, is_glue

_FEW_VALUES: Final = 20
"""It is how many rows of 0 or 1 make a regression's labels the classes of another task."""


def check_labels(
    labels: NDArray[np.float64], nulls: NDArray[np.bool_], task: Task, *, where: str
) -> None:
    """Checks that the labels (N,) of one file are in the task's range.

    Raises:
        SourceError: one is not.
    """
    least, most = task.bounds
    bad = ~((labels >= least) & (labels <= most) & np.isfinite(labels))
    if not task.regression:
        bad |= labels != np.floor(labels)
    if not bad.any():
        return
    row = int(np.flatnonzero(bad)[0])
    label = "null" if nulls[row] else f"{labels[row]:g}"
    allowed = classes_of(task)
    if not task.regression:
        allowed = f"a class number in {least:g}..{most:g} ({allowed})"
    hint = " (a test split has no labels)" if label == "-1" else ""
    raise SourceError(
        f"{where}: the label of row {row} is {label}, but task {task.name} needs {allowed}; "
        f"{int(bad.sum())} of {len(labels)} rows are wrong, correct the file{hint}"
    )


def check_written_alike(counted: Mapping[str, bool], task: Task) -> None:
    """Raises a SourceError where some splits have class numbers as labels and others words."""
    for split, numbers in counted.items():
        if numbers != counted[TRAIN]:
            kinds = ("class numbers", "words") if numbers else ("words", "class numbers")
            raise SourceError(
                f"split {split} of task {task.name} has {kinds[0]} as labels, but train has "
                f"{kinds[1]}; write them alike"
            )


def check_labels_agree(labels: Mapping[str, NDArray[np.float64]], task: Task) -> None:
    """Raises a SourceError unless train has two classes, and every class of the other splits.

    `labels` are class numbers by split: (N,) each, of splits of different N.
    """

    def names(numbers: NDArray[np.float64]) -> str:
        return listed([task.label_names[int(number)] for number in numbers], most=10)

    learned = np.unique(labels[TRAIN])
    if len(learned) == 1:
        raise SourceError(
            f"every label of train is {names(learned)}, but task {task.name} needs rows of at "
            "least 2 labels; give rows of others, or another column as `label:`"
        )
    for split, values in labels.items():
        unseen = np.setdiff1d(values, learned)
        if len(unseen):
            raise SourceError(
                f"split {split} of task {task.name} has the label {names(unseen)}, which no row of "
                f"train has ({names(learned)}); nothing can learn it: give train rows of it, or "
                f"drop those {int(np.isin(values, unseen).sum())} rows of {split}"
            )


def check_are_scores(labels: NDArray[np.float64], task: Task, where: str) -> None:
    """Checks that a regression's labels (N,) are values, not another task's classes.

    Raises:
        SourceError: they are classes.
    """
    if (
        is_glue(task)
        and task.regression
        and len(labels) >= _FEW_VALUES
        and np.isin(labels, (0.0, 1.0)).all()
    ):
        raise SourceError(
            f"{where}: every label is 0 or 1, but task {task.name} needs "
            f"{classes_of(task)}; these are another task's classes, give the task's own file"
        )
