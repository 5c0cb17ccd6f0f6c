"""Routers that are fitted at once, from their training to an exported folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mpc_router import GatedBertPool, RoutedClassifier
from mpc_router.costs import Bias
from mpc_router.data.sources import load_splits
from mpc_router.data.tokens import gather
from mpc_router.joint.start import examine
from mpc_router.model.description import describe, rebuild
from mpc_router.model.lazy_expert import LazyExpert, load_experts
from mpc_router.model.shared_stem import base_of
from mpc_router.results.assembly import assemble
from mpc_router.results.bias import fold
from mpc_router.routes import Decisions
from sweeps.commands.routers import export
from tests.trained import Train, Trained

KINDS: tuple[dict[str, Any], ...] = (
    {"router_kind": "predictive", "stem": "expert", "router_gain": "loss", "router_bias": 0.0003},
    {
        "router_kind": "predictive",
        "stem": "expert",
        "router_gain": "loss",
        "router_sees": "outputs+features",
    },
    {"router_kind": "predictive", "stem": "expert", "router_gain": "loss", "combine": "logistic"},
    {"router_kind": "sequential", "stem": "expert", "router_gain": "loss", "combine": "average"},
    {"router_kind": "cascade", "stem": "expert", "router_threshold": 0.5, "combine": "logistic"},
    {"router_kind": "clusters", "router_clusters": 4},
    {"stem": "expert", "combine": "average"},
)


@pytest.fixture(scope="module", params=KINDS, ids=str)
def fitted(request: pytest.FixtureRequest, trained: Train) -> Trained:
    return trained(**request.param)


def _answers(model: GatedBertPool, router: Trained) -> tuple[Any, Any]:
    tokens = router.validation()
    with torch.no_grad():
        outputs, routes = model.forward_inference(*gather(tokens, np.arange(len(tokens))).inputs)
    return outputs.numpy(), routes.numpy()


def test_the_routes_of_the_model_are_those_of_the_run(fitted: Trained) -> None:
    if fitted.config.model.sees_outputs:
        assert len(set(fitted.routes.tolist())) > 1
    model = assemble(fitted.folder, fitted.places).model
    outputs, routes = _answers(model, fitted)
    assert np.array_equal(routes, fitted.routes)
    accuracy = (outputs.argmax(-1) == fitted.validation().labels).mean()
    assert accuracy == pytest.approx(fitted.report.metrics["accuracy"][0])


def _passes(model: GatedBertPool) -> tuple[list[list[int]], list[list[int]]]:
    """Rows of every pass of each expert's encoder, and of a stem that is none of theirs."""
    stem: Any = model.stem
    encoders = [base_of(expert) for expert in model.experts.experts]
    own = [] if stem.encoder in encoders else [stem.encoder]
    counted: list[list[int]] = []
    for encoder in (*encoders, *own):
        rows: list[int] = []
        encoder.register_forward_pre_hook(lambda _, given, rows=rows: rows.append(len(given[0])))
        counted.append(rows)
    return counted[: len(encoders)], counted[len(encoders) :]


def _expected(fitted: Trained) -> tuple[list[int], list[int]]:
    """How many examples each expert runs for, and the stem where it is none of them."""
    paths, config = fitted.config.paths, fitted.config.model
    ran = np.array([[expert in paths[route] for expert in range(3)] for route in fitted.routes])
    experts = ran.sum(axis=0).tolist()
    if config.stem == "expert":
        experts[0] = len(ran)
        return experts, []
    return experts, [len(ran)]


def test_an_encoder_runs_once_for_the_examples_on_whose_path_it_is(fitted: Trained) -> None:
    model = assemble(fitted.folder, fitted.places).model
    experts, stem = _passes(model)
    _answers(model, fitted)
    assert ([sum(rows) for rows in experts], [sum(rows) for rows in stem]) == _expected(fitted)


def test_an_export_runs_an_encoder_no_more_often(fitted: Trained, tmp_path: Path) -> None:
    assert export.main([*fitted.flags, str(tmp_path / "out")]) == 0
    rows = len(fitted.routes)
    for lazy in (False, True):
        classifier = RoutedClassifier.from_pretrained(tmp_path / "out", lazy=lazy)
        model = classifier.assembled.model
        looks_through_first = fitted.config.model.stem == "expert"
        assert isinstance(model.experts.experts[0], LazyExpert) == (
            lazy and not looks_through_first
        )
        load_experts(model.experts)
        experts, stem = _passes(model)
        pairs = load_splits(fitted.config, fitted.places.source)["validation"].texts
        answers = classifier(list(zip(*pairs, strict=True)))
        last = [fitted.config.paths[route][-1] for route in fitted.routes]
        assert [answer.expert for answer in answers] == last
        assert ([sum(rows) for rows in experts], [sum(rows) for rows in stem]) == _expected(fitted)
    examined = _passes(model)
    examine(model, fitted.validation(), 2)
    assert [sum(counted) for counted in (*examined[0], *examined[1])] == [rows] * (3 + len(stem))


def test_an_export_is_the_same_router_without_its_experts_folder(
    fitted: Trained, tmp_path: Path
) -> None:
    assert export.main([*fitted.flags, str(tmp_path / "out")]) == 0
    outputs, routes = _answers(GatedBertPool.from_pretrained(tmp_path / "out"), fitted)
    assert np.array_equal(routes, fitted.routes)
    assert np.isfinite(outputs).all()


def test_a_description_gives_a_pool_of_the_same_shape(fitted: Trained) -> None:
    model = assemble(fitted.folder, fitted.places).model
    again = rebuild(describe(model), GatedBertPool.from_parts)
    again.load_state_dict(model.state_dict())
    first, second = (_answers(pool, fitted) for pool in (model, again))
    assert np.array_equal(first[1], second[1])
    assert np.array_equal(first[0], second[0])


def test_a_bias_folds_into_a_fitted_router(fitted: Trained) -> None:
    assembled = assemble(fitted.folder, fitted.places)
    vector = assembled.vectors["constants"]
    (routing,) = [one for one in fitted.ended.routing if one.split == "validation"]
    logits = routing.logits[0].astype(np.float64)
    decisions = Decisions(fitted.config.paths)
    price = decisions.price(vector.on(decisions.paths).routed)
    value = 0.37 * float(np.ptp(logits)) / float(np.ptp(price))
    folded = fold(assembled, Bias(value=value, vector=vector))
    expected = decisions.routes(logits - value * price)
    assert np.array_equal(_answers(folded.model, fitted)[1], expected)


def test_a_soft_gate_is_the_hard_route(fitted: Trained) -> None:
    if not fitted.config.model.fitted:
        pytest.skip("a gated router has a soft gate")
    model = assemble(fitted.folder, fitted.places).model
    tokens = fitted.validation()
    with torch.no_grad():
        mixed, gates = model(*gather(tokens, np.arange(8)).inputs)
    assert gates.sum(-1).tolist() == [1.0] * 8
    assert gates.argmax(-1).numpy().tolist() == fitted.routes[:8].tolist()
    assert np.allclose(mixed.numpy(), _answers(model, fitted)[0][:8], atol=1e-5)
