from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mpc_router.config.trial import TrialConfig, trial_config
from mpc_router.data.columns import Columns, checked, read_parquet
from mpc_router.data.sources import (
    Examples,
    Source,
    SourceError,
    cut,
    data_fingerprint,
    load_splits,
    read,
    split_fingerprints,
)
from mpc_router.prepare.inputs import split_notes
from mpc_router.tasks import TASKS

MRPC = TASKS["mrpc"]


def config(**settings: Any) -> TrialConfig:
    return trial_config({"pool": "minilm", "task": "mrpc", **settings})


def pairs(count: int, *, seed: int = 0) -> pa.Table:
    words = np.random.default_rng(seed).integers(0, 10**9, (count, 2))
    return pa.table(
        {
            "sentence1": [f"the first {a}" for a in words[:, 0]],
            "sentence2": [f"the second {b}" for b in words[:, 1]],
            "label": pa.array(np.arange(count) % 2, pa.int64()),
            "idx": pa.array(np.arange(count), pa.int32()),
        }
    )


def columns(table: pa.Table) -> Columns:
    return checked(table, MRPC, "here")


def texts(examples: Examples) -> list[tuple[str, ...]]:
    return list(zip(*examples.texts, strict=True))


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.schema.names.index(name), name, values)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mrpc").mkdir()
    pq.write_table(pairs(600), tmp_path / "mrpc" / "train.parquet")
    pq.write_table(pairs(90, seed=1), tmp_path / "mrpc" / "validation.parquet")
    return tmp_path


def test_splits_of_a_folder_part_train_and_leave_validation_whole(folder: Path) -> None:
    splits = load_splits(config(), Source(kind="folder", folder=folder))
    assert list(splits) == ["train", "selection", "validation"]
    assert len(splits["train"]) + len(splits["selection"]) == 600
    assert not set(splits["train"].example) & set(splits["selection"].example)
    assert splits["validation"].example.tolist() == list(range(90))
    assert [each.origin for each in splits.values()] == ["train", "train", "validation"]


def test_examples_are_the_rows_their_numbers_name(folder: Path) -> None:
    table = pq.read_table(folder / "mrpc" / "train.parquet")
    for split in ("train", "selection"):
        found = load_splits(config(), Source(kind="folder", folder=folder))[split]
        source = table.take(found.example)
        assert found.texts[0] == source["sentence1"].to_pylist()
        assert found.texts[1] == source["sentence2"].to_pylist()
        assert found.labels.tolist() == source["label"].to_pylist()


def test_selection_is_the_tenth_of_lowest_hashes() -> None:
    files = {"train": columns(pairs(5000)), "validation": columns(pairs(50, seed=1))}
    hashes = files["train"].row_hashes()
    splits = cut(config(), files)
    assert set(splits["selection"].example) == set(np.flatnonzero(hashes < 2**64 / 10))
    assert len(splits["selection"]) / 5000 == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("limit", [1, 10, 300])
def test_limits_on_rows_leave_selection_as_it_is_and_nest(limit: int) -> None:
    files = {"train": columns(pairs(600)), "validation": columns(pairs(90, seed=1))}
    whole = cut(config(), files)
    small = cut(config(train_rows=limit, validation_rows=limit), files)
    larger = cut(config(train_rows=limit + 5, validation_rows=limit + 5), files)
    assert texts(small["selection"]) == texts(whole["selection"])
    assert len(small["train"]) == limit
    assert len(small["validation"]) == min(limit, 90)
    for split in ("train", "validation"):
        assert set(small[split].example) <= set(larger[split].example) <= set(whole[split].example)
        assert np.all(np.diff(small[split].example) > 0)


def test_the_order_of_rows_changes_no_split() -> None:
    table, shuffled = pairs(600), pairs(600).take(np.random.default_rng(3).permutation(600))
    other = columns(pairs(90, seed=1))
    limits = config(train_rows=100)
    first = cut(limits, {"train": columns(table), "validation": other})
    second = cut(limits, {"train": columns(shuffled), "validation": other})
    for split in ("train", "selection"):
        assert set(texts(first[split])) == set(texts(second[split]))


