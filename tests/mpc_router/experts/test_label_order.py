from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray

from mpc_router.config.trial import TrialConfig, trial_config
from mpc_router.data.sources import Source
from mpc_router.experts.encoder_runs import Bench, Split, head_note, load_trained
from mpc_router.experts.label_order import ROWS, Judgement, judge, note, some_rows
from mpc_router.model.encoders import seeded
from mpc_router.model.sources import Models
from mpc_router.prepare.frozen import Prepared, open_prepared, prepare
from mpc_router.prepare.inputs import Places
from mpc_router.recipes.recipes import recipes
from mpc_router.sample import encoders, examples
from mpc_router.tasks import TASKS
from mpc_router.terminal.progress import Silence
from tests.mpc_router.small_models import some_split

WORDS = TASKS["mnli"].label_names
ORDERS = list(itertools.permutations(range(3)))


def said(classes: Sequence[int] | NDArray[np.int64], count: int = 3) -> NDArray[np.float32]:
    """Outputs whose greatest is the class said."""
    one_hot: NDArray[np.float32] = np.eye(count, dtype=np.float32)[np.asarray(classes)]
    return one_hot


def test_the_order_is_the_one_in_which_most_rows_are_right() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    outputs = said([2, 2, 0, 0, 0, 1])
    found = judge(outputs, labels.astype(np.float64))
    assert found.order == (2, 0, 1)
    assert found.accuracy == pytest.approx(5 / 6)
    assert found.own == pytest.approx(1 / 6)
    assert found.majority == pytest.approx(3 / 6)


@pytest.mark.parametrize("order", ORDERS)
def test_mixing_the_outputs_mixes_the_order_and_nothing_else(order: tuple[int, ...]) -> None:
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 3, 300)
    right = np.where(draw.random(300) < 0.8, labels, draw.integers(0, 3, 300))
    outputs = said(right) + draw.random((300, 3)).astype(np.float32) / 3
    plain = judge(outputs, labels.astype(np.float64))
    mixed = judge(outputs[:, list(order)], labels.astype(np.float64))
    assert plain.order == (0, 1, 2)
    assert mixed.accuracy == plain.accuracy == plain.own
    assert np.array_equal(outputs[:, list(order)][:, list(mixed.order)], outputs)


def test_a_tie_leaves_the_order_as_it_is() -> None:
    found = judge(said([0, 0, 1, 1], 2), np.array([0.0, 1.0, 0.0, 1.0]))
    assert found.order == (0, 1)


@pytest.mark.parametrize("seed", range(20))
def test_what_says_nothing_of_the_labels_is_no_better_than_chance(seed: int) -> None:
    draw = np.random.default_rng(seed)
    labels = (draw.random(1000) < 0.3).astype(np.float64)
    for outputs in (said(draw.integers(0, 2, 1000), 2), said(np.zeros(1000, int), 2)):
        assert not judge(outputs, labels).above_chance


def test_a_few_points_above_the_most_frequent_class_are_above_chance_given_enough_rows() -> None:
    labels = np.arange(1000) % 2
    right = np.arange(1000) % 100 < 56
    outputs = said(np.where(right, labels, 1 - labels), 2)
    assert judge(outputs, labels.astype(np.float64)).above_chance
    few = slice(0, 1000, 21)
    assert not judge(outputs[few], labels[few].astype(np.float64)).above_chance


@pytest.mark.parametrize("count", [1, 7, ROWS, ROWS + 1, 400_000])
def test_the_rows_asked_about_are_few_and_spread(count: int) -> None:
    rows = some_rows(count)
    assert len(rows) == min(count, ROWS)
    assert rows[0] == 0
    assert rows[-1] == count - 1
    assert np.all(np.diff(rows) > 0)


def judgement(**changes: Any) -> Judgement:
    base = {"rows": 1000, "order": (1, 0), "accuracy": 0.9, "own": 0.1, "majority": 0.6}
    return Judgement(**{**base, **changes})


def test_notes_say_what_was_decided_and_why() -> None:
    mrpc = TASKS["mrpc"].label_names
    found = str(note("org/a", judgement(), mrpc, named=False))
    assert "1 for not_equivalent, 0 for equivalent" in found
    assert "90.0%" in found
    assert "id2label" in str(note("org/a", judgement(), mrpc, named=True))
    right = judgement(order=(0, 1), own=0.9)
    assert note("org/a", right, mrpc, named=True) is None
    poor = judgement(accuracy=0.61, own=0.6)
    for named in (True, False):
        text = str(note("org/a", poor, mrpc, named=named))
        assert "org/a is no better than chance" in text
        assert "61.0%" in text
        assert "60.0%" in text


def save_experts(folder: Path) -> Any:
    """Two classifiers of three classes that do not name their labels; the first is returned."""
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = encoders.tokenizer()
    first = None
    for seed, name in enumerate(("first", "second")):
        shape = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            num_hidden_layers=1 + seed,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=64,
            initializer_range=0.5,
            num_labels=3,
        )
        with seeded(seed):
            model = BertForSequenceClassification(shape).eval()
        first = first or model
        _balance(model, tokenizer)
        model.save_pretrained(folder / "org" / name)
        tokenizer.save_pretrained(folder / "org" / name)
    return first


