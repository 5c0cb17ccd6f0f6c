"""Holds the package's parts to what mpc-router asks of them."""

from example_parts.costs import layers
from example_parts.metric import worst_recall
from example_parts.pool import two_depths
from example_parts.router import Neighbours
from example_parts.sampler import NearBest
from example_parts.stopping import near_front

from sweeps.testing import (
    check_cost_vector,
    check_metric,
    check_pool,
    check_router_kind,
    check_sampler,
    check_stopping_rule,
)


def test_the_sampler_can_propose_points_of_a_sweep() -> None:
    check_sampler(NearBest)
    check_sampler(NearBest, objectives=1)


def test_the_metric_can_stand_in_any_task_of_classes() -> None:
    for classes in (2, 3, 50):
        check_metric(worst_recall, classes=classes)


def test_the_cost_vector_is_of_every_pool() -> None:
    for pool in ("bert", "minilm"):
        check_cost_vector(layers, pool=pool)


def test_the_pool_can_stand_in_a_study() -> None:
    check_pool(two_depths)


def test_the_router_kind_can_stand_in_a_study() -> None:
    for classes in (2, 5, 0):
        check_router_kind(Neighbours, classes=classes)


def test_the_stopping_rule_decides_by_any_number_of_objectives() -> None:
    for objectives in (1, 2, 3):
        check_stopping_rule(near_front, objectives=objectives)
