"""Ray Tune drives: packs on reused actors. A process of its own, which knows no journal.

`sweeps.driver._supervisor` starts it, tells it over a line what there is to do, hears every word of
the workers, and ends it with all that Ray has started. So nothing that Ray does, or leaves undone,
can keep the journal's process from its work.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from cluster.processes import descendants, kill
from sweeps.raytune import _losses, _ship
from sweeps.raytune._patches import error_of, patch_ray
from sweeps.raytune._pipe import Line
from sweeps.raytune._trainable import PackTrainable
from sweeps.raytune.folders import RAY
from sweeps.records import SweepError
from sweeps.study.pack_share import packs_a_gpu

_LOOPBACK: Final = "127.0.0.1"


def main(connection: int, lifeline: int) -> None:
    """Runs what the first answer asks for, with Ray; both numbers are of open files."""
    threading.Thread(target=_fall_with, args=(lifeline,), daemon=True).start()
    line = Line(Connection(connection))
    try:
        wanted = line.ask("begun")
        begin(wanted)
        if wanted["what"] == "room":
            line.ask("room", found=ray.cluster_resources())
        else:
            drive(line, wanted)
        line.ask("done")
    except EOFError:
        return
    except SweepError as error:
        line.ask("failed", reason=str(error))
    except (RayError, TuneError, ConnectionError, RuntimeError, ValueError) as error:
        line.ask("failed", reason=f"Ray gave up: {_losses.last_line(error.__cause__ or error)}")
    ray.shutdown()


def _fall_with(lifeline: int) -> None:
    """Ends this process, and all of Ray's, as soon as the process with the journal is gone."""
    os.read(lifeline, 1)
    kill(descendants(os.getpid()))
    os._exit(1)


