"""Experts of several vocabularies in a pool: each encoder is read with its own tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mpc_router.config.trial import TrialConfig, trial_config
from mpc_router.costs import FLOPS
from mpc_router.data.sources import Examples, Source, cut, read
from mpc_router.model.sources import ModelError, Models
from mpc_router.prepare._checks import check_inputs
from mpc_router.prepare.frozen import Prepared, open_prepared, prepare
from mpc_router.prepare.inputs import Places
from mpc_router.prepare.joint import check_joint
from mpc_router.pricing.counts import counted
from mpc_router.recipes.pool_tokenizers import tokenizers_of
from mpc_router.recipes.recipes import recipes
from tests.mpc_router.vocabularies import FAMILIES, POOL, byte_pairs, save_families, tokenizer_of

SOURCE = Source(kind="sample")


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_families(tmp_path_factory.mktemp("families"))


@pytest.fixture(scope="module")
def prepared(families: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    where = places(families, tmp_path_factory.mktemp("cache"))
    check_inputs(pool(), where)
    return prepare(pool(), where)


@pytest.fixture
def models(families: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    shutil.copytree(families, tmp_path / "models")
    return tmp_path / "models"


def pool(**settings: Any) -> TrialConfig:
    return trial_config({**POOL, **settings})


def places(models: Path, cache: Path) -> Places:
    return Places(source=SOURCE, models=Models(models), cache=cache)


def check(models: Path, **settings: Any) -> None:
    check_inputs(pool(**settings), places(models, models.parent / "cache"))


def split_of(name: str) -> Examples:
    return cut(pool(), read(pool(), SOURCE))[name]


def alone(models: Path, name: str, examples: Examples) -> torch.Tensor:
    """What transformers' own model says of texts that its own tokenizer was given, one by one."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = models / "org" / name
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        return torch.cat(
            [
                model(
                    **tokenizer(*texts, truncation=True, max_length=40, return_tensors="pt")
                ).logits
                for texts in zip(*examples.texts, strict=True)
            ]
        )


@pytest.mark.slow
@pytest.mark.parametrize("split", ["selection", "validation"])
def test_each_expert_says_what_it_says_alone_with_its_own_tokenizer(
    families: Path, prepared: Prepared, split: str
) -> None:
    for number, name in enumerate(FAMILIES):
        outputs = torch.tensor(prepared.splits[split].outputs[:, number])
        expected = alone(families, name, split_of(split))
        torch.testing.assert_close(outputs, expected, atol=1e-5, rtol=1e-4)
        assert outputs.std(0).min() > 0


def test_the_stem_has_its_own_tokenizer_too(
    families: Path, prepared: Prepared, tmp_path: Path
) -> None:
    cache = prepared.folder.parent.parent  # the experts' outputs are there
    found = prepare(pool(router_model_name="org/roberta"), places(families, cache))
    one_for_all = prepare(
        pool(
            router_model_name="org/roberta",
            expert_model_names=["org/roberta"] * 2,
            expert_costs=[1, 2],
        ),
        places(families, tmp_path / "other"),
    )
    for name, split in found.splits.items():
        assert np.array_equal(split.features, one_for_all.splits[name].features)


def test_an_expert_is_trained_on_its_own_tokens(families: Path, tmp_path: Path) -> None:
    settings = {"expert_fine_tuned": False, "expert_epochs": 1, "expert_learning_rate": 1e-3}
    settings |= {"train_rows": 32, "validation_rows": 10}
    several = prepare(pool(**settings), places(families, tmp_path / "several"))
    for number, name in enumerate(POOL["expert_model_names"]):
        one = {"expert_model_names": [name] * 2, "expert_costs": [1, 2]}
        given = settings | one | {"router_model_name": name, "tokenizer_model_name": name}
        expected = prepare(pool(**given), places(families, tmp_path / "one"))
        assert several.experts[number].hash == expected.experts[0].hash
        for split, outputs in several.splits.items():
            assert np.array_equal(outputs.outputs[:, number], expected.splits[split].outputs[:, 0])


