"""What `check_inputs` lets pass; what it refuses is in tests/test_bad_input.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from mpc_router.config.trial import ConfigError, TrialConfig, trial_config
from mpc_router.data.sources import Source
from mpc_router.model.sources import ModelError, Models
from mpc_router.prepare._checks import check_inputs, headless
from mpc_router.prepare.inputs import Places
from tests.mpc_router.prepare.frozen_pools import models_folder


def at(tmp_path: Path, models: Path | None = None) -> Places:
    return Places(source=Source(kind="sample"), models=Models(models), cache=tmp_path / "cache")


def tuned(**settings: Any) -> TrialConfig:
    """Two experts that come fine-tuned."""
    given = {
        "pool": "custom",
        "expert_model_names": ["org/small", "org/large"],
        "expert_costs": [1, 3],
        "expert_fine_tuned": True,
        "router_model_name": "org/small",
        "router_cost": 0,
    }
    return trial_config({**given, **settings})


def write_config(models: Path, name: str, **changes: Any) -> None:
    path = models / "org" / name / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return models_folder(tmp_path / "models", tuned=True)


THREE = {"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}


def test_a_head_matters_only_where_it_is_kept(tmp_path: Path, models: Path) -> None:
    write_config(models, "large", **THREE)
    places = at(tmp_path, models)
    with pytest.raises(ModelError, match="org/large comes with a head of 3 outputs"):
        check_inputs(tuned(), places)
    check_inputs(tuned(expert_fine_tuned=False), places)  # it gets a fresh one
    check_inputs(tuned(expert_layers=[0, 1]), places)  # as does one that is cut
    stem = {"router_model_name": "org/large", "expert_model_names": ["org/small"] * 2}
    check_inputs(tuned(**stem), places)  # as has a stem none


def test_the_head_of_a_regression_has_one_output(tmp_path: Path, models: Path) -> None:
    with pytest.raises(ModelError, match="head of 2 outputs, the task has 1"):
        check_inputs(tuned(task="stsb"), at(tmp_path, models))


def test_the_default_length_is_no_wish_and_a_longer_one_is(tmp_path: Path) -> None:
    def sample(length: int) -> TrialConfig:
        return trial_config({"pool": "sample", "max_length": length})

    for length in (64, 128):  # the sample's models take 64
        check_inputs(sample(length), at(tmp_path))
    with pytest.raises(ModelError, match="set max_length=64 or less"):
        check_inputs(sample(129), at(tmp_path))


def test_positions_bound_the_length_where_the_tokenizer_does_not(
    tmp_path: Path, models: Path
) -> None:
    check_inputs(tuned(max_length=32), at(tmp_path, models))
    write_config(models, "large", max_position_embeddings=32)
    with pytest.raises(ModelError, match="org/large takes 32 tokens at most"):
        check_inputs(tuned(), at(tmp_path, models))


@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_of_tensors_pass(tmp_path: Path, models: Path, zipped: bool) -> None:
    folder = models / "org" / "large"
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    check_inputs(tuned(), at(tmp_path, models))


def test_weights_in_parts_pass_while_all_are_there(tmp_path: Path, models: Path) -> None:
    folder = models / "org" / "large"
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"part-1.safetensors": names[::2], "part-2.safetensors": names[1::2]}
    for part, held in parts.items():
        save_file({name: weights[name] for name in held}, folder / part, {"format": "pt"})
    index = {name: part for part, held in parts.items() for name in held}
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index})
    )
    check_inputs(tuned(), at(tmp_path, models))
    (folder / "part-2.safetensors").unlink()
    with pytest.raises(ModelError, match=r"names part-2\.safetensors, which is not there"):
        check_inputs(tuned(), at(tmp_path, models))


def test_experts_without_a_head_are_named(tmp_path: Path, models: Path) -> None:
    found = Models(models)
    assert headless(tuned(), found) == []
    write_config(models, "large", architectures=["BertForMaskedLM"])
    assert headless(tuned(), found) == ["org/large"]
    assert headless(tuned(expert_layers=[1, 0]), found) == ["org/small", "org/large"]
    assert headless(tuned(expert_fine_tuned=False), found) == []


def test_a_folder_of_models_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"--models .*nowhere is not a folder"):
        check_inputs(trial_config({"pool": "sample"}), at(tmp_path, tmp_path / "nowhere"))


def reword(folder: Path, change: Any) -> None:
    """Change the words of a model's own tokenizer."""
    path = folder / "tokenizer.json"
    stated = json.loads(path.read_text())
    stated["model"]["vocab"] = change(stated["model"]["vocab"])
    path.write_text(json.dumps(stated))


def swap_two(words: dict[str, int]) -> dict[str, int]:
    first, second = list(words)[50:52]
    return {**words, first: words[second], second: words[first]}


def translate(words: dict[str, int]) -> dict[str, int]:
    return {word if number < 5 else f"{word}ado": number for word, number in words.items()}


@pytest.mark.parametrize("change", [swap_two, translate])
@pytest.mark.parametrize("role", ["expert", "stem"])
def test_another_vocabulary_of_the_same_size_is_refused(
    tmp_path: Path, models: Path, change: Any, role: str
) -> None:
    reword(models / "org" / "large", change)
    pool = {"router_model_name": "org/large", "expert_model_names": ["org/small"] * 2}
    chosen = tuned(**(pool if role == "stem" else {}), tokenizer_model_name="org/small")
    with pytest.raises(ModelError, match=r"org/large has another vocabulary.*org/small") as error:
        check_inputs(chosen, at(tmp_path, models))
    assert "\n" not in str(error.value)


def test_words_that_a_model_lacks_and_a_model_without_words_pass(
    tmp_path: Path, models: Path
) -> None:
    chosen = tuned(tokenizer_model_name="org/small")
    reword(models / "org" / "large", lambda words: dict(list(words.items())[:-3]))
    check_inputs(chosen, at(tmp_path, models))
    for path in (models / "org" / "large").glob("*token*"):
        path.unlink()
    check_inputs(chosen, at(tmp_path, models))


def test_a_pool_of_one_expert_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 2 experts"):
        tuned(expert_model_names=["org/small"], expert_costs=[1])
