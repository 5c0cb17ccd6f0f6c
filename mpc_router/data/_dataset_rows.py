"""Reads one split of a data set, whatever its format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from mpc_router.data._find import picked, place_of
from mpc_router.data._hub_sets import hub_sets, saved_table, table_of
from mpc_router.data._rows import Stored, parquet_rows, table_rows
from mpc_router.data.dataset import DatasetSpec
from mpc_router.data.formats.csv_files import csv_table
from mpc_router.data.formats.json_files import json_table
from mpc_router.run_names import TRAIN
from mpc_router.source_error import SourceError, listed, shown

_READERS: Final[dict[str, Callable[..., Any]]] = {
    "csv": lambda path, texts, label: csv_table(path, texts, label, delimiter=","),
    "tsv": lambda path, texts, label: csv_table(path, texts, label, delimiter="\t"),
    "json": json_table,
    "saved": lambda path, texts, label: saved_table(path, [*texts, label]),
}


def split_names(spec: DatasetSpec, task: str, quoted: Sequence[str]) -> tuple[str, ...]:
    """Gives those of a task's quoted splits that the data set has.

    Raises:
        SourceError: `splits:` names a split that the task does not have, or see `place_of`.
    """
    check_named(list(spec.splits), task, quoted, "`splits:` of dataset")
    if spec.local:
        return tuple(split for split in quoted if place_of(spec, task, split) is not None)
    available = list(_hub(spec))
    return tuple(split for split in quoted if picked(available, spec, task, split) is not None)


def check_named(splits: Sequence[str], task: str, quoted: Sequence[str], where: str) -> None:
    """Raises a SourceError where a split is named that the task does not have."""
    strange = [split for split in splits if split not in (TRAIN, *quoted)]
    if strange:
        raise SourceError(
            f"{where} names {listed(strange)}, but task {task} has train and {listed([*quoted])}; "
            f"leave it out, or quote it: `quoted: [{', '.join([*quoted, *strange[:1]])}]` of "
            "task_definition"
        )


def split_rows(
    spec: DatasetSpec, task: str, split: str, texts: Sequence[str], label: str
) -> Stored:
    """Gives the rows of a split that the data set has: these text columns and the labels.

    Raises:
        SourceError: it is missing or cannot be read.
    """
    if not spec.local:
        sets = _hub(spec)
        name = picked(list(sets), spec, task, split)
        if name is None:
            raise SourceError(f"{spec.describe()} has no split {split}")
        where = f"split {name} of {spec.describe()}"
        return table_rows(table_of(sets[name], [*texts, label]), where)
    place = place_of(spec, task, split)
    if place is None:
        raise SourceError(f"{spec.describe()} has no split {split}")
    if place.format == "parquet":
        return parquet_rows(place.paths)
    path = place.paths[0]
    return table_rows(_READERS[place.format](path, texts, label), shown(path))


def _hub(spec: DatasetSpec) -> Any:
    instead = (
        "check its name (no folder of that name is here either) and the network, give `name:` "
        "where it has several configurations, or give a folder or a file that is there as `path:`"
    )
    return hub_sets(spec.path, spec.name, spec.revision, instead=instead)
