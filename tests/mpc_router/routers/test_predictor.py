"""What predicts gains, against scikit-learn and by its limits."""

from __future__ import annotations

import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor

from mpc_router.routers._predictor import Predictor


def world(rows: int = 400, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs (N, 5), and whether three experts are right: the second where the first input is."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(rows, 5, generator=generator)
    chance = torch.stack(
        [torch.full((rows,), 0.6), torch.sigmoid(2 * inputs[:, 0]), torch.full((rows,), 0.9)], 1
    )
    return inputs, (torch.rand(rows, 3, generator=generator) < chance).float()


def test_a_linear_predictor_is_the_logistic_regression_of_scikit_learn() -> None:
    inputs, right = world()
    predictor = Predictor(5, 3)
    predictor.fit(inputs, right, ridge=2.0, seed=0)
    standard = ((inputs - inputs.mean(0)) / inputs.std(0, unbiased=False)).double().numpy()
    for choice in range(3):
        reference = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000)
        reference.fit(standard, right[:, choice].numpy())
        weight = predictor.out.weight[choice].detach().numpy()
        assert weight == pytest.approx(reference.coef_[0], abs=1e-4)
        assert predictor.out.bias[choice].item() == pytest.approx(reference.intercept_[0], abs=1e-4)


def test_losses_are_those_of_ridge_regression() -> None:
    inputs, _ = world()
    losses = torch.stack([inputs[:, 0].square(), inputs[:, 1].abs(), 0.1 * inputs[:, 2]], 1)
    predictor = Predictor(5, 3, gain="loss")
    predictor.fit(inputs, losses, ridge=3.0, seed=0)
    standard = ((inputs - inputs.mean(0)) / inputs.std(0, unbiased=False)).numpy()
    # ridge on weights in units of the losses' deviation is the same ridge on the weights
    expected = Ridge(alpha=3.0, solver="cholesky").fit(standard, losses.numpy()).predict(standard)
    assert predictor(inputs).detach().numpy() == pytest.approx(-expected, abs=1e-4)


def test_a_network_learns_what_no_line_can() -> None:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(1500, 2, generator=generator)
    second = (inputs[:, 0] * inputs[:, 1] > 0).float()
    right = torch.stack([1 - second, second], 1)
    accuracy = {}
    for hidden in (0, 16):
        predictor = Predictor(2, 2, hidden_size=hidden)
        predictor.fit(inputs, right, ridge=0.1, seed=0)
        accuracy[hidden] = (predictor(inputs).argmax(1) == second).float().mean().item()
    assert accuracy[0] < 0.65
    assert accuracy[16] > 0.9


def test_a_fit_is_the_same_again_and_depends_on_the_seed_of_a_network_alone() -> None:
    inputs, right = world()

    def fitted(hidden: int, seed: int) -> Tensor:
        predictor = Predictor(5, 3, hidden_size=hidden)
        predictor.fit(inputs, right, ridge=1.0, seed=seed)
        worth: Tensor = predictor(inputs).detach()
        return worth

    assert torch.equal(fitted(4, 0), fitted(4, 0))
    assert not torch.equal(fitted(4, 0), fitted(4, 1))
    assert torch.equal(fitted(0, 0), fitted(0, 1))


def test_an_infinite_ridge_leaves_every_choice_its_mean() -> None:
    inputs, right = world()
    predictor = Predictor(5, 3)
    predictor.fit(inputs, right, ridge=1e9, seed=0)
    assert predictor(inputs)[0].detach().numpy() == pytest.approx(right.mean(0).numpy(), abs=1e-3)


def test_inputs_that_are_not_finite_are_refused() -> None:
    inputs, right = world(20)
    inputs[3, 1] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        Predictor(5, 3).fit(inputs, right, ridge=1.0, seed=0)
