"""A lane trains as a plain loop would, and as it would alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mpc_router.config.trial import TrialConfig
from mpc_router.costs import CostVector
from mpc_router.frozen._optimizer import LaneAdamW
from mpc_router.frozen.randomness import dropout, gumbel, order, starting_weights, torch_seed
from mpc_router.frozen.train import LANE_SETTINGS, Lane, stack_key, train
from mpc_router.joint._history import best_epoch
from mpc_router.model.losses import CompositeLoss
from mpc_router.model.router import MLPRouter
from mpc_router.prepare.frozen import Prepared
from mpc_router.results.records import EpochResult, LanesEnded
from mpc_router.tasks import task_of
from tests.mpc_router.conftest import random_prepared
from tests.mpc_router.stacks import arrays, assert_same, config, drained, left_by


def global_words() -> np.ndarray[Any, Any]:
    """The state of numpy's global generator."""
    state: Any = np.random.get_state()  # noqa: NPY002
    return np.asarray(state[1])


def plain_loop(
    trial: TrialConfig, seed: int, prepared: Prepared, *, dtype: torch.dtype = torch.float32
) -> tuple[dict[str, np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """The reference: one module, torch's optimizer, the same draws.

    Gives the weights and selection's logits.
    """
    data = prepared.splits["train"]
    mean, deviation = prepared.feature_mean, prepared.feature_deviation
    hidden, experts = trial.model.router_hidden_size, trial.experts
    router = MLPRouter(data.features.shape[1], experts, hidden, dropout=0).to(dtype)
    router.load_state_dict(
        starting_weights(seed, features=len(mean), hidden_size=hidden, experts=experts)
    )
    optimizer = torch.optim.AdamW(
        router.parameters(),
        lr=trial.training.learning_rate,
        weight_decay=trial.training.weight_decay,
    )
    regression = prepared.task.regression
    loss_of = CompositeLoss(
        "regression" if regression else "classification",
        num_labels=prepared.task.outputs,
        num_experts=experts,
        expert_costs=trial.model.expert_costs,
        alpha=trial.loss_weights.alpha,
        beta=trial.loss_weights.beta,
    )
    size, steps = trial.training.batch_size, -(-len(data) // trial.training.batch_size)
    last = steps * trial.training.epochs - 1
    for epoch in range(1, trial.training.epochs + 1):
        rows = order(seed, epoch=epoch, rows=len(data))
        for step in range(steps):
            batch = rows[step * size : (step + 1) * size]
            share = ((epoch - 1) * steps + step) / last
            start, end = trial.model.temperature, trial.model.temperature_end
            tau = start ** (1 - share) * (end or start) ** share
            noise = gumbel(seed, epoch=epoch, step=step, shape=(len(batch), experts))
            mask = dropout(
                seed,
                epoch=epoch,
                step=step,
                shape=(len(batch), hidden),
                probability=trial.model.router_dropout,
            )
            x = torch.tensor((data.features[batch] - mean) / deviation).to(dtype)
            logits = router(x, torch.tensor(mask).to(dtype))
            gates = ((logits + torch.tensor(noise).to(dtype)) / tau).softmax(-1)
            outputs = torch.tensor(data.outputs[batch]).to(dtype)
            mixed = torch.einsum("bk,bkc->bc", gates, outputs)
            labels = torch.tensor(data.labels[batch])
            loss, _ = loss_of(mixed, labels.to(dtype) if regression else labels.long(), gates)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    selection = (prepared.splits["selection"].features - mean) / deviation
    with torch.no_grad():
        logits = router(torch.tensor(selection).to(dtype))
    return {k: v.detach().numpy() for k, v in router.state_dict().items()}, logits.numpy()


LANES = [
    Lane(
        config=config(
            alpha=0.3 * (number % 4),
            beta=0.02 * (number % 5),
            learning_rate=1e-3 * (1 + number % 3),
            weight_decay=0.05 * (number % 2),
            temperature=1 + number % 2,
            temperature_end=0.5 * (number % 3),
            expert_costs=[2, 7, 13 + number % 2],
            epochs=4,
        ),
        seed=number % 7,
    )
    for number in range(33)
]


@pytest.fixture(scope="module")
def wide() -> Prepared:
    return random_prepared(rows={"train": 1001, "selection": 301, "validation": 203}, seed=4)


@pytest.fixture(scope="module")
def together(wide: Prepared) -> tuple[list[EpochResult], dict[int, LanesEnded]]:
    """All 33 in one stack."""
    return drained(LANES, wide)


@pytest.mark.parametrize("task", ["mrpc", "stsb"])
def test_a_lane_trains_as_a_plain_loop_with_torchs_optimizer(task: str) -> None:
    prepared = random_prepared(task=task)
    trial = config(task=task, temperature=2.0, temperature_end=0.5, alpha=0.1, beta=0.05)
    weights, logits = plain_loop(trial, 3, prepared)
    _, ended = drained([Lane(config=trial, seed=3)], prepared)
    left = left_by(ended[0], 0)
    for name, value in weights.items():
        np.testing.assert_allclose(left[name], value, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(left["selection.logits"], logits, atol=1e-5)


@pytest.mark.parametrize("company", [[0], [4, 5], [20, 3], [32], [11, 12, 18, 25]])
def test_a_lane_gives_the_same_numbers_in_any_company(
    company: list[int],
    wide: Prepared,
    together: tuple[list[EpochResult], dict[int, LanesEnded]],
) -> None:
    epochs, ended = drained([LANES[lane] for lane in company], wide)
    for place, lane in enumerate(company):
        assert_same(left_by(ended[place], place), left_by(together[1][lane], lane))
        for one, all_ in zip(epochs, together[0], strict=True):
            assert_same(arrays(one.report, place), arrays(all_.report, lane))


def test_a_lane_does_not_notice_that_its_neighbours_leave(
    wide: Prepared, together: tuple[list[EpochResult], dict[int, LanesEnded]]
) -> None:
    drop = {1: range(0, 20, 2), 3: [*range(20, 32), 0]}
    epochs, ended = drained(LANES, wide, drop=drop)
    stayed = [1, 3, 19, 32]
    for lane in stayed:
        assert_same(left_by(ended[lane], lane), left_by(together[1][lane], lane))
        assert ended[lane].reason == "completed"
    assert ended[0].reason == ended[25].reason == "dropped"
    assert (ended[0].epoch, ended[25].epoch) == (1, 3)
    assert 25 in epochs[2].report.lanes
    assert 25 not in epochs[3].report.lanes


@pytest.mark.parametrize(
    "options",
    [
        {"mixing": "probabilities"},
        {"straight_through": True},
        {"auxiliary_gates": "clean", "balance_variance": "unbiased"},
        {"gate": "softmax", "router_dropout": 0.0},
        {"router_hidden_size": 17, "batch_size": 7, "task": "stsb"},
        {"batch_size": 1000, "epoch": "best_score"},
    ],
)
def test_no_option_makes_a_lane_see_its_company(options: dict[str, Any]) -> None:
    task = options.get("task", "mrpc")
    prepared = random_prepared(task=task, features=19)
    lanes = [
        Lane(
            config=config(beta=0.01 * number, learning_rate=1e-3 * (1 + number), **options),
            seed=number % 2,
        )
        for number in range(9)
    ]
    _, all_ = drained(lanes, prepared)
    for lane in (0, 8):
        _, alone = drained([lanes[lane]], prepared)
        assert_same(left_by(alone[0], 0), left_by(all_[lane], lane))


def test_the_global_generators_are_neither_read_nor_moved(prepared: Prepared) -> None:
    lane = [Lane(config=config(epochs=1), seed=1)]
    state, legacy = torch.get_rng_state(), global_words()
    _, first = drained(lane, prepared)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(global_words(), legacy)
    with torch.random.fork_rng():
        torch.manual_seed(99)
        _, second = drained(lane, prepared)
    assert_same(left_by(first[0], 0), left_by(second[0], 0))


def test_torchs_own_seeds_are_keyed_too() -> None:
    keys = [(seed, epoch, step) for seed in (0, 7) for epoch in (1, 2) for step in (0, 1)]
    drawn = [torch_seed(seed, epoch=epoch, step=step) for seed, epoch, step in keys]
    assert len(set(drawn)) == len(keys)
    assert all(0 <= each < 2**63 for each in drawn)
    assert torch_seed(7, epoch=2, step=1) == drawn[-1]


def test_seeds_differ_and_equal_seeds_agree(prepared: Prepared) -> None:
    _, ended = drained([Lane(config=config(), seed=seed) for seed in (5, 6, 5)], prepared)
    logits = ended[0].routing[0].logits
    np.testing.assert_array_equal(logits[0], logits[2])
    assert not np.allclose(logits[0], logits[1])


def test_an_overwhelming_beta_sends_everything_to_the_cheapest(prepared: Prepared) -> None:
    lane = Lane(config=config(beta=1e3, alpha=0, learning_rate=1e-2, epochs=4), seed=0)
    _, ended = drained([lane], prepared)
    np.testing.assert_array_equal(ended[0].reports[0].share, [[1, 0, 0]])


def test_an_overwhelming_alpha_spreads_the_soft_gates_evenly(prepared: Prepared) -> None:
    lane = Lane(config=config(beta=0, alpha=1e3, epochs=4), seed=0)
    _, ended = drained([lane], prepared)
    np.testing.assert_allclose(ended[0].reports[0].gate, 1 / 3, atol=0.03)


def test_a_lane_that_becomes_nan_ends_alone_and_says_where(prepared: Prepared) -> None:
    lanes = [
        Lane(config=config(learning_rate=rate), seed=seed)
        for seed, rate in enumerate([1e-3, 1e30, 2e-3])
    ]
    epochs, ended = drained(lanes, prepared)
    (failure,) = epochs[0].failures
    assert (failure.lane, failure.epoch) == (1, 1)
    assert 1 < failure.step <= 19
    assert f"step {failure.step}" in failure.message
    assert failure.term in failure.message
    assert list(epochs[0].report.lanes) == [0, 2]
    assert ended[1].reason == "failed"
    assert not ended[1].reports
    assert not ended[1].checkpoints
    for lane in (0, 2):
        _, alone = drained([lanes[lane]], prepared)
        assert_same(left_by(alone[0], 0), left_by(ended[lane], lane))


def test_a_stack_whose_lanes_all_fail_comes_to_an_end(prepared: Prepared) -> None:
    inputs = dict(prepared.splits)
    features = inputs["train"].features.copy()
    features[:, 0] = np.inf
    inputs["train"] = dataclasses.replace(inputs["train"], features=features)
    broken = dataclasses.replace(prepared, splits=inputs)
    lanes = [Lane(config=config(), seed=seed) for seed in (0, 1)]
    epochs, ended = drained(lanes, broken)
    assert [failure.step for failure in epochs[0].failures] == [1, 1]
    assert [failure.term for failure in epochs[0].failures] == ["task", "task"]
    assert len(epochs) == 1
    assert epochs[0].report.share.shape == (0, 3)
    assert {event.reason for event in ended.values()} == {"failed"}


def test_the_failing_term_is_the_one_that_is_named(prepared: Prepared) -> None:
    lane = Lane(config=config(expert_costs=[2.0, 7.0, 1e39], beta=0), seed=0)
    epochs, _ = drained([lane], prepared)
    assert [failure.term for failure in epochs[0].failures] == ["cost"]
    assert epochs[0].failures[0].step == 1


def test_the_best_epoch_is_the_one_that_is_left(prepared: Prepared) -> None:
    trial = config(epoch="best_score", epochs=6, learning_rate=0.03, alpha=0)
    lanes = [Lane(config=trial, seed=seed) for seed in range(6)]
    epochs, ended = drained(lanes, prepared)
    scores = np.array([result.report.metrics["score"] for result in epochs])
    best = scores.argmax(0) + 1
    assert (best < 6).any()
    for lane in range(6):
        checkpoint = ended[lane].checkpoints[lane]
        assert checkpoint.epoch == best[lane]
        assert checkpoint.step == best[lane] * 19
        # of dropout, noise and temperature nothing depends on the number of epochs here
        short = dataclasses.replace(
            trial, training=dataclasses.replace(trial.training, epochs=int(best[lane]))
        )
        _, alone = drained([Lane(config=short, seed=lane)], prepared)
        assert_same(left_by(alone[0], 0), left_by(ended[lane], lane))


def test_where_low_is_better_the_best_epoch_is_that_of_the_lowest_score() -> None:
    metrics = ["mean_absolute_error", "pearson"]
    tree = {"name": "prices", "text": "t", "range": [0, 5], "metrics": metrics, "score": metrics[0]}
    task = task_of(tree)
    prepared = dataclasses.replace(random_prepared(task="stsb"), task=task)
    settings = {"task": "prices", "task_definition": tree, "learning_rate": 0.03, "alpha": 0}
    trial = config(epoch="best_score", epochs=5, **settings)
    lanes = [Lane(config=trial, seed=seed) for seed in range(4)]
    epochs, ended = drained(lanes, prepared)
    scores = np.array([result.report.metrics["score"] for result in epochs])
    assert (scores == [result.report.metrics[metrics[0]] for result in epochs]).all()
    assert (scores.argmin(0) != scores.argmax(0)).any()
    for lane in range(4):
        assert ended[lane].checkpoints[lane].epoch == scores[:, lane].argmin() + 1
        assert best_epoch(task, scores[:, lane].tolist()) == scores[:, lane].argmin() + 1


@pytest.mark.parametrize("epoch", ["last", "best_score"])
def test_keeping_the_best_epoch_changes_nothing_else(prepared: Prepared, epoch: str) -> None:
    trial = config(epoch=epoch, epochs=5, learning_rate=0.03, alpha=0)
    lanes = [Lane(config=trial, seed=seed) for seed in range(4)]
    _, usual = drained(lanes, prepared, drop={2: [3]})
    _, kept = drained(lanes, prepared, drop={2: [3]}, keep_best=True)
    for lane, event in kept.items():
        assert_same(left_by(event, lane), left_by(usual[lane], lane))
        assert not usual[lane].best
        assert not usual[lane].last
        assert len(event.best) == len(event.last) == len(event.lanes)
        place = list(event.lanes).index(lane)
        assert event.last[place].epoch == event.epoch
        same = event.best if epoch == "best_score" else event.last
        assert same[place].epoch == event.checkpoints[place].epoch


def test_the_best_checkpoint_is_that_of_the_best_epoch(prepared: Prepared) -> None:
    lanes = [Lane(config=config(epochs=5, learning_rate=0.03, alpha=0), seed=s) for s in range(4)]
    epochs, kept = drained(lanes, prepared, keep_best=True)
    scores = np.array([result.report.metrics["score"] for result in epochs])
    best = [
        dataclasses.replace(
            lane, config=config(epochs=5, learning_rate=0.03, alpha=0, epoch="best_score")
        )
        for lane in lanes
    ]
    _, left = drained(best, prepared)
    for lane in range(4):
        found = kept[0].best[lane]
        assert found.epoch == scores[:, lane].argmax() + 1
        for name, value in left[0].checkpoints[lane].weights.items():
            assert torch.equal(found.weights[name], value)


def test_an_epoch_tells_the_loss_terms_of_every_step(prepared: Prepared) -> None:
    lanes = [Lane(config=config(learning_rate=rate), seed=0) for rate in (1e-3, 1e30, 2e-3)]
    epochs, _ = drained(lanes, prepared)
    steps = epochs[0].steps
    assert steps is not None
    assert steps.shape == (19, 4, 2)
    task, balance, cost, total = steps.transpose(1, 0, 2)
    np.testing.assert_allclose(total, task + 0.01 * balance + 0.03 * cost, rtol=1e-6)
    # the first step comes before any update: both lanes of the seed see the same
    np.testing.assert_array_equal(steps[0, :, 0], steps[0, :, 1])


def test_reports_hold_the_vectors_of_what_was_prepared(prepared: Prepared) -> None:
    counted = CostVector(name="flops", unit="GFLOP", router=0.5, experts=(1.0, 2.0, 4.0))
    known = dataclasses.replace(prepared, vectors={"flops": counted})
    epochs, ended = drained([Lane(config=config(), seed=0)], known)
    for report in (epochs[-1].report, ended[0].reports[0]):
        np.testing.assert_allclose(report.cost["flops"], counted.mean(report.share))
        assert set(config().vectors()) < set(report.cost)


def test_a_stack_refuses_what_trains_jointly(prepared: Prepared) -> None:
    lane = Lane(config=config(experts="joint"), seed=0)
    with pytest.raises(ValueError, match=r"joint.*mpc_router\.joint\.train"):
        next(train([lane], prepared))


def test_an_unknown_lane_cannot_be_dropped(prepared: Prepared) -> None:
    run = train([Lane(config=config(), seed=0)], prepared)
    next(run)
    with pytest.raises(ValueError, match=r"no lane \[4\].*0\.\.0"):
        run.send([4])


def test_dropping_every_lane_ends_the_training(prepared: Prepared) -> None:
    lanes = [Lane(config=config(epochs=5), seed=seed) for seed in (0, 1)]
    epochs, ended = drained(lanes, prepared, drop={2: {0, 1}})
    assert len(epochs) == 2
    assert list(ended[0].lanes) == [0, 1]


@pytest.mark.parametrize("name", LANE_SETTINGS)
def test_a_lane_setting_is_not_in_the_stacks_key(name: str) -> None:
    others: dict[str, Any] = {"expert_costs": [1, 2, 3], "router_labels": "loss_cost"}
    value = others.get(name, 0.7)
    assert stack_key(config(**{name: value})) == stack_key(config())


def test_lanes_of_other_shapes_are_refused_with_what_differs(prepared: Prepared) -> None:
    other = config(router_hidden_size=8)
    assert stack_key(other) != stack_key(config())
    lanes = [Lane(config=config(), seed=0), Lane(config=other, seed=0)]
    with pytest.raises(ValueError, match="lanes 0 and 1 differ in router_hidden_size;"):
        next(train(lanes, prepared))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_lane_of_the_optimizer_steps_as_torchs_adamw(dtype: torch.dtype) -> None:
    source = torch.Generator().manual_seed(0)
    rates, decays = [1e-3, 1e-2, 1e-3, 1e-3], [0.1, 0.0, 0.1, 0.5]
    start = {
        "weight": torch.randn(4, 5, 7, generator=source, dtype=dtype),
        "bias": torch.randn(4, 5, generator=source, dtype=dtype),
    }
    stack = {name: value.clone() for name, value in start.items()}
    ours = LaneAdamW(stack, learning_rate=rates, weight_decay=decays)
    alone = [
        {name: nn.Parameter(value[lane].clone()) for name, value in start.items()}
        for lane in range(4)
    ]
    theirs = [
        torch.optim.AdamW(each.values(), lr=rate, weight_decay=decay, foreach=False, fused=False)
        for each, rate, decay in zip(alone, rates, decays, strict=True)
    ]
    for _ in range(20):
        gradients = [
            torch.randn(value.mT.shape, generator=source, dtype=dtype).mT
            if value.ndim == 3
            else torch.randn(value.shape, generator=source, dtype=dtype)
            for value in start.values()
        ]  # as autograd gives them: the strides of a weight's are transposed
        ours.step(gradients)
        for lane, optimizer in enumerate(theirs):
            for parameter, gradient in zip(alone[lane].values(), gradients, strict=True):
                parameter.grad = gradient[lane]
            optimizer.step()
    for lane, each in enumerate(alone):
        for name, parameter in each.items():
            torch.testing.assert_close(stack[name][lane], parameter.detach())


def test_progress_hears_every_step_and_the_end(prepared: Prepared) -> None:
    class Heard:
        total = steps = 0
        finished = False

        def start(self, label: str, total: int) -> None:
            self.total = total

        def advance(self, n: int = 1) -> None:
            self.steps += n

        def finish(self) -> None:
            self.finished = True

    heard = Heard()
    list(train([Lane(config=config(), seed=0)], prepared, progress=heard))
    assert heard.steps == heard.total == 2 * 19
    assert heard.finished