def test_lengths_are_by_expert_and_tokens_are_the_longest(prepared: Prepared) -> None:
    for name, split in prepared.splits.items():
        texts = split_of(name).texts
        expected = [
            [
                len(tokenizer(*pair, truncation=True, max_length=40)["input_ids"])
                for pair in zip(*texts, strict=True)
            ]
            for tokenizer in map(tokenizer_of, FAMILIES)
        ]
        assert split.tokens_by_expert is not None
        assert split.tokens_by_expert.T.tolist() == expected
        assert split.tokens.tolist() == np.max(expected, axis=0).tolist()


def test_a_split_is_tokenised_once_by_each_distinct_tokenizer(prepared: Prepared) -> None:
    cache = prepared.folder.parent.parent
    kept = [path for path in (cache / "tokens").iterdir() if path.is_dir()]
    assert len(kept) == 3 * len(prepared.splits)  # the stem's is the BERT's


def test_what_was_prepared_is_opened_with_its_lengths(prepared: Prepared) -> None:
    again = open_prepared(prepared.folder)
    assert again.tokenizers == prepared.tokenizers
    for name, split in again.splits.items():
        expected = prepared.splits[name].tokens_by_expert
        assert split.tokens_by_expert is not None
        assert expected is not None
        assert np.array_equal(split.tokens_by_expert, expected)


def test_costs_are_counted_by_each_experts_lengths(prepared: Prepared, families: Path) -> None:
    train = prepared.splits["train"]
    assert train.tokens_by_expert is not None
    for number, mean in enumerate(train.tokens_by_expert.mean(axis=0)):
        flops = counted(pool(), Models(families), tokens=float(mean)).vectors[FLOPS]
        assert prepared.vectors[FLOPS].experts[number] == flops.experts[number]
    stem = counted(pool(), Models(families), tokens=float(train.tokens_by_expert[:, 1].mean()))
    assert prepared.vectors[FLOPS].router == stem.vectors[FLOPS].router


def test_a_pool_of_one_vocabulary_has_one_tokenizer_whatever_its_files_are_called(
    models: Path, tmp_path: Path
) -> None:
    chosen = pool(expert_model_names=["org/bert", "org/bert", "org/stem"])
    before = recipes(chosen, Models(models), trained_on="rows")
    path = models / "org" / "bert" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "name_or_path": "somewhere"}))
    after = recipes(chosen, Models(models), trained_on="rows")
    assert before == after
    assert after.tokenizers.names == ("org/stem",)
    assert not after.tokenizers.several
    found = prepare(chosen, places(models, tmp_path / "cache"))
    assert all(split.tokens_by_expert is None for split in found.splits.values())


