"""Reports say what their routing rows say."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from mpc_router import tasks
from mpc_router.config.trial import TrialConfig, trial_config
from mpc_router.costs import CostVector
from mpc_router.frozen.train import Lane, train
from mpc_router.prepare.frozen import Prepared
from mpc_router.results.evaluate import routed_predictions, split_report
from mpc_router.results.records import SplitReport
from mpc_router.tasks.confidence import Confidence
from tests.mpc_router.conftest import random_prepared


def config(**settings: Any) -> TrialConfig:
    return trial_config({"task": "mrpc", "pool": "sample", **settings})


def report_of(
    prepared: Prepared, logits: np.ndarray[Any, Any], *configs: TrialConfig, tau: float = 1.0
) -> SplitReport:
    return split_report(
        prepared.splits["selection"],
        task=prepared.task,
        lanes=range(len(logits)),
        configs=configs or [config(task=prepared.task.name)] * len(logits),
        logits=logits.astype(np.float32),
        temperature=[tau] * len(logits),
    )


def random_logits(lanes: int, rows: int = 200) -> np.ndarray[Any, Any]:
    return 3 * np.random.default_rng(1).standard_normal((lanes, rows, 3)).astype(np.float32)


@pytest.mark.parametrize("task", ["mrpc", "stsb"])
def test_routing_rows_reproduce_the_quoted_score_and_cost_exactly(task: str) -> None:
    prepared = random_prepared(task=task)
    trial = config(task=task, epochs=2)
    lanes = [Lane(config=trial, seed=seed) for seed in range(3)]
    *epochs, ended = train(lanes, prepared)
    selection = epochs[-1].report  # type: ignore[union-attr]
    assert [routing.split for routing in ended.routing] == ["selection", "validation"]  # type: ignore[union-attr]
    for routing, report in zip(ended.routing, [selection, *ended.reports], strict=True):  # type: ignore[union-attr]
        split = prepared.splits[routing.split]
        np.testing.assert_array_equal(routing.example, split.example)
        np.testing.assert_array_equal(routing.routes, routing.logits.argmax(-1))
        for lane, routes in enumerate(routing.routes):
            chosen = split.outputs[np.arange(len(split)), routes]
            said = chosen[:, 0] if task == "stsb" else chosen.argmax(-1)
            again = tasks.evaluate(prepared.task, said[None], split.labels)
            for name, values in again.items():
                assert report.metrics[name][lane] == values[0]
            share = np.bincount(routes, minlength=3) / len(split)
            np.testing.assert_array_equal(report.share[lane], share)
            for name, vector in trial.vectors().items():
                assert report.cost[name][lane] == vector.mean(share)
                assert report.cost[name][lane] == pytest.approx(
                    vector.of_routes(routes).mean(), rel=1e-12
                )


def test_metrics_of_outputs_are_those_of_the_routed_outputs(prepared: Prepared) -> None:
    labels = ["no", "yes"]
    tree = {
        "name": "own",
        "text": "t",
        "labels": labels,
        "metrics": ["accuracy", "log_loss", "ece"],
    }
    task = tasks.task_of(tree | {"score": "accuracy"})
    own = dataclasses.replace(prepared, task=task)
    logits = random_logits(40)
    report = report_of(own, logits, *[config()] * 40)
    split = prepared.splits["selection"]
    for lane in (0, 31, 32, 39):
        routed = split.outputs[np.arange(len(split)), logits[lane].argmax(-1)]
        sure = Confidence.of(routed[None], split.labels)
        again = tasks.evaluate(task, routed.argmax(-1)[None], split.labels, confidence=sure)
        for name, values in again.items():
            assert report.metrics[name][lane] == pytest.approx(values[0], abs=1e-12)


def test_a_one_hot_router_is_that_expert(prepared: Prepared) -> None:
    logits = 1e4 * np.eye(3)[:, None, :].repeat(200, 1)
    report = report_of(prepared, logits)
    split = prepared.splits["selection"]
    alone = tasks.evaluate(prepared.task, split.outputs.argmax(-1).T, split.labels)
    np.testing.assert_array_equal(report.metrics["score"], alone["score"])
    np.testing.assert_array_equal(report.share, np.eye(3))
    np.testing.assert_allclose(report.gate, np.eye(3))
    np.testing.assert_allclose(report.gate_entropy, 0, atol=1e-12)
    np.testing.assert_allclose(report.loss_balance, 2)
    np.testing.assert_allclose(report.loss_cost, [2, 7, 13])
    np.testing.assert_allclose(report.cost["constants"], [2.3, 7.3, 13.3])


def test_a_router_without_a_view_mixes_evenly_and_routes_to_the_cheapest(
    prepared: Prepared,
) -> None:
    report = report_of(prepared, np.zeros((1, 200, 3)))
    np.testing.assert_array_equal(report.share, [[1, 0, 0]])
    np.testing.assert_allclose(report.gate, 1 / 3)
    np.testing.assert_allclose(report.gate_entropy, np.log(3))
    np.testing.assert_allclose(report.loss_balance, 0, atol=1e-12)
    np.testing.assert_allclose(report.loss_cost, 22 / 3)


@pytest.mark.parametrize("mixing", ["logits", "probabilities"])
def test_the_soft_loss_is_that_of_the_mixed_outputs(prepared: Prepared, mixing: str) -> None:
    logits, trial = random_logits(2), config(mixing=mixing, alpha=0.2, beta=0.3)
    report = report_of(prepared, logits, trial, trial, tau=2.0)
    split = prepared.splits["selection"]
    gates = np.exp(logits.astype(np.float64) / 2)
    gates /= gates.sum(-1, keepdims=True)
    outputs = split.outputs.astype(np.float64)
    if mixing == "probabilities":
        p = np.exp(outputs) / np.exp(outputs).sum(-1, keepdims=True)
        mixed = np.einsum("lnk,nkc->lnc", gates, p)
    else:
        mixed = np.exp(np.einsum("lnk,nkc->lnc", gates, outputs))
        mixed /= mixed.sum(-1, keepdims=True)
    task = -np.log(mixed[:, np.arange(200), split.labels.astype(int)]).mean(-1)
    np.testing.assert_allclose(report.loss_task, task)
    np.testing.assert_allclose(report.gate, gates.mean(1))
    np.testing.assert_allclose(report.gate_entropy, -(gates * np.log(gates)).sum(-1).mean(-1))
    importance = gates.sum(1)
    np.testing.assert_allclose(report.loss_balance, importance.var(-1) / importance.mean(-1) ** 2)
    np.testing.assert_allclose(report.loss_cost, (gates @ [2.0, 7.0, 13.0]).mean(-1))
    np.testing.assert_allclose(
        report.loss, task + 0.2 * report.loss_balance + 0.3 * report.loss_cost
    )


def test_clean_auxiliary_losses_do_not_see_the_temperature(prepared: Prepared) -> None:
    logits, trial = random_logits(1), config(auxiliary_gates="clean")
    warm, cold = (report_of(prepared, logits, trial, tau=tau) for tau in (3.0, 0.3))
    np.testing.assert_array_equal(warm.loss_cost, cold.loss_cost)
    np.testing.assert_array_equal(warm.loss_balance, cold.loss_balance)
    assert warm.gate_entropy[0] > cold.gate_entropy[0] + 0.1


def test_many_lanes_are_reported_as_each_is_alone(prepared: Prepared) -> None:
    logits = random_logits(70)
    whole = report_of(prepared, logits)
    for lane in (0, 31, 32, 69):
        alone = report_of(prepared, logits[lane : lane + 1])
        assert whole.metrics["score"][lane] == alone.metrics["score"][0]
        assert whole.cost["constants"][lane] == alone.cost["constants"][0]
        assert whole.loss[lane] == alone.loss[0]
        np.testing.assert_array_equal(whole.gate[lane], alone.gate[0])
    np.testing.assert_array_equal(whole.lanes, np.arange(70))


def test_long_splits_are_summed_over_chunks() -> None:
    prepared = random_prepared(rows={"train": 8, "selection": 2500, "validation": 8})
    logits = random_logits(2, 2500)
    report = report_of(prepared, logits)
    gates = np.exp(logits.astype(np.float64))
    np.testing.assert_allclose(
        report.gate, (gates / gates.sum(-1, keepdims=True)).mean(1), rtol=1e-10
    )


def test_a_lane_is_charged_the_vector_of_its_own_configuration(prepared: Prepared) -> None:
    spelled = {
        "pool": "custom",
        "expert_model_names": ["a/one", "a/two", "a/three"],
        "router_model_name": "a/one",
        "router_cost": 0,
    }
    trials = [config(**spelled, expert_costs=costs) for costs in ([1, 2, 3], [10, 20, 30])]
    logits = np.repeat(random_logits(1), 2, axis=0)
    report = report_of(prepared, logits, *trials)
    assert report.cost["constants"][1] == pytest.approx(10 * report.cost["constants"][0])


def test_routes_of_a_regression_give_the_experts_values() -> None:
    outputs = np.array([[[1.5], [2.5]], [[3.5], [4.5]]], np.float32)
    routes = np.array([[1, 0]], np.uint8)
    np.testing.assert_array_equal(
        routed_predictions(routes, outputs, regression=True), [[2.5, 3.5]]
    )


def test_costs_are_of_what_was_prepared_and_a_lane_s_own_constants_win(
    prepared: Prepared,
) -> None:
    logits = random_logits(1)
    counted = CostVector(name="flops", unit="GFLOP", router=0.5, experts=(1.0, 2.0, 4.0))
    wrong = CostVector(name="constants", unit="units", router=0.0, experts=(9.0, 9.0, 9.0))
    report = split_report(
        prepared.splits["selection"],
        task=prepared.task,
        lanes=[0],
        configs=[config()],
        logits=logits,
        temperature=[1.0],
        vectors={"flops": counted, "constants": wrong},
    )
    own = config().vectors()
    assert report.cost.keys() == {"flops", *own}
    assert report.cost["flops"][0] == counted.mean(report.share[0])
    assert report.cost["constants"][0] == own["constants"].mean(report.share[0])
