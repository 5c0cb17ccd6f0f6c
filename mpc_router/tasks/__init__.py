"""Holds tasks: what one is, the eight of GLUE, and metrics over stacks of predictions."""

from mpc_router.tasks._counts import Counts, class_numbers
from mpc_router.tasks._evaluation import evaluate, merit, score_of
from mpc_router.tasks._glue import TASKS, from_record, label_key, to_record
from mpc_router.tasks._values import mean_ranks
from mpc_router.tasks.confidence import calibration_error
from mpc_router.tasks.definition import Task, TaskError, lists_labels, task_of
from mpc_router.tasks.metrics import OF_CLASS, Metric

__all__ = [
    "OF_CLASS",
    "TASKS",
    "Counts",
    "Metric",
    "Task",
    "TaskError",
    "calibration_error",
    "class_numbers",
    "evaluate",
    "from_record",
    "label_key",
    "lists_labels",
    "mean_ranks",
    "merit",
    "score_of",
    "task_of",
    "to_record",
]
