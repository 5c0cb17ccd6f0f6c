"""The module counts the packs that a cluster has room for, while its nodes come and go."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import ray

from sweeps.study.pack_share import packs_on

_PAUSE: Final = 2.0
"""It is the time between two looks at the nodes, in seconds."""

DEMAND: Final = 32
"""It is how many packs wait for a place where an autoscaler starts nodes for them."""

_BY_HAND: Final = re.compile(r"node_[0-9a-f]{56}")
"""The types of nodes that were started by hand: `node_` and the node's id."""


def alive_nodes() -> list[Mapping[str, Any]]:
    """Gives Ray's facts about the nodes that it counts as alive."""
    return [facts for facts in ray.nodes() if facts["Alive"]]


class Room:
    """Counts the packs that the cluster runs at once, as its nodes are now."""

    def __init__(
        self,
        *,
        cpus: float,
        gpus: float,
        scaled: bool,
        nodes: Callable[[], Sequence[Mapping[str, Any]]] = alive_nodes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begins to look at the nodes; `cpus` and `gpus` are a pack's share.

        `scaled` says that the cluster has an autoscaler.
        """
        self._cpus, self._gpus, self._scaled = cpus, gpus, scaled
        self._nodes, self._clock = nodes, clock
        self._left_out: set[str] = set()
        self._packs, self._next_look = 0, -float("inf")

    def packs(self) -> int:
        """Counts the packs that the nodes have room for, those left out excepted."""
        if self._clock() >= self._next_look:
            self._packs = sum(
                packs_on(facts["Resources"], self._cpus, self._gpus)
                for facts in self._nodes()
                if facts["NodeID"] not in self._left_out
            )
            self._next_look = self._clock() + _PAUSE
        return self._packs

    def leave_out(self, node: str) -> None:
        """Counts a node no more, which gets no more packs."""
        self._left_out.add(node)
        self._next_look = -float("inf")

    def bound(self) -> int:
        """Limits the packs that run or wait for a place.

        One may always wait, so that Tune has something to do while there is no room. An autoscaler
        starts nodes for packs that wait, so more of them do.
        """
        return max(1, self.packs()) + (DEMAND if self._scaled else 0)


def is_scaled() -> bool:
    """Tells whether the joined cluster has an autoscaler, of either kind that Ray has."""
    from ray.autoscaler.v2.utils import is_autoscaler_v2
    from ray.experimental.internal_kv import _internal_kv_get

    return has_node_types(_internal_kv_get("__autoscaling_status")) or bool(
        is_autoscaler_v2(fetch_from_server=True)
    )


def has_node_types(status_json: bytes | None) -> bool:
    """Tells from the status of Ray's first autoscaler whether it starts nodes.

    It runs on every head, and gives each node that was started by hand a type of its own.
    """
    try:
        types = json.loads(status_json or b"{}")["autoscaler_report"]["node_type_mapping"]
        return any(not _BY_HAND.fullmatch(str(name)) for name in types.values())
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
