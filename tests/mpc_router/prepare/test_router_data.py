"""What routers learn from, prepared: outputs of experts that have not seen the rows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mpc_router.config.trial import TrialConfig, trial_config
from mpc_router.data.sources import Source, SourceError, all_fingerprints, cut_all, read
from mpc_router.data.tokens import Tokens, gather, tokenise
from mpc_router.experts.cross_fitting import fold_recipe
from mpc_router.model.encoders import load_tokenizer
from mpc_router.model.experts import BertExpert
from mpc_router.model.sources import Models
from mpc_router.prepare.frozen import Prepared, check_inputs, prepare
from mpc_router.prepare.inputs import Places
from mpc_router.recipes.recipes import recipes
from mpc_router.terminal.progress import Silence

SAMPLE = Source(kind="sample")
CROSS = {"router_data": "cross_fitted"}
HELD_OUT = {"router_data": "held_out", "router_share": 0.4}
UNUSED = {"router_data": "unused", "router_rows": 60}


def config(**settings: Any) -> TrialConfig:
    short = {"train_rows": 96, "validation_rows": 50, "expert_epochs": 1}
    return trial_config({"pool": "sample", "task": "mrpc", **short, **settings})


class Told(Silence):
    """Keeps what a person would read of the progress."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def start(self, label: str, total: int) -> None:
        self.lines.append(label)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(source=SAMPLE, models=Models(), cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def usual(places: Places) -> Prepared:
    return prepare(config(), places)


@pytest.fixture(scope="module")
def told() -> Told:
    return Told()


@pytest.fixture(scope="module")
def crossed(places: Places, usual: Prepared, told: Told) -> Prepared:
    """Prepared after `usual`, whose experts are in the cache."""
    return prepare(config(**CROSS), places, told)


@pytest.fixture(scope="module")
def held_out(places: Places) -> Prepared:
    return prepare(config(**HELD_OUT), places)


def forbid(*_: object, **__: object) -> Any:
    raise AssertionError("this was to come from the cache")


def tokens_of(chosen: TrialConfig, split: str, cache: Path) -> Tokens:
    return tokenise(
        cut_all(chosen, read(chosen, SAMPLE)).splits[split],
        load_tokenizer("sample/tiny", Models()),
        max_length=chosen.data.max_length,
        fingerprint="test",
        cache=cache,
    )


def said_by(key: str, name: str, tokens: Tokens, rows: np.ndarray[Any, Any], cache: Path) -> Any:
    """What the trained expert of this key says of each row alone."""
    expert = BertExpert(name, 2, pooling="mean")
    expert.load_state_dict(load_file(cache / "experts" / key / "model.safetensors"))
    expert.eval()
    outputs = []
    for row in rows:
        batch = gather(tokens, np.array([row]))
        with torch.inference_mode():
            outputs.append(expert(batch.input_ids, batch.attention_mask, batch.token_type_ids))
    return torch.cat(outputs).numpy()


def test_outputs_of_a_fold_are_those_of_the_experts_of_the_other_folds(
    crossed: Prepared, usual: Prepared, places: Places
) -> None:
    chosen = config(**CROSS)
    files = read(chosen, SAMPLE)
    folds, prints = cut_all(chosen, files).folds, all_fingerprints(chosen, files)
    assert folds is not None
    tokens = tokens_of(chosen, "train", places.cache)
    pool = recipes(chosen, places.models, trained_on=prints.experts)
    for number, (full, info) in enumerate(zip(pool.experts, crossed.experts, strict=True)):
        assert full.key == info.hash
        for fold, (_, of_others) in enumerate(prints.folds):
            rows = np.flatnonzero(folds == fold)[::7]
            key = fold_recipe(full, of_others).key
            direct = said_by(key, full.name, tokens, rows, places.cache)
            kept = crossed.splits["train"].outputs[rows, number]
            np.testing.assert_allclose(kept, direct, atol=1e-4, rtol=1e-4)
            seen = usual.splits["train"].outputs[rows, number]
            assert np.abs(kept - seen).max() > 1e-3  # the expert of all rows says otherwise


@pytest.mark.slow
def test_an_expert_of_other_folds_is_trained_on_their_rows_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trained_on: list[set[int]] = []

    def note(expert: BertExpert, tokens: Tokens, *_: object, **__: object) -> None:
        trained_on.append(set(tokens.example.tolist()))

    monkeypatch.setattr("mpc_router.experts.encoder_runs.fine_tune", note)
    everywhere = Places(source=SAMPLE, models=Models(), cache=tmp_path)
    for settings in (CROSS, HELD_OUT, UNUSED):
        trained_on.clear()
        chosen = config(**settings, expert_seed=3)
        made = prepare(chosen, everywhere)
        parts = cut_all(chosen, read(chosen, SAMPLE))
        experts = set(parts.experts.example.tolist())
        routers = set(made.splits["train"].example.tolist())
        assert routers == set(parts.splits["train"].example.tolist())
        if parts.folds is None:
            assert not experts & routers
            # those of cross-fitting were trained on the same rows as those of `unused`
            assert trained_on == ([experts] * 3 if settings is HELD_OUT else [])
            continue
        assert routers == experts
        rows = parts.splits["train"].example
        others = [set(rows[parts.folds != fold].tolist()) for fold in range(3)]
        assert trained_on == [*others, experts] * 3


def test_full_data_experts_answer_on_selection_and_validation(
    crossed: Prepared, usual: Prepared
) -> None:
    assert crossed.experts == usual.experts
    assert crossed.experts_id == usual.experts_id
    for split in ("selection", "validation"):
        for name in ("outputs", "features", "labels", "example"):
            arrays = [getattr(made.splits[split], name) for made in (crossed, usual)]
            assert np.array_equal(*arrays)
    for name in ("features", "labels", "example", "tokens"):
        arrays = [getattr(made.splits["train"], name) for made in (crossed, usual)]
        assert np.array_equal(*arrays)


def test_features_of_a_stem_that_is_an_expert_are_those_of_the_full_data_expert(
    places: Places, crossed: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = prepare(config(**CROSS, stem="expert"), places)
    usual = prepare(config(stem="expert"), places)
    for split, outputs in made.splits.items():
        assert np.array_equal(outputs.features, usual.splits[split].features)
        assert np.array_equal(outputs.outputs, crossed.splits[split].outputs)


def test_progress_names_expert_and_fold(crossed: Prepared, told: Told) -> None:
    assert [line for line in told.lines if "training" in line] == [
        f"expert {expert} of 3, fold {fold} of 3: {name}: training"
        for expert, name in enumerate(("tiny", "base", "large"), 1)
        for fold in (1, 2, 3)
    ]


def test_what_was_prepared_before_is_opened(
    places: Places, crossed: Prepared, held_out: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mpc_router.experts.encoder_runs.BertExpert", forbid)
    for settings, before in ((CROSS, crossed), (HELD_OUT, held_out)):
        again = prepare(config(**settings), places)
        assert again.folder == before.folder
        assert again.notes == before.notes


def test_another_cache_gives_the_same_numbers(tmp_path: Path, crossed: Prepared) -> None:
    again = prepare(config(**CROSS), Places(source=SAMPLE, models=Models(), cache=tmp_path))
    assert again.folder.name == crossed.folder.name
    assert np.array_equal(again.splits["train"].outputs, crossed.splits["train"].outputs)


def test_experts_are_shared_where_they_are_trained_on_the_same_rows(
    places: Places, usual: Prepared, held_out: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mpc_router.experts.encoder_runs.fine_tune", forbid)
    unused = prepare(config(**UNUSED), places)
    assert unused.experts == usual.experts
    assert unused.data_fingerprint != usual.data_fingerprint
    assert not set(unused.splits["train"].example) & set(usual.splits["train"].example)
    assert {expert.hash for expert in held_out.experts}.isdisjoint(
        expert.hash for expert in usual.experts
    )
    assert set(held_out.splits["train"].example) < set(usual.splits["train"].example)


def test_notes_count_the_rows_that_no_expert_has_seen(
    places: Places, usual: Prepared, crossed: Prepared, held_out: Prepared
) -> None:
    assert not any("Routers learn" in note for note in usual.notes)
    assert usual.split_notes["train"] != held_out.split_notes["train"]
    assert any("all 96 rows of train" in note for note in crossed.notes)
    assert any("38 rows of train" in note and "the other 58" in note for note in held_out.notes)
    unused = prepare(config(**UNUSED), places)
    assert any("60 rows of train that no expert has seen" in note for note in unused.notes)


def test_a_part_that_nothing_can_be_learned_from_is_refused_before_anything_is_trained(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mpc_router.experts.encoder_runs.fine_tune", forbid)
    for settings in (
        {**CROSS, "train_rows": 4, "router_folds": 9},
        {**UNUSED, "train_rows": 8000},
        {**HELD_OUT, "router_share": 0.001},
    ):
        with pytest.raises(SourceError, match="router_data="):
            check_inputs(config(**settings), places)


def test_tokens_of_some_rows_are_theirs(places: Places) -> None:
    tokens = tokens_of(config(), "train", places.cache)
    rows = np.array([5, 0, 17])
    taken = tokens.take(rows)
    assert np.array_equal(taken.example, tokens.example[rows])
    for place, row in enumerate(rows):
        one, other = (
            gather(source, np.array([number])) for source, number in ((taken, place), (tokens, row))
        )
        for name in ("input_ids", "token_type_ids", "labels"):
            assert torch.equal(getattr(one, name), getattr(other, name))
    nested = dataclasses.replace(tokens, others=(tokens,)).take(rows)
    assert np.array_equal(nested.others[0].ids, taken.ids)
