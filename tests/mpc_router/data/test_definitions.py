"""What labels of train make of a definition, and how every split's labels are read by it."""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from mpc_router.data.definitions import define
from mpc_router.data.sources import (
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
from mpc_router.tasks.definition import TaskError
from tests.mpc_router.data.own import config_for, split, task_for, tickets


def memory(labels: Any, *, validation: Any = None, kind: Any = None, rows: int = 60) -> Source:
    """Gives a source of so many rows that have these labels in turn."""
    tables = {"train": labelled(labels, rows, kind)}
    if validation is not None:
        tables["validation"] = labelled(validation, rows, kind)
    return Source(kind="memory", tables=tables)


def labelled(labels: Any, rows: int, kind: Any = None) -> pa.Table:
    values = pa.array([labels[row % len(labels)] for row in range(rows)], kind)
    return tickets(rows).set_column(1, "queue", values)


def numbers(source: Source, **keys: Any) -> list[float]:
    """Gives the class numbers of the first rows of train."""
    return list(map(float, source.columns(task_for(source, **keys), "train").labels[:5]))


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["b", "a", "C"], ("C", "a", "b")),
        (["b ", " a"], ("a", "b")),
        ([10, 9, 1], ("1", "9", "10")),
        ([1, -1, 0], ("-1", "0", "1")),
        (["10", "9"], ("9", "10")),
        (["10", "9", "?"], ("10", "9", "?")),
        ([True, False], ("false", "true")),
        ([2.0, 1.0], ("1", "2")),
    ],
)
def test_labels_of_train_are_sorted_as_numbers_or_as_texts(labels: Any, names: Any) -> None:
    source = memory(labels)
    assert task_for(source).label_names == names
    by_name = {name: number for number, name in enumerate(names)}
    words = [str(labels[row % len(labels)]).strip().lower().removesuffix(".0") for row in range(5)]
    lower = {name.lower(): number for name, number in by_name.items()}
    assert numbers(source) == [lower[word] for word in words]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.float32(), pa.decimal128(5, 2)])
def test_numbers_of_every_type_are_labels(kind: Any) -> None:
    assert numbers(memory([5, 3, 4], kind=kind)) == [2, 0, 1, 2, 0]


