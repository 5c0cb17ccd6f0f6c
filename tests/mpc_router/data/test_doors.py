"""The same rows have the same fingerprint by whatever door they come."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mpc_router.config.trial import trial_config
from mpc_router.data.dataset import dataset_of
from mpc_router.data.definitions import define
from mpc_router.data.frames import tables_of
from mpc_router.data.sources import Source, SourceError, data_fingerprint
from mpc_router.tasks import TASKS
from tests.mpc_router.data.own import config_for, task_for, tickets

_SHARED = os.environ.get("MPC_ROUTER_SHARED")
GLUE = (
    (Path(_SHARED) if _SHARED else Path(__file__).resolve().parents[4] / "shared") / "data" / "glue"
)

Frames = dict[str, pd.DataFrame]


def saved_each(frames: Frames, folder: Path) -> None:
    for name, frame in frames.items():
        dataset = datasets.Dataset.from_pandas(frame, preserve_index=False)
        dataset.save_to_disk(folder / name)


def saved(frames: Frames, folder: Path) -> None:
    sets_of(frames).save_to_disk(folder)


def sets_of(frames: Frames) -> Any:
    return datasets.DatasetDict(
        {
            name: datasets.Dataset.from_pandas(frame, preserve_index=False)
            for name, frame in frames.items()
        }
    )


def each(
    write: Callable[[pd.DataFrame, Path], object], ending: str
) -> Callable[[Frames, Path], None]:
    def write_all(frames: Frames, folder: Path) -> None:
        folder.mkdir()
        for name, frame in frames.items():
            write(frame, folder / f"{name}{ending}")

    return write_all


def rows_of(frame: pd.DataFrame) -> list[Any]:
    return frame.to_dict("records")


FILES: dict[str, Callable[[Frames, Path], None]] = {
    "parquet": each(lambda frame, path: frame.to_parquet(path), ".parquet"),
    "csv": each(lambda frame, path: frame.to_csv(path, index=False), ".csv"),
    "csv of UTF-16": each(
        lambda frame, path: frame.to_csv(path, index=False, encoding="utf-16"), ".csv"
    ),
    "tsv": each(lambda frame, path: frame.to_csv(path, index=False, sep="\t"), ".tsv"),
    "json": each(lambda frame, path: path.write_text(json.dumps(rows_of(frame))), ".json"),
    "jsonl": each(
        lambda frame, path: path.write_text("\n".join(map(json.dumps, rows_of(frame)))), ".jsonl"
    ),
    "saved Datasets": saved_each,
    "saved DatasetDict": saved,
}

MEMORY: dict[str, Callable[[Frames], Any]] = {
    "frames": lambda frames: frames,
    "datasets": sets_of,
    "tables": lambda frames: {
        name: pa.Table.from_pandas(frame, preserve_index=False) for name, frame in frames.items()
    },
}


def source_by(door: str, frames: Frames, folder: Path) -> Source:
    if door in MEMORY:
        return Source(kind="memory", tables=tables_of(MEMORY[door](frames)))
    FILES[door](frames, folder / "set")
    return Source(kind="dataset", dataset=dataset_of({"path": "set"}, folder))


@pytest.mark.parametrize("door", [*FILES, *MEMORY])
@pytest.mark.parametrize("labels", [("order", "other", "refund"), (1, 2, 10), (True, False)])
def test_the_same_rows_have_the_same_fingerprint(
    door: str, labels: tuple[Any, ...], tmp_path: Path
) -> None:
    frames = {
        "train": tickets(60, labels).to_pandas(),
        "validation": tickets(9, labels).to_pandas(),
    }
    expected = Source(kind="memory", tables=tables_of(frames))
    source = source_by(door, frames, tmp_path)
    task = task_for(source)
    assert task == task_for(expected)
    assert data_fingerprint(config_for(task), source) == data_fingerprint(
        config_for(task), expected
    )


@pytest.mark.parametrize("door", ["csv", "tsv", "json", "jsonl", "saved DatasetDict", "frames"])
def test_values_of_a_regression_keep_every_bit(door: str, tmp_path: Path) -> None:
    values = [0.1, 1e-300, 2.5, 1 / 3, -7.0, 123456789.12345679]
    frames = {name: tickets(60, values).to_pandas() for name in ("train", "validation")}
    keys = {"kind": "regression"}
    expected = Source(kind="memory", tables=tables_of(frames))
    source = source_by(door, frames, tmp_path)
    config = config_for(task_for(source, **keys))
    assert data_fingerprint(config, source) == data_fingerprint(config, expected)
    labels = source.columns(config.data.definition, "train").labels
    assert labels[:6].tolist() == values


@pytest.mark.parametrize(
    ("task", "door"),
    [
        *(("mrpc", door) for door in (*FILES, *MEMORY)),
        *(("sst2", door) for door in ("parquet", "csv", "jsonl", "saved DatasetDict", "frames")),
    ],
)
def test_a_task_of_glue_has_its_fingerprint_by_every_door(
    door: str, task: str, tmp_path: Path
) -> None:
    if not (GLUE / task / "train.parquet").is_file():
        pytest.skip(f"no real {task} beside the checkout (MPC_ROUTER_SHARED)")
    config = trial_config({"pool": "minilm", "task": task})
    frames = {
        name: pq.read_table(GLUE / task / f"{name}.parquet").to_pandas()
        for name in ("train", "validation")
    }
    source = source_by(door, frames, tmp_path)
    glue = Source(kind="folder", folder=GLUE)
    assert data_fingerprint(config, source) == data_fingerprint(config, glue)
    assert config_for(define(TASKS[task].to_json(), source)) == config


def test_the_order_of_rows_counts() -> None:
    table = tickets(60)
    turned = table.take(list(range(59, -1, -1)))
    first, second = (
        Source(kind="memory", tables={"train": rows, "validation": table})
        for rows in (table, turned)
    )
    config = config_for(task_for(first))
    assert data_fingerprint(config, first) != data_fingerprint(config, second)


def test_a_saved_set_is_read_as_its_rows_were_chosen_and_shuffled(tmp_path: Path) -> None:
    chosen = datasets.Dataset(tickets(90)).shuffle(seed=0).select(range(60))
    chosen.save_to_disk(tmp_path / "set")
    saved_set = Source(kind="dataset", dataset=dataset_of({"path": "set"}, tmp_path))
    in_memory = Source(kind="memory", tables=tables_of({"train": chosen}))
    config = config_for(task_for(saved_set))
    for source in (saved_set, in_memory):
        columns = source.columns(config.data.definition, "train")
        assert list(columns.texts(np.arange(60))[0]) == chosen["body"][:]


def test_class_labels_are_the_labels_in_their_order(tmp_path: Path) -> None:
    features = datasets.Features(
        {
            "body": datasets.Value("string"),
            "queue": datasets.ClassLabel(names=["refund", "Order", "never"]),
        }
    )
    numbers = [row % 2 for row in range(40)]
    rows = datasets.Dataset.from_dict(
        {"body": tickets(40)["body"].to_pylist(), "queue": numbers}, features=features
    )
    rows.save_to_disk(tmp_path / "saved")
    (tmp_path / "parquet").mkdir()
    rows.to_parquet(tmp_path / "parquet" / "train.parquet")
    sources = [
        *(
            Source(kind="dataset", dataset=dataset_of({"path": name}, tmp_path))
            for name in ("saved", "parquet")
        ),
        Source(kind="memory", tables=tables_of({"train": rows})),
    ]
    for source in sources:
        task = task_for(source)
        assert task.label_names == ("refund", "Order", "never")
        assert source.columns(task, "train").labels.tolist() == numbers
        turned = task_for(source, labels=["order", "refund"])
        assert source.columns(turned, "train").labels.tolist() == [1 - n for n in numbers]
        with pytest.raises(SourceError, match=r"label of row 0 is 'refund', but .* order, other"):
            source.columns(task_for(source, labels=["order", "other"]), "train")


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ({"validation": tickets(3)}, "must be a mapping of splits to tables"),
        ([tickets(3)], "must be a mapping of splits to tables"),
        ({"train": tickets(3), "selection": tickets(3)}, "has a split 'selection'"),
        ({"train": [1, 2]}, "split train in memory is 'list', but must be a pandas DataFrame"),
        (
            {"train": pd.DataFrame({"body": ["a", 1]})},
            "split train in memory has a column that is no column of one type",
        ),
    ],
)
def test_what_is_no_data_set_in_memory_is_refused(frames: Any, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        tables_of(frames)


def test_a_split_in_memory_that_the_task_does_not_quote_is_refused() -> None:
    tables = {name: tickets(60) for name in ("train", "test")}
    source = Source(kind="memory", tables=tables)
    config = config_for(task_for(source))
    with pytest.raises(
        SourceError, match=r"names test, .* quote it: `quoted: \[validation, test\]`"
    ):
        data_fingerprint(config, source)
