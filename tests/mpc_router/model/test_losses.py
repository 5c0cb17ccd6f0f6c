from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.nn import functional as F

from mpc_router.model.losses import (
    CompositeLoss,
    CostAwareLoss,
    LoadBalancingLoss,
    TaskLoss,
    balance_loss,
    cost_loss,
    focal_loss,
    mix,
    task_loss,
    total_loss,
)


def gates_of(importance: list[float]) -> Tensor:
    """Ten rows of sum 1 whose column sums are `importance` (which sums to 10)."""
    return torch.tensor(importance).expand(10, -1) / 10


def random_batch(*lanes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gates (..., 6, 3), outputs (..., 6, 3, 4) and labels (6,)."""
    generator = torch.Generator().manual_seed(3)
    gates = torch.randn(*lanes, 6, 3, generator=generator).softmax(-1)
    outputs = 3 * torch.randn(*lanes, 6, 3, 4, generator=generator)
    return gates, outputs, torch.randint(0, 4, (6,), generator=generator)


@pytest.mark.parametrize(("variance", "expected"), [("biased", 0.14), ("unbiased", 0.21)])
def test_balance_of_the_published_importance(variance: str, expected: float) -> None:
    assert balance_loss(gates_of([2, 3, 5]), variance).item() == pytest.approx(expected)


@pytest.mark.parametrize("experts", [2, 3, 8])
def test_balance_spans_zero_to_the_number_of_experts(experts: int) -> None:
    even = torch.full((64, experts), 1 / experts)
    collapsed = F.one_hot(torch.zeros(64, dtype=torch.long), experts).float()
    for variance, most in (("biased", experts - 1), ("unbiased", experts)):
        assert balance_loss(even, variance).item() == pytest.approx(0, abs=1e-6)
        assert balance_loss(collapsed, variance).item() == pytest.approx(most)


@pytest.mark.parametrize("variance", ["biased", "unbiased"])
def test_a_single_expert_is_balanced_and_has_a_gradient(variance: str) -> None:
    gates = torch.ones(4, 1, requires_grad=True)
    loss = balance_loss(gates, variance)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert gates.grad is not None
    assert torch.equal(gates.grad, torch.zeros(4, 1))


def test_balance_ignores_the_order_of_experts_and_examples() -> None:
    gates, _, _ = random_batch()
    moved = gates[torch.randperm(6)][:, [2, 0, 1]]
    assert torch.allclose(balance_loss(gates), balance_loss(moved))


def test_cost_of_the_published_gate() -> None:
    costs = torch.tensor([2.0, 7.0, 13.0])
    assert cost_loss(torch.tensor([[0.1, 0.4, 0.5]]), costs).item() == pytest.approx(9.5)


def test_cost_grows_with_the_unit_of_the_costs() -> None:
    gates, _, _ = random_batch()
    costs = torch.tensor([2.0, 7.0, 13.0])
    assert torch.allclose(cost_loss(gates, 1000 * costs), 1000 * cost_loss(gates, costs))


@pytest.mark.parametrize(("mixing", "first"), [("logits", 0.818), ("probabilities", 0.625)])
def test_the_two_mixings_differ_as_published(mixing: str, first: float) -> None:
    outputs = torch.tensor([[[4.0, 0.0], [0.0, 1.0]]])
    mixed = mix(torch.tensor([[0.5, 0.5]]), outputs, mixing)
    assert mixed.softmax(-1)[0, 0].item() == pytest.approx(first, abs=5e-4)


def test_cross_entropy_of_mixed_probabilities_is_exact() -> None:
    gates, outputs, labels = random_batch()
    mixed = mix(gates, outputs, "probabilities")
    probabilities = (gates[..., None] * outputs.softmax(-1)).sum(-2)
    assert torch.allclose(mixed.exp(), probabilities)
    right = probabilities.gather(-1, labels[:, None]).squeeze(-1)
    assert torch.allclose(task_loss(mixed, labels), -right.log().mean())


@pytest.mark.parametrize("mixing", ["logits", "probabilities"])
def test_a_one_hot_gate_is_that_expert(mixing: str) -> None:
    _, outputs, _ = random_batch()
    picks = torch.tensor([0, 2, 1, 1, 0, 2])
    mixed = mix(torch.eye(3)[picks], outputs, mixing).log_softmax(-1)
    alone = outputs[torch.arange(6), picks].log_softmax(-1)
    assert torch.allclose(mixed, alone, atol=1e-5)


def test_experts_that_are_worlds_apart_are_mixed_without_overflow() -> None:
    outputs = torch.tensor([[[500.0, 0.0], [0.0, 500.0]]], requires_grad=True)
    for first in (0.0, 1e-30, 0.5, 1.0):
        gates = torch.tensor([[first, 1 - first]], requires_grad=True)
        mixed = mix(gates, outputs, "probabilities")
        mixed.sum().backward()  # type: ignore[no-untyped-call]
        assert gates.grad is not None
        assert mixed.isfinite().all()
        assert gates.grad.isfinite().all()


def test_a_gate_of_zero_has_the_gradient_of_the_mixed_probability() -> None:
    outputs = torch.tensor([[[1.0, -1.0], [-2.0, 0.5]]])
    gates = torch.tensor([[1.0, 0.0]], requires_grad=True)
    mix(gates, outputs, "probabilities")[0, 0].backward()  # type: ignore[no-untyped-call]
    p = outputs.softmax(-1)[0, :, 0]
    assert gates.grad is not None
    assert torch.allclose(gates.grad[0], p / p[0])


def test_mixed_probabilities_agree_with_finite_differences() -> None:
    gates, outputs, _ = random_batch()
    assert torch.autograd.gradcheck(
        lambda g, z: mix(g, z, "probabilities"),
        (gates.double().requires_grad_(), outputs.double().requires_grad_()),
    )


def test_values_of_a_regression_are_mixed_alike_either_way() -> None:
    gates, outputs, _ = random_batch()
    values = outputs[..., :1]
    either = [mix(gates, values, mixing, regression=True) for mixing in ("logits", "probabilities")]
    assert torch.equal(either[0], either[1])
    assert torch.allclose(either[0][:, 0], (gates * values[..., 0]).sum(-1))


def test_task_losses_are_those_of_torch() -> None:
    _, outputs, labels = random_batch()
    logits, values = outputs[:, 0], outputs[:, 0, :1]
    assert torch.allclose(task_loss(logits, labels), F.cross_entropy(logits, labels))
    assert torch.allclose(
        task_loss(values, labels.float(), regression=True),
        F.mse_loss(values.squeeze(-1), labels.float()),
    )


@pytest.mark.parametrize("mixing", ["logits", "probabilities"])
def test_lanes_by_vmap_and_by_leading_dimension_equal_lanes_alone(mixing: str) -> None:
    gates, outputs, labels = random_batch(5)
    costs = torch.arange(15.0).reshape(5, 3)

    def total(g: Tensor, z: Tensor, c: Tensor) -> Tensor:
        task = task_loss(mix(g, z, mixing), labels)
        return task + 0.1 * balance_loss(g) + 0.01 * cost_loss(g, c)

    alone = torch.stack([total(*lane) for lane in zip(gates, outputs, costs, strict=True)])
    assert torch.allclose(vmap(total)(gates, outputs, costs), alone)
    assert torch.allclose(total(gates, outputs, costs), alone)
    slopes = vmap(grad(total))(gates, outputs, costs)
    assert torch.allclose(slopes[2], grad(total)(gates[2], outputs[2], costs[2]), atol=1e-6)


def test_the_published_composite_loss_is_the_weighted_sum_of_its_terms() -> None:
    loss_fn = CompositeLoss(
        task_type="classification",
        num_labels=2,
        num_experts=3,
        expert_costs=torch.tensor([2.0, 7.0, 13.0]),
        alpha=0.01,
        beta=0.03,
    )
    gates, outputs, _ = random_batch()
    predictions, labels = outputs[:, 0, :2], torch.tensor([0, 1, 1, 0, 1, 0])
    loss, components = loss_fn(predictions, labels, gates)
    assert set(components) == {"task", "balance", "cost"}
    assert torch.allclose(components["task"], F.cross_entropy(predictions, labels))
    assert components["balance"] == balance_loss(gates)
    assert components["cost"] == cost_loss(gates, torch.tensor([2.0, 7.0, 13.0]))
    expected = components["task"] + 0.01 * components["balance"] + 0.03 * components["cost"]
    assert torch.equal(loss, expected)


def test_the_total_weighs_the_terms_of_every_lane_as_it_weighs_those_of_one() -> None:
    task, balance, cost, alpha, beta = torch.rand(5, 4, generator=torch.Generator().manual_seed(1))
    lanes = total_loss(task, balance, cost, alpha=alpha, beta=beta)
    for lane in range(4):
        terms = (task[lane], balance[lane], cost[lane])
        alone = total_loss(*terms, alpha=alpha[lane].item(), beta=beta[lane].item())
        assert lanes[lane] == alone == terms[0] + alpha[lane] * terms[1] + beta[lane] * terms[2]


def test_a_regression_takes_values() -> None:
    loss_fn = CompositeLoss("regression", num_labels=1, num_experts=2, expert_costs=[1.0, 2.0])
    loss, components = loss_fn(
        torch.tensor([[1.0], [3.0]]), torch.tensor([1.0, 1.0]), torch.full((2, 2), 0.5)
    )
    assert components["task"].item() == 2
    assert loss.item() == pytest.approx(2 + 0.03 * 1.5)


def test_costs_move_with_the_module_and_are_not_trained() -> None:
    loss = CostAwareLoss([2.0, 7.0])
    assert list(loss.parameters()) == []
    assert list(loss.state_dict()) == ["expert_costs"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"task_type": "ranking"}, "task_type is 'ranking'"),
        ({"alpha": -1.0}, "alpha is -1.0"),
        ({"beta": float("nan")}, "beta is nan"),
        ({"num_experts": 4}, "expert_costs has 3 values, num_experts is 4"),
        ({"expert_costs": [1.0, -2.0, 3.0]}, "one finite number from 0"),
        ({"balance_variance": "sample"}, "balance variance is 'sample'"),
        ({"task_type": "regression"}, "num_labels is 2; give 1"),
        ({"num_labels": 1}, "at least 2 classes"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CompositeLoss(**settings)  # type: ignore[arg-type]


def test_a_shape_that_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match="num_labels is 2"):
        TaskLoss()(torch.zeros(4, 3), torch.zeros(4))
    with pytest.raises(ValueError, match="there are 3 experts"):
        LoadBalancingLoss(3)(torch.full((4, 2), 0.5))
    with pytest.raises(ValueError, match="mixing is 'logit'"):
        mix(torch.ones(1, 1), torch.ones(1, 1, 2), "logit")


def plain_focal(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, gamma: float
) -> torch.Tensor:
    """The formula as it stands in FACTS."""
    p_y = logits.softmax(-1)[torch.arange(len(labels)), labels]
    return -(weights[labels] * (1 - p_y) ** gamma * p_y.log()).mean()


@pytest.mark.parametrize("gamma", [0, 0.5, 2, 5])
def test_the_focal_loss_is_its_formula_with_its_gradient(gamma: float) -> None:
    source = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 4, generator=source, dtype=torch.float64).requires_grad_()
    labels = torch.randint(0, 4, (20,), generator=source)
    weights = torch.rand(4, generator=source, dtype=torch.float64)
    ours = focal_loss(logits, labels, weights, torch.tensor(float(gamma)))
    theirs = plain_focal(logits, labels, weights, gamma)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        torch.autograd.grad(ours, logits), torch.autograd.grad(theirs, logits)
    )


def test_without_gamma_the_focal_loss_is_cross_entropy() -> None:
    logits, labels = torch.randn(9, 3, generator=torch.Generator().manual_seed(1)), torch.arange(9)
    ours = focal_loss(logits, labels % 3, torch.ones(3), torch.tensor(0.0))
    torch.testing.assert_close(ours, F.cross_entropy(logits, labels % 3))


@pytest.mark.parametrize("gamma", [0, 0.5, 1, 2])
@pytest.mark.parametrize("far", [30.0, 1e4, 1e30])
def test_the_focal_loss_is_finite_however_sure_the_router_is(gamma: float, far: float) -> None:
    logits = torch.tensor([[far, 0.0, -far], [-far, 0.0, far]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([0, 0]), torch.ones(3), torch.tensor(float(gamma)))
    (gradient,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(loss.item(), far)  # the second row is 2 far wrong
    assert gradient.isfinite().all()
    if far == 1e30:
        return  # float32 has no digits left for more than this
    torch.testing.assert_close(gradient[1], torch.tensor([-0.5, 0.0, 0.5]))
    torch.testing.assert_close(gradient[0], torch.zeros(3), atol=1e-5, rtol=0)
