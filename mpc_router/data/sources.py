"""Where examples come from (embedded sample, folder, hub), and how they are cut into splits.

Letters: N examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from mpc_router.config.trial import TrialConfig
from mpc_router.data._dataset_rows import check_named, split_names, split_rows
from mpc_router.data._glue_files import HUB, files_of, hub_files, sample_table, stored
from mpc_router.data._label_checks import check_labels_agree, check_written_alike
from mpc_router.data._rows import Stored, parquet_rows, table_rows
from mpc_router.data.columns import Columns, checked_rows
from mpc_router.data.dataset import DatasetSpec
from mpc_router.data.router_rows import (
    Fingerprints,
    check_router_rows,
    fingerprints,
    lowest,
    router_rows,
    salted,
)
from mpc_router.messages import quoted
from mpc_router.run_names import SELECTION, TRAIN, VALIDATION
from mpc_router.source_error import SourceError
from mpc_router.storage.cache import digest
from mpc_router.tasks import TASKS, Task
from mpc_router.tasks.labels import is_glue

__all__ = [
    "Cut",
    "Examples",
    "Source",
    "SourceError",
    "all_fingerprints",
    "cut",
    "cut_all",
    "data_fingerprint",
    "load_splits",
    "read",
    "split_fingerprints",
]

_CUT_PARTS: Final = 10
"""One part of so many of train is validation where there is none."""

_VERSION: Final = 1
"""Raised when the same files would be cut into other splits."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Says where the data of all tasks lies."""

    kind: Literal["sample", "folder", "hub", "dataset", "memory"]
    """`folder` and `hub` hold GLUE's files, or others in their form; `dataset` and `memory` hold
    one data set of any form."""

    folder: Path | None = None
    """Of kind `folder`: holds `<task>/<split>.parquet`, or a split's parts
    (`mpc_router.data.formats.parts`)."""

    dataset: DatasetSpec | None = None
    """Of kind `dataset`."""

    tables: Mapping[str, Any] | None = None
    """Of kind `memory`: pyarrow tables by split (`mpc_router.data.frames.tables_of`)."""

    def __post_init__(self) -> None:
        for kind in ("folder", "dataset"):
            if (self.kind == kind) != (getattr(self, kind) is not None):
                raise SourceError(f"a source of kind {self.kind!r} with {kind} {self._of(kind)}")
        if (self.kind == "memory") != (self.tables is not None):
            raise SourceError(f"a source of kind {self.kind!r} with tables of {self._of('tables')}")

    def _of(self, name: str) -> str:
        value = getattr(self, name)
        return ", ".join(value) if isinstance(value, Mapping) else str(value)

    def describe(self) -> str:
        """Gives a few words for plans, reports and messages."""
        if self.kind == "sample":
            return "the embedded sample (synthetic)"
        if self.tables is not None:
            return f"tables in memory ({', '.join(self.tables)})"
        if self.dataset is not None:
            return self.dataset.describe()
        return f"the hub's {HUB}" if self.folder is None else str(self.folder)

    def quoted(self, task: Task) -> tuple[str, ...]:
        """Gives the quoted splits that are there; the first one is, or its absence is an error.

        A folder need not have the others: MNLI runs without its mismatched validation set.
        """
        if self.dataset is not None:
            return split_names(self.dataset, task.name, task.quoted)
        if self.tables is not None:
            check_named(list(self.tables), task.name, task.quoted, "the data set in memory")
            return tuple(split for split in task.quoted if split in self.tables)
        if self.folder is None:
            return task.quoted
        folder, (first, *more) = self.folder, task.quoted
        if not is_glue(task) and not stored(folder, task.name, first):
            return tuple(split for split in more if stored(folder, task.name, split))
        return (first, *(split for split in more if stored(folder, task.name, split)))

    def columns(self, task: Task, split: str) -> Columns:
        """Gives the checked rows of one source file: `train` or one of the task's quoted splits.

        Raises:
            SourceError: it is not there, cannot be read, or holds what the task forbids.
        """
        return checked_rows(self.rows(task.name, split, task.columns, task.label), task)

    def rows(self, task: str, split: str, texts: Sequence[str], label: str) -> Stored:
        """Gives the rows of one source file as they are stored: these text columns and the labels.

        Raises:
            SourceError: it is not there or cannot be read.
        """
        if self.dataset is not None:
            return split_rows(self.dataset, task, split, texts, label)
        if self.tables is not None:
            return table_rows(self.tables[split], f"split {split} in memory")
        if self.folder is not None:
            return parquet_rows(files_of(self.folder, task, split))
        if task not in TASKS:
            raise SourceError(
                f"{self.describe()} has no task {quoted(task)}; name its data by `dataset:`, or "
                f"give --data DIR with DIR/{task}/train.parquet"
            )
        if self.kind == "sample":
            return table_rows(sample_table(task, split), f"the sample's {task}/{split}")
        return parquet_rows(hub_files(task, split))


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Holds a split as it was read: texts and labels."""

    split: str
    """`train`, `selection`, or a quoted split."""

    texts: tuple[Sequence[str], ...]
    """A sequence of N texts for each text column, read when it is gone through."""

    labels: NDArray[np.float64]
    """(N,) class number or value."""

    example: NDArray[np.int64]
    """(N,) the row's number in its source file."""

    origin: str
    """Split of the source file: `train`, `validation`, ..."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Holds the splits of a task, and who learns from which rows of train."""

    splits: dict[str, Examples]
    """`train` (what routers learn from), `selection`, then the quoted splits."""

    experts: Examples
    """What the experts are trained on."""

    folds: NDArray[np.int64] | None
    """(N,) the fold of each example of train, from 0, where routers learn from cross-fitted ones.
    """


