"""Encoders of the kinds that people have, in every role of a pool."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from mpc_router.config.trial import trial_config
from mpc_router.costs import FLOPS, PARAMETERS
from mpc_router.model.sources import ModelError, Models
from mpc_router.pricing.counts import check_counted, counted
from mpc_router.sample import examples
from tests.mpc_router.families import (
    ROLES,
    model_types,
    outcome,
    save_tiny,
    sound_models,
    table,
)

TRAIN = (
    *("deberta", "deberta-v2", "xlm-roberta", "roberta", "mpnet", "distilbert", "electra"),
    *("albert", "modernbert", "big_bird", "rembert"),
)
"""Types that must serve in every role."""


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["deberta-v2", "modernbert"])
def test_an_encoder_whose_flops_cannot_be_counted_trains(tmp_path: Path, model_type: str) -> None:
    sound_models(tmp_path / "models")
    save_tiny(tmp_path / "models" / "org" / "odd", model_type)
    for role in ("whole", "stem"):
        found = outcome(tmp_path / "models", tmp_path / "cache", "org/odd", role)
        assert found == ("trains", "")


def test_flops_that_cannot_be_counted_are_left_out_with_a_note(tmp_path: Path) -> None:
    sound_models(tmp_path)
    save_tiny(tmp_path / "org" / "odd", "deberta-v2")
    config = trial_config(
        {
            "pool": "custom",
            "expert_model_names": ["org/odd", "org/bert3"],
            "expert_costs": [1, 2],
            "router_model_name": "org/bert2",
            "router_cost": 0,
            "expert_fine_tuned": True,
        }
    )
    found = counted(config, Models(tmp_path), tokens=16)
    assert set(found.vectors) == {PARAMETERS}
    (note,) = found.notes
    assert "flops are left out: org/odd" in note
    check_counted(config, Models(tmp_path), PARAMETERS)
    with pytest.raises(ModelError, match=r"cost vector flops is asked for.*org/odd"):
        check_counted(config, Models(tmp_path), FLOPS)


@pytest.mark.long
@pytest.mark.parametrize("model_type", TRAIN)
def test_these_train_in_every_role(tmp_path: Path, model_type: str) -> None:
    rows = table(tmp_path, [model_type])
    assert [row[2] for row in rows] == ["trains"] * len(ROLES), rows


@pytest.mark.long
def test_no_type_of_model_raises(tmp_path: Path) -> None:
    sound_models(tmp_path / "models")
    rows = table(tmp_path, model_types())
    assert not [row for row in rows if row[2] in ("raises", "late")]


def save_sentencepiece(folder: Path) -> None:
    """A DeBERTa-v3 as its makers publish it: SentencePiece's file is all of its tokenizer."""
    pieces = pytest.importorskip("sentencepiece")
    save_tiny(folder, "deberta-v2", vocab_size=256)
    for path in folder.glob("*token*"):
        path.unlink()
    text = folder.parent / "text"
    text.write_text("\n".join(examples.table("mrpc", "train")["sentence1"].to_pylist()))
    names = ("pad", "bos", "eos", "unk")
    pieces.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / "spm"),
        vocab_size=110,
        minloglevel=2,
        **{f"{name}_id": number for number, name in enumerate(names)},
        **dict(
            zip(
                (f"{name}_piece" for name in names),
                ("[PAD]", "[CLS]", "[SEP]", "[UNK]"),
                strict=True,
            )
        ),
    )
    (folder / "spm.vocab").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"vocab_type": "spm"}))


@pytest.mark.slow
def test_a_tokenizer_of_sentencepiece_alone_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    sound_models(models)
    save_sentencepiece(models / "org" / "d2")
    shutil.copytree(models / "org" / "d2", models / "org" / "bert3", dirs_exist_ok=True)
    for name in ("tokenizer.json", "special_tokens_map.json", "vocab.txt"):
        (models / "org" / "bert3" / name).unlink(missing_ok=True)
    shutil.rmtree(models / "org" / "bert2")
    shutil.copytree(models / "org" / "d2", models / "org" / "bert2")
    assert outcome(models, tmp_path / "cache", "org/d2", "whole") == ("trains", "")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *_: None if name == "sentencepiece" else find(name),
    )
    found = outcome(models, tmp_path / "other", "org/d2", "whole")
    assert found[0] == "refused"
    assert "spm.model" in found[1]
    assert "pip install sentencepiece" in found[1]
