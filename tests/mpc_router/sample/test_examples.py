from __future__ import annotations

import hashlib
import subprocess
import sys
import zlib
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from mpc_router.config.pools import _SAMPLE
from mpc_router.sample import encoders, examples, language
from mpc_router.tasks import TASKS, evaluate

CHECKSUM = 2810069116
"""Of the first rows of every split."""

SPLITS = [(task.name, split) for task in TASKS.values() for split in ("train", *task.quoted)]


def texts(task: str, split: str, rows: int | None = None) -> list[tuple[str, ...]]:
    table = examples.table(task, split, rows=rows)
    columns = [table[name].to_pylist() for name in TASKS[task].columns]
    return list(zip(*columns, strict=True))


def labels(task: str, split: str, rows: int | None = None) -> NDArray[Any]:
    return np.asarray(examples.table(task, split, rows=rows)["label"].to_numpy())


def test_importing_the_sample_loads_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, mpc_router.sample.examples;"
        " print({'torch', 'transformers'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"


@pytest.mark.parametrize(("task", "split"), SPLITS)
def test_a_table_has_the_schema_of_the_hub(task: str, split: str) -> None:
    table = examples.table(task, split, rows=50)
    kind = pa.float32() if task == "stsb" else pa.int64()
    expected = [(name, pa.string()) for name in TASKS[task].columns]
    assert table.schema == pa.schema([*expected, ("label", kind), ("idx", pa.int32())])
    assert table["idx"].to_pylist() == list(range(50))


@pytest.mark.parametrize(("task", "split"), SPLITS)
def test_labels_lie_in_the_range_of_the_task_and_none_is_rare(task: str, split: str) -> None:
    found = labels(task, split)
    if TASKS[task].regression:
        assert found.min() >= 0
        assert found.max() <= 5
        assert 2.2 < found.mean() < 2.8
        assert found.std() > 1
        return
    classes = len(TASKS[task].label_names)
    shares = np.bincount(found, minlength=classes) / len(found)
    assert len(shares) == classes
    assert (np.abs(shares - 1 / classes) < 0.07).all()


@pytest.mark.parametrize(("task", "split"), SPLITS)
def test_the_rows_are_the_same_every_time_and_a_short_table_begins_a_long_one(
    task: str, split: str
) -> None:
    assert examples.table(task, split, rows=300).equals(examples.table(task, split, rows=300))
    assert examples.table(task, split, rows=20).equals(examples.table(task, split, rows=300)[:20])


def test_the_rows_are_those_of_every_machine() -> None:
    rows = "\n".join(
        f"{row}{label}"
        for task, split in SPLITS
        for row, label in zip(texts(task, split, 40), labels(task, split, 40), strict=True)
    )
    assert zlib.crc32(rows.encode()) == CHECKSUM, "the rows changed: raise sample.VERSION"


@pytest.mark.parametrize("task", TASKS)
def test_no_text_comes_twice_in_a_split_or_in_two(task: str) -> None:
    seen = Counter(row for split in ("train", *TASKS[task].quoted) for row in texts(task, split))
    assert max(seen.values()) == 1


@pytest.mark.parametrize("task", TASKS)
def test_two_tasks_of_one_grammar_have_rows_of_their_own(task: str) -> None:
    other = "rte" if task != "rte" else "mrpc"
    common = set(texts(task, "train", 500)) & set(texts(other, "train", 500))
    assert len(common) < 50


def test_every_word_is_one_token_and_none_is_unknown() -> None:
    tokenizer = encoders.tokenizer()
    for task, split in SPLITS:
        rows = texts(task, split, 1000)
        encoded = tokenizer(*map(list, zip(*rows, strict=True)))
        for row, ids in zip(rows, encoded["input_ids"], strict=True):
            assert tokenizer.unk_token_id not in ids
            assert len(ids) == sum(len(text.split()) for text in row) + len(row) + 1
            assert len(ids) <= encoders._MAX_LENGTH


def test_the_tokenizer_marks_the_second_text_of_a_pair() -> None:
    encoded = encoders.tokenizer()(["the teacher"], ["the pupil"])
    assert encoded["token_type_ids"] == [[0, 0, 0, 0, 1, 1, 1]]


def test_words_are_listed_once() -> None:
    words = language.words()
    assert len(words) == len(set(words))
    assert len(words) > 200


