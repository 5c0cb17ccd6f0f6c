"""What a pack's worker was lost by, as Tune tells it: kept in memory, and said in a sentence."""

from __future__ import annotations

import re
from typing import Any, Final

from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import ActorUnschedulableError, OutOfMemoryError, RayActorError
from ray.tune.analysis import ExperimentAnalysis
from ray.tune.experiment import Trial

LOW_ON_MEMORY: Final = "the node running low on memory"
NEVER_RAN: Final = "The actor never ran"
"""Ray's last line about an actor that had not started yet, whatever became of it."""

REMOVED: Final = "associated placement group was removed"
"""The same of one that had not even got its place."""

_DEAD: Final = re.compile(r"node has died|node was terminated|exit type: (?!INTENDED)")


def unpickle_nothing() -> None:
    """Tune pickles what a trial ends with into a file and unpickles that later, and so it does with
    its own state where there was no trial; on a cluster both may lie where others can put theirs.
    Here errors are kept in this process alone, and the state is never read."""

    def handle_error(trial: Any, error: Exception | None = None) -> None:
        trial.run_metadata.num_failures += 1
        trial.temporary_state.error = error  # which Tune never writes

    Trial.handle_error = handle_error
    ExperimentAnalysis._load_trials = lambda _: []


def error_of(trial: Any) -> Exception | None:
    """What a trial has just ended with."""
    error: Exception | None = getattr(trial.temporary_state, "error", None)
    return error


def how(error: Exception | None) -> str:
    """Of a worker: it `died`, `failed` by an exception, was ended for its `memory`, or there was
    none yet: the actor was `cancelled`, by Tune that found another one or by Ray for a worker that
    it had no job for."""
    said = str(error)
    if LOW_ON_MEMORY in said:
        return "memory"
    if isinstance(error, ActorUnschedulableError | RayActorError) and REMOVED in said:
        return "cancelled"
    if error is not None and not isinstance(error, RayActorError):
        return "failed"
    return "cancelled" if NEVER_RAN in said and not _DEAD.search(said) else "died"


def reason(error: Exception | None) -> str:
    """In a sentence; what Ray has to say of dead processes in general is left out."""
    if error is None:
        return "its worker is gone"
    if LOW_ON_MEMORY in str(error):
        used = re.search(r"[\d.]+GB used / [\d.]+GB", str(error))
        return f"Ray ended its worker{f' at {used[0]}' if used else ''}"
    said = last_line(str(error).partition(NEVER_RAN)[0] or error)
    if found := re.match(r"The actor (?:is dead|died) because (its .*?)\.", said):
        return found[1]
    if re.search(r"The actor \w+ is unavailable", said):
        return "it cannot be reached"
    if "the actor's node was terminated" in said:
        return "its node has died"
    return said


def outlive_hogs() -> None:
    """Tune takes a worker that Ray has ended for its memory, or an actor that Ray has no place for
    any more, for an error of its own, and gives up: here it has died, or was never there."""
    failed = RayActorManager._actor_task_failed

    def as_death(self: Any, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, OutOfMemoryError | ActorUnschedulableError):
            exception = RayActorError(error_msg=str(exception))
        failed(self, tracked_actor_task, exception)

    RayActorManager._actor_task_failed = as_death


def last_line(error: object) -> str:
    """What a traceback, which may be thousands of lines long, says in the end."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
