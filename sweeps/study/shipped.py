"""Finds the studies that come with the package: files of their own, and two templates of a task."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mpc_router.config.trial import read_yaml
from mpc_router.tasks import TASKS

_FOLDER: Final = Path(__file__).parents[1] / "studies"

_TEMPLATE: Final = "TASK_"
"""Prefix of a file that is a study for every task, such as `TASK_grid.yaml` for `mrpc_grid`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """Names a study that comes with the package."""

    name: str
    path: Path
    task: str | None = None
    """The task that is set in a template; None where the file names its own."""

    def tree(self) -> dict[str, Any]:
        """Reads the study as plain data."""
        tree = read_yaml(self.path)
        if self.task is None:
            return tree
        return {**tree, "study": self.name, "trial": {**tree["trial"], "task": self.task}}


def shipped() -> dict[str, Shipped]:
    """Gives the studies that come with the package by name, in alphabetical order."""
    studies = {study.name: study for path in _FOLDER.glob("*.yaml") for study in _studies(path)}
    return dict(sorted(studies.items()))


def _studies(path: Path) -> Iterator[Shipped]:
    if not path.stem.startswith(_TEMPLATE):
        yield Shipped(name=path.stem, path=path)
        return
    kind = path.stem.removeprefix(_TEMPLATE)
    for task in TASKS:
        yield Shipped(name=f"{task}_{kind}", path=path, task=task)
