from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from analysis.baselines.bias_curves import (
    BiasCurve,
    _turning_biases,
    bias_curve,
    curve_front,
    mean_curve,
    route,
    spread_biases,
)
from analysis.stats.dominance import nondominated
from mpc_router.costs import CostVector
from mpc_router.tasks import TASKS, evaluate, score_of

Values = NDArray[np.float64]

SST2 = TASKS["sst2"]
VECTOR = CostVector(name="c", unit="units", router=0.3, experts=(2.0, 7.0, 13.0))


def _logits(seed: int, examples: int = 60, experts: int = 3) -> Values:
    return np.random.default_rng(seed).normal(size=(examples, experts))


def _world(seed: int, examples: int = 200) -> tuple[Values, Values, Values]:
    """Logits that know a little, predictions (K, N), labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, examples).astype(float)
    right = rng.random((3, examples)) < np.array([[0.7], [0.8], [0.9]])
    logits = rng.normal(size=(examples, 3)) + 0.7 * right.T
    return logits, np.where(right, labels, 1 - labels), labels


def _log_softmax(logits: Values) -> Values:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


@pytest.mark.parametrize("bias", [-1.0, 0.0, 0.05, 3.0])
def test_routes_are_the_argmax_of_the_log_softmax_less_the_price(bias: float) -> None:
    logits = _logits(0)
    expected = (_log_softmax(logits) - bias * np.array(VECTOR.experts)).argmax(axis=1)
    assert (route(logits, VECTOR, np.array([bias]))[0] == expected).all()


def test_one_example_turns_where_its_gain_per_cost_says() -> None:
    logits = np.array([[0.0, 1.0, 1.6]])
    assert _turning_biases(logits, VECTOR) == pytest.approx([1 / 5, 0.6 / 6])
    found = route(logits, VECTOR, np.array([0.09, 0.11, 0.19, 0.21]))[:, 0]
    assert found.tolist() == [2, 1, 1, 0]


def test_an_expert_under_the_hull_is_passed_over() -> None:
    logits = np.array([[0.0, 0.1, 1.1]])
    assert _turning_biases(logits, VECTOR) == pytest.approx([1.1 / 11])


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("experts", [2, 3, 5])
def test_routes_change_at_the_turning_biases_and_nowhere_else(seed: int, experts: int) -> None:
    prices = tuple(np.random.default_rng(seed).permutation([1.0, 2.0, 2.0, 5.0, 9.0])[:experts])
    vector = CostVector(name="c", unit="units", router=0.0, experts=prices)
    logits = _logits(seed, 8, experts)
    turns = _turning_biases(logits, vector)
    edges = np.concatenate([[turns[-1] - 1], np.sort(turns), [turns[0] + 1]])
    middles = (edges[:-1] + edges[1:]) / 2
    steps = np.diff(vector.of_routes(route(logits, vector, middles)).sum(axis=1))
    assert (steps < 0).all()
    for low, high in itertools.pairwise(edges):
        inside = low + (high - low) * np.array([0.001, 0.3, 0.7, 0.999])
        assert (np.ptp(route(logits, vector, inside), axis=0) == 0).all()


def test_experts_of_one_price_never_turn() -> None:
    flat = CostVector(name="flat", unit="units", router=0.0, experts=(5.0, 5.0, 5.0))
    assert not len(_turning_biases(_logits(1), flat))
    assert spread_biases([_logits(1)], flat) == pytest.approx([0.0])


@pytest.mark.parametrize("count", [3, 10, 49, 10_000])
def test_biases_reach_from_all_dearest_to_all_cheapest_with_the_router_itself(count: int) -> None:
    logits = _logits(2)
    biases = spread_biases([logits, _logits(3)], VECTOR, count=count)
    assert len(biases) <= count
    assert 0.0 in biases
    assert (np.diff(biases) > 0).all()
    routes = route(logits, VECTOR, biases)
    assert (routes[0] == 2).all()
    assert (routes[-1] == 0).all()


@pytest.mark.parametrize("task", ["sst2", "mrpc", "cola", "mnli", "stsb"])
@pytest.mark.parametrize(("experts", "count"), [(1, 3), (2, 1), (3, 49), (5, 3)])
def test_all_biases_at_once_have_the_bits_of_one_after_another(
    task: str, experts: int, count: int
) -> None:
    rng, of_task = np.random.default_rng(count), TASKS[task]
    vector = CostVector(
        name="c", unit="units", router=0.22, experts=tuple(0.7 + 1.3 * k for k in range(experts))
    )
    logits = rng.integers(-3, 4, (307, experts)) / 2.0  # often equal
    biases = np.sort(rng.integers(-4, 5, count) / 2.6)
    shape = experts, len(logits)
    values = rng.normal(size=shape), rng.integers(0, of_task.outputs, shape).astype(float)
    predictions = values[0] if of_task.regression else values[1]
    labels = predictions[rng.integers(experts)][::-1]
    curve = bias_curve(of_task, logits, predictions, labels, vector=vector, biases=biases)
    for place, bias in enumerate(biases):
        routes = (logits - bias * np.asarray(vector.routed)).argmax(axis=1)
        answer = predictions[routes, np.arange(len(labels))]
        shares = [(routes == expert).mean() for expert in range(experts)]
        assert curve.scores[place] == score_of(of_task, answer[None], labels)[0]
        assert curve.costs[place] == np.mean(vector.router + np.asarray(vector.routed)[routes])
        assert curve.shares[place].tolist() == shares


def test_a_prediction_that_is_not_finite_is_refused_where_it_is_asked_for() -> None:
    logits, predictions, labels = _world(0)
    predictions[2] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        bias_curve(SST2, logits, predictions, labels, vector=VECTOR, biases=np.zeros(1))
    dear = bias_curve(SST2, logits, predictions, labels, vector=VECTOR, biases=np.full(1, 99.0))
    assert dear.scores[0] == (predictions[0] == labels).mean()


def test_too_few_biases_or_no_trial_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        spread_biases([_logits(0)], VECTOR, count=2)
    with pytest.raises(ValueError, match="1 trial"):
        spread_biases([], VECTOR)


def test_at_bias_zero_the_curve_is_the_router_as_trained() -> None:
    logits, said, labels = _world(0)
    curve = bias_curve(SST2, logits, said, labels, vector=VECTOR, biases=np.array([0.0]))
    routes = logits.argmax(axis=1)
    answer = np.take_along_axis(said, routes[None], axis=0)
    assert curve.scores[0] == evaluate(SST2, answer, labels)["score"][0]
    assert curve.costs[0] == pytest.approx(VECTOR.of_routes(routes).mean())
    assert curve.shares[0] == pytest.approx(np.bincount(routes, minlength=3) / len(routes))


def test_the_ends_of_a_curve_are_the_single_experts_with_the_router_paid() -> None:
    logits, said, labels = _world(1)
    biases = spread_biases([logits], VECTOR)
    curve = bias_curve(SST2, logits, said, labels, vector=VECTOR, biases=biases)
    single = evaluate(SST2, said, labels)["score"]
    assert (curve.costs[0], curve.scores[0]) == pytest.approx((13.3, single[2]))
    assert (curve.costs[-1], curve.scores[-1]) == pytest.approx((2.3, single[0]))


def test_a_larger_bias_never_costs_more() -> None:
    logits, said, labels = _world(2)
    biases = spread_biases([logits], VECTOR)
    curve = bias_curve(SST2, logits, said, labels, vector=VECTOR, biases=biases)
    assert (np.diff(curve.costs) <= 1e-12).all()


def test_a_constant_added_to_an_examples_logits_changes_nothing() -> None:
    logits, said, labels = _world(3)
    biases = spread_biases([logits], VECTOR)
    moved = logits + np.random.default_rng(0).normal(size=(len(logits), 1))
    one = bias_curve(SST2, logits, said, labels, vector=VECTOR, biases=biases)
    other = bias_curve(SST2, moved, said, labels, vector=VECTOR, biases=biases)
    assert one.scores == pytest.approx(other.scores)


def test_a_unit_of_cost_scales_biases_and_changes_no_route() -> None:
    logits = _logits(4)
    seconds = CostVector(name="s", unit="s", router=18.0, experts=(120.0, 420.0, 780.0))
    biases = spread_biases([logits], VECTOR)
    assert (route(logits, VECTOR, biases) == route(logits, seconds, biases / 60)).all()


def test_where_the_router_looks_through_the_cheapest_expert_its_route_adds_nothing() -> None:
    through = CostVector(
        name="e", unit="units", router=2.0, experts=(2.0, 7.0, 13.0), stem_is_expert=True
    )
    logits = np.array([[0.0, 1.0, 1.0]])
    assert _turning_biases(logits, through) == pytest.approx([1 / 7, 0.0])


def test_logits_of_another_pool_are_refused() -> None:
    with pytest.raises(ValueError, match="do not match"):
        route(_logits(0, 5, 2), VECTOR, np.zeros(1))


def test_experts_that_are_not_the_routers_are_refused() -> None:
    logits, said, labels = _world(0)
    with pytest.raises(ValueError, match="do not match"):
        bias_curve(SST2, logits, said[:2], labels, vector=VECTOR, biases=np.zeros(1))


def _curve(costs: list[float], scores: list[float], first: float = 0.0) -> BiasCurve:
    count = len(costs)
    return BiasCurve(
        biases=first + np.arange(count, dtype=np.float64),
        costs=np.array(costs),
        scores=np.array(scores),
        shares=np.zeros((count, 3)),
    )


def test_the_bias_for_a_wanted_cost_is_the_best_score_under_it() -> None:
    curve = _curve([9.0, 6.0, 4.0, 2.0], [0.9, 0.91, 0.8, 0.7])
    assert [curve.within(cost) for cost in (10.0, 5.0, 1.0)] == [1, 2, None]


def test_seeds_are_averaged_bias_by_bias() -> None:
    found = mean_curve([_curve([6.0, 2.0], [0.9, 0.7]), _curve([4.0, 2.0], [0.8, 0.7])])
    assert found.costs == pytest.approx([5, 2])
    assert found.scores == pytest.approx([0.85, 0.7])


@pytest.mark.parametrize("other", [[], [(1.0, 2)]])
def test_seeds_over_other_biases_are_not_averaged(other: list[tuple[float, int]]) -> None:
    one = [_curve([6.0, 2.0], [0.9, 0.7])] if other else []
    rest = [_curve([1.0] * size, [0.5] * size, first) for first, size in other]
    with pytest.raises(ValueError, match="to average"):
        mean_curve([*one, *rest])


def test_the_front_over_curves_is_that_of_all_their_points_quoted_elsewhere() -> None:
    chosen = [_curve([9.0, 2.0], [0.9, 0.7]), _curve([5.0, 3.0], [0.95, 0.6])]
    quoted = [_curve([9.1, 2.1], [0.8, 0.6]), _curve([5.1, 3.1], [0.7, 0.5])]
    found = curve_front(chosen, quoted)
    assert [(one.curve, one.bias) for one in found] == [(0, 1.0), (1, 0.0)]
    assert [(one.chosen_score, one.score, one.cost) for one in found] == [
        (0.7, 0.6, 2.1),
        (0.95, 0.7, 5.1),
    ]


@pytest.mark.parametrize("seed", range(5))
def test_no_point_of_any_curve_beats_the_front_over_curves(seed: int) -> None:
    curves = []
    for number in range(3):
        logits, said, labels = _world(10 * seed + number)
        biases = spread_biases([logits], VECTOR)
        curves.append(bias_curve(SST2, logits, said, labels, vector=VECTOR, biases=biases))
    front = curve_front(curves)
    for curve in curves:
        for score, cost in zip(curve.scores, curve.costs, strict=True):
            assert any(one.score >= score and one.cost <= cost for one in front)
    scores = np.array([one.score for one in front])
    assert nondominated(scores, np.array([one.cost for one in front])).all()


def test_curves_that_do_not_belong_together_are_refused() -> None:
    one, other = _curve([9.0, 2.0], [0.9, 0.7]), _curve([9.0, 2.0], [0.9, 0.7], first=1.0)
    with pytest.raises(ValueError, match="other biases"):
        curve_front([one], [other])
    with pytest.raises(ValueError, match="need one each"):
        curve_front([one], [one, one])
