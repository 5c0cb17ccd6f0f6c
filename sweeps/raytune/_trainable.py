"""The module trains a pack on a Ray actor; Ray Tune sees no more than this of a pack."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import ray

from sweeps.raytune import _imports
from sweeps.raytune._depot import fetch
from sweeps.raytune._gpus import own_gpus
from sweeps.raytune._returning import Returns, caller
from sweeps.records import (
    CHECKPOINTS_FOLDER,
    PARTS_FOLDER,
    STATES_FOLDER,
    Kept,
    Pack,
    kept_from,
    pack_from,
)
from sweeps.worker.job import Job


class PackTrainable(_imports.ray_tune().Trainable):  # type: ignore[misc]
    """Trains one pack on an actor; a step is one message of the pack's worker."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begins the pack."""
        self._gpus = own_gpus()
        run_pack = _imports.run_pack()
        pack, job = pack_from(json.loads(config["pack"])), Job.from_json(json.loads(config["job"]))
        self._returns: Returns | None = None
        self._fetched: Path | None = None
        kept_json = json.loads(config["kept"])
        kept = kept_json and kept_from(kept_json)
        self._failure: Exception | None = None
        if config["depot"]:
            try:
                job = self._supplied(job, pack, kept, ray.get_actor(config["depot"]))
            except Exception as error:  # whatever it is: the journal is to know on which node
                self._failure = error
        self._messages = run_pack(pack, job, kept=kept)
        self._drop: dict[str, str] | None = None
        self._begun = False
        self.config: dict[str, Any] = {}  # Tune adds it to each result, and a pack has 100 kB

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Gives the same actor another pack."""
        self._messages.close()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Gives where the pack runs, then one message a call.

        Messages are JSON text, so that Tune neither flattens nor copies them in parts. Trials that
        are to be stopped end in here, with routes and checkpoint, and not by Tune.
        """
        if not self._begun:
            self._begun = True
            place = {"node": ray.get_runtime_context().get_node_id(), "host": platform.node()}
            begun = {**place, "pid": os.getpid(), "gpus": self._gpus}
            return {"begun": json.dumps(begun), "done": False}
        if self._failure is not None:
            raise self._failure
        drop, self._drop = self._drop, None
        try:
            message = self._messages.send(drop)
        except StopIteration:
            self._return()
            return {"done": True}
        if self._fetched is not None:  # it was read for this message, and is not to be sent back
            self._fetched.unlink(missing_ok=True)
            self._fetched = None
        self._return()
        return {"message": json.dumps(message.to_json()), "done": False}

    def _return(self) -> None:
        """Sends what the pack has written to the run's folder, where this node does not see it."""
        if self._returns is not None:
            self._returns.send()

    def _supplied(self, job: Job, pack: Pack, kept: Kept | None, depot: Any) -> Job:
        """Gives the job for this node, which gets from the depot what it does not see.

        Each pack writes below a folder of its own, for each sends only its own files.
        """
        sent = ray.get(depot.supply.remote(ray.get_runtime_context().get_node_id()))
        if sent is None:
            return job
        prepared = sent.of(job.prepared)
        if sent.writable is None:
            return dataclasses.replace(job, prepared=prepared)
        home, call = Path(sent.writable) / pack.name, caller(depot)
        shutil.rmtree(home, ignore_errors=True)  # the run's folder has all of an earlier attempt
        home.mkdir(parents=True)
        self._returns = Returns(home=home, call=call, keys=[trial.key for trial in pack.trials])
        if kept is not None:
            self._fetched = home / STATES_FOLDER / kept.file
            with contextlib.suppress(ray.exceptions.RayTaskError):  # `run_pack` says what it lacks
                fetch(depot, f"{STATES_FOLDER}/{kept.file}", home)
        names = call("epochs", self._returns.keys)
        for name in names:
            fetch(depot, name, home)
        self._returns.note(names)
        return dataclasses.replace(
            job,
            prepared=prepared,
            parts=home / PARTS_FOLDER,
            checkpoints=home / CHECKPOINTS_FOLDER,
            states=home / STATES_FOLDER,
        )

    def drop_trials(self, drop: dict[str, str]) -> None:
        """Sets the trials to end before the next epoch, each with the reason.

        An actor works off its calls in order, so this comes before Tune's next step.
        """
        self._drop = drop

    def cleanup(self) -> None:
        """Ends the pack's training at once."""
        self._messages.close()