@pytest.mark.parametrize("task", TASKS)
def test_difficulty_is_graded_for_a_sum_over_words(task: str) -> None:
    """Least squares on word counts: right on plain rows, a guess on nested ones."""
    rows, found = texts(task, "validation"), labels(task, "validation").astype(float)
    kinds = np.asarray([_kind(task, row) for row in rows])
    position: dict[str, int] = {}
    counts = np.zeros((len(rows), 600))
    for number, row in enumerate(rows):
        for side, text in enumerate(row):
            for word in text.split():
                counts[number, position.setdefault(f"{side} {word}", len(position))] += 1
    fit, quoted = slice(0, 1000), slice(1000, None)
    explained = []
    for kind in range(3):
        here = kinds == kind
        seen = counts[fit][here[fit]], found[fit][here[fit]]
        gram = seen[0].T @ seen[0] + 3 * np.eye(600)
        weights = np.linalg.solve(gram, seen[0].T @ (seen[1] - seen[1].mean()))
        guessed = counts[quoted][here[quoted]] @ weights
        explained.append(np.corrcoef(guessed, found[quoted][here[quoted]])[0, 1])
    plain, turned, nested = explained
    assert plain > 0.75
    assert turned < 0.6
    assert nested < 0.5


def _kind(task: str, row: tuple[str, ...]) -> int:
    found = {word for text in row for word in text.split()}
    grammar = language
    deeds = {word for pair in grammar._CONVERSE for word in pair}
    marks: dict[str, tuple[set[str], set[str]]] = {
        "sst2": ({"who"}, {"that"}),
        "cola": ({","}, {"that"}),
    }
    turned, nested = marks.get(task, ({"that"}, deeds))
    if found & nested:
        return 2
    return int(bool(found & turned))


def test_the_kinds_come_in_their_shares() -> None:
    for task in TASKS:
        kinds = np.bincount([_kind(task, row) for row in texts(task, "validation")], minlength=3)
        assert np.abs(kinds / kinds.sum() - [0.4, 0.3, 0.3]).max() < 0.06, task


def test_the_mismatched_split_speaks_of_other_things() -> None:
    here = {word for row in texts("mnli", "train") for text in row for word in text.split()}
    there = texts("mnli", "validation_mismatched")
    strange = [any(word not in here for text in row for word in text.split()) for row in there]
    assert np.mean(strange) > 0.95


@pytest.mark.parametrize(
    ("task", "split", "rows", "reason"),
    [
        ("wnli", "train", None, "no task 'wnli', allowed are cola"),
        ("mrpc", "test", None, "no split 'test', but train, validation"),
        ("mrpc", "validation_mismatched", None, "no split 'validation_mismatched'"),
        ("mrpc", "train", 0, "rows is 0"),
    ],
)
def test_what_the_sample_has_not_is_refused_by_name(
    task: str, split: str, rows: int | None, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        examples.table(task, split, rows=rows)


def test_an_unknown_encoder_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match="'sample/huge', allowed are sample/tiny"):
        encoders.encoder_config("sample/huge")


def test_the_pool_names_encoders_and_recipes_of_the_sample() -> None:
    members = [member.model for member in _SAMPLE.members]
    assert [*members, _SAMPLE.stem] == list(encoders._NAMES)
    assert list(encoders.RECIPES) == members
    assert {recipe.pooling for recipe in encoders.RECIPES.values()} == {_SAMPLE.expert_pooling}


def test_dearer_encoders_are_larger_and_read_every_word() -> None:
    from transformers import BertModel

    sizes = []
    for member in _SAMPLE.members:
        config = encoders.encoder_config(member.model)
        assert config.vocab_size == len(encoders.tokenizer())
        assert config.max_position_embeddings == encoders._MAX_LENGTH
        model = BertModel(config, add_pooling_layer=False)
        sizes.append(sum(weights.numel() for weights in model.parameters()))
    assert all(2 * small < large for small, large in pairwise(sizes))


def test_the_notice_says_that_the_sample_is_synthetic() -> None:
    assert examples.NOTICE.startswith("embedded synthetic sample:")


def test_every_word_keeps_its_number() -> None:
    """Another order is another vocabulary, and all that was trained on the sample is other then."""
    found = hashlib.sha256(" ".join(language.words()).encode()).hexdigest()
    assert found.startswith("de973bb37e927edd")


def test_a_hash_and_not_the_order_of_drawing_decides_a_texts_split() -> None:
    for split, held_out in (("train", False), ("validation", True)):
        for row in texts("mrpc", split, 200):
            assert (hashlib.sha256("\t".join(row).encode()).digest()[0] % 4 == 0) == held_out


@pytest.mark.long
@pytest.mark.parametrize("task", ["mrpc", "sst2"])
def test_each_larger_expert_is_better_by_five_points(task: str, tmp_path: Path) -> None:
    from mpc_router.config.trial import trial_config
    from mpc_router.data.sources import Source
    from mpc_router.model.sources import Models
    from mpc_router.prepare.frozen import prepare
    from mpc_router.prepare.inputs import Places

    prepared = prepare(
        trial_config({"task": task, "pool": "sample", "device": "cpu", "train_rows": 3000}),
        Places(source=Source(kind="sample"), models=Models(), cache=tmp_path),
    )
    split = prepared.splits["validation"]
    predictions = split.outputs.argmax(-1).T.astype(np.float64)
    scores = evaluate(TASKS[task], predictions, np.asarray(split.labels))["score"]
    assert (np.diff(scores) > 0.05).all(), scores
    assert scores[0] > 0.6
