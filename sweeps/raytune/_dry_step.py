"""The module measures on a worker with a GPU which share of it a pack needs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import ray

from sweeps.raytune import _losses
from sweeps.raytune._gpus import own_gpus
from sweeps.records import pack_from
from sweeps.study.pack_share import DryStep, largest_share
from sweeps.worker.job import Job

_PAUSE: Final = 5.0
"""It is the time between two reports of progress, in seconds."""

_LONGEST: Final = 600.0
"""Limits the seconds until a worker with a GPU has measured the steps of a pack."""


def measure(
    wanted: Mapping[str, Any], depot_name: str, report_progress: Callable[[], object]
) -> tuple[float, str]:
    """Gives a pack's share of a GPU, and what was measured in words.

    A pack gets a whole GPU where nothing could be measured. `report_progress` is called every few
    seconds meanwhile.
    """
    words = (json.dumps(wanted["samples"]), json.dumps(wanted["job"]), depot_name)
    task = ray.remote(_dry_steps).options(num_cpus=wanted["cpus"], num_gpus=1, max_retries=0)
    promise, waited = task.remote(*words), 0.0
    while not ray.wait([promise], timeout=_PAUSE)[0]:
        report_progress()
        waited += _PAUSE
        if waited > _LONGEST * len(wanted["samples"]):
            ray.cancel(promise, force=True)
            return 1.0, "no worker with a GPU has measured it: a pack gets one"
    try:
        measured = ray.get(promise)
    except ray.exceptions.RayError as error:
        return 1.0, f"the dry step failed ({_losses.last_line(error)}): a pack gets one"
    if measured is None:
        return 1.0, "torch sees no GPU on the worker that has one: a pack gets one"
    return largest_share(
        [DryStep(**step) for step in measured], may_do_without=wanted["may_do_without"]
    )


def _dry_steps(packs_json: str, job_json: str, depot_name: str) -> list[dict[str, Any]] | None:
    """Measures the steps of each pack on this worker; None where torch sees no GPU."""
    own_gpus()
    from sweeps.worker.dry_step import dry_step  # with torch, after the GPUs are known

    job = Job.from_json(json.loads(job_json))
    if depot_name:
        node = ray.get_runtime_context().get_node_id()
        sent = ray.get(ray.get_actor(depot_name).supply.remote(node))
        job = job if sent is None else dataclasses.replace(job, prepared=sent.of(job.prepared))
    measured = [dry_step(pack_from(pack), job) for pack in json.loads(packs_json)]
    steps = [dataclasses.asdict(step) for step in measured if step is not None]
    return steps or None