def test_rows_of_equal_texts_fall_on_one_side() -> None:
    table = pairs(300)
    other_labels = with_column(table, "label", pa.array(1 - np.arange(300) % 2))
    twice = pa.concat_tables([table, other_labels])
    splits = cut(config(), {"train": columns(twice), "validation": columns(table)})
    assert not set(texts(splits["train"])) & set(texts(splits["selection"]))
    assert len(splits["selection"]) == 2 * len(set(texts(splits["selection"])))


def test_the_boundary_between_texts_counts() -> None:
    moved = pa.table({"sentence1": ["ab", "a"], "sentence2": ["c", "bc"], "label": [0, 1]})
    first, second = columns(moved).row_hashes()
    assert first != second


def test_experts_that_come_fine_tuned_get_half_of_validation_for_selection() -> None:
    files = {"train": columns(pairs(600)), "validation": columns(pairs(1000, seed=1))}
    tuned = config(expert_fine_tuned=True, validation_rows=50)
    splits = cut(tuned, files)
    everything = cut(config(expert_fine_tuned=True), files)
    assert len(splits["train"]) == 600
    assert splits["selection"].origin == "validation"
    assert texts(splits["selection"]) == texts(everything["selection"])
    assert len(everything["selection"]) + len(everything["validation"]) == 1000
    assert len(everything["selection"]) == pytest.approx(500, abs=60)
    assert not set(splits["selection"].example) & set(everything["validation"].example)


def test_mismatched_mnli_is_quoted_whole_even_so() -> None:
    names = {"sentence1": "premise", "sentence2": "hypothesis"}
    tables = [pairs(count, seed=seed) for seed, count in enumerate((300, 200, 100))]
    files = {
        name: checked(
            table.rename_columns([names.get(n, n) for n in table.schema.names]), TASKS["mnli"], name
        )
        for name, table in zip(
            ("train", "validation", "validation_mismatched"), tables, strict=True
        )
    }
    splits = cut(config(task="mnli", expert_fine_tuned=True), files)
    assert list(splits) == ["train", "selection", "validation", "validation_mismatched"]
    assert len(splits["validation_mismatched"]) == 100


def test_the_fingerprint_is_of_content_not_of_files(folder: Path, tmp_path: Path) -> None:
    source = Source(kind="folder", folder=folder)
    other = tmp_path / "elsewhere"
    (other / "mrpc").mkdir(parents=True)
    for split in ("train", "validation"):
        table = pq.read_table(folder / "mrpc" / f"{split}.parquet")
        table = with_column(table, "sentence1", table["sentence1"].dictionary_encode())
        pq.write_table(
            table, other / "mrpc" / f"{split}.parquet", row_group_size=70, compression="gzip"
        )
    assert data_fingerprint(config(), source) == data_fingerprint(
        config(), Source(kind="folder", folder=other)
    )


@pytest.mark.parametrize(
    "change",
    [
        {"train_rows": 5},
        {"validation_rows": 5},
        {"expert_fine_tuned": True},
    ],
)
def test_the_fingerprint_covers_limits_and_cut(folder: Path, change: dict[str, Any]) -> None:
    source = Source(kind="folder", folder=folder)
    assert data_fingerprint(config(), source) != data_fingerprint(config(**change), source)


@pytest.mark.parametrize(("column", "value"), [("label", 0), ("sentence2", "new words")])
def test_the_fingerprint_covers_every_text_and_label(column: str, value: object) -> None:
    table = pairs(50)
    values = table[column].to_pylist()
    values[31] = value
    changed = with_column(table, column, pa.array(values, table[column].type))
    assert columns(table).fingerprint() != columns(changed).fingerprint()


def test_what_train_was_cut_to_does_not_depend_on_the_limit_of_validation() -> None:
    files = {"train": columns(pairs(60)), "validation": columns(pairs(90, seed=1))}
    whole = split_fingerprints(config(), files)
    small = split_fingerprints(config(validation_rows=7), files)
    assert {split for split in whole if whole[split] != small[split]} == {"validation"}


