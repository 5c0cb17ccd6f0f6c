"""Holds tasks: what one is, the eight of GLUE, and metrics over stacks of predictions."""

from mpc_router.tasks.definition import Task, TaskError, lists_labels, task_of
from mpc_router.tasks.evaluation import evaluate, merit, score_of
from mpc_router.tasks.glue import TASKS, from_record, label_key, to_record

__all__ = [
    "TASKS",
    "Task",
    "TaskError",
    "evaluate",
    "from_record",
    "label_key",
    "lists_labels",
    "merit",
    "score_of",
    "task_of",
    "to_record",
]
