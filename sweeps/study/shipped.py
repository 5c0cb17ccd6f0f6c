"""Finds the studies that come with the package: files of their own, and two templates of a task."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mpc_router.config.trial import read_yaml
from mpc_router.tasks import TASKS

_FOLDER: Final = Path(__file__).parents[1] / "studies"

_TEMPLATE: Final = "TASK_"
"""Begins the name of a template, which is a study for every task: `TASK_grid` for `mrpc_grid`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedStudy:
    """Names a study that comes with the package."""

    name: str
    path: Path
    task: str | None = None
    """Names the task that is set in a template; None where the file names its own."""

    def tree(self) -> dict[str, Any]:
        """Reads the study as plain data."""
        tree = copy.deepcopy(_read(self.path))
        if self.task is None:
            return tree
        return {**tree, "study": self.name, "trial": {**tree["trial"], "task": self.task}}


@functools.cache
def _read(path: Path) -> dict[str, Any]:
    """Reads a file once, for the studies of a template are all in one."""
    return read_yaml(path)


def shipped_studies() -> dict[str, ShippedStudy]:
    """Gives the studies that come with the package by name, in alphabetical order.

    A study with a file of its own takes the place of its template's.
    """
    files = sorted(_FOLDER.glob("*.yaml"), key=lambda path: not path.stem.startswith(_TEMPLATE))
    studies = {study.name: study for path in files for study in _studies(path)}
    return dict(sorted(studies.items()))


def _studies(path: Path) -> Iterator[ShippedStudy]:
    """Gives the studies of a file: one, or one for each task."""
    if not path.stem.startswith(_TEMPLATE):
        yield ShippedStudy(name=path.stem, path=path)
        return
    kind = path.stem.removeprefix(_TEMPLATE)
    for task in TASKS:
        yield ShippedStudy(name=f"{task}_{kind}", path=path, task=task)