def test_slices_hash_as_their_own_rows() -> None:
    table = pairs(100)
    part, alone = table.slice(40, 10), pa.Table.from_pylist(table.slice(40, 10).to_pylist())
    assert columns(part).fingerprint() == columns(alone).fingerprint()
    assert np.array_equal(columns(part).row_hashes(), columns(table).row_hashes()[40:50])


BAD: dict[str, tuple[pa.Table, str]] = {
    "a missing column": (pairs(9).drop_columns(["sentence2"]), "no column 'sentence2'"),
    "no label": (pairs(9).drop_columns(["label"]), "no column 'label'"),
    "no rows": (pairs(9).slice(0, 0), "no rows"),
    "a label above the range": (
        with_column(pairs(3), "label", pa.array([0, 2, 1])),
        "the label of row 1 is 2, but task mrpc needs a class number in 0..1",
    ),
    "hidden labels": (with_column(pairs(3), "label", pa.array([-1, -1, -1])), "a test split"),
    "a NaN label": (with_column(pairs(3), "label", pa.array([0.0, 1.0, np.nan])), "row 2 is nan"),
    "a null label": (with_column(pairs(3), "label", pa.array([None, 1, 0])), "row 0 is null"),
    "half a class": (with_column(pairs(3), "label", pa.array([0.5, 1, 0])), "row 0 is 0.5"),
    "labels in words": (with_column(pairs(3), "label", pa.array(["a", "b", "a"])), "numbers"),
    "a null text": (
        with_column(pairs(3), "sentence1", pa.array(["a", None, "b"])),
        "'sentence1' is null in row 1",
    ),
    "decimals between classes": (
        with_column(pairs(3), "label", pa.array([Decimal("0.5"), Decimal(1), Decimal(0)])),
        "row 0 is 0.5",
    ),
    "a word of another task": (
        with_column(pairs(3), "label", pa.array(["equivalent", "Not Equivalent", "entailment"])),
        "holds string, 'entailment' in row 2, but must hold numbers: 0 not_equivalent",
    ),
    "numbers as words": (
        with_column(pairs(3), "label", pa.array(["0", "1", "0"])),
        "holds string, '0' in row 0",
    ),
    "a null word": (
        with_column(pairs(3), "label", pa.array(["equivalent", None, "equivalent"])),
        "the label of row 1 is null",
    ),
    "words that are no text": (
        with_column(pairs(2), "label", pa.array([b"\xff", b"a"]).view(pa.string())),
        "'label' holds bytes that are no UTF-8",
    ),
    "dates": (
        with_column(pairs(2), "label", pa.array([0, 1], pa.date32())),
        "holds date32[day]",
    ),
    "lists of labels": (with_column(pairs(2), "label", pa.array([[0], [1]])), "holds list<"),
    "a type of a thousand fields": (
        with_column(pairs(1), "label", pa.array([{f"field{n}": 1 for n in range(1000)}])),
        "holds struct<field0",
    ),
    "bytes for texts": (
        with_column(pairs(1), "sentence1", pa.array([b"a"])),
        "holds binary",
    ),
    "numbers for texts": (with_column(pairs(3), "sentence1", pa.array([1, 2, 3])), "hold text"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_data_is_refused_in_one_sentence_that_names_the_file(what: str, folder: Path) -> None:
    table, message = BAD[what]
    path = folder / "mrpc" / "validation.parquet"
    pq.write_table(table, path)
    with pytest.raises(SourceError) as error:
        load_splits(config(), Source(kind="folder", folder=folder))
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


def test_a_null_among_categories_is_a_null() -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["a", None]))
    with pytest.raises(SourceError, match="'sentence1' is null in row 1"):
        columns(with_column(pairs(2), "sentence1", column))


def test_labels_of_a_regression_stay_on_their_scale_and_in_it() -> None:
    table = with_column(pairs(3), "label", pa.array([0.0, 2.75, 5.0], pa.float32()))
    assert checked(table, TASKS["stsb"], "here").labels.tolist() == [0.0, 2.75, 5.0]
    beyond = with_column(table, "label", pa.array([0.0, 5.25, 5.0], pa.float32()))
    with pytest.raises(SourceError, match=r"5\.25.*0\.\.5"):
        checked(beyond, TASKS["stsb"], "here")


