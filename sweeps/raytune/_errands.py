"""The module has errands of preparation done on a cluster, each as a task of Ray.

A task trains an encoder and asks it about its splits. A node that sees the cache writes there; what
another one leaves comes back in chunks to a folder that the process with the cache takes it from.
"""

from __future__ import annotations

import base64
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import ray
from ray.exceptions import RayError

from sweeps.raytune import _losses
from sweeps.raytune._depot import depot
from sweeps.raytune._gpus import own_gpus
from sweeps.raytune._pipe import PipeEnd
from sweeps.raytune._returning import Returns, caller
from sweeps.raytune._room import Room, alive_nodes
from sweeps.raytune._ship import ReachError, on_node
from sweeps.study.pack_share import packs_on

_LOOK: Final = 1.0
"""It is the time between two looks at what tasks have done, in seconds."""

_RETRIES: Final = 3
"""It is how often Ray tries an errand again whose node or worker was lost, or refused it."""


@dataclass(frozen=True, kw_only=True)
class TaskShare:
    """Holds the share of a node that an errand gets."""

    cpus: int
    gpus: int

    def fits(self, node: Mapping[str, float]) -> bool:
        """Tells whether a node with these resources has room for an errand, memory aside."""
        return packs_on(node, self.cpus, self.gpus) > 0


