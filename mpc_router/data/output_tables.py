"""Tables of outputs that are handed in: what some model, of any kind, said of every example.

A table is Parquet or csv. Its rows are found by `split` and `example` (the row's number in its
source file, from 0), or by a column of ids that the data have too (`id: NAME`). An output is the
list column `output`, or one column for each label, named by it.

Letters: N examples, C classes (1 of a regression).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mpc_router.data.columns import Columns
from mpc_router.messages import quoted
from mpc_router.source_error import SourceError, listed, shown
from mpc_router.tasks import Task

_KINDS: Final = ("logits", "probabilities", "values")
_KEYS: Final = ("name", "path", "cost", "kind", "id", "seen")
_LEAST: Final = 1e-12
"""The least probability that has a logarithm here."""

_ROUNDING: Final = 1e-3
"""How far the sum of an example's probabilities may be from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputTable:
    """Names a table of outputs: an expert of its own that was run elsewhere."""

    name: str
    path: Path
    cost: float
    kind: str
    id: str = ""
    """The column that names examples; empty where `split` and `example` do."""

    seen: bool = False
    """Whether its model was trained on the rows of train."""

    def to_json(self) -> dict[str, Any]:
        """Gives the table as `table_of` reads it."""
        return {**{key: getattr(self, key) for key in _KEYS}, "path": str(self.path)}


@dataclass(frozen=True, slots=True, weakref_slot=True, kw_only=True)
class GivenOutputs:
    """Names the tables of a pool that was run elsewhere."""

    tables: tuple[OutputTable, ...]
    """One an expert, in the order of `expert_model_names`."""

    features: Path | None = None
    """What the router looks at; None: the cheapest expert's outputs."""

    features_id: str = ""


def table_of(tree: object, *, base: Path) -> OutputTable:
    """Reads one item of a study's `outputs:`; its path is relative to `base`.

    Raises:
        SourceError: a key is missing or unknown, or a value is of another kind.
    """
    if not isinstance(tree, Mapping):
        raise SourceError(f"outputs holds {quoted(tree)}, but an item is a mapping with `name:`")
    for key in tree:
        if key not in _KEYS:
            raise SourceError(f"outputs has no key {quoted(key)}; it has {', '.join(_KEYS)}")
    for key in ("name", "path", "cost", "kind"):
        if key not in tree:
            raise SourceError(f"an item of outputs lacks `{key}:`; it needs name, path, cost, kind")
    cost, kind = tree["cost"], tree["kind"]
    texts = {key: tree.get(key, "") for key in ("name", "path", "id")}
    for key, text in texts.items():
        if not isinstance(text, str) or (not text and key != "id"):
            raise SourceError(f"{key} in outputs is {quoted(text)}, but must be a text")
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not 0 <= cost < 1e300:
        raise SourceError(
            f"cost of output {quoted(texts['name'])} is {quoted(cost)}; give a number"
        )
    if kind not in _KINDS:
        raise SourceError(
            f"kind of output {quoted(texts['name'])} is {quoted(kind)}, allowed are "
            f"{', '.join(_KINDS)}"
        )
    return OutputTable(
        name=texts["name"],
        path=base / texts["path"],
        cost=float(cost),
        kind=kind,
        id=texts["id"],
        seen=tree.get("seen", False) is True,
    )


def read_outputs(
    table: OutputTable, task: Task, files: Mapping[str, Columns]
) -> dict[str, NDArray[np.float32]]:
    """Gives a table's outputs (N, C) of every row of every source file, as logits or values.

    Raises:
        SourceError: the table cannot be read, lacks rows, has a row twice, or holds what is no
            output of the task.
    """
    if (table.kind == "values") != task.regression:
        allowed = "values" if task.regression else "logits or probabilities"
        raise SourceError(
            f"output {table.name} holds {table.kind}, but task {task.name} needs {allowed}"
        )
    rows = _read(table.path)
    outputs = _as_logits(_outputs(rows, table, task), table)
    return {
        split: np.ascontiguousarray(outputs[places], np.float32)
        for split, places in _places(rows, table, files).items()
    }


def read_features(
    path: Path, id_column: str, files: Mapping[str, Columns]
) -> dict[str, NDArray[np.float32]]:
    """Gives the features (N, F) of every row of every source file, for the router to look at.

    Features are the list column `features`, or every column of numbers.

    Raises:
        SourceError: as `read_outputs`.
    """
    table = OutputTable(name="features", path=path, cost=0.0, kind="values", id=id_column)
    rows = _read(path)
    if "features" in rows.column_names:
        features = _matrix(rows["features"], table, "features")
    else:
        skipped = {"split", "example", id_column, "__index_level_0__"}  # the last is pandas' own
        names = [name for name in rows.column_names if name not in skipped]
        if not names:
            raise SourceError(f"{shown(path)} has no column of features; give `features` (lists)")
        features = np.column_stack([_numbers(rows[name], table, name) for name in names])
    return {
        split: np.ascontiguousarray(features[places], np.float32)
        for split, places in _places(rows, table, files).items()
    }


