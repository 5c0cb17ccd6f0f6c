"""The module holds all that is private to Ray and used here, for the process that Ray runs in.

A patch replaces a method that Ray does not promise to keep, so each says why it is needed, and
checks first that the method exists and takes the same parameters (Ray 2.52 to 2.60).
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import ray
from ray.exceptions import ActorUnschedulableError, OutOfMemoryError, RayActorError
from ray.job_config import JobConfig

from sweeps.records import SweepError


def patch_ray() -> None:
    """Patches Ray Tune, once a process and before it runs.

    Raises:
        SweepError: this version of Ray lacks a method that is patched; nothing is patched then.
    """
    trial_class = _patched_class("ray.tune.experiment", "Trial", "handle_error", 2)
    analysis_class = _patched_class("ray.tune.analysis", "ExperimentAnalysis", "_load_trials", 1)
    manager_class = _patched_class(
        "ray.air.execution._internal.actor_manager",
        "RayActorManager",
        "_actor_task_failed",
        3,
    )
    _patch_errors(trial_class)
    _patch_state(analysis_class)
    _patch_lost_actors(manager_class)


_UNUSED: Final = {"start_api_server": 3, "start_monitor": 1, "start_log_monitor": 1}
"""It names the methods, with their parameters, that start processes which a run does not use: the
server of a dashboard that is off, an autoscaler without nodes to start, and a reader of logs that
are shown nowhere. Each takes .8 s of a processor, and Ray's start waits for the first."""


_LOOK_PAUSE: Final = 0.02
_LONGEST_LOOK: Final = 5.0
"""They are the pause between two looks for this machine's node, and the time until Ray itself looks
on, in seconds."""


@contextlib.contextmanager
def quick_start(meanwhile: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Patches Ray so that it starts only what trains, and at once, for the time of the block.

    `meanwhile` is called while its processes begin. A version of Ray without one of these methods
    does what belongs to it.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(SweepError):
            for name, parameters in _UNUSED.items():
                node_class = _patched_class("ray._private.node", "Node", name, parameters)
                stack.callback(setattr, node_class, name, getattr(node_class, name))
                setattr(node_class, name, lambda *_, **__: None)
        with contextlib.suppress(SweepError):
            state_class = _patched_class("ray._private.state", "GlobalState", "get_node", 2)
            stack.callback(setattr, state_class, "get_node", state_class.get_node)
            _patch_look(state_class, meanwhile)
        yield


def _patch_look(state_class: Any, meanwhile: Callable[[], object]) -> None:
    """Patches Ray's state so that it sees a node as soon as it is there, after what is meanwhile.

    Ray looks for the node that it has just started once a second, which is about what that takes.
    """
    get_node = state_class.get_node

    def get_node_soon(state: Any, node_id: str) -> Any:
        with contextlib.suppress(Exception):  # whatever it is: its caller sees it in its own time
            meanwhile()
        end = time.monotonic() + _LONGEST_LOOK
        while time.monotonic() < end:
            if any(node["NodeID"] == node_id for node in state.node_table()):
                break
            time.sleep(_LOOK_PAUSE)
        return get_node(state, node_id)

    state_class.get_node = get_node_soon


def _patched_class(module_name: str, class_name: str, method_name: str, parameters: int) -> Any:
    """Gives the class whose method is patched, where the method takes so many parameters.

    Raises:
        SweepError: the module, class or method does not exist, or takes other parameters.
    """
    try:
        patched_class = getattr(importlib.import_module(module_name), class_name)
        method = getattr(patched_class, method_name)
        is_known = len(inspect.signature(method).parameters) == parameters
    except (ImportError, AttributeError, TypeError, ValueError):  # the last two: no signature
        is_known = False
    if not is_known:
        raise SweepError(
            f"Ray {ray.__version__} has no {module_name}.{class_name}.{method_name} with "
            f"{parameters} parameters, which sweeps has to patch; install Ray 2.60 "
            "(pip install 'ray[tune]==2.60.*')"
        )
    return patched_class


def _patch_errors(trial_class: Any) -> None:
    """Patches Tune's trials so that they keep their errors in memory.

    Tune pickles an error into a file and unpickles it later; on a cluster, other users may put a
    file in its place.
    """

    def handle_error(trial: Any, error: Exception | None = None) -> None:
        trial.run_metadata.num_failures += 1
        trial.temporary_state.error = error  # which Tune never writes

    trial_class.handle_error = handle_error


def _patch_state(analysis_class: Any) -> None:
    """Patches Tune's analysis so that it reads no state from disk.

    Tune unpickles its own state where there was no trial, from the same folders as errors.
    """
    analysis_class._load_trials = lambda analysis: []


def _patch_lost_actors(manager_class: Any) -> None:
    """Patches Ray's actor manager so that a worker killed for memory counts as lost.

    Tune counts that, and an actor that Ray has no place for any more, as an error of its own and
    gives up.
    """
    report_failure = manager_class._actor_task_failed

    def report_as_death(manager: Any, tracked_actor_task: Any, exception: Exception) -> None:
        # Ray calls it by these names
        if isinstance(exception, OutOfMemoryError | ActorUnschedulableError):
            exception = RayActorError(error_msg=str(exception))
        report_failure(manager, tracked_actor_task, exception)

    manager_class._actor_task_failed = report_as_death


def job_config() -> JobConfig:
    """Gives settings of a job with which workers do not look into the current folder first.

    Ray puts it before everything else, and it may hold a package of one of our names. Parts of
    one's own are found there all the same (`mpc_router.plugins`).
    """
    config = JobConfig()
    if hasattr(config, "_client_job"):
        config._client_job = True  # Ray leaves it to such jobs where their code is
    return config


def error_of(trial: Any) -> Exception | None:
    """Gives the error that a trial has just ended with, which the patched trial keeps."""
    error: Exception | None = getattr(trial.temporary_state, "error", None)
    return error
