from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from mpc_router.config.sections import LossWeights
from mpc_router.data.tokens import Batch
from mpc_router.experts.finetune import autocast
from mpc_router.joint._loss import JointLoss, Part
from mpc_router.model.gated_pool import GatedBertPool
from tests.mpc_router.joint_pools import small_pool, some_part

COSTS = (2.0, 7.0, 13.0)
GATES: dict[str, dict[str, Any]] = {
    "gumbel": {"gate": "gumbel", "temperature": 0.7},
    "softmax": {"gate": "softmax", "temperature": 1.3},
    "straight": {"gate": "gumbel", "straight_through": True},
    "probabilities": {"gate": "gumbel", "mixing": "probabilities"},
}


@pytest.fixture(autouse=True)
def _own_random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        yield


def the_loss(dtype: torch.dtype = torch.float64, **weights: object) -> JointLoss:
    given = {"alpha": 0.3, "beta": 0.05} | weights
    return JointLoss(
        weights=LossWeights(**given),  # type: ignore[arg-type]
        costs=torch.tensor(COSTS, dtype=dtype),
        autocast=functools.partial(autocast, "float32", torch.device("cpu")),
    )


def gradients(pool: GatedBertPool) -> dict[str, Tensor]:
    return {
        name: value.grad.clone()
        for name, value in pool.named_parameters()
        if value.grad is not None
    }


def two_passes(pool: GatedBertPool, part: Part, weights: LossWeights) -> dict[str, Tensor]:
    """The published recipe, written out: two backward passes over one retained graph."""
    pool.zero_grad()
    part.settle()
    batch = part.batch
    given = (batch.input_ids, batch.attention_mask, batch.token_type_ids)
    if pool.shared_stem:
        hidden = pool.stem.encoder(*given).last_hidden_state  # type: ignore[operator]
        features = hidden[:, 0]
        outputs = [expert(hidden, *given[1:]) for expert in pool.experts.experts]
    else:
        features = pool.stem(*given)
        outputs = [expert(*given) for expert in pool.experts.experts]
    layers = pool.router
    hidden_units = torch.relu(layers.hidden((features - 0.125) / 0.75)) * part.mask  # type: ignore[operator]
    logits = layers.out(hidden_units)  # type: ignore[operator]
    noisy = logits if part.noise is None else logits + part.noise
    gates = torch.softmax(noisy / pool.temperature, -1)
    if pool.straight_through:
        gates = torch.eye(3, dtype=gates.dtype)[gates.argmax(-1)] + gates - gates.detach()
    said = torch.stack(outputs, 1)
    if pool.regression:
        task = ((gates.unsqueeze(-1) * said).sum(1).squeeze(-1) - batch.labels).pow(2).mean()
    else:
        if pool.mixing == "probabilities":
            mixed = (gates.unsqueeze(-1) * said.softmax(-1)).sum(1).log()
        else:
            mixed = (gates.unsqueeze(-1) * said).sum(1)
        task = torch.nn.functional.cross_entropy(mixed, batch.labels.long())
    seen = logits.softmax(-1) if weights.auxiliary_gates == "clean" else gates
    importance = seen.sum(0)
    balance = importance.var(correction=0) / importance.mean() ** 2
    cost = (seen @ torch.tensor(COSTS, dtype=seen.dtype)).mean()

    task.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    of_router = [*pool.router.parameters()]
    if weights.aux_gradient == "router":
        of_router += [*pool.stem.parameters()]
    (weights.alpha * balance + weights.beta * cost).backward(inputs=of_router)
    return gradients(pool)


@pytest.mark.parametrize("gates", GATES)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    ("aux_gradient", "auxiliary_gates"),
    list(itertools.product(["router", "mlp"], ["noisy", "clean"])),
)
def test_one_pass_has_the_gradients_of_two(
    gates: str, shared: bool, aux_gradient: str, auxiliary_gates: str
) -> None:
    pool = small_pool(shared=shared, **GATES[gates]).double().train()
    part = some_part(pool)
    loss = the_loss(aux_gradient=aux_gradient, auxiliary_gates=auxiliary_gates)
    expected = two_passes(pool, part, loss.weights)
    pool.zero_grad()
    loss.backward(pool, [part])
    found = gradients(pool)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert torch.allclose(value, expected[name], rtol=1e-9, atol=1e-12), name
    assert expected["router.out.weight"].abs().max() > 1e-3
    assert max(v.abs().max() for n, v in expected.items() if n.startswith("stem.")) > 1e-3