def task_share(nodes: Sequence[Mapping[str, float]], errands: int, device: str) -> TaskShare:
    """Gives the share of an errand: a GPU where a node has one, else an equal share of processors.

    `nodes` are resources by Ray's names. Where there are no nodes yet, a GPU is asked for if the
    `device` is `cuda`.
    """
    has_gpu = any(node.get("GPU", 0.0) >= 1 for node in nodes)
    if device == "cuda" or (has_gpu and device != "cpu"):
        return TaskShare(cpus=1, gpus=1)
    cpus = [int(node.get("CPU", 0.0)) for node in nodes]
    return TaskShare(cpus=max(1, min(max(cpus, default=1), sum(cpus) // max(1, errands))), gpus=0)


def task_options(
    share: TaskShare, nodes: Sequence[Mapping[str, float]], memory: float
) -> dict[str, Any]:
    """Gives Ray's options for the task of an errand that takes about so many bytes of memory.

    It asks for no more memory than the largest of the `nodes` with room for it has, else it would
    never begin. What a node's disk or the way there refuses is tried again as a lost node is, and
    tasks are spread, so that another node may get it.
    """
    most = max((node.get("memory", 0.0) for node in nodes if share.fits(node)), default=0.0)
    return {
        "num_cpus": share.cpus,
        "num_gpus": share.gpus,
        "memory": int(min(memory, most)),
        "max_retries": _RETRIES,
        "retry_exceptions": [OSError, ReachError],
        "scheduling_strategy": "SPREAD",
    }


class Tally:
    """Holds where errands are done and how far each is, as an actor of Ray beside the sweep."""

    def __init__(self) -> None:
        self._facts: dict[str, dict[str, Any]] = {}

    def begun(self, name: str, node: str, has_gpu: bool) -> None:
        """Notes that a node begins with an errand."""
        self._facts[name] = {"node": node, "gpu": has_gpu, "steps": 0}

    def done(self, name: str, steps: int) -> None:
        """Notes how many steps of an errand are done."""
        self._facts[name]["steps"] = steps

    def facts(self) -> dict[str, dict[str, Any]]:
        """Gives node, GPU and steps by errand that was begun."""
        return self._facts


class _Counter:
    """Tells the tally of an errand's steps, at most once a second."""

    def __init__(self, tally: Any, name: str) -> None:
        self._tally, self._name = tally, name
        self._steps, self._told = 0, time.monotonic()

    def advance(self, steps: int) -> None:
        """Counts some more steps."""
        self._steps += steps
        if time.monotonic() - self._told >= _LOOK:
            self._told = time.monotonic()
            self._tally.done.remote(self._name, self._steps)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """Tells how an errand has ended."""

    refused: str | None = None
    lost: str | None = None
    arrived: str | None = None
    """It is the folder below the staging folder with what came back; None where nothing had to."""


def do_errand(errand: Mapping[str, Any], depot_name: str, tally: Any) -> Ending:
    """Does an errand as a task of Ray.

    What comes back arrives in a folder of this attempt: the files of errands that are done at once
    do not meet, and neither do those of an attempt whose node is lost and of the next one.
    """
    gpus = own_gpus()
    from sweeps.worker.errand import run_errand  # with torch, which Ray's own process does without

    node, name = ray.get_runtime_context().get_node_id(), errand["name"]
    tally.begun.remote(name, node, bool(gpus))
    supplier = ray.get_actor(depot_name)
    sent = ray.get(supplier.supply.remote(node, errand["folders"]))
    copies = {} if sent is None else sent.folders
    pickled, advance = base64.b64decode(errand["pickled"]), _Counter(tally, name).advance
    if sent is None or sent.writable is None:
        return Ending(refused=run_errand(pickled, copies, None, advance))
    home, attempt = Path(sent.writable) / name, f"{name}/{secrets.token_hex(8)}"
    shutil.rmtree(home, ignore_errors=True)  # an earlier attempt on this node may have begun
    cache = home / attempt
    cache.mkdir(parents=True)
    try:
        refused = run_errand(pickled, copies, cache, advance)
        if refused is None:
            for lock in cache.glob("*/*.lock"):
                lock.unlink()
            Returns(home=home, call=caller(supplier), keys=()).send()
    finally:
        shutil.rmtree(home, ignore_errors=True)  # another node may get the next attempt
    return Ending(refused=refused, arrived=attempt)


def run_errands(pipe: PipeEnd, wanted: Mapping[str, Any]) -> None:
    """Has errands done, and reports over the pipe where, how far they are, and how each ends."""
    resources = [facts["Resources"] for facts in alive_nodes()]
    share = task_share(resources, len(wanted["errands"]), wanted["device"])
    options = {
        errand["name"]: task_options(share, resources, errand["memory"])
        for errand in wanted["errands"]
    }
    promises: dict[Any, str] = {}

    def nodes_for_some() -> list[Mapping[str, Any]]:
        """Gives the nodes that have the memory for an errand that is left."""
        least = min((options[name]["memory"] for name in promises.values()), default=0)
        return [facts for facts in alive_nodes() if facts["Resources"].get("memory", 0.0) >= least]

    room = Room(cpus=share.cpus, gpus=share.gpus, scaled=wanted["scaled"], nodes=nodes_for_some)
    here = ray.get_runtime_context().get_node_id()
    with depot((), Path(wanted["staging"]), lambda: pipe.ask("sending")) as depot_name:
        tally = ray.remote(Tally).options(**on_node(here)).remote()
        task = ray.remote(do_errand)
        for errand in wanted["errands"]:
            promise = task.options(**options[errand["name"]]).remote(errand, depot_name, tally)
            promises[promise] = errand["name"]
        while promises:
            ended, _ = ray.wait(list(promises), timeout=_LOOK)
            pipe.ask("turn", facts=_facts(tally), room=room.packs(), cpus=share.cpus)
            for promise in ended:
                pipe.ask("over", name=promises.pop(promise), **asdict(_end_of(promise)))


def _facts(tally: Any) -> dict[str, dict[str, Any]]:
    """Gives the tally's facts, with nodes by their names."""
    names = {facts["NodeID"]: facts["NodeName"] for facts in ray.nodes()}
    by_errand = ray.get(tally.facts.remote())
    return {
        name: {**facts, "node": names.get(facts["node"], facts["node"])}
        for name, facts in by_errand.items()
    }


def _end_of(promise: Any) -> Ending:
    """Tells how the errand of a task that has ended did end."""
    try:
        ending: Ending = ray.get(promise)
    except RayError as error:
        return Ending(lost=_losses.reason(error))
    return ending