def _read(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    if not path.is_file():
        raise SourceError(f"{shown(path)} is not a file; give a Parquet or csv table of outputs")
    try:
        if path.suffix == ".csv":
            return csv.read_csv(path)
        return pq.read_table(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise SourceError(f"{shown(path)} cannot be read as a table ({reason})") from error


def _outputs(rows: Any, table: OutputTable, task: Task) -> NDArray[np.float64]:
    """Reads the outputs (rows, C) as they stand in the table."""
    if "output" in rows.column_names:
        outputs = _matrix(rows["output"], table, "output")
    else:
        names = task.label_names or ("output",)
        missing = [name for name in names if name not in rows.column_names]
        if missing:
            raise SourceError(
                f"{shown(table.path)} has no column `output` and no column {quoted(missing[0])}; "
                f"it has {listed(rows.column_names)}; give lists in the order of the labels, or a "
                "column for each label"
            )
        outputs = np.column_stack([_numbers(rows[name], table, name) for name in names])
    if outputs.shape[1] != task.outputs:
        raise SourceError(
            f"{shown(table.path)}: an output has {outputs.shape[1]} numbers, task {task.name} "
            f"needs {task.outputs}"
        )
    return outputs


def _matrix(column: Any, table: OutputTable, name: str) -> NDArray[np.float64]:
    """Reads a column of lists, all of one length, or of numbers, as (rows, width)."""
    import pyarrow as pa

    kind = column.type
    if not (
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    ):
        return _numbers(column, table, name)[:, None]
    chunk = column.combine_chunks()
    if chunk.null_count:
        raise SourceError(f"{shown(table.path)}: column {name} has {chunk.null_count} empty cells")
    lengths = np.unique(np.asarray(pa.compute.list_value_length(chunk)))
    if len(lengths) != 1:
        raise SourceError(
            f"{shown(table.path)}: the lists of column {name} have {len(lengths)} lengths; give "
            "every example as many numbers"
        )
    values = _numbers(chunk.flatten(), table, name)
    return values.reshape(len(chunk), int(lengths[0]))


def _numbers(column: Any, table: OutputTable, name: str) -> NDArray[np.float64]:
    import pyarrow as pa

    where = f"{shown(table.path)}: column {quoted(name)}"
    try:
        numbers = np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise SourceError(f"{where} holds {column.type}, but must hold numbers") from error
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise SourceError(f"{where} holds no finite number in row {row}; give one, or drop nothing")
    return numbers


def _as_logits(outputs: NDArray[np.float64], table: OutputTable) -> NDArray[np.float64]:
    if table.kind != "probabilities":
        return outputs
    off = np.abs(outputs.sum(axis=1) - 1)
    if (outputs < 0).any() or (off > _ROUNDING).any():
        row = int(np.argmax(np.where((outputs < 0).any(axis=1), np.inf, off)))
        raise SourceError(
            f"{shown(table.path)}: row {row} of output {table.name} is no probabilities (sum "
            f"{outputs[row].sum():.4g}, least {outputs[row].min():.4g}); kind: logits takes any"
        )
    return np.log(np.maximum(outputs, _LEAST))


def _places(
    rows: Any, table: OutputTable, files: Mapping[str, Columns]
) -> dict[str, NDArray[np.int64]]:
    """Finds the table's row of every row of every source file, each (N,)."""
    if table.id:
        keys = _ids(rows, table.id, shown(table.path))
        wanted = {split: _data_ids(columns, table.id, split) for split, columns in files.items()}
    else:
        keys = _numbered(rows, table)
        wanted = {
            split: [f"{split} {number}" for number in range(len(columns))]
            for split, columns in files.items()
        }
    place = {key: number for number, key in enumerate(keys)}
    if len(place) < len(keys):
        twice = next(key for number, key in enumerate(keys) if place[key] != number)
        raise SourceError(f"{shown(table.path)} has {quoted(twice)} twice; keep one row of it")
    places = {}
    for split, names in wanted.items():
        missing = [name for name in names if name not in place]
        if missing:
            raise SourceError(
                f"{shown(table.path)} lacks {len(missing)} of the {len(names)} rows of {split}, "
                f"the first {quoted(missing[0])}; every example needs an output"
            )
        places[split] = np.array([place[name] for name in names], np.int64)
    return places


def _numbered(rows: Any, table: OutputTable) -> list[str]:
    for name in ("split", "example"):
        if name not in rows.column_names:
            raise SourceError(
                f"{shown(table.path)} has no column {name!r} (it has {listed(rows.column_names)}); "
                "give split and example, or name a column of ids with `id:`"
            )
    pairs = zip(rows["split"].to_pylist(), rows["example"].to_pylist(), strict=True)
    return [f"{split} {example}" for split, example in pairs]


def _ids(rows: Any, name: str, where: str) -> list[str]:
    if name not in rows.column_names:
        raise SourceError(f"{where} has no column {quoted(name)} of ids (id: {name})")
    return [str(value) for value in rows[name].to_pylist()]


def _data_ids(columns: Columns, name: str, split: str) -> Sequence[str]:
    """Reads the ids of a source file's rows."""
    ids: list[str] = []
    try:
        for _, batch in columns.rows.batches([name]):
            ids += [str(value) for value in batch.column(0).to_pylist()]
    except (KeyError, SourceError) as error:
        raise SourceError(f"the data of {split} have no column {quoted(name)} of ids") from error
    if len(set(ids)) < len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        raise SourceError(f"the data of {split} have the id {quoted(twice)} twice")
    return ids
