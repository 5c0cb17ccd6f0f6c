"""Reads what was recorded of one split: labels, routers' logits, experts' outputs.

They say what else could have been done with the same trained models. Letters: L trials,
N examples (ascending), K experts, C outputs of an expert, P paths of a trial's router.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.runs.load import Run, RunError
from mpc_router.routes import Paths

if TYPE_CHECKING:
    import pyarrow as pa

_Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Holds the examples of a split, in ascending order of their number."""

    number: NDArray[np.int64]
    """(N,): the row's number in its source file."""

    labels: _Values
    """(N,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """Holds what one set of experts predicted for every example."""

    prediction: _Values
    """(K, N): class numbers, or values of a regression."""

    output: _Values
    """(K, N, C): logits, or the one value of a regression."""


def examples(run: Run, split: str) -> Examples:
    """Reads the examples of a split.

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


def router_logits(run: Run, keys: Sequence[str], split: str) -> dict[str, _Values]:
    """Reads logits (N, K) of each trial's router, (N, M) of one with paths; widths may differ.

    They are those before noise and temperature.

    Raises:
        RunError: a trial lacks examples (it failed, or the run goes on), or its logits are ragged.
    """
    import pyarrow as pa

    numbers, wanted = examples(run, split).number, {"split": [split], "key": keys}

    def where(key: str) -> str:
        return f"{run.path / 'routing.parquet'}: split {split!r}: trial {key}"

    logits: dict[str, _Values] = {}
    pieces: dict[str, list[pa.Table]] = {}  # of trials whose rows are in several chunks
    columns = ["split", "key", "example", "logits"]
    for chunk in run.chunks("routing", columns, coded=["split", "key"], only=wanted):
        owner = text_codes(chunk["key"], keys)
        kept = np.flatnonzero((owner >= 0) & (text_codes(chunk["split"], [split]) == 0))
        example = chunk["example"].to_numpy()[kept]
        order = np.lexsort((example, owner[kept]))
        ends = np.searchsorted(owner[kept[order]], np.arange(len(keys) + 1))
        rows = chunk.select(["example", "logits"]).take(kept[order])
        rows = rows.combine_chunks()  # once: a trial's rows are then a slice
        for lane in np.flatnonzero(np.diff(ends)).tolist():
            key, trial_rows = keys[lane], rows.slice(ends[lane], ends[lane + 1] - ends[lane])
            if len(trial_rows) == len(numbers) and key not in logits:
                logits[key] = _block(trial_rows, "logits", numbers, where(key))
            else:
                pieces.setdefault(key, []).append(trial_rows)
    for key in keys:
        parts = pieces.get(key, [])
        if (key in logits) == bool(parts):  # too many rows, or none
            count = sum(map(len, parts)) + len(numbers) * (key in logits)
            raise RunError(_mismatch(where(key), count, len(numbers)))
        if parts:
            joined = pa.concat_tables(parts)
            joined = joined.take(np.argsort(joined["example"].to_numpy(), kind="stable"))
            logits[key] = _block(joined, "logits", numbers, where(key))
    return {key: logits[key] for key in keys}


def expert_outputs(run: Run, experts_id: str, split: str) -> Experts:
    """Reads the outputs of a set of experts, by the id that `trials.experts_id` names.

    Raises:
        RunError: the table does not know the set, or an expert lacks examples.
    """
    numbers = examples(run, split).number
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
        expert_rows = rows.take(order[ends[number] : ends[number + 1]])
        outputs.append(_block(expert_rows, "output", numbers, f"{where}: expert {number}"))
        predictions.append(expert_rows["prediction"].to_numpy())
    return Experts(
        prediction=np.asarray(predictions, np.float64), output=np.asarray(outputs, np.float64)
    )


def answers(experts: Experts, paths: Paths, *, regression: bool) -> Experts:
    """Gives what every path answers, (P, N) and (P, N, C), of what its experts said.

    Raises:
        RunError: the paths are those of other experts or outputs.
    """
    count, _, width = experts.output.shape
    if (paths.experts, paths.offset.shape[1]) != (count, width):
        raise RunError(
            f"paths {paths.name} combine {paths.experts} experts of {paths.offset.shape[1]} "
            f"outputs, but there are {count} of {width}"
        )
    outputs = np.ascontiguousarray(experts.output.transpose(1, 0, 2))
    predictions, spoken = [], []
    for place, path in enumerate(paths.decisions.paths):
        output = paths.answer(place, outputs, regression=regression).astype(np.float64)
        spoken.append(output)
        if len(path) == 1:  # one expert answers what it says
            predictions.append(experts.prediction[path[0]])
        else:
            predictions.append(output[:, 0] if regression else output.argmax(axis=1))
    return Experts(prediction=np.asarray(predictions, np.float64), output=np.asarray(spoken))


def _rows(run: Run, table: str, columns: list[str], wanted: dict[str, Sequence[str]]) -> pa.Table:
    """Reads columns of the rows whose named columns hold one of the values wanted."""
    return _among(run.table(table, list(dict.fromkeys([*wanted, *columns]))), wanted)


def _among(rows: pa.Table, wanted: dict[str, Sequence[str]]) -> pa.Table:
    """Gives the rows whose named columns hold one of the values wanted."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for column, values in wanted.items():
        rows = rows.filter(pc.is_in(rows[column], pa.array(list(values), pa.string())))
    return rows


def _mismatch(where: str, count: int, examples: int) -> str:
    """Says that a trial or an expert has other rows than a split has examples."""
    return f"{where}: {count} rows do not match the split's {examples} examples"


def text_codes(column: pa.ChunkedArray, names: Sequence[str]) -> NDArray[np.intp]:
    """Gives the place of each row's text among some names; -1 where it is none of them."""
    import pyarrow as pa

    place = {name: number for number, name in enumerate(names)}
    coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    codes = [np.empty(0, np.intp)]
    for chunk in coded.chunks:
        texts = chunk.dictionary.to_pylist()
        numbers = np.array([*(place.get(text, -1) for text in texts), -1], np.intp)
        codes.append(numbers[chunk.indices.fill_null(len(texts)).to_numpy()])
    return np.concatenate(codes)


def _block(rows: pa.Table, column: str, numbers: NDArray[np.int64], where: str) -> _Values:
    """Reads a list column as (N, width) of rows in ascending order; no example may be missing."""
    row_numbers = rows["example"].to_numpy()
    if len(row_numbers) != len(numbers) or (row_numbers != numbers).any():
        raise RunError(_mismatch(where, len(row_numbers), len(numbers)))
    lists = rows[column].combine_chunks()
    values = np.asarray(lists.flatten().to_numpy(zero_copy_only=False), np.float64)
    lengths = np.asarray(lists.value_lengths().to_numpy(zero_copy_only=False))
    if lists.null_count or (lengths != lengths[0]).any() or not np.isfinite(values).all():
        raise RunError(f"{where}: {column} are missing, of several lengths, or not finite")
    return values.reshape(len(numbers), int(lengths[0]))
