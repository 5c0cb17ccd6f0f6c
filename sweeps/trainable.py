"""A pack on a Ray actor."""

from __future__ import annotations

import json
import os
import platform
from typing import Any

import ray
from ray import tune

from sweeps.job import Job
from sweeps.records import pack_from


class PackTrainable(tune.Trainable):  # type: ignore[misc]
    """One pack on an actor; a step is one message of its worker."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begins the pack."""
        from sweeps.worker import run_pack  # with torch, which Ray's own process does without

        pack = pack_from(json.loads(config["pack"]))
        self._messages = run_pack(pack, Job.from_json(json.loads(config["job"])))
        self._drop: dict[str, str] | None = None
        self._begun = False

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """The same actor takes another pack."""
        self._messages.close()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """First where it runs, then a message at a time; JSON, so that Tune neither flattens nor
        copies it in parts.

        Whoever is to be stopped ends in here, with routes and checkpoint, and not by Tune's hand.
        """
        if not self._begun:
            self._begun = True
            place = {"node": ray.get_runtime_context().get_node_id(), "host": platform.node()}
            return {"begun": json.dumps({**place, "pid": os.getpid()}), "done": False}
        drop, self._drop = self._drop, None
        try:
            message = self._messages.send(drop)
        except StopIteration:
            return {"done": True}
        return {"message": json.dumps(message.to_json()), "done": False}

    def hear(self, drop: dict[str, str]) -> None:
        """Trials to end before the next epoch, each with the reason; an actor does what it is told
        in order, so this comes before the step that Tune asks for next."""
        self._drop = drop

    def cleanup(self) -> None:
        """Ends the pack where it stands."""
        self._messages.close()