def named(table: pa.Table, words: list[str]) -> pa.Table:
    """With the hub's metadata, in which labels have words."""
    stated = {"info": {"features": {"label": {"names": words, "_type": "ClassLabel"}}}}
    return table.replace_schema_metadata({"huggingface": json.dumps(stated)})


def test_named_labels_are_the_tasks_in_its_order() -> None:
    checked(named(pairs(9), ["not_equivalent", "equivalent"]), MRPC, "here")
    for words in (["equivalent", "not_equivalent"], ["entailment", "not_entailment"], ["a"] * 3):
        with pytest.raises(SourceError, match=r"here names its labels.*0 not_equivalent"):
            checked(named(pairs(9), words), MRPC, "here")


def as_type(kind: pa.DataType) -> Callable[[pa.Table], Any]:
    return lambda table: table["label"].cast(kind)


def words_of(table: pa.Table) -> list[str]:
    return [MRPC.label_names[label] for label in table["label"].to_pylist()]


LABELS: dict[str, Callable[[pa.Table], Any]] = {
    **{str(kind): as_type(kind) for kind in (pa.int8(), pa.uint8(), pa.uint64())},
    **{str(kind): as_type(kind) for kind in (pa.float32(), pa.float64(), pa.bool_())},
    "float16": lambda table: pa.array(np.asarray(table["label"], np.float16)),
    "decimal": as_type(pa.decimal128(22, 0)),
    "decimal with places": as_type(pa.decimal256(50, 3)),
    "categories of numbers": lambda table: table["label"].dictionary_encode(),
    "words": lambda table: pa.array(words_of(table)),
    "words in a view": lambda table: pa.array(words_of(table)).cast(pa.string_view()),
    "categories of words": lambda table: pa.array(words_of(table)).dictionary_encode(),
    "words in another dress": lambda table: pa.array(
        [f" {word.title().replace('_', '-')} " for word in words_of(table)], pa.large_string()
    ),
}


@pytest.mark.parametrize("what", LABELS)
def test_labels_of_any_type_that_says_the_class_give_the_same_keys(what: str, folder: Path) -> None:
    source = Source(kind="folder", folder=folder)
    whole = data_fingerprint(config(), source)
    for split in ("train", "validation"):
        path = folder / "mrpc" / f"{split}.parquet"
        table = pq.read_table(path)
        pq.write_table(with_column(table, "label", LABELS[what](table)), path)
    assert data_fingerprint(config(), source) == whole


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.large_string(), pa.string_view()),
        *(pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int32(), pa.large_string())),
    ],
)
def test_texts_in_any_layout_are_the_same_texts(kind: pa.DataType, folder: Path) -> None:
    source = Source(kind="folder", folder=folder)
    whole, fingerprint = load_splits(config(), source), data_fingerprint(config(), source)
    path = folder / "mrpc" / "train.parquet"
    table = pq.read_table(path)
    for name in ("sentence1", "sentence2"):
        values = table[name].combine_chunks()
        if pa.types.is_dictionary(kind):
            values = values.cast(kind.value_type).dictionary_encode()
        table = with_column(table, name, values.cast(kind))
    pq.write_table(table, path)
    assert data_fingerprint(config(), source) == fingerprint
    assert texts(load_splits(config(), source)["train"]) == texts(whole["train"])
    in_memory = {"train": columns(table), "validation": columns(table)}
    assert texts(cut(config(), in_memory)["train"]) == texts(whole["train"])


def test_truth_values_are_no_scores_and_no_three_classes() -> None:
    table = with_column(pairs(3), "label", pa.array([True, False, True]))
    three = table.rename_columns(["premise", "hypothesis", "label", "idx"])
    for given, task in ((table, "stsb"), (three, "mnli")):
        with pytest.raises(SourceError, match="holds bool"):
            checked(given, TASKS[task], "here")