def test_categories_are_the_words_that_they_stand_for() -> None:
    coded = memory(["b", "a"], kind=pa.dictionary(pa.int32(), pa.string()))
    assert task_for(coded).label_names == ("a", "b")
    assert numbers(coded) == [1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("labels", "listed", "expected"),
    [
        ([1, 2, 3], [3, 2, 1], [2, 1, 0]),
        ([0, 1, 2], ["low", "mid", "high"], [0, 1, 2]),
        ([True, False], ["ham", "spam"], [1, 0]),
        ([True, False], ["True", "False"], [0, 1]),
        (["spam", "HAM", " Spam"], ["Ham", "spam"], [1, 0, 1]),
        (["not-so", "so"], ["so", "not so"], [1, 0]),
        (["us", "US"], ["US", "us"], [1, 0]),
        ([2.0, 1.0], ["1", "2"], [1, 0]),
        ([0.5, 1.5], ["0.5", "1.5"], [0, 1]),
    ],
)
def test_labels_that_are_listed_have_the_order_of_the_list(
    labels: Any, listed: Any, expected: Any
) -> None:
    assert numbers(memory(labels), labels=listed)[: len(expected)] == expected


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", None], "label 'queue' of row 1 is null"),
        ([1, None], "label 'queue' of row 1 is null"),
        (["a", "  "], "label 'queue' of row 1 is '', which is no class; give a label"),
        ([1.0, 2.5], "of row 1 is 2.5, which is no class; .*write `kind: regression`"),
        ([1.0, float("nan")], "of row 1 is nan, which is no class"),
        (["a"], "every label is 'a', but a task has at least 2 labels"),
        ([1], "every label is '1'"),
        (["Spam", "spam"], "'Spam' and 'spam', which are one but for case"),
        ([["a"], ["b", "c"]], "list<.*several labels a row, but a task has one label a row"),
        ([date(2026, 1, 1)], "labels are texts, whole numbers or truth values"),
        (list(range(1500)), "more than 1,000 distinct labels .*write `kind: regression`"),
    ],
)
def test_labels_of_train_that_define_no_task_are_refused(labels: Any, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        task_for(memory(labels, rows=3000))
    assert len(str(caught.value)) <= 1000


def test_a_thousand_classes_are_a_task_and_messages_about_them_are_short() -> None:
    source = memory([f"class {n}" for n in range(1000)], validation=["class x"], rows=2000)
    assert task_for(source).outputs == 1000
    with pytest.raises(SourceError, match="of row 0 is 'class x', but task tickets") as caught:
        split(source)
    assert len(str(caught.value)) <= 1000
    listed = [f"word {n}" for n in range(1000)]
    with pytest.raises(SourceError, match="row 0 is 1001") as caught:
        split(memory([1001, 5]), labels=listed)
    assert len(str(caught.value)) <= 1000


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ("tickets", "must be a mapping"),
        ({"name": "tickets"}, "lacks `text:`"),
        ({"text": "body"}, "lacks `name:`"),
        ({"name": "tickets", "text": "body", "label": 3}, "label of task_definition is 3"),
    ],
)
def test_a_definition_that_is_none_is_refused_before_rows_are_read(tree: Any, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        define(tree, Source(kind="memory", tables={}))


def test_the_column_of_labels_is_looked_for_first() -> None:
    with pytest.raises(SourceError, match=r"no column 'label' \(it has body, queue\)"):
        define({"name": "tickets", "text": "body"}, memory(["a", "b"]))
    with pytest.raises(SourceError, match=r"no column 'Bodies'.*did you mean body\?"):
        split(memory(["a", "b"]), text="Bodies")


@pytest.mark.parametrize(
    ("labels", "validation", "listed", "message"),
    [
        ("ab", "abz", None, r"row 2 is 'z', but task tickets has the labels a, b"),
        (
            "ab",
            "abz",
            ["a", "b", "z"],
            "split validation .* has the label z, which no row of train",
        ),
        (
            "a",
            "ab",
            ["a", "b"],
            "every label of train is a, but task tickets needs rows of at least 2",
        ),
        ([1, 2], [1, 3], None, "row 1 is '3', but task tickets has the labels 1, 2"),
        ([0, 1], [0, 2], ["no", "yes"], "row 1 is 2, .* class number in 0..1"),
        ("ab", [0, 1], None, "validation .* has class numbers as labels, but train has words"),
        (["a", "b"], ["a", None], None, "label of row 1 is null"),
    ],
)
def test_labels_that_train_and_validation_do_not_share_are_refused(
    labels: Any, validation: Any, listed: Any, message: str
) -> None:
    source = memory(labels, validation=validation)
    with pytest.raises(SourceError, match=message):
        split(source, **({"labels": listed} if listed else {}))


def test_a_label_of_train_that_validation_lacks_is_a_note() -> None:
    source = memory("abc", validation="ab")
    config = config_for(task_for(source))
    notes = split_notes(config, cut(config, read(config, source)))
    assert notes["validation"] == "no row has the label c of train"
    assert "no row" not in str(notes["train"])


@pytest.mark.parametrize(
    ("labels", "keys", "message"),
    [
        ([1.5, float("inf")], {}, "row 1 is inf"),
        ([1.5, 9.0], {"range": [0, 5]}, "row 1 is 9, but task tickets needs a number in 0..5"),
        (["1.5", "n/a"], {}, "row 1 is 'n/a', but task tickets needs a number"),
    ],
)
def test_a_label_that_is_no_value_of_a_regression_is_refused(
    labels: Any, keys: Any, message: str
) -> None:
    source = memory(labels)
    with pytest.raises(SourceError, match=message):
        split(source, kind="regression", **keys)


@pytest.mark.parametrize("labels", [[0, 1], [1.5, -3], ["1.5", " 2"]])
def test_numbers_are_values_of_a_regression(labels: Any) -> None:
    values = [float(label) for label in labels]
    assert numbers(memory(labels), kind="regression")[:2] == values[:2]


def test_validation_is_cut_from_train_where_there_is_none() -> None:
    source = memory("abc", rows=3000)
    config = config_for(task_for(source))
    splits = load_splits(config, source)
    rows = {name: set(examples.example.tolist()) for name, examples in splits.items()}
    assert list(splits) == ["train", "selection", "validation"]
    assert set.union(*rows.values()) == set(range(3000))
    assert sum(map(len, rows.values())) == 3000
    assert len(rows["validation"]) == pytest.approx(300, abs=60)
    assert len(rows["selection"]) == pytest.approx(270, abs=60)
    assert splits["validation"].origin == "train"
    note = split_notes(config, splits)["validation"]
    assert note is not None
    assert "a tenth of train, by a second hash" in note


def test_the_cut_of_validation_depends_on_texts_alone_and_limits_nest() -> None:
    source = memory("abc", rows=2000)
    task = task_for(source)
    assert source.tables is not None
    table = source.tables["train"]
    turned = Source(kind="memory", tables={"train": table.take(list(range(1999, -1, -1)))})
    first, second = (load_splits(config_for(task), each) for each in (source, turned))
    small = load_splits(config_for(task, train_rows=50, validation_rows=20), source)
    for name in ("train", "selection", "validation"):
        assert set(first[name].texts[0]) == set(second[name].texts[0])
        assert set(small[name].example) <= set(first[name].example)
    assert len(small["validation"]) == 20
    assert set(small["selection"].example) == set(first["selection"].example)


def test_a_cut_of_validation_is_in_the_fingerprints_of_every_split() -> None:
    table = tickets(600)
    sources = {
        "cut": Source(kind="memory", tables={"train": table}),
        "given": Source(kind="memory", tables={"train": table, "validation": table}),
    }
    config = config_for(task_for(sources["cut"]))
    prints = {
        name: split_fingerprints(config, read(config, source)) for name, source in sources.items()
    }
    assert all(prints["cut"][split] != prints["given"][split] for split in prints["cut"])
    assert data_fingerprint(config, sources["cut"]) != data_fingerprint(config, sources["given"])


def test_experts_that_come_fine_tuned_need_a_validation_that_they_have_not_seen() -> None:
    source = memory("abc", rows=600)
    config = config_for(task_for(source), expert_fine_tuned=True)
    with pytest.raises(
        SourceError, match=r"may have seen every row of train.*give a validation split"
    ):
        load_splits(config, source)
    given = memory("abc", validation="abc", rows=600)
    assert load_splits(config, given)["validation"].origin == "validation"


def test_quoted_splits_that_the_data_lack_are_a_note() -> None:
    source = memory("abc", validation="abc")
    config = config_for(task_for(source, quoted=["validation", "test"]))
    splits = load_splits(config, source)
    assert list(splits) == ["train", "selection", "validation"]
    assert split_notes(config, splits)["validation"] == "the data hold no test"


def test_a_task_of_glue_is_defined_as_it_ships() -> None:
    table = pa.table({"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [0, 1]})
    source = Source(kind="memory", tables={"train": table})
    assert define(TASKS["mrpc"].to_json(), source) == TASKS["mrpc"]
