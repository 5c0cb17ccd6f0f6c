"""Tables that Python hands in: DataFrames, `datasets`, pyarrow tables, by split."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from mpc_router.data._hub_sets import table_of
from mpc_router.messages import one_line, quoted, shortened
from mpc_router.plain_names import PLAIN, is_plain
from mpc_router.run_names import SELECTION, TRAIN
from mpc_router.source_error import SourceError

__all__ = ["tables_of"]


def tables_of(frames: Mapping[str, Any]) -> dict[str, Any]:
    """Gives pyarrow tables by split.

    A frame is a pandas DataFrame (its index is no column), a `datasets.Dataset`, a pyarrow table,
    or what hands out an Arrow stream (polars).

    Raises:
        SourceError: there is no train, a split's name cannot be, or a value is no table.
    """
    if not isinstance(frames, Mapping) or TRAIN not in frames:
        given = list(frames) if isinstance(frames, Mapping) else type(frames).__name__
        raise SourceError(
            f"the data set in memory is {quoted(given)}, but must be a mapping of splits to tables "
            'with train: {"train": frame, "validation": frame}'
        )
    for split in frames:
        if not is_plain(split) or split == SELECTION:
            raise SourceError(
                f"the data set in memory has a split {quoted(split)}, but a split is train, "
                f"validation, or another that the task quotes ({PLAIN})"
            )
    return {split: _table(frame, split) for split, frame in frames.items()}


def _table(frame: Any, split: str) -> Any:
    import pyarrow as pa

    if isinstance(frame, pa.Table):
        return frame
    datasets, pandas = sys.modules.get("datasets"), sys.modules.get("pandas")
    try:
        if pandas is not None and isinstance(frame, pandas.DataFrame):
            return pa.Table.from_pandas(frame, preserve_index=False)
        if datasets is not None and isinstance(frame, datasets.Dataset):
            return table_of(frame)
        if hasattr(frame, "__arrow_c_stream__"):
            return pa.table(frame)
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        reason = shortened(one_line(str(error)), 300)
        raise SourceError(
            f"split {split} in memory has a column that is no column of one type ({reason}); "
            "convert it, or hand in the columns that the task needs"
        ) from error
    raise SourceError(
        f"split {split} in memory is {quoted(type(frame).__name__)}, but must be a pandas "
        "DataFrame, a datasets.Dataset or a pyarrow.Table"
    )
