"""Reads the eight tasks of GLUE, in the hub's schema (`nyu-mll/glue`), from their files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from mpc_router.messages import quoted
from mpc_router.tasks.definition import Task, TaskError, task_of

_FOLDER: Final = Path(__file__).parent / "shipped"
_NAMES: Final = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte")


def _read(name: str) -> Task:
    text = (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    return task_of(yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


TASKS: Final = {name: _read(name) for name in _NAMES}
"""The tasks by name; the sample draws its sentences by their order."""


def to_record(task: Task) -> dict[str, Any]:
    """Gives what files say of a task: its name, and its definition where it is none of GLUE's."""
    if task == TASKS.get(task.name):
        return {"task": task.name}
    return {"task": task.name, "task_definition": task.to_json()}


def from_record(record: Mapping[str, Any]) -> Task:
    """Gives the task that `to_record` wrote.

    Raises:
        TaskError: it is neither GLUE's nor defined.
    """
    definition, name = record.get("task_definition"), record.get("task")
    if definition is not None:
        return task_of(definition)
    if not isinstance(name, str) or name not in TASKS:
        raise TaskError(f"task {quoted(name)} is not one of {', '.join(TASKS)}")
    return TASKS[name]


def label_key(task: Task) -> str:
    """Gives a name that two tasks share only where an expert of one is an expert of the other.

    It is the task's name for GLUE's tasks; else name and a hash of what labels mean.
    """
    meaning = {name: task.identity().get(name) for name in ("kind", "labels", "range")}
    glue = TASKS.get(task.name)
    if glue and meaning == {name: glue.identity().get(name) for name in meaning}:
        return task.name
    text = json.dumps(meaning, sort_keys=True)
    return f"{task.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
