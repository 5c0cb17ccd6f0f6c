"""Routers that are fitted at once: their limits, and what they may not depend on."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from mpc_router.config import router_kinds as kinds
from mpc_router.routers._feature_routers import ClusterRouter
from mpc_router.routers.by_kind import fitted_router, rebuilt
from mpc_router.routers.fitted_router import FitRows, FittedRouter, RouterSettings, RouterSizes
from mpc_router.routes import pair_paths, prefix_paths, rising_paths, single_paths

PATHS = {
    kinds.PREDICTIVE: single_paths,
    kinds.SEQUENTIAL: rising_paths,
    kinds.CASCADE: prefix_paths,
    kinds.CLUSTERS: single_paths,
    kinds.RANDOM: single_paths,
}


def made(kind: str, *, features: int = 5, experts: int = 3, **settings: Any) -> FittedRouter:
    sizes = RouterSizes(features=features, outputs=2, regression=False, paths=PATHS[kind](experts))
    return fitted_router(kind, RouterSettings(**settings), sizes)


def some_rows(router: FittedRouter, rows: int = 300, experts: int = 3) -> FitRows:
    """Rows whose experts are right by chance, a dearer one more often, and surer where right."""
    generator = torch.Generator().manual_seed(0)
    right = torch.rand(rows, experts, generator=generator) < torch.linspace(0.6, 0.9, experts)
    truth = torch.randint(0, 2, (rows,), generator=generator)
    answer = torch.where(right, truth[:, None], 1 - truth[:, None])
    margin = torch.rand(rows, experts, generator=generator) * (0.5 + 2 * right)
    outputs = torch.stack([-answer * margin, (answer - 1) * margin], -1) * 2
    last = [path[-1] for path in router.sizes.paths]
    of_paths = right[:, last].double()
    return FitRows(
        features=torch.randn(rows, 5, generator=generator),
        outputs=outputs,
        right=of_paths,
        losses=1 - of_paths,
    )


def fit(kind: str, **settings: Any) -> tuple[FittedRouter, FitRows]:
    router = made(kind, **settings)
    rows = some_rows(router)
    router.fit(rows, seed=0)
    return router, rows


def routes(router: FittedRouter, rows: FitRows) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        return router.decisions.routes(router(rows.features, rows.outputs).numpy())


@pytest.mark.parametrize("kind", PATHS)
def test_a_router_is_rebuilt_of_its_description_and_its_weights(kind: str) -> None:
    router, rows = fit(kind)
    again = rebuilt(router.shape())
    again.load_state_dict(router.state_dict())
    assert torch.equal(again(rows.features, rows.outputs), router(rows.features, rows.outputs))
    assert again.traits == router.traits == kinds.FITTED_KINDS[kind]


@pytest.mark.parametrize("kind", [kinds.PREDICTIVE, kinds.SEQUENTIAL, kinds.CASCADE])
def test_numbers_of_a_state_do_not_depend_on_experts_that_have_not_run(kind: str) -> None:
    router, rows = fit(kind)
    numbers = router(rows.features, rows.outputs)
    decisions = router.decisions
    for state, columns in zip(decisions.states, decisions.columns, strict=True):
        hidden = torch.full_like(rows.outputs, 77.0)
        seen = list(router.spoken(state))
        hidden[:, seen] = rows.outputs[:, seen]
        assert torch.equal(router(rows.features, hidden)[:, columns], numbers[:, columns])


@pytest.mark.parametrize("gain", ["right", "loss"])
def test_stopping_gains_nothing_over_itself(gain: str) -> None:
    router, rows = fit(kinds.SEQUENTIAL, gain=gain)
    numbers = router(rows.features, rows.outputs)
    for columns in router.decisions.columns:
        assert (numbers[:, columns.start] == 0).all()


def test_a_sequential_router_of_two_experts_is_a_predictive_one() -> None:
    sequential = made(kinds.SEQUENTIAL, experts=2)
    rows = some_rows(sequential, experts=2)
    sequential.fit(rows, seed=0)
    sizes = RouterSizes(features=5, outputs=2, regression=False, paths=pair_paths(2))
    predictive = fitted_router(kinds.PREDICTIVE, RouterSettings(), sizes)
    predictive.fit(rows, seed=0)
    assert torch.equal(sequential(None, rows.outputs), predictive(None, rows.outputs))


def test_the_chance_of_a_cascade_is_platt_s_of_each_class() -> None:
    router, rows = fit(kinds.CASCADE, ridge=1e-6)
    chance = router(None, rows.outputs)[:, 0].detach().numpy()
    first = rows.outputs[:, 0]
    chosen, margin = first.argmax(-1).numpy(), (first[:, 0] - first[:, 1]).abs().numpy()
    for number in (0, 1):
        of_class = chosen == number
        reference = LogisticRegression(C=1e6, tol=1e-10, max_iter=10_000)
        reference.fit(margin[of_class, None], rows.right[of_class, 0].numpy())
        expected = reference.predict_proba(margin[of_class, None])[:, 1]
        assert chance[of_class] == pytest.approx(expected, abs=1e-3)


def test_a_threshold_of_0_stops_with_the_first_and_one_of_1_runs_all() -> None:
    for threshold, route in ((0.0, 0), (1.0, 2)):
        router, rows = fit(kinds.CASCADE, threshold=threshold)
        assert (routes(router, rows) == route).all()


def test_more_run_the_higher_the_threshold_is() -> None:
    costs = [
        routes(*fit(kinds.CASCADE, threshold=threshold)).astype(int)
        for threshold in (0.0, 0.5, 0.7, 0.9, 1.0)
    ]
    for less, more in itertools.pairwise(costs):
        assert (more >= less).all()
    assert len({int(cost.sum()) for cost in costs}) > 3


@pytest.mark.parametrize("kind", PATHS)
def test_an_infinite_bias_takes_the_cheapest_or_the_dearest_path(kind: str) -> None:
    router, rows = fit(kind)
    costs = [sum((2, 4, 6)[expert] for expert in path) for path in router.sizes.paths]
    price = torch.from_numpy(router.decisions.price(costs)).float()
    for bias, path in ((1e6, np.argmin(costs)), (-1e6, np.argmax(costs))):
        router.offset.copy_(-bias * price)
        assert (routes(router, rows) == path).all()


def clustered(clusters: int, rows: FitRows) -> ClusterRouter:
    router = made(kinds.CLUSTERS, features=rows.features.shape[1], clusters=clusters)
    assert isinstance(router, ClusterRouter)
    router.fit(rows, seed=0)
    return router


def cluster_rows(features: Tensor, right: Tensor) -> FitRows:
    return FitRows(
        features=features, outputs=torch.zeros(len(right), 3, 2), right=right, losses=right
    )


def test_one_cluster_is_the_best_expert_on_average() -> None:
    rows = some_rows(made(kinds.CLUSTERS))
    gains = clustered(1, rows)(rows.features, None)
    means = rows.right.mean(0)
    assert (gains.argmax(1) == means.argmax()).all()
    assert gains[0].numpy() == pytest.approx((means - means[0]).numpy(), abs=1e-6)


def test_as_many_clusters_as_examples_is_the_oracle_of_the_fit() -> None:
    rows = some_rows(made(kinds.CLUSTERS), rows=40)
    gains = clustered(40, rows)(rows.features, None)
    assert torch.equal(gains, (rows.right - rows.right[:, :1]).float())


def test_clusters_are_as_tight_as_those_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(4)
    centres = 6 * torch.randn(5, 3, generator=generator)
    features = centres.repeat(60, 1) + torch.randn(300, 3, generator=generator)
    router = clustered(5, cluster_rows(features, torch.ones(300, 3)))
    tightness = torch.cdist(features, router.centres).min(1).values.square().sum().item()
    reference = KMeans(5, n_init=10, random_state=0).fit(features.numpy()).inertia_
    assert tightness == pytest.approx(reference, rel=1e-3)


def test_more_clusters_than_examples_are_refused() -> None:
    with pytest.raises(ValueError, match="4 clusters of 3 examples"):
        clustered(4, cluster_rows(torch.ones(3, 2), torch.ones(3, 3)))


def test_features_that_are_not_finite_are_refused() -> None:
    features = torch.randn(20, 5)
    features[3, 1] = torch.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        clustered(2, cluster_rows(features, torch.ones(20, 3)))


def test_a_kind_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="router_kind=best has no module"):
        fitted_router("best", RouterSettings(), made(kinds.CLUSTERS).sizes)


def test_chance_sends_the_shares_it_is_given_and_knows_nothing() -> None:
    router = made(kinds.RANDOM, features=40, shares=(0.5, 0.1, 0.4))
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(20_000, 40, generator=generator)
    router.fit(cluster_rows(features, torch.ones(20_000, 3)), seed=3)
    first = router(features, None).argmax(1)
    share = torch.bincount(first, minlength=3) / len(first)
    assert share.numpy() == pytest.approx([0.5, 0.1, 0.4], abs=0.015)
    assert torch.equal(router(features + 1e-9, None).argmax(1), first)
    correlations = torch.corrcoef(torch.cat([features.T, first[None].float()]))[-1, :-1]
    assert correlations.abs().max() < 0.05
    router.fit(cluster_rows(features, torch.ones(20_000, 3)), seed=4)
    assert (router(features, None).argmax(1) != first).float().mean() > 0.3
