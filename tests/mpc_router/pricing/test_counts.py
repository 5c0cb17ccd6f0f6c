from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mpc_router.config.kind_traits import KindTraits
from mpc_router.config.pools import MINILM_MODEL
from mpc_router.config.router_kinds import FITTED_KINDS
from mpc_router.config.trial import ConfigError, TrialConfig, trial_config
from mpc_router.costs import FLOPS, PARAMETERS
from mpc_router.model.experts import BertExpert
from mpc_router.model.router import build_router
from mpc_router.model.shared_stem import behind_stem
from mpc_router.model.sources import ModelError, Models
from mpc_router.pricing.counts import _counts_of, counted
from tests.mpc_router.small_models import save_classifier, save_encoder

WIDTH, INNER = 16, 32  # of `small_config`
HIDDEN = 24
TOKENS = 11


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Encoders of 1 to 4 layers, and a classifier of 4."""
    folder = tmp_path_factory.mktemp("models")
    for layers in (1, 2, 4):
        save_encoder(folder / "org" / f"encoder{layers}", layers=layers)
    save_classifier(folder / "org" / "classifier", layers=4, num_labels=2)
    return Models(folder)


def pool(*experts: str, **more: Any) -> TrialConfig:
    return trial_config(
        {
            "pool": "custom",
            "expert_model_names": [f"org/{name}" for name in experts],
            "expert_costs": list(range(1, len(experts) + 1)),
            "router_model_name": "org/encoder1",
            "router_cost": 0,
            "router_hidden_size": HIDDEN,
            **more,
        }
    )


def layer_flops(tokens: int) -> int:
    """Query, key, value and output; scores and their sum over values; up and down."""
    square, attention, inner = 4 * WIDTH * WIDTH, 2 * tokens * WIDTH, 2 * WIDTH * INNER
    return 2 * tokens * (square + attention + inner)


def mlp_flops(experts: int) -> int:
    return 2 * WIDTH * HIDDEN + 2 * HIDDEN * experts


def test_the_flops_of_a_bert_are_those_worked_out_by_hand(models: Models) -> None:
    found = counted(pool("encoder2", "encoder4"), models, tokens=TOKENS).vectors[FLOPS]
    head = 2 * WIDTH * 2
    assert found.experts == pytest.approx(
        [(layers * layer_flops(TOKENS) + head) / 1e9 for layers in (2, 4)]
    )
    assert found.router == pytest.approx((layer_flops(TOKENS) + mlp_flops(2)) / 1e9)
    assert found.unit == "GFLOP"


def test_the_parameters_are_those_of_the_loaded_models(models: Models) -> None:
    config = pool("encoder2", "classifier", expert_fine_tuned=True)
    found = counted(config, models, tokens=TOKENS).vectors[PARAMETERS]
    loaded = [
        BertExpert(name, 2, models=models, keep_head=True)
        for name in config.model.expert_model_names
    ]
    assert [expert.fine_tuned for expert in loaded] == [False, True]
    assert found.experts == pytest.approx([size(expert) / 1e6 for expert in loaded])
    stem = BertExpert("org/encoder1", 2, models=models).body
    mlp = (WIDTH + 1) * HIDDEN + (HIDDEN + 1) * 2
    assert found.router == pytest.approx((size(stem) + mlp) / 1e6)


def size(module: nn.Module) -> int:
    return sum(weights.numel() for weights in module.parameters())


def test_a_head_that_is_kept_has_its_pooler_and_a_cut_model_a_fresh_one(models: Models) -> None:
    def flops(**more: Any) -> float:
        config = pool("encoder2", "classifier", **more)
        return counted(config, models, tokens=TOKENS).vectors[FLOPS].experts[1] * 1e9

    whole, head, pooler = 4 * layer_flops(TOKENS), 2 * WIDTH * 2, 2 * WIDTH * WIDTH
    assert flops(expert_fine_tuned=True) == pytest.approx(whole + pooler + head)
    assert flops(expert_fine_tuned=False) == pytest.approx(whole + head)
    cut = flops(expert_fine_tuned=True, expert_layers=[2, 3])
    assert cut == pytest.approx(3 * layer_flops(TOKENS) + head)


def test_parameters_do_not_know_the_length_and_flops_are_quadratic_in_it(models: Models) -> None:
    config = pool("encoder2", "encoder4")
    found = [counted(config, models, tokens=tokens).vectors for tokens in (4, 8, 12, 16)]
    assert len({vectors[PARAMETERS] for vectors in found}) == 1
    flops = [(vectors[FLOPS].router, *vectors[FLOPS].experts) for vectors in found]
    for first, second, third, fourth in zip(*flops, strict=True):
        bend = third - 2 * second + first
        assert bend > 0
        assert fourth - 2 * third + second == pytest.approx(bend)


def test_a_mean_length_is_rounded_to_whole_tokens(models: Models) -> None:
    config = pool("encoder2", "encoder4")
    assert counted(config, models, tokens=7.6).vectors == counted(config, models, tokens=8).vectors
    assert counted(config, models, tokens=0.1).vectors == counted(config, models, tokens=1).vectors


def test_no_weights_are_read(tmp_path: Path) -> None:
    for name in ("encoder1", "encoder2"):
        save_encoder(tmp_path / "org" / name, layers=int(name[-1]))
        (tmp_path / "org" / name / "model.safetensors").write_bytes(b"no weights")
    found = counted(pool("encoder1", "encoder2"), Models(tmp_path), tokens=TOKENS).vectors
    assert found[PARAMETERS].experts[1] > found[PARAMETERS].experts[0] > 0


def test_a_stem_that_is_the_cheapest_expert_is_paid_once(models: Models) -> None:
    config = pool("encoder2", "encoder4", stem="expert")
    for vector in counted(config, models, tokens=TOKENS).vectors.values():
        assert vector.stem_is_expert
        assert vector.routed == (0, vector.experts[1])
    flops = counted(config, models, tokens=TOKENS).vectors[FLOPS]
    assert flops.router == pytest.approx(flops.experts[0] + mlp_flops(2) / 1e9)


def test_kinds_of_routers_that_share_a_set_cost_alike(models: Models) -> None:
    """Whichever is prepared first, for the vectors are kept with the set."""
    kinds: tuple[dict[str, Any], ...] = (
        {},
        {"router_kind": "predictive"},
        {"router_kind": "clusters", "router_clusters": 5},
    )
    behind_expert = [
        counted(pool("encoder2", "encoder4", stem="expert", **kind), models, tokens=TOKENS)
        for kind in kinds
    ]
    assert all(one.vectors == behind_expert[0].vectors for one in behind_expert)
    few, many = (
        counted(
            pool("encoder2", "encoder4", router_kind="clusters", router_clusters=clusters),
            models,
            tokens=TOKENS,
        )
        for clusters in (2, 50)
    )
    assert few.vectors == many.vectors


@pytest.mark.parametrize("kind", ["gated", *FITTED_KINDS])
def test_behind_a_stem_of_its_own_a_router_costs_a_network_where_its_kind_has_one(
    models: Models, kind: str
) -> None:
    traits = FITTED_KINDS.get(kind, KindTraits())
    if traits.sees_outputs:
        with pytest.raises(ConfigError, match="set stem=expert"):
            pool("encoder2", "encoder4", router_kind=kind)
        return
    vectors = counted(pool("encoder2", "encoder4", router_kind=kind), models, tokens=TOKENS).vectors
    network = (WIDTH * HIDDEN + HIDDEN) + (HIDDEN * 2 + 2)
    stem = size(BertExpert("org/encoder1", 2, models=models).body)
    assert vectors[PARAMETERS].router == pytest.approx((stem + traits.network * network) / 1e6)
    assert vectors[FLOPS].router == pytest.approx(
        (layer_flops(TOKENS) + traits.network * mlp_flops(2)) / 1e9
    )
    built = build_router(pool("encoder2", "encoder4", router_kind=kind), WIDTH)
    assert any(True for _ in built.parameters()) == traits.network


def test_with_a_shared_stem_experts_are_the_layers_after_it(models: Models) -> None:
    apart = pool("encoder2", "encoder4", experts="joint")
    shared = pool("encoder2", "encoder4", experts="joint", shared_stem=True)
    whole, rest = (counted(each, models, tokens=TOKENS).vectors for each in (apart, shared))
    head = 2 * WIDTH * 2
    assert rest[FLOPS].experts == pytest.approx(
        [(layers * layer_flops(TOKENS) + head) / 1e9 for layers in (1, 3)]
    )
    behind = [
        behind_stem(BertExpert(name, 2, models=models), 1)
        for name in shared.model.expert_model_names
    ]
    assert rest[PARAMETERS].experts == pytest.approx([size(each) / 1e6 for each in behind])
    assert [rest[name].router for name in rest] == [whole[name].router for name in whole]


def test_frozen_experts_are_whole_whatever_shared_stem_says(models: Models) -> None:
    frozen = pool("encoder2", "encoder4")
    told = pool("encoder2", "encoder4", shared_stem=True)
    assert (
        counted(told, models, tokens=TOKENS).vectors
        == counted(frozen, models, tokens=TOKENS).vectors
    )


def test_an_expert_that_ends_before_the_shared_stem_is_refused(models: Models) -> None:
    config = pool(
        *("encoder2", "encoder4"),
        experts="joint",
        shared_stem=True,
        router_model_name="org/encoder4",
    )
    with pytest.raises(ModelError, match="lower router_stem_layers"):
        counted(config, models, tokens=TOKENS)


def test_the_sample_is_counted() -> None:
    for vector in counted(
        trial_config({"pool": "sample"}), Models(), tokens=TOKENS
    ).vectors.values():
        assert 0 < vector.experts[0] < vector.experts[1] < vector.experts[2]
        assert vector.router > 0


def test_minilm_costs_one_more_layer_a_cut() -> None:
    if Models().resolve(MINILM_MODEL).kind == "hub":
        pytest.skip("all-MiniLM-L6-v2 is not installed")
    config = trial_config(
        {"pool": "minilm", "stem": "expert", "expert_layers": [1, 2, 3, 4], "task": "sst2"}
    )
    for vector in counted(config, Models(), tokens=20).vectors.values():
        steps = [b - a for a, b in zip(vector.experts, vector.experts[1:], strict=False)]
        assert steps == pytest.approx([steps[0]] * 3)
        assert steps[0] > 0


def test_a_linear_map_is_counted_by_its_sides() -> None:
    linear = nn.Linear(7, 5)
    found = _counts_of(linear, lambda: linear(torch.zeros(3, 7)))
    assert (found.parameters, found.flops) == (7 * 5 + 5, 2 * 3 * 7 * 5)