def _logits(model: Any, tokenizer: Any, table: pa.Table) -> torch.Tensor:
    texts = [table[name].to_pylist() for name in TASKS["mnli"].columns]
    with torch.inference_mode():
        logits: torch.Tensor = model(**tokenizer(*texts, padding=True, return_tensors="pt")).logits
    return logits


def _balance(model: Any, tokenizer: Any) -> None:
    """Make each class the greatest about as often."""
    logits = _logits(model, tokenizer, examples.table("mnli", "train", rows=200))
    model.classifier.weight.data /= logits.std(0)[:, None]
    model.classifier.bias.data -= logits.mean(0)
    model.classifier.bias.data /= logits.std(0)


def save_data(folder: Path, model: Any, order: Sequence[int]) -> None:
    """MNLI without a mismatched set; class c is where the model's output order[c] is greatest."""
    (folder / "mnli").mkdir(parents=True)
    place = np.argsort(order)
    for split, rows in (("train", 200), ("validation", 60)):
        table = examples.table("mnli", split, rows=rows)
        greatest = _logits(model, encoders.tokenizer(), table).argmax(1).numpy()
        labels = pa.array(place[greatest], pa.int64())
        table = table.set_column(table.schema.names.index("label"), "label", labels)
        pq.write_table(table, folder / "mnli" / f"{split}.parquet")


def config() -> TrialConfig:
    return trial_config(
        {
            "pool": "custom",
            "task": "mnli",
            "expert_model_names": ["org/first", "org/second"],
            "expert_costs": [1, 3],
            "expert_fine_tuned": True,
            "router_model_name": "org/first",
            "router_cost": 0,
        }
    )


def right(prepared: Prepared, expert: int = 0) -> float:
    split = prepared.splits["train"]
    return float(np.mean(split.outputs[:, expert].argmax(1) == split.labels))


def name_labels(models: Path, words: Sequence[str]) -> None:
    path = models / "org" / "first" / "config.json"
    named = {
        "id2label": {str(number): word for number, word in enumerate(words)},
        "label2id": {word: number for number, word in enumerate(words)},
    }
    path.write_text(json.dumps({**json.loads(path.read_text()), **named}))


@pytest.mark.parametrize("order", [(2, 0, 1), (0, 1, 2)])
def test_unnamed_labels_are_put_in_the_order_that_fits_train_and_said(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    model = save_experts(tmp_path / "models")
    save_data(tmp_path / "data", model, order)
    places = Places(
        source=Source(kind="folder", folder=tmp_path / "data"),
        models=Models(tmp_path / "models"),
        cache=tmp_path / "cache",
    )
    found = prepare(config(), places)
    assert right(found) == 1
    assert found.experts[0].label_order == order
    assert open_prepared(found.folder).experts == found.experts
    noted = [each for each in found.notes if "org/first" in each]
    assert len(noted) == 1
    assert f"{order[0]} for entailment, {order[1]} for neutral" in noted[0]
    assert list(found.splits) == ["train", "selection", "validation"]
    assert "no validation_mismatched" in str(found.split_notes["validation"])
    name_labels(tmp_path / "models", [WORDS[np.argsort(order)[n]] for n in range(3)])
    named = prepare(config(), places)
    assert named.experts[0].label_order is None
    for split in found.splits:
        assert np.array_equal(found.splits[split].outputs, named.splits[split].outputs)
    assert not any("org/first" in each for each in named.notes)


def test_words_are_believed_and_doubted(tmp_path: Path) -> None:
    save_data(tmp_path / "data", save_experts(tmp_path / "models"), (2, 0, 1))
    name_labels(tmp_path / "models", WORDS)
    places = Places(
        source=Source(kind="folder", folder=tmp_path / "data"),
        models=Models(tmp_path / "models"),
        cache=tmp_path / "cache",
    )
    found = prepare(config(), places)
    assert right(found) < 0.2
    (noted,) = (each for each in found.notes if "org/first" in each)
    assert "mend id2label" in noted


@pytest.mark.parametrize("named", [True, False])
def test_train_is_part_of_an_experts_identity_only_where_it_decides_the_order(
    tmp_path: Path, named: bool
) -> None:
    save_experts(tmp_path)
    if named:
        name_labels(tmp_path, WORDS)
    keys = {
        recipes(config(), Models(tmp_path), trained_on=rows).experts[0].key for rows in ("a", "b")
    }
    assert len(keys) == (1 if named else 2)


def test_an_expert_asked_anew_in_another_mode_has_the_same_order(tmp_path: Path) -> None:
    model = save_experts(tmp_path / "models")
    tokens = some_split(300, outputs=3)
    found = recipes(config(), Models(tmp_path / "models"), trained_on="rows")
    bench = Bench(
        task=TASKS["mnli"],
        splits={"train": Split(tokens=tokens, fingerprint="rows")},
        models=Models(tmp_path / "models"),
        cache=tmp_path / "cache",
        tokenizer="",
        device="cpu",
        progress=Silence(),
    )
    one = load_trained(found.experts[0], bench, "")
    other = load_trained(dataclasses.replace(found.experts[0], seed=7), bench, "")
    assert torch.equal(one.label_order, other.label_order)
    assert len([each for each in (tmp_path / "cache" / "orders").iterdir() if each.is_dir()]) == 1
    assert "org/first" in str(head_note(found.experts[0], bench, ""))
    assert model is not None
