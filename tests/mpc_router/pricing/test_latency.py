from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mpc_router.config.router_kinds import PREDICTIVE
from mpc_router.config.trial import trial_config
from mpc_router.data.tokens import Tokens
from mpc_router.model.experts import ExpertPool
from mpc_router.model.gated_pool import GatedBertPool
from mpc_router.model.router import MLPRouter
from mpc_router.pricing import latency
from mpc_router.pricing.latency import _spread, measure_latency
from mpc_router.pricing.measured_file import _document, read_measured, write_measured
from mpc_router.routers.by_kind import fitted_router
from mpc_router.routers.fitted_router import RouterSettings, RouterSizes
from mpc_router.routes import single_paths
from tests.mpc_router.small_models import save_encoder, some_split

CONFIG = trial_config({"pool": "sample", "pool_size": 2})
WIDTH = 3


class Stem(nn.Module):
    """Features without looking."""

    def __init__(self) -> None:
        super().__init__()
        self.width = WIDTH

    def forward(self, input_ids: Tensor, *_: Tensor) -> Tensor:
        return torch.zeros(len(input_ids), WIDTH, device=input_ids.device)


class Clock:
    """A clock that stands still but for what sleepers take: no load moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


CLOCK = Clock()


@pytest.fixture(autouse=True)
def known_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "time", CLOCK)


class Sleeper(nn.Module):
    """An expert that takes a known time and memory; notes what it was given."""

    def __init__(self, seconds: float = 0.0, numbers: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(250))
        self.seconds = seconds
        self.numbers = numbers
        self.seen: list[tuple[int, int]] = []
        self.modes: set[tuple[bool, int]] = set()

    def forward(self, states: Tensor, mask: Tensor, segments: Tensor) -> Tensor:
        self.seen.append((len(mask), int(mask.sum(1).max())))
        self.modes.add((self.training, torch.get_num_threads()))
        CLOCK.now += self.seconds
        for _ in range(3):  # one after the other: two of them never live at once
            torch.ones(self.numbers, device=states.device)
        return torch.zeros(len(states), 2, device=states.device)


def sleepers(*experts: Sleeper) -> GatedBertPool:
    router = MLPRouter(WIDTH, len(experts), 4)
    return GatedBertPool.from_parts(Stem(), router, ExpertPool(experts))


def test_seconds_are_those_that_an_example_takes() -> None:
    pool = sleepers(Sleeper(0.002), Sleeper(0.01))
    measured = measure_latency(pool, some_split(10), repeats=3)
    assert [timing.seconds for timing in measured.experts] == pytest.approx([0.002, 0.01])
    assert measured.router.seconds == 0  # the stem and the router let no time pass
    for timing in measured.experts:
        assert timing.quartiles == pytest.approx((timing.seconds, timing.seconds))


def test_a_router_that_is_given_outputs_is_timed_with_the_cheapest_expert_alone() -> None:
    """It was fitted to two experts; what decides takes no time, and the dear one does not run."""
    sizes = RouterSizes(features=WIDTH, outputs=2, regression=False, paths=single_paths(2))
    router = fitted_router(PREDICTIVE, RouterSettings(), sizes)
    first, second = Sleeper(0.002, 50_000), Sleeper(0.01, 100_000)
    pool = GatedBertPool.from_parts(Stem(), router, ExpertPool([first, second]))
    measured = measure_latency(pool, some_split(10), repeats=3)
    assert measured.router.seconds == pytest.approx(0.002)
    assert [timing.seconds for timing in measured.experts] == pytest.approx([0.002, 0.01])
    head = 4 * sum(values.numel() for values in (*router.parameters(), *router.buffers()))
    assert measured.router.memory == pytest.approx(4 * 250 + head + 4 * 50_000, rel=0.01)


def test_in_batches_an_example_takes_its_share() -> None:
    measured = measure_latency(sleepers(Sleeper(0.02)), some_split(8), repeats=1, batch_size=4)
    assert measured.experts[0].seconds == pytest.approx(0.005)


def test_memory_is_weights_and_the_most_that_was_held_at_once() -> None:
    small, large = Sleeper(numbers=0), Sleeper(numbers=100_000)
    found = measure_latency(sleepers(small, large), some_split(4), repeats=1)
    outputs = 2 * 4
    assert found.experts[0].memory == pytest.approx(4 * 250 + outputs, abs=200)
    assert found.experts[1].memory == pytest.approx(4 * 250 + 4 * 100_000, abs=200)


def test_every_part_runs_over_all_examples_in_every_round_and_once_to_warm_up() -> None:
    expert = Sleeper()
    tokens = some_split(20)
    measure_latency(sleepers(expert, Sleeper()), tokens, repeats=2, batch_size=3)
    rounds = [expert.seen[at : at + 7] for at in range(0, 21, 7)]
    assert rounds[0] == rounds[1] == rounds[2]
    assert sum(size for size, _ in rounds[0]) == 20
    assert expert.seen[21:] == [rounds[0][-1]]  # memory, of the longest batch
    assert max(rounds[0], key=lambda batch: batch[1])[1] == tokens.lengths.max()


def test_the_examples_taken_have_the_lengths_of_all() -> None:
    lengths = np.random.default_rng(0).geometric(0.05, 4000)
    taken = lengths[_spread(lengths, 64)]
    assert len(taken) == 64
    assert taken.mean() == pytest.approx(lengths.mean(), rel=0.05)
    assert np.median(taken) == pytest.approx(np.median(lengths), rel=0.05)
    assert (np.diff(taken) >= 0).all()


def test_fewer_examples_than_asked_for_are_taken_once_each() -> None:
    lengths = np.array([5, 3, 9])
    assert _spread(lengths, 64).tolist() == [1, 0, 2]


def test_mode_and_threads_are_put_back() -> None:
    expert, before = Sleeper(), torch.get_num_threads()
    pool = sleepers(expert).train()
    found = measure_latency(pool, some_split(3), repeats=1, threads=before + 1)
    assert expert.modes == {(False, before + 1)}
    assert found.threads == before + 1
    assert pool.training
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    "wrong", [{"repeats": 0}, {"examples": 0}, {"batch_size": 0}, {"threads": 0}]
)
def test_fewer_than_one_of_anything_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is 0"):
        measure_latency(sleepers(Sleeper()), some_split(3), **wrong)


def test_no_example_is_refused() -> None:
    whole = some_split(3)
    empty = Tokens(
        ids=whole.ids[:0],
        segments=whole.segments[:0],
        offsets=whole.offsets[:1],
        labels=whole.labels[:0],
        example=whole.example[:0],
    )
    with pytest.raises(ValueError, match="no example"):
        measure_latency(sleepers(Sleeper()), empty)


def test_a_measurement_is_read_back_as_a_cost_vector(tmp_path: Path) -> None:
    found = measure_latency(sleepers(Sleeper(), Sleeper()), some_split(5), repeats=2, threads=1)
    path = tmp_path / "new" / "latency.json"
    write_measured(path, found, CONFIG)
    vector = read_measured(path).vector(CONFIG)
    assert vector.router == found.router.seconds
    assert vector.experts == tuple(timing.seconds for timing in found.experts)
    assert [each.name for each in path.parent.iterdir()] == ["latency.json"]
    about = json.loads(path.read_text())["about"]
    assert about["threads"] == 1
    assert about["examples"] == 5
    assert about["torch"] == torch.__version__


def test_a_measurement_of_another_number_of_experts_is_refused() -> None:
    found = measure_latency(sleepers(Sleeper()), some_split(3), repeats=1)
    with pytest.raises(ValueError, match="1 experts were measured"):
        _document(found, CONFIG)


@pytest.mark.parametrize("shared", [False, True])
def test_real_encoders_are_measured_and_deeper_ones_hold_more(shared: bool, tmp_path: Path) -> None:
    for layers in (1, 2, 12):
        save_encoder(tmp_path / f"encoder{layers}", layers=layers)
    pool = GatedBertPool("encoder1", ["encoder2", "encoder12"], models=tmp_path, shared_stem=shared)
    measured = measure_latency(pool, some_split(6), repeats=3, threads=1)
    assert measured.experts[1].memory > measured.experts[0].memory > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_the_peak_of_a_gpu_is_counted() -> None:
    pool = sleepers(Sleeper(), Sleeper(numbers=1_000_000))
    found = measure_latency(pool, some_split(6), repeats=2, device="cuda")
    assert found.experts[1].memory == pytest.approx(4 * 1_000_000, rel=0.01)
    assert found.device == "cuda"
