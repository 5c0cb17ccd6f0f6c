"""The bound of packs follows the cluster's nodes up and down; an autoscaler sees more demand."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from sweeps.raytune._pack_queue import PackQueue
from sweeps.raytune._room import DEMAND, Room, has_node_types

NODE_TYPES = {"id0": "ray.head.default"}


class Site:
    """A cluster whose nodes come and go, and a clock; both are set by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.cpus: dict[str, float] = {}

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": name, "Resources": {"CPU": cpus}} for name, cpus in self.cpus.items()]

    def room(self, *, scaled: bool = False) -> Room:
        return Room(cpus=2, gpus=0, scaled=scaled, nodes=self.nodes, clock=lambda: self.now)

    def become(self, **cpus: float) -> None:
        self.cpus = cpus
        self.now += 10


def test_the_bound_follows_the_nodes_up_and_down_and_is_never_nought() -> None:
    site = Site()
    room = site.room()
    bounds = []
    for cpus in ({}, {"a": 4.0}, {"a": 4.0, "b": 3.0}, {"b": 3.0}, {"b": 1.0}, {"c": 8.0}):
        site.become(**cpus)
        bounds.append((room.packs(), room.bound()))
    assert bounds == [(0, 1), (2, 2), (3, 3), (1, 1), (0, 1), (4, 4)]


def test_between_two_looks_nothing_is_asked_and_a_node_that_is_left_out_has_no_room() -> None:
    site = Site()
    room = site.room()
    site.become(a=4.0)
    assert room.packs() == 2
    site.cpus["b"] = 4.0
    assert room.packs() == 2
    room.leave_out("a")
    assert room.packs() == 2  # those of b
    site.now += 10
    assert room.packs() == 2


def test_an_autoscaler_sees_packs_that_wait() -> None:
    site = Site()
    room = site.room(scaled=True)
    site.become()
    assert room.bound() == 1 + DEMAND
    site.become(a=8.0)
    assert room.bound() == 4 + DEMAND


class Packs:
    """The other end of the pipe, which has packs without end."""

    def __init__(self) -> None:
        self.given = 0

    def ask(self, word: str, **data: Any) -> dict[str, Any]:
        assert word == "next"
        self.given += 1
        return {"pack": {"name": f"pack{self.given}"}, "kept": None, "over": False}


def test_tune_is_given_as_many_packs_as_the_bound_allows_by_then() -> None:
    packs, bound = Packs(), 1
    queue = PackQueue(cast(Any, packs), {}, "", lambda: bound)
    assert queue.suggest("t1") is not None
    assert queue.suggest("t2") is None
    bound = 3  # nodes have joined
    assert queue.suggest("t2") is not None
    assert queue.suggest("t3") is not None
    assert queue.suggest("t4") is None
    bound = 1  # and left
    queue.on_trial_complete("t1", error=True)
    queue.on_trial_complete("t2")
    assert queue.suggest("t4") is None
    queue.on_trial_complete("t3")
    assert queue.suggest("t4") is not None
    assert packs.given == 4


BY_HAND = "node_" + 56 * "f"
"""The type that Ray gives to a node that was started by hand."""


@pytest.mark.parametrize(
    ("types", "scaled"),
    [
        (NODE_TYPES, True),
        ({"id0": BY_HAND, "id1": "small"}, True),
        ({"id0": "node_gpu"}, True),
        ({"id0": BY_HAND}, False),
        ({}, False),
    ],
)
def test_an_autoscaler_is_known_by_the_types_of_its_nodes(
    types: dict[str, str], scaled: bool
) -> None:
    status = {"autoscaler_report": {"node_type_mapping": types}}
    assert has_node_types(json.dumps(status).encode()) == scaled


@pytest.mark.parametrize(
    "status", [None, b"", b"{}", b"[]", b"no JSON", b'{"autoscaler_report":0}']
)
def test_without_a_status_there_is_no_autoscaler(status: bytes | None) -> None:
    assert not has_node_types(status)
