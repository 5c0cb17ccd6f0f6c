"""The module runs Ray Tune, with packs on reused actors, in a process that keeps no journal."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError
from ray.tune.schedulers import FIFOScheduler

from sweeps.raytune import _losses
from sweeps.raytune._depot import depot, take_up
from sweeps.raytune._dry_step import measure
from sweeps.raytune._errands import run_errands
from sweeps.raytune._pack_queue import NeverCopied, PackQueue
from sweeps.raytune._patches import error_of, patch_ray
from sweeps.raytune._pipe import PipeEnd
from sweeps.raytune._room import Room, alive_nodes, is_scaled
from sweeps.raytune._trainable import PackTrainable

_LOOK_PAUSE: Final = 1.0
"""It is the time between two looks at the nodes of a cluster that is waited for, in seconds."""


def run(pipe: PipeEnd) -> None:
    """Asks what to do in the Ray that this process is in, does it, and says where Ray gave up.

    Raises:
        SweepError: the surroundings failed.
        EOFError: the other process has ended.
    """
    wanted = pipe.ask("begun")
    try:
        if wanted["what"] == "nodes":
            _tell_nodes(pipe)
        elif wanted["what"] == "errands":
            run_errands(pipe, wanted)
        else:
            _drive(pipe, wanted)
        pipe.ask("done")
    except (RayError, TuneError, ConnectionError, RuntimeError, ValueError) as error:
        pipe.ask("failed", reason=f"Ray gave up: {_losses.last_line(error.__cause__ or error)}")


def _tell_nodes(pipe: PipeEnd) -> None:
    """Tells of the cluster's nodes, once or until those are there that are waited for."""
    while pipe.ask("nodes", nodes=_resources(), scaled=is_scaled())["again"]:
        time.sleep(_LOOK_PAUSE)


def _resources() -> list[Any]:
    """Gives the resources of each node by Ray's names."""
    return [facts["Resources"] for facts in alive_nodes()]


def _drive(pipe: PipeEnd, wanted: Mapping[str, Any]) -> None:
    """Trains the packs that the process with the journal gives, as many at a time as have room.

    Raises:
        SweepError: this version of Ray cannot be patched.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the other process reports lost packs
    patch_ray()
    if wanted["address"] is None:
        _tuner(pipe, _measured(pipe, wanted, ""), "").fit()
        return
    run = Path(wanted["job"]["parts"]).parent
    prepared = sorted({Path(folder) for folder in wanted["job"]["prepared"].values()})
    with depot(prepared, run, lambda: pipe.ask("sending")) as depot_name:
        _tuner(pipe, _measured(pipe, wanted, depot_name), depot_name).fit()


def _measured(pipe: PipeEnd, wanted: Mapping[str, Any], depot_name: str) -> Mapping[str, Any]:
    """Gives the settings with a pack's share of a GPU, which is measured where that is wanted."""
    if not wanted["samples"]:
        return wanted
    gpus, text = measure(wanted, depot_name, lambda: pipe.ask("measuring"))
    settings = {**wanted, "gpus": gpus, "job": {**wanted["job"], "gpus": gpus}}
    room = Room(cpus=wanted["cpus"], gpus=gpus, scaled=wanted["scaled"])
    pipe.ask("measured", gpus=gpus, room=room.packs(), text=text)
    return settings


