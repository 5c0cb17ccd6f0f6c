"""Which files of a data set are read, and what is said of those that are not."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mpc_router.data.dataset import DatasetSpec, dataset_of
from mpc_router.data.sources import Source, SourceError, load_splits
from tests.mpc_router.data.own import (
    HEADER,
    config_for,
    lines,
    source_of,
    split,
    task_for,
    tickets,
)

TRAIN = HEADER + lines(60, "ab")
FEW = HEADER + lines(9, "ab")


def parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


def refused(source: Source, **keys: Any) -> str:
    with pytest.raises(SourceError) as caught:
        split(source, **keys)
    message = str(caught.value)
    assert len(message) <= 1000
    return message


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ("tickets/", "must be a mapping"),
        (None, "must be a mapping"),
        ({"folder": "x"}, "has no key 'folder'; it has path, name, revision, splits"),
        ({}, "path of dataset is None"),
        ({"path": 3}, "path of dataset is 3"),
        ({"path": "nowhere"}, "does not exist .* a set of the hub as org/name"),
        ({"path": "nowhere/train.csv/x"}, "does not exist"),
        ({"path": "../nowhere/x"}, "does not exist"),
        ({"path": "org/name", "revision": 1.0}, "revision of dataset is 1.0"),
        ({"path": ".", "name": "en"}, "is no set of the hub; leave name out"),
        ({"path": ".", "splits": ["train"]}, "splits of dataset is"),
        ({"path": ".", "splits": {"selection": "x"}}, "selection is cut from train"),
        ({"path": ".", "splits": {"../x": "x"}}, "splits of dataset names"),
        ({"path": ".", "splits": {"train": ["a.csv", "b.csv"]}}, "must be one name"),
    ],
)
def test_a_data_set_that_cannot_be_is_refused(tree: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=message):
        dataset_of(tree, tmp_path)


def test_a_path_is_relative_to_the_study_and_a_hub_name_is_one_where_no_path_is(
    tmp_path: Path,
) -> None:
    hub = dataset_of({"path": "org/name", "revision": "v1"}, tmp_path)
    assert hub == DatasetSpec(path="org/name", local=False, revision="v1")
    assert hub.describe() == "the hub's org/name at v1"
    (tmp_path / "org" / "name").mkdir(parents=True)
    local = dataset_of({"path": "org/name", "splits": {"train": "x"}}, tmp_path)
    assert (local.local, local.path) == (True, str(tmp_path / "org" / "name"))
    assert dataset_of(local.to_json(), Path("/")) == local
    assert dataset_of(hub.to_json(), Path("/")) == hub


@pytest.mark.parametrize(
    ("files", "keys"),
    [
        ({"train.csv": TRAIN, "validation.csv": FEW}, {}),
        ({"train.csv": TRAIN, "dev.csv": FEW}, {}),
        ({"train.parquet": parquet(tickets(60, "ab")), "val.csv": FEW}, {}),
        ({"train/0.parquet": parquet(tickets(60, "ab")), "valid.CSV": FEW}, {}),
        ({"a.csv": TRAIN, "b.csv": FEW}, {"splits": {"train": "a.csv", "validation": "b.csv"}}),
        ({"train.csv": TRAIN, "test.csv": FEW}, {"splits": {"validation": "test"}}),
        (
            {"train.csv": TRAIN, "b.csv": FEW},
            {"path": "train.csv", "splits": {"validation": "b.csv"}},
        ),
    ],
)
def test_splits_are_found_by_name_or_as_they_are_named(
    files: dict[str, str | bytes], keys: dict[str, Any], tmp_path: Path
) -> None:
    splits = split(source_of(tmp_path, files, **keys))
    assert len(splits["train"]) + len(splits["selection"]) == 60
    assert len(splits["validation"]) == 9
    assert splits["validation"].origin == "validation"


@pytest.mark.parametrize(
    ("files", "keys", "message"),
    [
        ({"tickets.csv": TRAIN}, {}, "`splits: {train: tickets.csv}`"),
        ({"train.xlsx": b"PK\x03\x04"}, {}, "it holds train.xlsx"),
        ({"train.csv": b"PK\x03\x04"}, {}, "a zip archive or a spreadsheet by its first bytes"),
        ({"train.csv": parquet(tickets(3))}, {}, "a Parquet file by its first bytes"),
        ({"train.parquet": TRAIN}, {}, "not a whole Parquet file"),
        (
            {"train.csv": TRAIN, "train.json": ""},
            {},
            "holds split train as train.csv and train.json",
        ),
        ({"train.csv": TRAIN, "train.parquet": b""}, {}, "as train.parquet and train.csv"),
        ({"train.csv": TRAIN, "dev.csv": FEW, "val.csv": FEW}, {}, "as dev.csv and val.csv"),
        ({"train.csv": TRAIN}, {"splits": {"train": "gone.csv"}}, "gone.csv does not exist"),
        ({"train.csv": TRAIN}, {"splits": {"validation": "dev"}}, "no split dev .* train.csv"),
        ({"train.csv": TRAIN}, {"splits": {"test": "train.csv"}}, "names test, but task tickets"),
        ({"a.txt": TRAIN}, {"path": "a.txt"}, "ends in '.txt', but what is read ends in .parquet"),
        ({"dataset_dict.json": "{}"}, {}, "does not list the splits of a saved data set"),
        ({"dataset_dict.json": '{"splits": ["dev"]}'}, {}, r"no split 'train' \(it has dev\)"),
        ({"state.json": "{}", "dataset_info.json": "{}"}, {}, "cannot be read as a saved data set"),
    ],
)
def test_files_that_cannot_be_read_are_named(
    files: dict[str, str | bytes], keys: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=message):
        split(source_of(tmp_path, files, **keys))


def test_a_pipe_and_a_folder_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "train.csv")
    assert "train.csv is a named pipe, no file" in refused(source_of(tmp_path))
    with pytest.raises(SourceError, match=r"train\.csv is a named pipe"):
        dataset_of({"path": "train.csv"}, tmp_path)
    (tmp_path / "b" / "train.csv").mkdir(parents=True)
    assert "train.csv is a folder, no file" in refused(source_of(tmp_path / "b"))


def test_a_set_of_the_hub_is_asked_for_by_name_and_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def load_dataset(path: str, name: str | None, *, revision: str | None) -> Any:
        asked.append((path, name, revision))
        rows = {split: datasets.Dataset(tickets(60)) for split in ("train", "test")}
        return datasets.DatasetDict(rows)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    tree = {"path": "org/tickets", "name": "en", "revision": "v1", "splits": {"validation": "test"}}
    source = Source(kind="dataset", dataset=dataset_of(tree, tmp_path))
    assert len(split(source)["validation"]) == 60
    assert asked == [("org/tickets", "en", "v1")]


@pytest.mark.parametrize(
    "error", [ConnectionError("no route"), RuntimeError("a script"), ValueError("")]
)
def test_a_set_of_the_hub_that_cannot_be_got_is_one_message(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warns: list[bool] = []

    def load_dataset(*_: object, **__: object) -> Any:
        warns.append(logging.getLogger("huggingface_hub.utils._http").isEnabledFor(logging.WARNING))
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    source = Source(kind="dataset", dataset=dataset_of({"path": "org/gone"}, tmp_path))
    message = refused(source)
    assert "cannot get data set org/gone from the hub" in message
    assert str(error) in message
    assert "check its name (no folder of that name is here either) and the network" in message
    assert warns == [False]  # the client's own lines would stand beside the one message


def test_files_that_need_no_datasets_are_read_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)  # an import of it raises
    csv = source_of(tmp_path, {"train.csv": TRAIN, "validation.jsonl": '{"body":"x","queue":"a"}'})
    assert len(split(csv)["validation"]) == 1
    (tmp_path / "tickets").mkdir()
    for name in ("train", "validation"):
        pq.write_table(tickets(60, "ab"), tmp_path / "tickets" / f"{name}.parquet")
    folder = Source(kind="folder", folder=tmp_path)
    assert len(load_splits(config_for(task_for(folder)), folder)["validation"]) == 60


def test_only_a_data_set_has_a_task_of_ones_own(tmp_path: Path) -> None:
    for source in (Source(kind="sample"), Source(kind="hub")):
        assert "has no task 'tickets'; name its data by `dataset:`" in refused(source)


def test_a_source_is_described(tmp_path: Path) -> None:
    assert source_of(tmp_path).describe() == str(tmp_path)
    memory = Source(kind="memory", tables={"train": tickets(3)})
    assert memory.describe() == "tables in memory (train)"
    with pytest.raises(ValueError, match="kind 'dataset'"):
        Source(kind="dataset")
    with pytest.raises(ValueError, match="kind 'sample'"):
        Source(kind="sample", tables={})