@pytest.mark.parametrize("shared", [False, True])
def test_a_regression_has_the_gradients_of_two_passes(shared: bool) -> None:
    pool = small_pool(shared=shared, outputs=1).double().train()
    part = some_part(pool)
    loss = the_loss()
    expected = two_passes(pool, part, loss.weights)
    pool.zero_grad()
    loss.backward(pool, [part])
    for name, value in gradients(pool).items():
        assert torch.allclose(value, expected[name], rtol=1e-9, atol=1e-12), name


@pytest.mark.parametrize("shared", [False, True])
def test_the_auxiliary_losses_reach_the_stem_only_where_it_is_the_router_s(shared: bool) -> None:
    def stem_moves(aux_gradient: str) -> float:
        pool = small_pool(shared=shared).double().eval()
        part = some_part(pool)
        found = []
        for alpha in (0.0, 5.0):
            pool.zero_grad()
            the_loss(alpha=alpha, beta=alpha, aux_gradient=aux_gradient).backward(pool, [part])
            found.append(gradients(pool))
        own = [n for n in found[0] if n.startswith("stem.")]
        experts = [n for n in found[0] if n.startswith("experts.")]
        assert all(torch.allclose(found[0][n], found[1][n], atol=1e-12) for n in experts)
        assert not torch.allclose(found[0]["router.out.bias"], found[1]["router.out.bias"])
        return max(float((found[0][n] - found[1][n]).abs().max()) for n in own)

    assert stem_moves("router") > 1e-3
    assert stem_moves("mlp") < 1e-12


@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("gates", GATES)
@pytest.mark.parametrize("aux_gradient", ["router", "mlp"])
def test_parts_have_the_gradient_of_one_batch_balance_included(
    alpha: float, gates: str, aux_gradient: str
) -> None:
    pool = small_pool(**GATES[gates]).double().eval()
    whole = some_part(pool, 11)
    loss = the_loss(alpha=alpha, aux_gradient=aux_gradient)
    terms = loss.backward(pool, [whole])
    expected = gradients(pool)
    pool.zero_grad()
    parts = [cut(whole, slice(0, 4)), cut(whole, slice(4, 6)), cut(whole, slice(6, 11))]
    found_terms = loss.backward(pool, parts)
    assert torch.allclose(found_terms, terms, rtol=1e-10)
    for name, value in gradients(pool).items():
        assert torch.allclose(value, expected[name], rtol=1e-8, atol=1e-11), name


def cut(part: Part, rows: slice) -> Part:
    batch = part.batch
    return Part(
        Batch(
            batch.input_ids[rows],
            batch.attention_mask[rows],
            batch.token_type_ids[rows],
            batch.labels[rows],
            batch.rows[rows],
        ),
        None if part.noise is None else part.noise[rows],
        None if part.mask is None else part.mask[rows],
        part.settle,
    )


def test_the_first_pass_over_parts_sees_the_dropout_of_the_second() -> None:
    pool = small_pool().double().train()
    parts = [some_part(pool, 4, seed=1), some_part(pool, 4, seed=2)]
    importance = the_loss()._importance(pool, parts)
    seen = []
    for part in parts:
        part.settle()
        batch = part.batch
        logits = pool.router(
            pool.look(batch.input_ids, batch.attention_mask, batch.token_type_ids).features,
            part.mask,
        )
        seen.append(pool.gates(logits, part.noise).sum(0))
    assert torch.allclose(importance, torch.stack(seen).sum(0))


def test_terms_are_those_of_the_loss() -> None:
    pool = small_pool().double().eval()
    part = some_part(pool)
    terms = the_loss().backward(pool, [part])
    assert terms[3] == pytest.approx(float(terms[0] + 0.3 * terms[1] + 0.05 * terms[2]))
    assert 2 <= terms[2] <= 13
    assert 0 <= terms[1] <= 2


def test_bfloat16_runs_the_encoders_and_leaves_the_router_in_float32() -> None:
    pool = small_pool().eval()
    part = some_part(pool, dtype=torch.float32)
    exact, rough = the_loss(torch.float32), the_loss(torch.float32)
    object.__setattr__(
        rough, "autocast", functools.partial(autocast, "bfloat16", torch.device("cpu"))
    )
    expected = exact.backward(pool, [part])
    assert gradients(pool)["router.out.weight"].dtype == torch.float32
    pool.zero_grad()
    found = rough.backward(pool, [part])
    assert not torch.equal(found, expected)
    assert torch.allclose(found, expected, rtol=0.05)
