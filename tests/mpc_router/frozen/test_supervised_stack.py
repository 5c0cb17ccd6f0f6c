"""Routers that learn labels, in stacks: as a plain loop would, as alone, and what they find."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from mpc_router.frozen._labels import cheapest_right, expert_losses, label_weights, loss_and_cost
from mpc_router.frozen.randomness import dropout, order, starting_weights
from mpc_router.frozen.train import Lane
from mpc_router.model.losses import balance_loss, cost_loss
from mpc_router.model.router import MLPRouter
from mpc_router.prepare.frozen import Prepared
from mpc_router.prepare.inputs import SplitOutputs
from tests.mpc_router.conftest import random_prepared
from tests.mpc_router.stacks import arrays, assert_same, config, drained, left_by

COSTS = (2.0, 7.0, 13.0)


def supervised(**settings: Any) -> Any:
    return config(**{"router": "supervised", "alpha": 0, "beta": 0, **settings})


def plain_loop(trial: Any, seed: int, prepared: Prepared) -> dict[str, np.ndarray[Any, Any]]:
    """The reference: one module, torch's optimizer, the formula of the loss, the same draws."""
    data, training = prepared.splits["train"], trial.training
    hidden, experts = trial.model.router_hidden_size, trial.experts
    router = MLPRouter(data.features.shape[1], experts, hidden, dropout=0)
    router.load_state_dict(
        starting_weights(seed, features=data.features.shape[1], hidden_size=hidden, experts=experts)
    )
    optimizer = torch.optim.AdamW(
        router.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )
    regression = prepared.task.regression
    costs = trial.model.expert_costs
    if training.router_labels == "loss_cost":
        losses = expert_losses(data.outputs, data.labels, regression=regression)
        routes = loss_and_cost(losses, costs, training.label_cost)
    else:
        routes = cheapest_right(data.outputs, data.labels, costs, regression=regression)
    counts = np.bincount(routes, minlength=experts)
    weights = torch.tensor(label_weights(counts, training.class_balance), dtype=torch.float32)
    steps = -(-len(data) // training.batch_size)
    for epoch in range(1, training.epochs + 1):
        rows = order(seed, epoch=epoch, rows=len(data))
        for step in range(steps):
            batch = rows[step * training.batch_size : (step + 1) * training.batch_size]
            mask = dropout(
                seed,
                epoch=epoch,
                step=step,
                shape=(len(batch), hidden),
                probability=trial.model.router_dropout,
            )
            x = (data.features[batch] - prepared.feature_mean) / prepared.feature_deviation
            logits = router(torch.tensor(x), torch.tensor(mask))
            labels = torch.tensor(routes[batch].astype(np.int64))
            gates = (logits / trial.model.temperature).softmax(-1)
            p = logits.softmax(-1).gather(-1, labels[:, None])[:, 0]
            focal = -(weights[labels] * (1 - p) ** training.focal_gamma * p.log()).mean()
            loss = (
                focal
                + trial.loss_weights.alpha * balance_loss(gates)
                + trial.loss_weights.beta * cost_loss(gates, torch.tensor(costs))
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return {name: value.detach().numpy() for name, value in router.state_dict().items()}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"router_labels": "loss_cost", "label_cost": 0.02, "focal_gamma": 0.5},
        {"task": "stsb", "class_balance": 0.9},
        {"alpha": 0.1, "beta": 0.02, "temperature": 2.0, "gate": "softmax"},
    ],
)
def test_a_supervised_lane_trains_as_a_plain_loop(settings: dict[str, Any]) -> None:
    prepared = random_prepared(task=settings.get("task", "mrpc"))
    trial = supervised(**settings)
    weights = plain_loop(trial, 3, prepared)
    _, ended = drained([Lane(config=trial, seed=3)], prepared)
    left = left_by(ended[0], 0)
    for name, value in weights.items():
        np.testing.assert_allclose(left[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


LANES = [
    Lane(
        config=supervised(
            alpha=0.1 * (number % 2),
            beta=0.01 * (number % 3),
            learning_rate=1e-3 * (1 + number % 3),
            router_labels=("cheapest_right", "loss_cost")[number % 2],
            label_cost=0.02 * (number % 5),
            focal_gamma=number % 4 / 2,
            class_balance=(0, 0.9, 0.999)[number % 3],
            expert_costs=[2, 7, 13 + number % 2],
            epochs=3,
        ),
        seed=number % 4,
    )
    for number in range(17)
]


@pytest.mark.parametrize("company", [[0], [3, 4], [16], [11, 2, 8, 15]])
def test_a_supervised_lane_gives_the_same_numbers_in_any_company(
    company: list[int], prepared: Prepared
) -> None:
    all_epochs, together = drained(LANES, prepared)
    epochs, ended = drained([LANES[lane] for lane in company], prepared)
    for place, lane in enumerate(company):
        assert_same(left_by(ended[place], place), left_by(together[lane], lane))
        for one, all_ in zip(epochs, all_epochs, strict=True):
            assert_same(arrays(one.report, place), arrays(all_.report, lane))


def test_a_supervised_lane_does_not_notice_neighbours_that_leave_or_become_nan(
    prepared: Prepared,
) -> None:
    _, together = drained(LANES, prepared)
    sick = dataclasses.replace(
        LANES[5],
        config=dataclasses.replace(
            LANES[5].config,
            training=dataclasses.replace(LANES[5].config.training, learning_rate=1e30),
        ),
    )
    lanes = [*LANES[:5], sick, *LANES[6:]]
    epochs, ended = drained(lanes, prepared, drop={1: range(0, 17, 3), 2: [1, 10]})
    assert [failure.lane for failure in epochs[0].failures] == [5]
    assert ended[5].reason == "failed"
    for lane in (2, 4, 7, 16):
        assert ended[lane].reason == "completed"
        assert_same(left_by(ended[lane], lane), left_by(together[lane], lane))


def of_size(prepared: Prepared, experts: int) -> Prepared:
    """The same with this many experts: the three and more like the last, one odd row in train."""
    source = np.random.default_rng(experts)

    def widened(split: SplitOutputs) -> SplitOutputs:
        more = split.outputs[:, [0, 1, 2, 2, 2][:experts]]
        noise = source.standard_normal(more.shape).astype(np.float32)
        return dataclasses.replace(split, outputs=more + noise)

    info = prepared.experts[-1]
    splits = {name: widened(split) for name, split in prepared.splits.items()}
    return dataclasses.replace(prepared, splits=splits, experts=(info,) * experts)


@pytest.mark.parametrize("router", ["gated", "supervised"])
@pytest.mark.parametrize("experts", [2, 3, 4, 5])
def test_no_size_of_the_pool_makes_a_lane_see_its_company(router: str, experts: int) -> None:
    wide = of_size(random_prepared(rows={"train": 65, "selection": 33, "validation": 17}), experts)
    lanes = [
        Lane(
            config=config(
                pool="bert",
                pool_size=experts,
                router=router,
                beta=0.01 * number,
                focal_gamma=number,
                batch_size=32,  # the last batch holds one row
            ),
            seed=number % 2,
        )
        for number in range(5)
    ]
    _, all_ = drained(lanes, wide)
    for lane in (0, 4):
        _, alone = drained([lanes[lane]], wide)
        assert_same(left_by(alone[0], 0), left_by(all_[lane], lane))
        assert alone[0].routing[0].logits.shape == (1, 33, experts)


def separable(rows: int, *, seed: int) -> SplitOutputs:
    """One feature an expert says who is the cheapest that is right."""
    source = np.random.default_rng(seed)
    route = source.choice(3, rows, p=[0.7, 0.2, 0.1])
    features = 3 * np.eye(3)[route] + 0.3 * source.standard_normal((rows, 3))
    labels = source.integers(0, 2, rows)
    right = np.arange(3) >= route[:, None]
    margin = np.where(right, 1.0, -1.0) * np.array([1.0, 1.5, 2.0]) * (2 * labels[:, None] - 1)
    return SplitOutputs(
        split="",
        features=features.astype(np.float32),
        outputs=np.stack([-margin, margin], -1).astype(np.float32),
        labels=labels.astype(np.float64),
        example=np.arange(rows),
        tokens=np.full(rows, 9),
    )


@pytest.fixture(scope="module")
def clear() -> Prepared:
    """Features from which the oracle's routes can be read."""
    names = ("train", "selection", "validation")
    splits = {
        name: dataclasses.replace(separable(600, seed=seed), split=name)
        for seed, name in enumerate(names)
    }
    features = splits["train"].features
    return dataclasses.replace(
        random_prepared(features=3),
        splits=splits,
        feature_mean=features.mean(0),
        feature_deviation=features.std(0),
    )


def test_supervised_routers_find_the_routes_of_their_labels(clear: Prepared) -> None:
    usual = {"router_labels": "loss_cost", "learning_rate": 0.01, "epochs": 6}
    lanes = [
        Lane(config=supervised(**{**usual, **settings}), seed=1)
        for settings in (
            {"router_labels": "cheapest_right"},
            {"label_cost": 0},
            {"label_cost": 1e6},
        )
    ]
    _, ended = drained(lanes, clear)
    quoted = clear.splits["validation"]
    oracle, least, cheapest = ended[0].routing[1].routes
    np.testing.assert_array_equal(oracle, cheapest_right(quoted.outputs, quoted.labels, COSTS))
    losses = expert_losses(quoted.outputs, quoted.labels)
    np.testing.assert_array_equal(least, losses.argmin(-1))
    np.testing.assert_array_equal(cheapest, 0)
    assert ended[0].reports[0].metrics["score"][0] == 1.0


def test_a_sweep_over_lambda_in_one_stack_goes_from_dear_to_cheap() -> None:
    prepared = random_prepared(rows={"train": 2000, "selection": 500, "validation": 500})
    lanes = [
        Lane(
            config=supervised(router_labels="loss_cost", label_cost=label_cost, epochs=4),
            seed=0,
        )
        for label_cost in (0, 0.02, 0.1, 10)
    ]
    _, ended = drained(lanes, prepared)
    costs = ended[0].reports[0].cost["constants"]
    assert (np.diff(costs) < 0).all()
