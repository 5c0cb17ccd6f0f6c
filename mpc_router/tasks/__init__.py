"""Holds tasks: what one is, the eight of GLUE, and metrics over stacks of predictions."""

from mpc_router.tasks.definition import Task, TaskError, lists_labels, task_of
from mpc_router.tasks.evaluation import evaluate
from mpc_router.tasks.glue import TASKS, from_record, label_key, to_record
from mpc_router.tasks.metrics import OF_COUNTS

__all__ = [
    "OF_COUNTS",
    "TASKS",
    "Task",
    "TaskError",
    "evaluate",
    "from_record",
    "label_key",
    "lists_labels",
    "task_of",
    "to_record",
]
