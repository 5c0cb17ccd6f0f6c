"""Routers that are fitted at once, through the same door as those that are trained by steps."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from mpc_router.config.keys import applied
from mpc_router.config.trial import ConfigError, trial_config
from mpc_router.frozen.train import Lane, stack_key
from mpc_router.model.router import build_fitted, router_logits
from mpc_router.prepare.frozen import Prepared
from tests.mpc_router.conftest import random_prepared
from tests.mpc_router.stacks import assert_same, config, drained, left_by

KINDS: tuple[dict[str, Any], ...] = (
    {"router_kind": "predictive", "stem": "expert"},
    {"router_kind": "predictive", "stem": "expert", "router_sees": "outputs+features"},
    {"router_kind": "predictive", "stem": "expert", "predictor": "mlp", "router_hidden_size": 4},
    {"router_kind": "predictive", "stem": "expert", "router_gain": "loss"},
    {"router_kind": "predictive", "stem": "expert", "combine": "logistic"},
    {"router_kind": "sequential", "stem": "expert"},
    {"router_kind": "sequential", "stem": "expert", "combine": "average", "router_gain": "loss"},
    {"router_kind": "sequential", "stem": "expert", "router_sees": "outputs+features"},
    {"router_kind": "cascade", "stem": "expert", "combine": "logistic"},
    {"router_kind": "clusters", "router_clusters": 5},
    {"router_kind": "clusters", "router_clusters": 3, "router_gain": "loss", "stem": "expert"},
)


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    """Few examples: a fit of few is a fit."""
    return random_prepared(rows={"train": 150, "selection": 60, "validation": 80})


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_checkpoint_s_router_gives_the_logits_of_the_run(
    kind: dict[str, Any], prepared: Prepared
) -> None:
    trial = config(**kind, router_bias=0.01)
    _, ended = drained([Lane(config=trial, seed=2)], prepared)
    checkpoint = ended[0].checkpoints[0]
    split = prepared.splits["validation"]
    router = build_fitted(trial, len(prepared.feature_mean)).eval()
    router.load_state_dict(checkpoint.weights)
    standard = (split.features - prepared.feature_mean) / prepared.feature_deviation
    with torch.no_grad():
        outputs = torch.from_numpy(np.array(split.outputs))
        logits = router_logits(router, torch.from_numpy(standard), outputs)
    left = left_by(ended[0], 0)
    assert left["validation.logits"] == pytest.approx(logits.numpy(), abs=1e-5)
    assert (left["validation.routes"] == router.decisions.routes(logits.numpy())).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_lane_is_the_same_alone_and_in_company(kind: dict[str, Any], prepared: Prepared) -> None:
    """Lanes of one stack may differ in seed, bias, ridge and costs."""
    changes: tuple[tuple[int, dict[str, Any]], ...] = (
        (0, {}),
        (0, {"router_bias": 0.02}),
        (1, {"router_bias": 0.02}),
        (0, {"router_ridge": 50.0}),
        (0, {"expert_costs": [1, 4, 9]}),
    )
    lanes = [Lane(config=config(**kind, **change), seed=seed) for seed, change in changes]
    _, together = drained(lanes, prepared)
    for place, lane in enumerate(lanes):
        _, alone = drained([lane], prepared)
        assert_same(left_by(together[place], place), left_by(alone[0], 0))


def test_lanes_of_another_gain_are_another_stack() -> None:
    """What a predictive router makes of its weights depends on the gain."""
    first, second = (config(**KINDS[0], router_gain=gain) for gain in ("right", "loss"))
    assert stack_key(first) != stack_key(second)


def test_every_epoch_reports_what_the_first_did_and_lanes_may_leave(prepared: Prepared) -> None:
    lanes = [Lane(config=config(**KINDS[0], epochs=3), seed=seed) for seed in (0, 1)]
    epochs, ended = drained(lanes, prepared, drop={2: [0]})
    assert [len(epoch.report.lanes) for epoch in epochs] == [2, 2, 1]
    assert (ended[0].reason, ended[1].reason) == ("dropped", "completed")
    assert epochs[0].report.metrics["score"][1] == epochs[2].report.metrics["score"][0]


def test_a_gate_that_is_hard_is_the_share(prepared: Prepared) -> None:
    epochs, _ = drained([Lane(config=config(**KINDS[0]), seed=0)], prepared)
    report = epochs[0].report
    assert report.gate == pytest.approx(report.share)
    assert report.gate_entropy == pytest.approx(0.0)


@pytest.mark.parametrize("kind", [*KINDS, {}], ids=str)
def test_an_endless_bias_sends_all_to_the_cheapest_or_the_dearest(
    kind: dict[str, Any], prepared: Prepared
) -> None:
    trials = [config(**kind, router_bias=bias) for bias in (1e6, -1e6)]
    _, ended = drained([Lane(config=trial, seed=0) for trial in trials], prepared)
    cheapest, dearest = (left_by(ended[place], place)["validation.routes"] for place in (0, 1))
    assert (cheapest == 0).all()
    assert (dearest == len(trials[1].paths) - 1).all()


def test_a_bias_moves_a_gated_router_s_routes_and_not_its_training(prepared: Prepared) -> None:
    lanes = [Lane(config=config(router_bias=bias), seed=1) for bias in (0.0, 0.05)]
    _, ended = drained(lanes, prepared)
    plain, biased = (left_by(ended[place], place) for place in (0, 1))
    price = np.array([2, 7, 13], np.float32)
    assert biased["validation.logits"] == pytest.approx(
        plain["validation.logits"] - 0.05 * price, abs=1e-5
    )
    assert np.array_equal(biased["hidden.weight"], plain["hidden.weight"])


def test_a_router_that_sees_who_is_right_beats_every_expert() -> None:
    """The cheapest expert's margin says where it is right, so that it is asked there alone."""
    prepared = random_prepared(rows={"train": 900, "selection": 300, "validation": 600}, seed=3)
    rng = np.random.default_rng(0)
    splits = {}
    for name, split in prepared.splits.items():
        outputs = np.array(split.outputs)
        truth = np.asarray(split.labels).astype(int)
        sure = rng.random(len(truth)) < 0.6
        right = np.where(sure, rng.random(len(truth)) < 0.95, rng.random(len(truth)) < 0.5)
        chosen = np.where(right, truth, 1 - truth)
        outputs[:, 0] = np.where(sure, 3.0, 0.3)[:, None] * (2 * np.eye(2)[chosen] - 1)
        strong = np.where(rng.random(len(truth)) < 0.85, truth, 1 - truth)
        outputs[:, 1:] = (2 * np.eye(2)[strong] - 1)[:, None]
        splits[name] = dataclasses.replace(split, outputs=outputs)
    world = dataclasses.replace(prepared, splits=splits)
    _, ended = drained([Lane(config=config(**KINDS[0], router_bias=0.001), seed=0)], world)
    report = ended[0].reports[0]
    answers = splits["validation"].outputs.argmax(-1)
    singles = (answers == np.asarray(splits["validation"].labels)[:, None]).mean(axis=0)
    accuracy = report.metrics["accuracy"][0]
    assert accuracy > singles.max() + 0.02
    assert 0.4 < report.share[0, 0] < 0.8


