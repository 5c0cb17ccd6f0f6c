from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from mpc_router.costs import CONSTANTS, CostVector, cost_vectors, from_json, to_json

SIZES = ("tiny", "base", "large")
VECTORS = cost_vectors(constants=(2, 7, 13), router=0, sizes=SIZES)


def test_the_published_projection_of_rte() -> None:
    share = np.array([0.169, 0.283, 0.548])
    seconds, gigabytes = VECTORS["mpc_seconds"], VECTORS["mpc_gb"]
    assert seconds.mean(share) == pytest.approx(134.07, abs=0.005)
    assert seconds.speed_up(share) == pytest.approx(1.490, abs=0.0005)
    assert gigabytes.mean(share) == pytest.approx(104.39, abs=0.01)
    assert gigabytes.speed_up(share) == pytest.approx(1.497, abs=0.0005)


def test_everything_to_tiny_still_pays_the_router() -> None:
    seconds = VECTORS["mpc_seconds"]
    assert seconds.mean(np.array([1.0, 0, 0])) == pytest.approx(4.17 + 4.11)
    assert seconds.speed_up(np.array([1.0, 0, 0])) == pytest.approx(24.1, abs=0.05)


def test_the_projection_is_the_mean_over_the_routes() -> None:
    routes = np.random.default_rng(0).integers(0, 3, (4, 1000))
    share = np.stack([(routes == expert).mean(axis=1) for expert in range(3)], axis=1)
    for vector in VECTORS.values():
        assert vector.of_routes(routes).mean(axis=1) == pytest.approx(vector.mean(share))


def test_measured_vectors_exist_only_where_every_expert_has_a_value() -> None:
    assert set(VECTORS) == {CONSTANTS, "mpc_seconds", "mpc_gb"}
    four = cost_vectors(constants=(2, 4, 7, 13), router=0, sizes=("tiny", None, "base", "large"))
    assert set(four) == {CONSTANTS}
    pair = cost_vectors(constants=(2, 13), router=0, sizes=("tiny", "large"))
    assert pair["mpc_seconds"].experts == (4.11, 199.78)


def test_stand_ins_carry_their_name() -> None:
    vectors = cost_vectors(constants=(2, 4, 6), router=0.22, sizes=(None, None, None))
    assert set(vectors) == {CONSTANTS, "mpc_seconds_as_if", "mpc_gb_as_if"}
    assert vectors["mpc_seconds_as_if"].as_if
    assert vectors["mpc_seconds_as_if"].experts == VECTORS["mpc_seconds"].experts
    assert vectors[CONSTANTS].router == 0.22


def test_vectors_survive_json() -> None:
    assert from_json(json.loads(json.dumps(to_json(VECTORS)))) == VECTORS


@pytest.mark.parametrize(
    ("router", "experts"), [(0.0, ()), (-1.0, (1.0,)), (0.0, (1.0, float("nan")))]
)
def test_a_cost_that_cannot_be_is_refused(router: float, experts: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="cost"):
        CostVector(name="mine", unit="s", router=router, experts=experts)


def test_a_stem_that_is_an_expert_is_paid_once() -> None:
    plain = CostVector(name="c", unit="u", router=2, experts=(2, 4, 6))
    shared = dataclasses.replace(plain, stem_is_expert=True)
    routes = np.array([0, 1, 2])
    assert plain.of_routes(routes) == pytest.approx([4, 6, 8])
    assert shared.of_routes(routes) == pytest.approx([2, 6, 8])
    assert shared.mean(np.array([1.0, 0, 0])) == pytest.approx(2)
    assert from_json(to_json({"c": shared})) == {"c": shared}
