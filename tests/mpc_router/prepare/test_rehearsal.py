"""What a rehearsal finds before anything is trained, and what it remembers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mpc_router.config.trial import TrialConfig, trial_config
from mpc_router.data.sources import Source
from mpc_router.model.experts import BertExpert
from mpc_router.model.sources import ModelError, Models
from mpc_router.prepare import _rehearsal
from mpc_router.prepare._checks import check_inputs
from mpc_router.prepare.inputs import Places
from mpc_router.sample import encoders
from tests.mpc_router.families import save_tiny, sound_models

POOL: Mapping[str, Any] = {
    "pool": "custom",
    "expert_costs": [1, 2],
    "router_cost": 0.1,
    "router_model_name": "org/bert2",
    "tokenizer_model_name": "org/bert2",
    "max_length": 32,
    "expert_epochs": 1,
    "expert_learning_rate": 1e-3,
}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    sound_models(tmp_path / "models")
    return tmp_path / "models"


def pool(name: str = "org/odd", **settings: Any) -> TrialConfig:
    names = {"expert_model_names": [name, "org/bert3"], "expert_fine_tuned": True}
    return trial_config({**POOL, **names, **settings})


def check(models: Path, config: TrialConfig) -> None:
    cache = models.parent / "cache"
    check_inputs(config, Places(source=Source(kind="sample"), models=Models(models), cache=cache))


def test_robertas_positions_begin_after_the_padding_and_the_advice_works(models: Path) -> None:
    save_tiny(models / "org" / "odd", "roberta", max_position_embeddings=34, pad_token_id=1)
    check(models, pool(max_length=32))
    for length in (33, 34, 35):
        with pytest.raises(ModelError, match="org/odd takes 32 tokens at most; set max_length=32"):
            check(models, pool(max_length=length))


def test_a_model_without_a_limit_takes_any_length(models: Path) -> None:
    save_tiny(models / "org" / "odd", "xlnet")
    check(models, pool(max_length=40))


def test_a_length_that_a_model_fails_at_is_found_by_trying(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tiny(models / "org" / "odd", "roberta", max_position_embeddings=34, pad_token_id=1)
    monkeypatch.setattr("mpc_router.prepare._checks.places_of", lambda _: None)
    with pytest.raises(ModelError, match=r"org/odd does not run .* set max_length=32 or less"):
        check(models, pool(max_length=60))


def test_a_decoder_serves_with_its_head_and_a_pad_token(models: Path) -> None:
    save_tiny(models / "org" / "odd", "gpt2", pad_token_id=encoders.tokenizer().pad_token_id)
    check(models, pool())
    check(models, pool(expert_fine_tuned=False, expert_pooling="mean"))
    for settings in ({"expert_fine_tuned": False}, {"expert_layers": [1, 0]}):
        with pytest.raises(ModelError, match="org/odd says the same of any two examples"):
            check(models, pool(**settings))
    with pytest.raises(ModelError, match="org/odd says the same of any two examples"):
        check(models, pool("org/bert2", router_model_name="org/odd"))


def test_a_decoder_without_a_pad_token_is_refused_by_name(models: Path) -> None:
    save_tiny(models / "org" / "odd", "gpt2", pad_token_id=None)
    with pytest.raises(ModelError, match=r"org/odd does not run.*set pad_token_id"):
        check(models, pool())


def test_a_decoder_that_pads_with_another_token_is_refused(models: Path) -> None:
    save_tiny(models / "org" / "odd", "gpt2", pad_token_id=7)
    with pytest.raises(ModelError, match="org/odd takes token 7 for padding"):
        check(models, pool())


def test_weights_that_give_no_numbers_are_refused(models: Path) -> None:
    path = models / "org" / "bert3" / "model.safetensors"
    weights = load_file(path)
    name = sorted(weights)[-1]
    save_file(weights | {name: torch.full_like(weights[name], torch.nan)}, path, {"format": "pt"})
    with pytest.raises(ModelError, match="org/bert3 gives NaN or infinite numbers"):
        check(models, pool("org/bert2"))


def test_a_model_that_cannot_learn_is_found_before_training(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise NotImplementedError("no gradient\nhere")

    monkeypatch.setattr(_rehearsal, "fine_tune", fails)
    with pytest.raises(ModelError, match=r"org/bert2 cannot be trained .*no gradient here"):
        check(models, pool("org/bert2", expert_fine_tuned=False))


def test_what_passed_is_not_tried_again_until_it_changes(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    whole = BertExpert

    def counting(name: str, *rest: Any, **more: Any) -> Any:
        tried.append(name)
        return whole(name, *rest, **more)

    monkeypatch.setattr(_rehearsal, "BertExpert", counting)
    check(models, pool("org/bert2"))
    assert sorted(set(tried)) == ["org/bert2", "org/bert3"]
    before = len(tried)
    check(models, pool("org/bert2"))
    assert len(tried) == before
    path = models / "org" / "bert3" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "use_cache": False}))
    check(models, pool("org/bert2"))
    assert tried[before:] == ["org/bert3"]


def test_what_is_said_layer_by_layer_is_cut_with_the_layers(models: Path) -> None:
    save_tiny(models / "org" / "odd", "longformer")
    check(models, pool(expert_fine_tuned=False, expert_layers=[1, 0]))


def test_all_missing_models_are_named_at_once(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError) as error:
        check(models, pool("org/nowhere", router_model_name="org/neither"))
    assert "'org/neither', 'org/nowhere' are not on this machine" in str(error.value)