@pytest.mark.parametrize(
    "words",
    [
        ["0", "1"],
        [0, 1],
        ["LABEL_0", "label-1"],
        ["class 0", " 1"],
        ["0.0", "1.0"],
        ["0", "1", "2"],
    ],
)
def test_names_of_labels_that_are_their_own_numbers_say_nothing(words: list[Any]) -> None:
    checked(named(pairs(9), words), MRPC, "here")


@pytest.mark.parametrize("words", [["1", "0"], ["1", "2"], ["0", "equivalent"]])
def test_names_of_labels_that_are_other_numbers_contradict(words: list[str]) -> None:
    with pytest.raises(SourceError, match="here names its labels"):
        checked(named(pairs(9), words), MRPC, "here")


@pytest.mark.parametrize("text", [b"[" * 100000, b"\xff", b"3", b'{"info": []}'])
def test_metadata_that_cannot_be_read_say_nothing(text: bytes) -> None:
    checked(pairs(9).replace_schema_metadata({b"huggingface": text}), MRPC, "here")


def test_names_of_columns_are_cut_in_messages() -> None:
    many = pa.table({f"\x1b[31mcolumn{number}": [1] for number in range(1000)})
    with pytest.raises(SourceError, match="and 995 more") as error:
        checked(many, MRPC, "here")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500


def test_classes_are_no_scores() -> None:
    with pytest.raises(SourceError, match=r"every label is 0 or 1.*0\.\.5"):
        checked(pairs(40), TASKS["stsb"], "here")
    checked(pairs(5), TASKS["stsb"], "here")


def test_labels_in_words_are_told_the_numbers(folder: Path) -> None:
    with pytest.raises(SourceError, match="numbers: 0 not_equivalent, 1 equivalent"):
        checked(with_column(pairs(2), "label", pa.array(["a", "b"])), MRPC, "here")


def test_row_numbers_in_messages_are_the_files_own(tmp_path: Path) -> None:
    table = pairs(9000)
    pq.write_table(table, tmp_path / "a.parquet")
    labels = table["label"].to_pylist()
    labels[8123] = 7
    pq.write_table(with_column(table, "label", pa.array(labels)), tmp_path / "b.parquet")
    with pytest.raises(SourceError, match=r"b\.parquet: the label of row 8123 is 7"):
        read_parquet([tmp_path / "a.parquet", tmp_path / "b.parquet"], MRPC)


def test_texts_are_read_where_they_are_gone_through(folder: Path) -> None:
    splits = load_splits(config(), Source(kind="folder", folder=folder))
    found = splits["train"].texts[0]
    listed = list(found)
    assert list(found) == listed
    assert len(found) == len(listed)
    assert [found[0], found[-1], found[17]] == [listed[0], listed[-1], listed[17]]
    assert found[5:9] == listed[5:9]
    assert found != listed[1:]
    assert found != [*listed[:-1], "else"]
    with pytest.raises(ValueError, match="step"):
        found[::2]
    (folder / "mrpc" / "train.parquet").unlink()
    with pytest.raises(SourceError, match=r"train\.parquet"):
        list(found)


def test_reading_in_pieces_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(kind="folder", folder=folder)
    whole = load_splits(config(), source)
    prints = split_fingerprints(config(), read(config(), source))
    monkeypatch.setattr("mpc_router.data._rows._BATCH", 7)
    pieces = load_splits(config(), source)
    assert split_fingerprints(config(), read(config(), source)) == prints
    for split, examples in whole.items():
        assert texts(pieces[split]) == texts(examples)
        assert np.array_equal(pieces[split].labels, examples.labels)


def save_mnli(folder: Path, names: list[str]) -> Source:
    (folder / "mnli").mkdir()
    for seed, name in enumerate(names):
        table = pairs(200 if seed == 0 else 20 + seed, seed=seed)
        table = table.rename_columns(["premise", "hypothesis", "label", "idx"])
        pq.write_table(table, folder / "mnli" / f"{name}.parquet")
    return Source(kind="folder", folder=folder)


