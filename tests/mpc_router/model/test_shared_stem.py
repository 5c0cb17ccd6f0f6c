from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mpc_router import GatedBertPool
from mpc_router.config.trial import TrialConfig, trial_config
from mpc_router.model.experts import BertExpert
from mpc_router.model.router import RouterStem
from mpc_router.model.shared_stem import (
    base_of,
    behind_stem,
    check_layers,
    check_shared_stem,
    layers_before,
    layers_of,
)
from mpc_router.model.sources import ModelError, Models
from tests.mpc_router.joint_pools import small_pool
from tests.mpc_router.small_models import save_classifier, save_encoder, some_tokens


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One classifier at two depths, a narrow encoder, and one of another kind."""
    folder = tmp_path_factory.mktemp("models")
    save_classifier(folder / "org" / "deep", layers=3)
    save_encoder(folder / "org" / "flat", layers=1, seed=1)
    save_encoder(folder / "org" / "narrow", hidden=8, layers=3, seed=2)
    (folder / "org" / "other").mkdir()
    from transformers import DistilBertConfig, DistilBertModel

    DistilBertModel(
        DistilBertConfig(vocab_size=40, dim=16, n_layers=3, n_heads=2, hidden_dim=32)
    ).save_pretrained(folder / "org" / "other")
    return folder


@pytest.mark.parametrize("after", [0, 1, 2, 3])
@pytest.mark.parametrize("layers", [0, 3])
def test_an_expert_behind_its_own_first_layers_says_what_it_said_whole(
    models: Path, after: int, layers: int
) -> None:
    places = Models(models)
    keep = {"models": places, "pooling": "mean", "keep_head": layers == 0}
    whole = BertExpert("org/deep", layers=layers, **keep).eval()  # type: ignore[arg-type]
    tail = behind_stem(BertExpert("org/deep", layers=layers, **keep), after).eval()  # type: ignore[arg-type]
    stem = RouterStem("org/deep", layers=after, models=places).eval() if after else None
    ids, mask = some_tokens()
    kinds = torch.zeros_like(ids)
    with torch.no_grad():
        if stem is None:
            hidden = base_of(whole).embeddings(input_ids=ids, token_type_ids=kinds)
        else:
            hidden, _ = stem.tokens(ids, mask, kinds)
        expected, found = whole(ids, mask, kinds), tail(hidden, mask, kinds)
    assert torch.allclose(found, expected, atol=1e-6)
    assert layers_before(tail) == after
    assert layers_before(whole) is None


def test_only_the_stem_has_embeddings_and_first_layers() -> None:
    pool = small_pool(shared=True)
    names = [name for name, _ in pool.named_parameters()]
    assert any("embeddings" in name for name in names if name.startswith("stem."))
    assert not any("embeddings" in name for name in names if name.startswith("experts."))
    depths = [
        len(layers_of(base_of(expert), ""))
        for expert in pool.experts.experts
        if isinstance(expert, BertExpert)
    ]
    assert depths == [0, 1, 2]


def test_the_stem_runs_once_and_inference_takes_each_expert_s_own_rows() -> None:
    pool = small_pool(shared=True).eval()
    ids, mask = some_tokens(12)
    ran: list[int] = []
    pool.stem.encoder.register_forward_pre_hook(lambda *_: ran.append(1))  # type: ignore[union-attr]
    predictions, chosen = pool.forward_inference(ids, mask)
    assert len(ran) == 1
    with torch.no_grad():
        everything = pool.ask(pool.look(ids, mask))
    assert torch.allclose(predictions, everything[torch.arange(12), chosen], atol=1e-6)


def test_padding_does_not_change_what_experts_behind_a_stem_say() -> None:
    pool = small_pool(shared=True).eval()
    ids, mask = some_tokens(3, 6)
    wider = torch.nn.functional.pad(ids, (0, 4)), torch.nn.functional.pad(mask, (0, 4))
    with torch.no_grad():
        assert torch.allclose(pool(ids, mask)[0], pool(*wider)[0], atol=1e-6)


def test_the_published_class_shares_its_stem_on_request(models: Path) -> None:
    def made(shared: bool) -> GatedBertPool:
        return GatedBertPool(
            "org/deep",
            ["org/deep", "org/deep"],
            router_stem_layers=1,
            expert_layers=[2, 3],
            models=models,
            shared_stem=shared,
        ).eval()

    ids, mask = some_tokens()
    with torch.no_grad():
        shared, whole = made(True)(ids, mask), made(False)(ids, mask)
    assert torch.allclose(shared[0], whole[0], atol=1e-6)
    assert torch.allclose(shared[1], whole[1], atol=1e-6)


def a_config(**settings: Any) -> TrialConfig:
    base = {
        "pool": "custom",
        "experts": "joint",
        "shared_stem": True,
        "expert_model_names": ["org/deep", "org/deep"],
        "expert_layers": [2, 3],
        "expert_costs": [1.0, 2.0],
        "router_model_name": "org/flat",
        "router_cost": 0.1,
    }
    return trial_config(base | settings)


def test_what_fits_is_let_through(models: Path) -> None:
    check_shared_stem(a_config(), Models(models), fine_tuned=False)
    check_shared_stem(a_config(expert_layers=[1, 3]), Models(models), fine_tuned=False)
    own = a_config(router_model_name="org/deep", router_stem_layers=1)
    check_shared_stem(own, Models(models), fine_tuned=True)


def test_tuned_experts_stand_behind_no_other_model_s_states(models: Path) -> None:
    with pytest.raises(ModelError, match="know only their own; set expert_start=checkpoint"):
        check_shared_stem(a_config(), Models(models), fine_tuned=True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"router_model_name": "org/narrow"}, "one width: the stem org/narrow has 8.* has 16"),
        ({"router_model_name": "org/other"}, "one kind.*'distilbert'.*'bert'"),
        (
            {"router_model_name": "org/deep", "router_stem_layers": 3},
            "the stem has 3, org/deep only 2; set router_stem_layers=2",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(
    models: Path, settings: dict[str, object], words: str
) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        check_shared_stem(a_config(**settings), Models(models), fine_tuned=False)
    assert "\n" not in str(caught.value)


def test_an_encoder_that_is_not_built_like_bert_is_refused(models: Path) -> None:
    expert = BertExpert("org/other", models=Models(models))
    with pytest.raises(ModelError, match="not built like BERT"):
        behind_stem(expert, 1)
    with pytest.raises(ModelError, match=r"org/other \(DistilBertModel\) is not built like BERT"):
        check_layers("org/other", Models(models))
    check_layers("org/deep", Models(models))
    check_layers("sample/large", Models())
