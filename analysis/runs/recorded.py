"""What was recorded of one split: the labels, the routers' logits, the experts' outputs.

For whoever asks what else could have been done with the same trained models. Letters: L trials,
N examples (ascending), K experts, C outputs of an expert.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analysis.runs.load import Run, RunError

if TYPE_CHECKING:
    import pyarrow as pa

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """The examples of a split, in ascending order of their number."""

    number: NDArray[np.int64]
    """(N,): the row's number in its source file."""

    labels: Values
    """(N,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """What one set of experts said about every example."""

    prediction: Values
    """(K, N): class numbers, or values of a regression."""

    output: Values
    """(K, N, C): logits, or the one value of a regression."""


def examples(run: Run, split: str) -> Examples:
    """The examples of a split.

    Raises:
        RunError: there is none, or one stands there twice.
    """
    rows = _rows(run, "examples", ["example", "label"], {"split": [split]})
    number = rows["example"].to_numpy()
    order = np.argsort(number, kind="stable")
    where = f"{run.path / 'examples.parquet'}: split {split!r}"
    if not len(number):
        raise RunError(f"{where}: no row")
    if (np.diff(number[order]) == 0).any():
        raise RunError(f"{where}: an example stands there twice")
    return Examples(number=number[order], labels=rows["label"].to_numpy()[order].astype(np.float64))


def router_logits(run: Run, keys: Sequence[str], split: str) -> dict[str, Values]:
    """Logits (N, K) of each trial's router, before noise and temperature; K may differ by trial.

    Raises:
        RunError: a trial lacks examples (it failed, or the run goes on), or its logits are ragged.
    """
    known = examples(run, split).number
    rows = _rows(run, "routing", ["key", "example", "logits"], {"split": [split], "key": keys})
    owner = _codes(rows["key"], keys)
    order = np.lexsort((rows["example"].to_numpy(), owner))
    ends = np.searchsorted(owner[order], np.arange(len(keys) + 1))
    rows = rows.take(order).combine_chunks()  # once: a trial's rows are then a slice
    found = {}
    for lane, key in enumerate(keys):
        mine = rows.slice(ends[lane], ends[lane + 1] - ends[lane])
        where = f"{run.path / 'routing.parquet'}: split {split!r}: trial {key}"
        found[key] = _block(mine, "logits", known, where)
    return found


def expert_outputs(run: Run, experts_id: str, split: str) -> Experts:
    """What a set of experts said, by the id that `trials.experts_id` names.

    Raises:
        RunError: the table does not know the set, or an expert lacks examples.
    """
    known = examples(run, split).number
    columns = ["experts_id", "expert", "example", "prediction", "output"]
    rows = _rows(run, "experts", columns, {"split": [split], "experts_id": [experts_id]})
    where = f"{run.path / 'experts.parquet'}: split {split!r}: experts {experts_id}"
    if not len(rows):
        raise RunError(f"{where}: no row; a trial that never ended has no experts of its own there")
    expert = rows["expert"].to_numpy().astype(np.intp)
    order = np.lexsort((rows["example"].to_numpy(), expert))
    width = int(expert.max()) + 1
    ends = np.searchsorted(expert[order], np.arange(width + 1))
    predictions, outputs = [], []
    for number in range(width):
        mine = rows.take(order[ends[number] : ends[number + 1]])
        outputs.append(_block(mine, "output", known, f"{where}: expert {number}"))
        predictions.append(mine["prediction"].to_numpy())
    return Experts(
        prediction=np.asarray(predictions, np.float64), output=np.asarray(outputs, np.float64)
    )


def _rows(run: Run, table: str, columns: list[str], wanted: dict[str, Sequence[str]]) -> pa.Table:
    """Columns of the rows whose named columns hold one of the values wanted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = run.table(table, list(dict.fromkeys([*wanted, *columns])))
    for column, values in wanted.items():
        rows = rows.filter(pc.is_in(rows[column], pa.array(list(values), pa.string())))
    return rows


def _codes(column: Any, names: Sequence[str]) -> NDArray[np.intp]:
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.index_in(column, value_set=pa.array(list(names), pa.string()))
    return np.asarray(found.to_numpy(), np.intp)


def _block(rows: pa.Table, column: str, known: NDArray[np.int64], where: str) -> Values:
    """A list column as (N, width) of rows in ascending order of examples, every example there."""
    found = rows["example"].to_numpy()
    if len(found) != len(known) or (found != known).any():
        raise RunError(f"{where}: {len(found)} rows do not match the split's {len(known)} examples")
    lists = rows[column].combine_chunks()
    values = np.asarray(lists.flatten().to_numpy(zero_copy_only=False), np.float64)
    lengths = np.asarray(lists.value_lengths().to_numpy(zero_copy_only=False))
    if lists.null_count or (lengths != lengths[0]).any() or not np.isfinite(values).all():
        raise RunError(f"{where}: {column} are missing, of several lengths, or not finite")
    return values.reshape(len(known), int(lengths[0]))