@pytest.mark.parametrize(
    "names",
    [
        ["train", "validation", "validation_mismatched"],
        ["train", "validation_matched", "validation_mismatched"],
        [
            "train-00000-of-00001",
            "validation_matched-00000-of-00001",
            "validation_mismatched-00000-of-00001",
        ],
    ],
)
def test_a_folder_may_name_mnlis_files_as_we_do_or_as_the_hub(
    tmp_path: Path, names: list[str]
) -> None:
    splits = load_splits(config(task="mnli"), save_mnli(tmp_path, names))
    assert [len(splits[name]) for name in ("validation", "validation_mismatched")] == [21, 22]


def test_mnli_runs_without_its_mismatched_set_and_says_so(tmp_path: Path) -> None:
    splits = load_splits(config(task="mnli"), save_mnli(tmp_path, ["train", "validation"]))
    assert list(splits) == ["train", "selection", "validation"]
    noted = split_notes(config(task="mnli"), splits)
    assert "no validation_mismatched" in str(noted["validation"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train", "validation_mismatched"], r"validation\.parquet does not exist"),
        (["train", "validation", "validation_matched"], "keep one of them"),
        (["train", "validation-00001-of-00002"], "1 of the 2 files"),
    ],
)
def test_files_that_leave_a_split_in_doubt_are_refused(
    tmp_path: Path, names: list[str], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        load_splits(config(task="mnli"), save_mnli(tmp_path, names))


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "mrpc" / "validation.parquet").unlink()
    with pytest.raises(SourceError, match=r"validation\.parquet does not exist"):
        load_splits(config(), Source(kind="folder", folder=folder))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere is not a folder"):
        load_splits(config(), Source(kind="folder", folder=tmp_path / "nowhere"))


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_named(folder: Path, kept: float) -> None:
    path = folder / "mrpc" / "train.parquet"
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * kept)])
    with pytest.raises(SourceError, match="not a whole Parquet file"):
        load_splits(config(), Source(kind="folder", folder=folder))


def test_a_split_that_comes_out_empty_is_refused() -> None:
    one = columns(pairs(1))
    with pytest.raises(SourceError, match=r"comes out empty.*1 rows of train"):
        cut(config(), {"train": one, "validation": one})


def test_without_the_hub_the_message_names_the_ways_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    def offline(*_: object, **__: object) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no network\nno cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(SourceError, match=r"no network.*--data.*--sample"):
        load_splits(config(), Source(kind="hub"))


def test_the_hubs_files_are_found_by_their_names_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    asked: list[str] = []
    (tmp_path / "mnli").mkdir()
    for name, count in (("train", 200), ("validation_matched", 20), ("validation_mismatched", 30)):
        table = pairs(count).rename_columns(["premise", "hypothesis", "label", "idx"])
        half = count // 2
        pq.write_table(table.slice(0, half), tmp_path / f"mnli/{name}-00000-of-00002.parquet")
        pq.write_table(table.slice(half), tmp_path / f"mnli/{name}-00001-of-00002.parquet")

    def download(repo: str, *, repo_type: str, allow_patterns: list[str]) -> str:
        asked.extend([f"{repo_type} {repo}", *allow_patterns])
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    splits = load_splits(config(task="mnli"), Source(kind="hub"))
    assert len(splits["validation"]) == 20
    assert len(splits["validation_mismatched"]) == 30
    assert len(splits["train"]) + len(splits["selection"]) == 200
    assert set(asked) == {
        "dataset nyu-mll/glue",
        "mnli/train-*.parquet",
        "mnli/validation_matched-*.parquet",
        "mnli/validation_mismatched-*.parquet",
    }


def test_a_source_says_where_it_is(tmp_path: Path) -> None:
    assert "synthetic" in Source(kind="sample").describe()
    assert str(tmp_path) in Source(kind="folder", folder=tmp_path).describe()
    assert "nyu-mll/glue" in Source(kind="hub").describe()
    with pytest.raises(SourceError):
        Source(kind="folder")
    with pytest.raises(SourceError):
        Source(kind="sample", folder=tmp_path)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_of_the_sample_loads(task: str) -> None:
    pytest.importorskip("mpc_router.sample.examples")
    splits = load_splits(trial_config({"pool": "sample", "task": task}), Source(kind="sample"))
    assert list(splits) == ["train", "selection", *TASKS[task].quoted]
    assert all(len(each) > 0 for each in splits.values())