def load_splits(config: TrialConfig, source: Source) -> dict[str, Examples]:
    """Gives `train`, `selection`, then the quoted splits of the configuration's task.

    Raises:
        SourceError: data that is missing or bad, or a split that comes out empty.
    """
    return cut(config, read(config, source))


def data_fingerprint(config: TrialConfig, source: Source) -> str:
    """Gives hex digits of the splits' content: texts, labels, limits, cuts; no paths.

    Raises:
        SourceError: data that is missing or bad.
    """
    return all_fingerprints(config, read(config, source)).data


def read(config: TrialConfig, source: Source) -> dict[str, Columns]:
    """Reads the rows of every source file of the task, checked, before they are cut."""
    task = config.data.definition
    origins = (TRAIN, *source.quoted(task))
    _plan(config, origins)  # refuses what cannot be cut before rows are read
    files = {origin: source.columns(task, origin) for origin in origins}
    if not is_glue(task) and not task.regression:
        check_written_alike({name: columns.counted for name, columns in files.items()}, task)
        check_labels_agree({name: columns.labels for name, columns in files.items()}, task)
    return files


def split_fingerprints(config: TrialConfig, files: Mapping[str, Columns]) -> dict[str, str]:
    """Gives hex digits of each split's content; of train the rows that routers learn from."""
    return all_fingerprints(config, files).splits


def all_fingerprints(config: TrialConfig, files: Mapping[str, Columns]) -> Fingerprints:
    """Gives the fingerprints of `cut_all`, known before rows are hashed and chosen."""
    tuned, data = bool(config.model.expert_fine_tuned), config.data
    contents = {origin: columns.fingerprint() for origin, columns in files.items()}
    cuts = () if VALIDATION in files else ("validation cut from train",)
    chosen = {
        split: digest(_VERSION, contents[origin], tuned, limit, *cuts)
        for split, origin, limit in _plan(config, list(files))
    }
    splits = {split: digest(data.task, split, content) for split, content in chosen.items()}
    return fingerprints(data, splits, TRAIN)


def cut(config: TrialConfig, files: Mapping[str, Columns]) -> dict[str, Examples]:
    """Gives the splits of `cut_all`, which says how they are cut and what it raises."""
    return cut_all(config, files).splits