def test_fewer_examples_than_clusters_end_a_lane_as_failed_with_the_reason() -> None:
    prepared = random_prepared(rows={"train": 4, "selection": 30, "validation": 30})
    lanes = [Lane(config=config(router_kind="clusters", router_clusters=5), seed=0)]
    epochs, ended = drained(lanes, prepared)
    assert ended[0].reason == "failed"
    assert "5 clusters of 4 examples" in epochs[0].failures[0].message


def test_settings_of_one_kind_are_no_part_of_another_s_key() -> None:
    gated = trial_config({"task": "mrpc", "pool": "sample"})
    ignored = trial_config({"task": "mrpc", "pool": "sample", "router_clusters": 3})
    assert applied(gated) == applied(ignored)
    assert not {"router_kind", "router_bias", "router_sees"} & set(applied(gated))
    predictive = config(**KINDS[0])
    assert applied(predictive) == applied(config(**KINDS[0], alpha=0.5, epochs=7, batch_size=8))
    assert applied(predictive) != applied(config(**KINDS[0], router_ridge=2))
    assert applied(predictive) != applied(config(**KINDS[0], router_bias=0.1))
    assert stack_key(predictive) != stack_key(gated)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"router_kind": "predictive"}, "set stem=expert"),
        ({"router_kind": "clusters", "experts": "joint"}, "set experts=frozen"),
        (
            {"router_kind": "oracle"},
            "allowed are cascade, clusters, gated, predictive, random, sequential",
        ),
        ({"router_kind": "clusters", "router_clusters": 0}, "from 1"),
        ({"router_bias": float("nan")}, "finite"),
        ({"router_bias": 0.1, "experts": "joint"}, "frozen experts"),
        ({"router_ridge": 0}, "above 0"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_a_sentence(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config(**settings)
