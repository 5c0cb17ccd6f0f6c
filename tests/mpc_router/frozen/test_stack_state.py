"""A stack that goes on from its state gives the bits of one that never paused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from mpc_router.frozen.state_shapes import misfit, state_shapes
from mpc_router.frozen.train import Lane, train
from mpc_router.prepare.frozen import Prepared
from mpc_router.results.records import EpochResult, LanesEnded, StackState
from tests.mpc_router.conftest import random_prepared
from tests.mpc_router.stacks import arrays, assert_same, config, left_by

EPOCHS = 6

KINDS: Mapping[str, Mapping[str, Any]] = {
    "gated": {"gate": "gumbel", "router_dropout": 0.2, "temperature_end": 0.3},
    "supervised": {"router": "supervised", "class_balance": 0.9},
    "best": {"epoch": "best_score", "gate": "gumbel"},
    "fitted": {"router_kind": "predictive", "stem": "expert"},
    "fitted, best": {"router_kind": "clusters", "epoch": "best_score"},
}


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return random_prepared(rows={"train": 96, "selection": 60, "validation": 80}, features=8)


def lanes(kind: str) -> list[Lane]:
    settings = {"epochs": EPOCHS, **KINDS[kind]}
    rates = [{"learning_rate": 1e-3 * factor} for factor in (1, 2, 1, 5)]
    if kind.startswith("fitted"):
        rates = [{}] * 4
    return [
        Lane(config=config(**settings, **rate), seed=seed)
        for seed, rate in zip((0, 0, 1, 2), rates, strict=True)
    ]


class Course:
    """What a training gives: reports by epoch and lane, and what lanes leave."""

    def __init__(self) -> None:
        self.reports: dict[tuple[int, int], dict[str, Any]] = {}
        self.left: dict[int, dict[str, Any]] = {}

    def follow(
        self,
        kind: str,
        prepared: Prepared,
        *,
        names: list[int],
        drop: Mapping[int, list[int]],
        pause: int | None = None,
        start: StackState | None = None,
        device: str = "cpu",
        parked: bool = False,
    ) -> StackState | None:
        """Trains the lanes of these names; gives a copy of their state after the epoch `pause`.

        With `parked` they leave their device after every epoch.
        """
        chosen = [lanes(kind)[name] for name in names]
        run = train(chosen, prepared, start=start, device=device)
        answer: list[int] | None = None
        paused: EpochResult | None = None
        while True:
            try:
                event = run.send(answer)
            except StopIteration:
                return None
            answer = None
            if isinstance(event, EpochResult):
                assert paused is None  # the lanes to drop end before the next epoch
                for lane in event.report.lanes:
                    self.reports[event.epoch, names[lane]] = arrays(event.report, int(lane))
                if parked:
                    _park(event)
                answer = [names.index(name) for name in drop.get(event.epoch, []) if name in names]
                paused = event if event.epoch == pause else None
            elif isinstance(event, LanesEnded):
                for lane in event.lanes:
                    self.left[names[lane]] = left_by(event, int(lane))
            if paused is not None and not answer:
                assert paused.state is not None
                state = paused.state()
                run.close()
                return StackState(
                    epoch=state.epoch,
                    lanes=state.lanes,
                    tensors={name: value.clone() for name, value in state.tensors.items()},
                )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pause", [1, 3, 5])
def test_a_stack_that_goes_on_gives_the_bits_of_one_that_never_paused(
    prepared: Prepared, kind: str, pause: int
) -> None:
    drop = {2: [1], 3: [0]}
    undisturbed, resumed = Course(), Course()
    undisturbed.follow(kind, prepared, names=[0, 1, 2, 3], drop=drop)
    state = resumed.follow(kind, prepared, names=[0, 1, 2, 3], drop=drop, pause=pause)
    assert state is not None
    assert state.epoch == pause
    going_on = [int(lane) for lane in state.lanes]
    assert going_on == {1: [0, 1, 2, 3], 3: [2, 3], 5: [2, 3]}[pause]
    start = state.rows(range(len(going_on)))
    assert resumed.follow(kind, prepared, names=going_on, drop=drop, start=start) is None
    assert undisturbed.reports.keys() == resumed.reports.keys()
    for place, report in undisturbed.reports.items():
        assert_same(report, resumed.reports[place])
    assert undisturbed.left.keys() == resumed.left.keys() == {0, 1, 2, 3}
    for lane, left in undisturbed.left.items():
        assert_same(left, resumed.left[lane])


def _park(event: EpochResult) -> None:
    """Parks a stack; the state of one that is trained by steps then lies in other memory."""
    assert event.state is not None
    assert event.park is not None
    before = event.state().tensors
    event.park()
    after = event.state().tensors
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert value.data_ptr() != after[name].data_ptr()


@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_that_is_parked_after_every_epoch_gives_the_same_bits(
    prepared: Prepared, kind: str
) -> None:
    courses = Course(), Course()
    for course, parked in zip(courses, (False, True), strict=True):
        device = "cpu:0"  # another name than that of the processor, where what is parked goes
        drop = {2: [1], 3: [0]}
        course.follow(kind, prepared, names=[0, 1, 2, 3], drop=drop, device=device, parked=parked)
    stayed, moved = courses
    assert stayed.reports.keys() == moved.reports.keys()
    for place, report in stayed.reports.items():
        assert_same(report, moved.reports[place])
    for lane, left in stayed.left.items():
        assert_same(left, moved.left[lane])


@pytest.mark.parametrize("kind", KINDS)
def test_some_lanes_of_a_state_go_on_without_the_others(prepared: Prepared, kind: str) -> None:
    undisturbed, resumed = Course(), Course()
    undisturbed.follow(kind, prepared, names=[0, 1, 2, 3], drop={})
    state = resumed.follow(kind, prepared, names=[0, 1, 2, 3], drop={}, pause=2)
    assert state is not None
    resumed.follow(kind, prepared, names=[3, 1], drop={}, start=state.rows([3, 1]))
    for lane in (1, 3):
        assert_same(undisturbed.left[lane], resumed.left[lane])


@pytest.mark.parametrize("kind", KINDS)
def test_the_shapes_of_a_state_are_known_before_it_is_read(prepared: Prepared, kind: str) -> None:
    state = Course().follow(kind, prepared, names=[0, 1, 2], drop={}, pause=1)
    assert state is not None
    wanted = state_shapes(lanes(kind)[0].config, features=8, lanes=3)
    assert misfit(state.tensors, wanted) is None


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda tensors: tensors.pop("exp_avg.out.bias"), "'exp_avg.out.bias' is missing"),
        (lambda tensors: tensors.update(more=torch.ones(3)), "'more' is unknown"),
        (
            lambda tensors: tensors.update({"weights.out.bias": torch.ones(2, 3)}),
            "'weights.out.bias' is .2, 3, torch.float32. in place of .3, 3",
        ),
        (
            lambda tensors: tensors.update({"weights.out.bias": torch.ones(3, 3).double()}),
            "torch.float64. in place of",
        ),
    ],
)
def test_a_state_of_other_tensors_is_named(prepared: Prepared, change: Any, fault: str) -> None:
    state = Course().follow("gated", prepared, names=[0, 1, 2], drop={}, pause=1)
    assert state is not None
    tensors: dict[str, Tensor] = dict(state.tensors)
    change(tensors)
    wanted = state_shapes(lanes("gated")[0].config, features=8, lanes=3)
    assert re.search(fault, misfit(tensors, wanted) or "")