def begin(wanted: Mapping[str, Any]) -> None:
    """Starts Ray on this machine, or joins a cluster.

    Raises:
        SweepError: Ray does not start, or the cluster refuses.
    """
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    address = wanted["address"]
    try:
        if address is not None:
            ray.init(address=address, **common)
            return
        ray.init(
            address="local",  # what else runs on this machine is not ours
            num_cpus=max(1, -int(-wanted["count"] * wanted["cpus"] // 1)),
            num_gpus=_gpus(wanted["count"], wanted["gpus"]),
            object_store_memory=100 * 2**20,
            include_dashboard=False,
            _temp_dir=f"{wanted['folder']}/{RAY}",
            **common,
        )
    except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
        if address is None:
            raise SweepError(
                f"Ray could not be started here: {_losses.last_line(error)}"
            ) from error
        raise SweepError(
            f"{address} does not let us in ({_losses.last_line(error)}); say its token with "
            f"RAY_AUTH_TOKEN_PATH=FILE, and look whether its Ray is of version {ray.__version__}"
        ) from error
    found = ray.util.get_node_ip_address()
    if found != _LOOPBACK:
        raise SweepError(f"Ray listens on {found} instead of {_LOOPBACK}; it was stopped")


def _gpus(count: int, gpus: float) -> int:
    """Gives the number of GPUs that so many packs take."""
    return math.ceil(count / packs_a_gpu(gpus)) if gpus else 0


def drive(line: Line, wanted: Mapping[str, Any]) -> None:
    """Trains the packs that the other process gives, as many at a time as are wanted.

    Raises:
        SweepError: this version of Ray cannot be patched, or a node cannot be reached.
    """
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a lost pack is the other's to say
    patch_ray()
    run = Path(wanted["job"]["parts"]).parent
    with _supplied(wanted, run, lambda: line.ask("sending")) as away:
        _tuner(line, wanted, run, away).fit()


@contextlib.contextmanager
def _supplied(
    wanted: Mapping[str, Any], run: Path, beat: Callable[[], None]
) -> Iterator[Mapping[str, _ship.Away]]:
    """Every node has what packs train on; which of them are sent what they need, and how they see
    it.

    Raises:
        SweepError: a node cannot be reached.
    """
    if wanted["address"] is None:
        yield {}
        return
    prepared = sorted({Path(folder) for folder in wanted["job"]["prepared"].values()})
    try:
        with _ship.supplied(_ship.look(prepared, run), beat) as away:
            yield away
    except _ship.ReachError as error:
        raise SweepError(str(error)) from error


def _tuner(
    line: Line, wanted: Mapping[str, Any], run: Path, away: Mapping[str, _ship.Away]
) -> tune.Tuner:
    end = threading.Event()
    return tune.Tuner(
        tune.with_resources(PackTrainable, {"cpu": wanted["cpus"], "gpu": wanted["gpus"]}),
        tune_config=tune.TuneConfig(
            search_alg=_PackQueue(line, wanted["job"], away),
            scheduler=_Reporter(line, run),
            num_samples=-1,
            max_concurrent_trials=wanted["count"],
            reuse_actors=True,
            trial_name_creator=_pack_name,
            trial_dirname_creator=_pack_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=f"{wanted['folder']}/storage",
            stop=_StopAll(end),
            callbacks=[_News(line, end)],
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            verbose=0,
        ),
    )


class _Here:
    """Stays one object of this process where Tune copies and pickles its settings."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Here:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _PackQueue(_Here, Searcher):  # type: ignore[misc]
    """Gives Tune the packs as they become due."""

    def __init__(self, line: Line, job: Mapping[str, Any], away: Mapping[str, _ship.Away]) -> None:
        super().__init__(metric="training_iteration", mode="max")
        self._line = line
        said = {node: dataclasses.asdict(each) for node, each in away.items()}
        self._shared = {"job": json.dumps(job), "away": json.dumps(said)}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Gives Tune the next pack; None while it is not yet known whether there is one."""
        found = self._line.ask("next")
        if found["pack"] is None:
            return str(Searcher.FINISHED) if found["over"] else None
        return {"pack": json.dumps(found["pack"]), **self._shared}

    def on_trial_complete(
        self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
    ) -> None:
        """Learns nothing, for the journal tells the search."""

    def save(self, checkpoint_path: str) -> None:
        """Saves nothing, for a run resumes from its journal."""

    def restore(self, checkpoint_path: str) -> None:
        """Restores nothing."""


class _StopAll(_Here, tune.Stopper):  # type: ignore[misc]
    """Ends all trials when asked from outside."""

    def __init__(self, end: threading.Event) -> None:
        self._end = end

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Ends no trial alone."""
        return False

    def stop_all(self) -> bool:
        """Tells Tune whether to end."""
        return self._end.is_set()


class _Reporter(_Here, FIFOScheduler):  # type: ignore[misc]
    """Carries every word of the packs to the journal, and decisions between packs to their
    workers, before Tune lets a pack go on."""

    def __init__(self, line: Line, run: Path) -> None:
        super().__init__()
        self._line, self._run = line, run
        self._names: dict[str, str] = {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """Passes on a worker's message; its pack goes on, unless the budget is used up.

        Tune is never told to stop a pack whose trials are to be stopped: their worker ends them.
        """
        pack = _pack_name(trial)
        if "begun" in result:
            place = json.loads(result["begun"])
            node = self._name(place["node"], place["host"])
            self._line.ask("started", pack=pack, node=node, pid=place["pid"], gpus=place["gpus"])
            return str(FIFOScheduler.CONTINUE)
        _ship.spread(self._run, result["files"])  # before the journal names them
        answer = self._line.ask("heard", pack=pack, message=json.loads(result["message"]))
        if answer["end"]:
            return str(FIFOScheduler.STOP)
        if answer["drop"]:
            trial.temporary_state.ray_actor.hear.remote(answer["drop"])
        return str(FIFOScheduler.CONTINUE)

    def _name(self, node: str, host: str) -> str:
        """Gives a node's name if it was given one, else its machine's."""
        if node not in self._names:
            for each in ray.nodes():
                named = each["NodeName"] != each["NodeManagerAddress"]
                self._names[each["NodeID"]] = each["NodeName"] if named else host
        return self._names.get(node, host)


class _News(_Here, tune.Callback):  # type: ignore[misc]
    """Carries Tune's news to the journal, and the wish to end to Tune. Runs in this process, one
    call after the other."""

    def __init__(self, line: Line, end: threading.Event) -> None:
        self._line, self._end = line, end

    def on_step_begin(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """At every turn of Tune's loop: whether to end, and which packs hang."""
        answer = self._line.ask("turn")
        if answer["end"]:
            self._end.set()
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
        """What was said does not stay in Tune's memory; a pack that has said everything is over."""
        for name in ("message", "files"):
            result.pop(name, None)
        if result.get("done"):
            self._line.ask("over", pack=_pack_name(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Reports a worker that is lost, or whose surroundings failed."""
        error = error_of(trial)
        self._line.ask(
            "lost", pack=_pack_name(trial), reason=_losses.reason(error), how=_losses.how(error)
        )


def _pack_name(trial: Any) -> str:
    return str(json.loads(trial.config["pack"])["name"])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