def cut_all(config: TrialConfig, files: Mapping[str, Columns]) -> Cut:
    """Cuts the splits: rows chosen by a hash of their texts, in the order of the source file.

    Selection is the tenth of train with the lowest hashes; with experts that come fine-tuned (they
    have seen train) the half of validation with the lowest, and train stays whole. Then limits on
    rows keep those with the lowest hashes of what is left, so that more rows only add rows and
    selection is the same under every limit. Without a validation file, validation is cut first:
    the tenth of train with the lowest second hashes. Last, `router_data` shares out train between
    experts and routers (`mpc_router.data.router_rows`).

    Raises:
        SourceError: a split comes out empty, there is no validation that such experts have not
            seen, or a part of train for experts or routers is one that nothing can be learned from.
    """
    tuned = bool(config.model.expert_fine_tuned)
    parts = 2 if tuned else 10
    hashes = {origin: columns.row_hashes() for origin, columns in files.items()}
    splits: dict[str, Examples] = {}
    experts: Examples | None = None
    folds = None
    for split, origin, limit in _plan(config, list(files)):
        low = _lowest(hashes[origin], parts)
        quoted_rows = np.zeros(len(low), np.bool_)
        if origin == TRAIN and VALIDATION not in files:
            quoted_rows = _lowest(salted(hashes[origin], 1), _CUT_PARTS)
        if split == SELECTION:
            rows = np.flatnonzero(low & ~quoted_rows)
        elif split != TRAIN and origin == TRAIN:
            rows = np.flatnonzero(quoted_rows)
        elif origin == (VALIDATION if tuned else TRAIN):
            rows = np.flatnonzero(~low & ~quoted_rows)
        else:
            rows = np.arange(len(low))
        unlimited, rows = rows, lowest(rows, hashes[origin], limit)
        if not len(rows):
            raise SourceError(
                f"task {config.data.task}: split {split} comes out empty, cut from the "
                f"{len(files[origin])} rows of {origin}; give more rows"
            )
        if split == TRAIN:
            left = np.setdiff1d(unlimited, rows, assume_unique=True)
            shares = router_rows(config.data, rows, left, hashes[origin])
            check_router_rows(config.data, shares, files[origin].labels)
            experts = _examples(split, origin, files[origin], shares.experts)
            rows, folds = shares.routers, shares.folds
        splits[split] = _examples(split, origin, files[origin], rows)
    assert experts is not None
    return Cut(splits=splits, experts=experts, folds=folds)


def _plan(config: TrialConfig, origins: Sequence[str]) -> list[tuple[str, str, int]]:
    """Gives the split, source file and limit on rows, in the order in which splits are given."""
    held_out = VALIDATION if config.model.expert_fine_tuned else TRAIN
    limit = config.data.validation_rows
    quoted_splits = [(name, name, limit) for name in origins if name != TRAIN]
    if VALIDATION not in origins:
        if config.model.expert_fine_tuned:
            raise SourceError(
                f"task {config.data.task} has no validation split, and experts that come "
                "fine-tuned (expert_fine_tuned, or `seen: true` of outputs) may have seen every "
                "row of train, so their scores there would be too high; give a validation split "
                "that they have not seen, or let encoders be trained here "
                "(expert_fine_tuned: false)"
            )
        quoted_splits.insert(0, (VALIDATION, TRAIN, limit))
    return [(TRAIN, TRAIN, config.data.train_rows), (SELECTION, held_out, 0), *quoted_splits]


def _lowest(hashes: NDArray[np.uint64], parts: int) -> NDArray[np.bool_]:
    """Says whether each row's hash is in the lowest of so many equal parts of its range, (N,)."""
    return np.asarray(hashes < np.uint64(2**64 // parts))


def _examples(split: str, origin: str, columns: Columns, rows: NDArray[np.int64]) -> Examples:
    return Examples(
        split=split,
        texts=columns.texts(rows),
        labels=columns.labels[rows],
        example=rows.astype(np.int64),
        origin=origin,
    )