def test_merges_are_part_of_a_byte_level_tokenizer(models: Path) -> None:
    folder = models / "org" / "roberta"
    (folder / "tokenizer.json").unlink()
    state = json.loads(byte_pairs().backend_tokenizer.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(state["vocab"]))
    merges = [" ".join(merge) for merge in state["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    before = tokenizers_of(pool(), Models(models))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges[:5]]))
    after = tokenizers_of(pool(), Models(models))
    assert before.experts == after.experts
    assert before.keys[:2] == after.keys[:2]
    assert before.keys[2] != after.keys[2]


def test_other_words_make_other_experts_though_their_weights_are_the_same(models: Path) -> None:
    before = recipes(pool(), Models(models), trained_on="rows")
    byte_pairs(290).save_pretrained(models / "org" / "roberta")
    after = recipes(pool(), Models(models), trained_on="rows")
    assert [recipe.key for recipe in before.experts] == [recipe.key for recipe in after.experts]
    assert before.experts_id != after.experts_id


def test_what_tokenizers_do_is_remembered_until_their_files_change(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = tmp_path / "hashes"
    first = tokenizers_of(pool(), Models(models), memory=memory)
    assert first == tokenizers_of(pool(), Models(models))

    def forbid(*_: Any) -> None:
        raise AssertionError("a tokenizer was loaded")

    monkeypatch.setattr("mpc_router.recipes.pool_tokenizers.load_tokenizer", forbid)
    assert tokenizers_of(pool(), Models(models), memory=memory) == first
    byte_pairs(290).save_pretrained(models / "org" / "roberta")
    with pytest.raises(AssertionError):
        tokenizers_of(pool(), Models(models), memory=memory)


def test_an_encoder_without_a_tokenizer_takes_that_of_one_with_as_many_tokens(
    models: Path,
) -> None:
    for path in (models / "org" / "bert").glob("token*"):
        path.unlink()
    found = tokenizers_of(pool(), Models(models))
    assert found.experts == (1, 0, 2)
    assert found.notes == ("org/bert brings no tokenizer and is read with that of org/stem.",)
    check(models)
    for path in (models / "org" / "roberta").glob("token*"):
        path.unlink()
    with pytest.raises(ModelError, match=r"org/roberta brings no tokenizer .*knows 300 tokens"):
        check(models)


def test_one_tokenizer_for_all_is_refused_without_a_circle(models: Path) -> None:
    for name in ("org/bert", "org/roberta"):
        with pytest.raises(ModelError, match="leave tokenizer_model_name empty"):
            check(
                models,
                tokenizer_model_name=name,
                expert_model_names=["org/bert", "org/roberta"],
                expert_costs=[1, 2],
            )
    check(models, expert_model_names=["org/bert", "org/roberta"], expert_costs=[1, 2])


def test_a_named_pool_with_encoders_of_others_reads_each_with_its_own(models: Path) -> None:
    settings = {"expert_model_names": ["sample/tiny", "org/roberta"], "expert_costs": [1, 2]}
    chosen = trial_config({"pool": "sample", **settings})
    assert tokenizers_of(chosen, Models(models)).names == ("sample/stem", "org/roberta")
    assert trial_config({"pool": "sample"}).model.tokenizer_model_name == "sample/tokenizer"
    assert trial_config({"pool": "bert"}).model.tokenizer_model_name == "bert-base-uncased"
    stem = trial_config({"pool": "minilm", "router_model_name": "org/roberta", "router_cost": 1})
    assert stem.model.tokenizer_model_name == ""


def without_padding(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token": None}))


def no_json(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")


def more_words(folder: Path) -> None:
    byte_pairs(310).save_pretrained(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_padding, r"tokenizer of org/roberta has no padding token.*set pad_token in"),
        (no_json, r"tokenizer of org/roberta cannot be read from .*download it again"),
        (more_words, r"org/roberta knows 300 tokens and its own tokenizer gives 310; copy or"),
    ],
)
def test_a_tokenizer_of_no_use_is_refused_by_its_experts_name(
    models: Path, spoil: Any, message: str
) -> None:
    spoil(models / "org" / "roberta")
    with pytest.raises(ModelError, match=message) as error:
        check(models)
    assert len(str(error.value)) <= 1000


def test_each_encoders_positions_bound_its_own_tokens(models: Path) -> None:
    path = models / "org" / "roberta" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_position_embeddings": 34}))
    with pytest.raises(ModelError, match="org/roberta takes 32 tokens at most"):
        check(models, max_length=64)


@pytest.mark.parametrize("experts", [["org/bert", "org/bert"], ["org/bert", "org/roberta"]])
def test_a_shared_stem_of_several_tokenizers_is_refused(models: Path, experts: list[str]) -> None:
    for path in (models / "org" / "distilbert").glob("token*"):
        shutil.copy(path, models / "org" / "bert")
    chosen = pool(
        expert_model_names=experts, expert_costs=[1, 2], experts="joint", shared_stem=True
    )
    with pytest.raises(ModelError, match=r"org/bert has another tokenizer than the stem org/stem"):
        check_joint(chosen, places(models, models.parent / "cache"))
