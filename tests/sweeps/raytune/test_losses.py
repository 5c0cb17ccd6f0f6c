"""What a worker was lost by: from memory alone, in a sentence, and told from what was no loss."""

from __future__ import annotations

import functools
import json
import pickle
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ray._private.node import Node
from ray._private.state import GlobalState
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import (
    ActorDiedError,
    ActorUnschedulableError,
    OutOfMemoryError,
    RayActorError,
)
from ray.train._internal.storage import StorageContext
from ray.tune.analysis import ExperimentAnalysis
from ray.tune.experiment import Trial

from sweeps.raytune import _losses, _patches, tune_loop
from sweeps.raytune._room import Room
from sweeps.records import SweepError

pytestmark = pytest.mark.slow

PATCHED = (
    (Trial, "handle_error"),
    (ExperimentAnalysis, "_load_trials"),
    (RayActorManager, "_actor_task_failed"),
)


def keep_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts Ray's own methods back when the test ends."""
    for patched_class, method in PATCHED:
        monkeypatch.setattr(patched_class, method, getattr(patched_class, method))


@pytest.mark.parametrize(("patched_class", "method"), PATCHED)
def test_a_ray_without_what_is_patched_is_refused_in_a_sentence_and_left_as_it_is(
    patched_class: type, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_methods(monkeypatch)
    monkeypatch.delattr(patched_class, method)
    before = [getattr(other, name, None) for other, name in PATCHED]
    with pytest.raises(SweepError, match=rf"Ray \S+ has no ray\.\S+\.{method} with"):
        _patches.patch_ray()
    assert [getattr(other, name, None) for other, name in PATCHED] == before


def test_a_ray_whose_patched_method_takes_something_else_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(RayActorManager, "_actor_task_failed", lambda manager, task: None)
    with pytest.raises(SweepError, match=r"install Ray 2\.60"):
        _patches.patch_ray()


def test_a_worker_killed_for_memory_counts_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_methods(monkeypatch)
    errors: list[Exception] = []
    monkeypatch.setattr(
        RayActorManager, "_actor_task_failed", lambda manager, task, error: errors.append(error)
    )
    _patches.patch_ray()
    out_of_memory = OutOfMemoryError("killed due to the node running low on memory")
    for error in (out_of_memory, ValueError("of the worker")):
        RayActorManager._actor_task_failed(SimpleNamespace(), None, error)
    assert [type(error) for error in errors] == [RayActorError, ValueError]
    assert _losses.how(errors[0]) == "memory"


def test_nothing_that_lies_where_tune_keeps_its_files_is_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_methods(monkeypatch)
    _patches.patch_ray()
    monkeypatch.setattr(
        StorageContext, "trial_driver_staging_path", property(lambda _: str(tmp_path))
    )
    storage = StorageContext(str(tmp_path / "s"), "run", trial_dir_name="pack")
    pack = {"pack": json.dumps({"name": "pack00"})}
    trial = Trial("pack", stub=True, config=pack, storage=storage)
    trial.handle_error(ActorDiedError())
    assert list(tmp_path.glob("error*")) == []
    (tmp_path / "error.pkl").write_bytes(Bomb(tmp_path / "exploded").pickled())
    said: list[object] = []
    line = SimpleNamespace(ask=lambda word, **data: said.append((word, data)))
    room = Room(cpus=1, gpus=0, scaled=False)
    watcher = tune_loop._Watcher(cast(Any, line), threading.Event(), room, cpus=1)
    watcher.on_trial_error(1, [trial], trial)
    reason = "The actor died unexpectedly before finishing this task."
    assert said == [("lost", {"pack": "pack00", "reason": reason, "how": "died"})]
    assert trial.get_pickled_error() is None  # which Tune asks for when it has ended
    state = {"_type": "CLOUDPICKLE_FALLBACK", "value": Bomb(tmp_path / "exploded").pickled().hex()}
    (tmp_path / "experiment_state-9.json").write_text(json.dumps({"trial_data": state}))
    assert ExperimentAnalysis(str(tmp_path), trials=[]).trials == []
    assert not (tmp_path / "exploded").exists()


@dataclass(frozen=True)
class Bomb:
    """Writes a file when it is unpickled."""

    path: Path

    def pickled(self) -> bytes:
        return pickle.dumps(self)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


DIED = "The actor died unexpectedly before finishing this task.\n\tclass_name: PackTrainable\n"
NEVER = "\nThe actor never ran - it was cancelled before it started running."


@pytest.mark.parametrize(
    ("text", "how", "reason"),
    [
        ("The actor is dead because all references to the actor were removed.", "cancelled", None),
        ("The actor is dead because it was killed by `ray.kill`.", "cancelled", None),
        (
            "The actor is dead because its worker process has died. Worker exit type: "
            "INTENDED_SYSTEM_EXIT Worker exit detail: Destroying worker since its placement group "
            "was removed.",
            *("cancelled", "its worker process has died"),
        ),
        (
            "The actor is dead because its worker process has died. Worker exit type: "
            "SYSTEM_ERROR Worker exit detail: it got a SIGSEGV.",
            *("died", "its worker process has died"),
        ),
        ("The actor died because its node has died. Node Id: 1", "left", "its node has died"),
    ],
)
def test_an_actor_that_never_ran_is_told_from_a_worker_that_has_died(
    text: str, how: str, reason: str | None
) -> None:

    error = RayActorError(error_msg=f"{DIED}{text}{NEVER}")
    assert _losses.how(error) == how
    assert _losses.how(RayActorError(error_msg=DIED + text)) == (
        "left" if how == "left" else "died"
    )
    assert reason is None or _losses.reason(error) == reason
    assert "never ran" not in _losses.reason(error)


def test_an_actor_that_lost_its_place_before_it_started_never_was() -> None:
    error = ActorUnschedulableError(
        "Could not create the actor because its associated placement group was removed."
    )
    assert _losses.how(error) == "cancelled"
    assert _losses.how(ActorUnschedulableError("no node has so many cpus")) == "failed"


def test_only_while_a_ray_starts_here_does_it_start_no_process_that_a_run_does_not_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[str] = []
    for name in _patches._UNUSED:
        method = getattr(Node, name)  # with its signature, which is looked at
        told = functools.wraps(method)(lambda *_, name=name, **__: started.append(name))
        monkeypatch.setattr(Node, name, told)
    node = object.__new__(Node)
    with _patches.quick_start():
        node.start_api_server(include_dashboard=False, raise_on_failure=False)
        node.start_monitor()
        node.start_log_monitor()
    assert started == []
    node.start_monitor()
    assert started == ["start_monitor"]
    monkeypatch.delattr(Node, "start_api_server")
    with _patches.quick_start():
        node.start_monitor()
    assert started == ["start_monitor", "start_monitor"]


def test_the_node_that_starts_here_is_seen_as_soon_as_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[str] = []

    def node_table(_: GlobalState) -> list[dict[str, str]]:
        looks.append("table")
        return [{"NodeID": "mine"}] if len(looks) >= 3 else [{"NodeID": "other"}]

    def get_node(_: GlobalState, node_id: str) -> str:
        looks.append(node_id)
        return "its facts"

    monkeypatch.setattr(GlobalState, "node_table", node_table)
    monkeypatch.setattr(GlobalState, "get_node", get_node)
    state = object.__new__(GlobalState)
    with _patches.quick_start(lambda: looks.append("meanwhile")):
        assert state.get_node("mine") == "its facts"
        assert looks == ["meanwhile", "table", "table", "mine"]
        monkeypatch.setattr(_patches, "_LONGEST_LOOK", 0.0)
        assert state.get_node("never") == "its facts"  # Ray itself waits on, and says so in the end
    assert state.get_node("mine") == "its facts"
    assert looks[3:] == ["mine", "meanwhile", "never", "mine"]
