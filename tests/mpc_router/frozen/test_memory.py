"""How much memory a stack takes, and which stacks have room on a device at once."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mpc_router.frozen.memory import stack_bytes, stay_open
from mpc_router.frozen.train import Lane, train
from mpc_router.results.records import EpochResult
from tests.mpc_router.conftest import random_prepared
from tests.mpc_router.stacks import config


class Held(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that operations have made and that still live, and their peak."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now, self.peak = 0, 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for value in made if isinstance(made, list | tuple) else [made]:
            if isinstance(value, torch.Tensor) and value.device.type != "meta":
                self._hold(value.untyped_storage())
        return made

    def _hold(self, storage: Any) -> None:
        place, size = storage._cdata, storage.nbytes()
        if place in self._seen:
            return
        self._seen.add(place)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, place, size)

    def _free(self, place: int, size: int) -> None:
        self._seen.discard(place)
        self.now -= size


@pytest.mark.parametrize(
    "settings",
    [
        {"router_hidden_size": 64, "gate": "gumbel", "router_dropout": 0.2},
        {"router_hidden_size": 256, "batch_size": 64},
        {"router_hidden_size": 64, "epoch": "best_score"},
        {"router_hidden_size": 64, "router": "supervised"},
    ],
    ids=lambda settings: ", ".join(settings),
)
@pytest.mark.parametrize("count", [1, 24])
def test_the_estimate_is_near_what_training_through_autograd_takes(
    settings: dict[str, Any], count: int
) -> None:
    prepared = random_prepared(
        rows={"train": 640, "selection": 300, "validation": 300}, features=32
    )
    trial = config(epochs=2, **settings)
    lanes = [Lane(config=trial, seed=seed) for seed in range(count)]
    held = Held()
    with held:
        for event in train(lanes, prepared, device="cpu:0"):
            if isinstance(event, EpochResult) and event.epoch == 2:
                break
    splits = sum(
        split.features.nbytes + split.outputs.nbytes + split.labels.nbytes
        for split in prepared.splits.values()
    )  # on a processor they are the arrays themselves
    estimate = stack_bytes(trial, prepared, lanes=count)
    assert 0.5 * estimate < held.peak + splits < 1.2 * estimate


def test_all_stacks_stay_where_all_have_room() -> None:
    assert stay_open([3, 4, 5], 12) == [True, True, True]
    assert stay_open([], 0) == []


@pytest.mark.parametrize(
    ("sizes", "room", "stays"),
    [
        ([3, 4, 5], 11, [True, False, False]),
        ([5, 1, 1, 5], 11, [True, True, False, False]),
        ([8, 2, 2], 10, [False, True, False]),
        ([8, 9], 5, [False, False]),
    ],
)
def test_room_is_left_for_the_largest_of_those_that_come_and_go(
    sizes: list[int], room: float, stays: list[bool]
) -> None:
    assert stay_open(sizes, room) == stays
    kept = sum(size for size, stay in zip(sizes, stays, strict=True) if stay)
    assert kept + max(sizes) <= max(room, max(sizes))
