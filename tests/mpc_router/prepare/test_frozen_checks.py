"""What `check_inputs` of frozen pools refuses before anything starts, and when it looks again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mpc_router.config.trial import ConfigError, TrialConfig
from mpc_router.data.sources import Source, SourceError
from mpc_router.model.sources import ModelError, Models
from mpc_router.prepare import _checks
from mpc_router.prepare.frozen import check_inputs, prepare
from mpc_router.prepare.inputs import Places
from tests.mpc_router.prepare.frozen_pools import (
    config,
    custom,
    forbid,
    models_folder,
    places_at,
)


def test_inputs_that_have_passed_pass_again_until_a_model_is_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = models_folder(tmp_path / "models", tuned=True)
    chosen = custom(expert_fine_tuned=True)
    places = places_at(tmp_path / "cache", models)
    prepare(chosen, places)
    looked: list[TrialConfig] = []
    monkeypatch.setattr(_checks, "check_inputs", lambda config, _: looked.append(config))
    check_inputs(chosen, places)
    assert looked == [chosen]  # what is prepared and was not checked is checked
    monkeypatch.setattr("mpc_router.model.reading.load_config", forbid)
    check_inputs(chosen, places)
    assert looked == [chosen]
    monkeypatch.undo()
    monkeypatch.setattr(_checks, "check_inputs", lambda config, _: looked.append(config))
    path = models / "org" / "small" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "hidden_act": "relu"}))
    check_inputs(chosen, places)
    assert looked == [chosen, chosen]


def test_a_stem_that_is_an_expert_needs_no_other_model_to_be_known_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = places_at(tmp_path / "cache", models_folder(tmp_path / "models", tuned=True))
    chosen = config(
        pool="custom",
        expert_model_names=["org/small", "org/large"],
        expert_costs=[1, 3],
        expert_fine_tuned=True,
        stem="expert",
    )
    unused = dataclasses.replace(chosen.model, router_model_name="org/missing")
    chosen = dataclasses.replace(chosen, model=unused)
    prepare(chosen, places)
    check_inputs(chosen, places)
    monkeypatch.setattr(_checks, "check_inputs", forbid)
    check_inputs(chosen, places)


def test_checks_that_have_changed_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = places_at(tmp_path / "cache", models_folder(tmp_path / "models", tuned=True))
    chosen = custom(expert_fine_tuned=True)
    prepare(chosen, places)
    check_inputs(chosen, places)
    looked: list[TrialConfig] = []
    monkeypatch.setattr(_checks, "check_inputs", lambda config, _: looked.append(config))
    monkeypatch.setattr("mpc_router.prepare.frozen.CHECKS_VERSION", 0)
    check_inputs(chosen, places)
    assert looked == [chosen]


def lack_weights(models: Path) -> None:
    (models / "org" / "large" / "model.safetensors").unlink()


def lack_tokenizer(models: Path) -> None:
    for name in ("tokenizer.json", "vocab.txt"):
        (models / "org" / "large" / name).unlink(missing_ok=True)


def few_words(models: Path) -> None:
    path = models / "org" / "large" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "vocab_size": 9}))


@pytest.mark.parametrize(
    ("settings", "damage", "message"),
    [
        ({}, lack_weights, "no weights"),
        ({"tokenizer_model_name": "org/large"}, lack_tokenizer, "no tokenizer"),
        ({"tokenizer_model_name": "sample/tokenizer"}, few_words, "knows 9 tokens"),
        ({"expert_layers": [1, 9]}, lambda _: None, "has 3 layers, 9 were asked for"),
    ],
)
def test_models_that_cannot_be_are_found_before_anything_starts(
    tmp_path: Path,
    settings: dict[str, Any],
    damage: Callable[[Path], None],
    message: str,
) -> None:
    models = models_folder(tmp_path / "models", tuned=False)
    damage(models)
    with pytest.raises(ModelError, match=message):
        check_inputs(custom(**settings), places_at(tmp_path / "cache", models))
    assert not (tmp_path / "cache" / "experts").exists()


def test_missing_data_are_found_before_anything_starts(tmp_path: Path) -> None:
    source = Source(kind="folder", folder=tmp_path)
    places = Places(source=source, models=Models(), cache=tmp_path / "cache")
    with pytest.raises(SourceError, match=r"train\.parquet does not exist"):
        check_inputs(config(), places)


def test_sound_inputs_pass_and_train_nothing(tmp_path: Path) -> None:
    check_inputs(config(), places_at(tmp_path))
    assert not (tmp_path / "experts").exists()


def test_a_cache_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="--cache"):
        check_inputs(config(), places_at(tmp_path / "file" / "cache"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_refused(tmp_path: Path) -> None:
    for call in (check_inputs, prepare):
        with pytest.raises(ConfigError, match="no GPU"):
            call(config(device="cuda"), places_at(tmp_path))
