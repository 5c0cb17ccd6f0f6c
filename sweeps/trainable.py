"""A pack on a Ray actor, and how it is spoken to."""

from __future__ import annotations

import json
import os
import platform
import uuid
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
        self._mailbox = ray.get_actor(config["mailbox"]) if config["mailbox"] else None
        self._pack = pack.name
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
        drop = ray.get(self._mailbox.take.remote(self._pack)) if self._mailbox else None
        try:
            message = self._messages.send(drop)
        except StopIteration:
            return {"done": True}
        return {"message": json.dumps(message.to_json()), "done": False}

    def cleanup(self) -> None:
        """Ends the pack where it stands."""
        self._messages.close()


class Mailbox:
    """Keeps what a pack's worker is to be told before its next epoch."""

    def __init__(self) -> None:
        self._drop: dict[str, dict[str, str]] = {}

    def put(self, pack: str, drop: dict[str, str]) -> None:
        """Trials to end, each with the reason."""
        self._drop[pack] = drop

    def take(self, pack: str) -> dict[str, str] | None:
        """What there is, once."""
        return self._drop.pop(pack, None)


class Mailboxes:
    """The run's mailbox: an actor, for packs may run on any node."""

    def __init__(self) -> None:
        self.name = f"mpc-mailbox-{uuid.uuid4().hex}"
        self._actor = ray.remote(Mailbox).options(name=self.name, num_cpus=0).remote()

    def put(self, pack: str, drop: dict[str, str]) -> None:
        """Returns when it is there: only then may the pack go on."""
        ray.get(self._actor.put.remote(pack, drop))