def _tuner(pipe: PipeEnd, wanted: Mapping[str, Any], depot_name: str) -> tune.Tuner:
    """Makes the tuner that asks for packs over the pipe, and reports over it."""
    end = threading.Event()
    room = Room(cpus=wanted["cpus"], gpus=wanted["gpus"], scaled=wanted["scaled"])
    most = wanted["most"] or math.inf
    return tune.Tuner(
        tune.with_resources(PackTrainable, {"cpu": wanted["cpus"], "gpu": wanted["gpus"]}),
        tune_config=tune.TuneConfig(
            search_alg=PackQueue(pipe, wanted["job"], depot_name, lambda: min(room.bound(), most)),
            scheduler=_Reporter(pipe),
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=_pack_name,
            trial_dirname_creator=_pack_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=f"{wanted['folder']}/storage",
            stop=_StopAll(end),
            callbacks=[_Watcher(pipe, end, room, cpus=wanted["cpus"])],
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )


class _StopAll(NeverCopied, tune.Stopper):  # type: ignore[misc]
    """Ends all trials when asked from outside."""

    def __init__(self, end: threading.Event) -> None:
        self._end = end

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Ends no trial alone."""
        return False

    def stop_all(self) -> bool:
        """Tells Tune whether to end."""
        return self._end.is_set()


class _Reporter(NeverCopied, FIFOScheduler):  # type: ignore[misc]
    """Passes every message of the packs to the journal, and decisions to the packs' workers.

    Both happen before Tune lets a pack go on.
    """

    def __init__(self, pipe: PipeEnd) -> None:
        super().__init__()
        self._pipe = pipe
        self._names: dict[str, str] = {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """Passes on a worker's message; its pack goes on, unless the budget is used up.

        Tune never stops a pack whose trials are to be stopped: their worker ends them.
        """
        pack = _pack_name(trial)
        if "begun" in result:
            place = json.loads(result["begun"])
            node = self._name(place["node"], place["host"])
            answer = self._pipe.ask(
                "started",
                pack=pack,
                node=node,
                pid=place["pid"],
                gpus=place["gpus"],
                node_id=place["node"],
            )
            return str(FIFOScheduler.STOP if answer["end"] else FIFOScheduler.CONTINUE)
        answer = self._pipe.ask("heard", pack=pack, message_json=result["message"])
        if answer["end"]:
            return str(FIFOScheduler.STOP)
        if answer["drop"]:
            trial.temporary_state.ray_actor.drop_trials.remote(answer["drop"])
        return str(FIFOScheduler.CONTINUE)

    def _name(self, node: str, host: str) -> str:
        """Gives the name that a node was started with, else its machine's."""
        if node not in self._names:
            for facts in ray.nodes():
                is_named = facts["NodeName"] != facts["NodeManagerAddress"]
                self._names[facts["NodeID"]] = facts["NodeName"] if is_named else host
        return self._names.get(node, host)


class _Watcher(NeverCopied, tune.Callback):  # type: ignore[misc]
    """Reports Tune's events to the journal, and ends Tune when the answer says so.

    It runs in this process, one call after the other.
    """

    def __init__(self, pipe: PipeEnd, end: threading.Event, room: Room, *, cpus: float) -> None:
        self._pipe, self._end, self._room, self._cpus = pipe, end, room, cpus
        self._closed: dict[str, list[Any]] = {}
        """Gives the actors that take up a node's room by node that is left out."""

    def on_step_begin(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """Asks at every turn of Tune's loop whether to end; kills workers of packs that hang."""
        answer = self._pipe.ask("turn", room=self._room.packs())
        if answer["end"]:
            self._end.set()
        for node in answer["leave"]:
            if node not in self._closed:
                self._room.leave_out(node)
                self._closed[node] = take_up(node, self._cpus)
        for trial in trials if answer["kill"] else ():
            actor = trial.temporary_state.ray_actor
            if (
                actor is not None
                and not trial.is_finished()
                and _pack_name(trial) in answer["kill"]
            ):
                ray.kill(actor)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        """Reports a pack that is done, and removes the message from Tune's memory."""
        result.pop("message", None)
        if result.get("done"):
            self._pipe.ask("over", pack=_pack_name(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Reports a worker that is lost, or whose machine failed."""
        error = error_of(trial)
        self._pipe.ask(
            "lost", pack=_pack_name(trial), reason=_losses.reason(error), how=_losses.how(error)
        )


def _pack_name(trial: Any) -> str:
    """Gives the name of a trial's pack."""
    return str(json.loads(trial.config["pack"])["name"])
