"""A bias in a router: its routes are argmax(z - b c) of the routes that training recorded."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from mpc_router import GatedBertPool
from mpc_router.costs import Bias, CostVector
from mpc_router.data.tokens import gather
from mpc_router.results.assembled import Assembled
from mpc_router.results.assembly import assemble
from mpc_router.results.bias import add, fold, read_biases, recorded
from mpc_router.storage.tensor_files import CheckpointError
from tests.trained import Trained

CONSTANTS = CostVector(name="constants", unit="units", router=0.3, experts=(2.0, 7.0, 13.0))
SECONDS = CostVector(name="mpc_seconds", unit="s", router=4.17, experts=(4.11, 69.71, 199.78))


@pytest.fixture
def assembled(router: Trained) -> Assembled:
    return assemble(router.folder, router.places)


def _logits(router: Trained) -> NDArray[np.float64]:
    """(N, K) of validation, as its training recorded them."""
    (routing,) = [each for each in router.ended.routing if each.split == "validation"]
    return np.asarray(routing.logits[0], np.float64)


def _routes(model: GatedBertPool, router: Trained, bias: float = 0.0) -> NDArray[np.int64]:
    tokens = router.validation()
    batch = gather(tokens, np.arange(len(tokens)))
    routes: NDArray[np.int64] = model.forward_inference(*batch.inputs, bias=bias)[1].numpy()
    return routes


def _turning(router: Trained, vector: CostVector) -> list[float]:
    """Biases between those at which a route changes: no rounding decides one."""
    costs, logits = np.asarray(vector.routed), _logits(router)
    slopes = [
        (logits[:, j] - logits[:, i]) / (costs[j] - costs[i]) for i in range(3) for j in range(i)
    ]
    turns = np.unique(np.concatenate(slopes))
    gaps = np.diff(turns)
    widest = np.argsort(gaps)[-6:]
    return [turns[0] - 1, turns[-1] + 1, *(turns[widest] + gaps[widest] / 2)]


@pytest.mark.parametrize("vector", [CONSTANTS, SECONDS], ids=lambda each: each.name)
def test_a_folded_bias_gives_the_routes_of_the_recorded_logits(
    router: Trained, vector: CostVector
) -> None:
    logits, costs = _logits(router), np.asarray(vector.routed)
    reached = set()
    for value in _turning(router, vector):
        made = assemble(router.folder, router.places)
        folded = fold(made, Bias(value=value, vector=vector))
        wanted = (logits - value * costs).argmax(1)
        assert (_routes(folded.model, router) == wanted).all()
        reached.add(wanted.tobytes())
    assert len(reached) > 3


def test_a_bias_at_run_time_is_a_folded_one_and_adds_to_it(
    router: Trained, assembled: Assembled
) -> None:
    logits, costs = _logits(router), np.asarray(CONSTANTS.routed)
    for value in _turning(router, CONSTANTS):
        wanted = (logits - value * costs).argmax(1)
        assert (_routes(assembled.model, router, bias=value) == wanted).all()
    value = _turning(router, CONSTANTS)[-1]
    folded = fold(assembled, Bias(value=value - 0.25, vector=CONSTANTS))
    wanted = (logits - value * costs).argmax(1)
    assert (_routes(folded.model, router, bias=0.25) == wanted).all()


def test_without_a_bias_the_routes_are_those_of_training(
    router: Trained, assembled: Assembled
) -> None:
    assert (_routes(assembled.model, router) == router.routes).all()


def test_extreme_biases_send_all_to_the_cheapest_and_to_the_dearest(
    router: Trained, assembled: Assembled
) -> None:
    assert set(_routes(assembled.model, router, bias=1e4)) == {0}
    assert set(_routes(assembled.model, router, bias=-1e4)) == {2}


def test_a_stem_that_is_an_expert_makes_its_route_free(
    router: Trained, assembled: Assembled
) -> None:
    free = replace(CONSTANTS, stem_is_expert=True)
    before = assembled.model.router.out.bias.detach().clone()  # type: ignore[union-attr,operator]
    after = add(assembled, Bias(value=1.0, vector=free)).model.router.out.bias  # type: ignore[union-attr]
    assert (before - after).tolist() == pytest.approx([0, 7, 13], abs=1e-5)  # type: ignore[operator]


def test_folding_twice_is_refused_and_adding_is_not(assembled: Assembled) -> None:
    once = fold(assembled, Bias(value=0.1, vector=CONSTANTS))
    with pytest.raises(CheckpointError, match=r"a bias of 0.1 in constants is folded .* already"):
        fold(once, Bias(value=0.1, vector=CONSTANTS))
    assert len(add(once, Bias(value=0.1, vector=CONSTANTS)).biases) == 2


def test_a_vector_of_another_pool_is_refused(assembled: Assembled) -> None:
    two = replace(CONSTANTS, experts=(2.0, 7.0))
    with pytest.raises(CheckpointError, match="constants has 2 experts, the router 3"):
        fold(assembled, Bias(value=0.1, vector=two))


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_bias_is_a_finite_number(router: Trained, assembled: Assembled, value: float) -> None:
    with pytest.raises(ValueError, match="must be a finite number"):
        Bias(value=value, vector=CONSTANTS)
    with pytest.raises(ValueError, match="must be a finite number"):
        _routes(assembled.model, router, bias=value)


def test_a_pool_that_knows_no_costs_refuses_a_bias(router: Trained, assembled: Assembled) -> None:
    assembled.model.route_costs = ()
    with pytest.raises(ValueError, match=r"knows the costs of 0 of its 3 experts.*route_costs"):
        _routes(assembled.model, router, bias=0.1)


def test_what_is_recorded_is_read_back() -> None:
    bias = Bias(value=-0.25, vector=SECONDS)
    assert read_biases({"bias": recorded(bias)}) == (bias,)
    assert read_biases({}) == ()
