"""Asks a running cluster for its nodes, and waits for those that a sweep wants."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sweeps.raytune.process import ray_process
from sweeps.records import InputError, NodesWanted, SweepError
from sweeps.study.lengths import duration_text

_JOINING: Final = 600.0
"""Limits the seconds until a process has joined the cluster."""


@dataclass(frozen=True, kw_only=True)
class ClusterView:
    """Holds what a cluster was at one moment."""

    nodes: Sequence[Mapping[str, float]]
    """Gives the resources of each node by Ray's names: `CPU`, `GPU`, ..."""

    scaled: bool = False
    """Tells whether the cluster has an autoscaler."""

    @property
    def most_gpus(self) -> float:
        """Gives the GPUs of the node that has most of them."""
        return max((node.get("GPU", 0.0) for node in self.nodes), default=0.0)


def view_of(
    address: str,
    wanted: NodesWanted | None,
    ready: Callable[[ClusterView], int],
    say: Callable[[str], None],
) -> ClusterView:
    """Gives the nodes of a running cluster, as soon as those that are wanted are there.

    After the time of the wait it gives those that there are; `say` is told of both. `ready` counts
    the nodes that are of use.

    Raises:
        InputError: there is no such cluster, or it takes in no process of this kind.
    """
    wait = Wait(address, wanted, ready, say)
    try:
        return _view(address, wait)
    except SweepError as error:
        raise InputError(str(error)) from error


def _view(address: str, wait: Wait) -> ClusterView:
    """Asks a cluster until the wait is over, or raises SweepError."""
    view = ClusterView(nodes=())
    with ray_process(address) as ray:
        while True:
            question = ray.question(_JOINING)
            if question is None:
                raise SweepError(f"Ray on the cluster at {address} has not answered")
            word, data = question
            if word == "failed":
                raise SweepError(data["reason"])
            if word == "nodes":
                view = ClusterView(nodes=data["nodes"], scaled=data["scaled"])
                ray.answer({"again": not wait.is_over(view)})
                continue
            ray.answer({"what": "nodes"})
            if word == "done":
                return view


class Wait:
    """Waits for nodes, and tells of them as they come."""

    def __init__(
        self,
        address: str,
        wanted: NodesWanted | None,
        ready: Callable[[ClusterView], int],
        say: Callable[[str], None],
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address, self._wanted, self._ready, self._say = address, wanted, ready, say
        self._now, self._count = now, -1
        self._begin: float | None = None
        """Gives the time of the first look at the nodes, by the clock `now`."""

    def is_over(self, view: ClusterView) -> bool:
        """Tells whether the nodes that are wanted are there, or the time is over."""
        if self._wanted is None:
            return True
        now, count, wanted = self._now(), self._ready(view), self._wanted
        self._begin = now if self._begin is None else self._begin
        if count >= wanted.count:
            return True
        are_there = f"{count} of {wanted.count} nodes with room for a pack"
        if now - self._begin >= wanted.seconds:
            if count:
                self._say(f"{are_there} are there; the sweep begins on these")
            return True
        if count != self._count:
            self._count = count
            self._say(
                f"waiting up to {duration_text(wanted.seconds)} for nodes of the cluster at "
                f"{self._address}: {are_there} are there"
            )
        return False
