"""Routers that are fitted at once, against scikit-learn and by their limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression, Ridge
from torch import Tensor

from mpc_router.model.fitted_routers import (
    ClusterRouter,
    PredictiveRouter,
    fit_clusters,
    fit_predictive,
)
from mpc_router.model.output_features import output_features, output_width


def world(rows: int = 400, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs (N, 5), and whether three experts are right: the second where the first input is."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(rows, 5, generator=generator)
    chance = torch.stack(
        [torch.full((rows,), 0.6), torch.sigmoid(2 * inputs[:, 0]), torch.full((rows,), 0.9)], 1
    )
    return inputs, (torch.rand(rows, 3, generator=generator) < chance).float()


def test_a_linear_router_is_the_logistic_regression_of_scikit_learn() -> None:
    inputs, right = world()
    router = PredictiveRouter(5, 3)
    fit_predictive(router, inputs, right, ridge=2.0, seed=0)
    standard = ((inputs - inputs.mean(0)) / inputs.std(0, unbiased=False)).double().numpy()
    for expert in range(3):
        reference = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000)
        reference.fit(standard, right[:, expert].numpy())
        assert router.out.weight[expert].detach().numpy() == pytest.approx(
            reference.coef_[0], abs=1e-4
        )
        assert router.out.bias[expert].item() == pytest.approx(reference.intercept_[0], abs=1e-4)


def test_gains_of_losses_are_those_of_ridge_regression() -> None:
    inputs, _ = world()
    losses = torch.stack([inputs[:, 0].square(), inputs[:, 1].abs(), 0.1 * inputs[:, 2]], 1)
    router = PredictiveRouter(5, 3, gain="loss")
    fit_predictive(router, inputs, losses, ridge=3.0, seed=0)
    standard = ((inputs - inputs.mean(0)) / inputs.std(0, unbiased=False)).numpy()
    # ridge on weights in units of the losses' deviation is the same ridge on the weights
    expected = Ridge(alpha=3.0, solver="cholesky").fit(standard, losses.numpy()).predict(standard)
    gains = router(inputs).detach().numpy()
    assert gains == pytest.approx(expected[:, :1] - expected, abs=1e-4)


def test_the_first_expert_gains_nothing_over_itself() -> None:
    inputs, right = world()
    for hidden in (0, 4):
        router = PredictiveRouter(5, 3, hidden_size=hidden)
        fit_predictive(router, inputs, right, ridge=1.0, seed=0)
        gains = router(inputs)
        assert (gains[:, 0] == 0).all()
        assert (gains.abs() < 1).all()


def test_a_network_learns_what_no_line_can() -> None:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(1500, 2, generator=generator)
    second = (inputs[:, 0] * inputs[:, 1] > 0).float()
    right = torch.stack([1 - second, second], 1)
    accuracy = {}
    for hidden in (0, 16):
        router = PredictiveRouter(2, 2, hidden_size=hidden)
        fit_predictive(router, inputs, right, ridge=0.1, seed=0)
        accuracy[hidden] = ((router(inputs)[:, 1] > 0).float() == second).float().mean().item()
    assert accuracy[0] < 0.65
    assert accuracy[16] > 0.9


def test_a_fit_is_the_same_again_and_depends_on_the_seed_of_a_network_alone() -> None:
    inputs, right = world()

    def fitted(hidden: int, seed: int) -> Tensor:
        router = PredictiveRouter(5, 3, hidden_size=hidden)
        fit_predictive(router, inputs, right, ridge=1.0, seed=seed)
        gains: Tensor = router(inputs).detach()
        return gains

    assert torch.equal(fitted(4, 0), fitted(4, 0))
    assert not torch.equal(fitted(4, 0), fitted(4, 1))
    assert torch.equal(fitted(0, 0), fitted(0, 1))


def test_an_infinite_ridge_leaves_every_expert_its_mean() -> None:
    inputs, right = world()
    router = PredictiveRouter(5, 3)
    fit_predictive(router, inputs, right, ridge=1e9, seed=0)
    means = right.mean(0)
    assert router(inputs)[0].detach().numpy() == pytest.approx((means - means[0]).numpy(), abs=1e-3)


def test_one_cluster_is_the_best_expert_on_average() -> None:
    inputs, right = world()
    router = ClusterRouter(5, 3, clusters=1)
    fit_clusters(router, inputs, right, seed=0)
    assert (router(inputs).argmax(1) == right.mean(0).argmax()).all()
    assert router(inputs)[0].numpy() == pytest.approx(
        (right.mean(0) - right.mean(0)[0]).numpy(), abs=1e-6
    )


def test_as_many_clusters_as_examples_is_the_oracle_of_the_fit() -> None:
    inputs, right = world(rows=40)
    router = ClusterRouter(5, 3, clusters=40)
    fit_clusters(router, inputs, right, seed=0)
    assert torch.equal(router(inputs), right - right[:, :1])


def test_clusters_are_as_tight_as_those_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(4)
    centres = 6 * torch.randn(5, 3, generator=generator)
    inputs = centres.repeat(60, 1) + torch.randn(300, 3, generator=generator)
    router = ClusterRouter(3, 2, clusters=5)
    fit_clusters(router, inputs, torch.ones(300, 2), seed=0)
    mine = torch.cdist(inputs, router.centres).min(1).values.square().sum().item()
    reference = KMeans(5, n_init=10, random_state=0).fit(inputs.numpy()).inertia_
    assert mine == pytest.approx(reference, rel=1e-3)


def test_more_clusters_than_examples_are_refused() -> None:
    with pytest.raises(ValueError, match="4 clusters of 3 examples"):
        fit_clusters(ClusterRouter(2, 2, clusters=4), torch.ones(3, 2), torch.ones(3, 2), seed=0)


def test_inputs_that_are_not_finite_are_refused() -> None:
    inputs, right = world(20)
    inputs[3, 1] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        fit_predictive(PredictiveRouter(5, 3), inputs, right, ridge=1.0, seed=0)
    with pytest.raises(ValueError, match="NaN or infinite"):
        fit_clusters(ClusterRouter(5, 3, clusters=2), inputs, right, seed=0)


def test_two_classes_give_what_the_signed_margin_gives() -> None:
    """Five functions of the signed margin lie in the span of the features and a constant."""
    outputs = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    features = output_features(outputs, regression=False)
    assert features.shape == (50, output_width(2, regression=False))
    signed = outputs[:, 1] - outputs[:, 0]
    positive = (signed > 0).double()
    wanted = torch.stack([signed, signed.abs(), signed.square(), positive, positive * signed], 1)
    basis = torch.cat([features, torch.ones(50, 1, dtype=torch.float64)], 1)
    solved = basis @ torch.linalg.pinv(basis) @ wanted
    assert solved.numpy() == pytest.approx(wanted.numpy(), abs=1e-9)


def test_features_do_not_change_where_all_logits_move_together() -> None:
    outputs = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    moved = output_features(outputs + 3, regression=False)
    assert torch.allclose(moved, output_features(outputs, regression=False), atol=1e-5)


def test_a_value_gives_itself_and_its_square() -> None:
    features = output_features(torch.tensor([[2.0], [-3.0]]), regression=True)
    assert np.array_equal(features.numpy(), [[2, 4], [-3, 9]])
