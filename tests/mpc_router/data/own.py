"""A small task of one's own: its rows, files of them, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from mpc_router.config.trial import TrialConfig, trial_config
from mpc_router.data.dataset import dataset_of
from mpc_router.data.definitions import define
from mpc_router.data.sources import Examples, Source, cut, read
from mpc_router.tasks import Task

HEADER = "body,queue\n"


def lines(count: int, labels: Sequence[str]) -> str:
    """Gives lines of csv, each with a text of its own and the labels in turn."""
    return "".join(f"text {row},{labels[row % len(labels)]}\n" for row in range(count))


def tickets(count: int, labels: Sequence[Any] = ("order", "refund", "other")) -> pa.Table:
    return pa.table(
        {
            "body": [f'line {row}\n"quoted", null {row}' for row in range(count)],
            "queue": [labels[row % len(labels)] for row in range(count)],
        }
    )


def source_of(folder: Path, files: Mapping[str, str | bytes] | None = None, **keys: Any) -> Source:
    """Writes files into a folder and gives it as a data set."""
    for name, content in (files or {}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Source(kind="dataset", dataset=dataset_of({"path": ".", **keys}, folder))


def task_for(source: Source, **keys: Any) -> Task:
    return define({"name": "tickets", "text": "body", "label": "queue", **keys}, source)


def config_for(task: Task, **settings: Any) -> TrialConfig:
    return trial_config({"pool": "minilm", "task": task.name, "task_definition": task, **settings})


def split(
    source: Source, *, settings: Mapping[str, Any] | None = None, **keys: Any
) -> dict[str, Examples]:
    """Defines the task by the source's data and cuts its splits."""
    config = config_for(task_for(source, **keys), **(settings or {}))
    return cut(config, read(config, source))
