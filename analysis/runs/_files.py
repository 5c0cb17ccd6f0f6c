"""Reads the Parquet files of a run, and says which of them are damaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.runs.untrusted import RunError, anew

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


def holds(file: pq.ParquetFile, number: int, only: Mapping[str, Sequence[str]]) -> bool:
    """Says whether a row group may hold a row with one of these texts in each of these columns."""
    import pyarrow.compute as pc

    chunk = file.read_row_group(number, columns=list(only))
    texts = {name: set(pc.unique(chunk[name]).to_pylist()) for name in only}
    return all(not texts[name].isdisjoint(wanted) for name, wanted in only.items())


def read_table(
    folder: Path, name: str, columns: Sequence[str] | None, coded: Sequence[str] = ()
) -> pa.Table:
    """Reads a table of a folder: all columns, or those named; see `Run.chunks` of `coded` ones.

    Raises:
        RunError: it is missing, damaged, or without one of the columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from analysis import schema

    path = folder / schema.table_file(name)
    try:
        # not pyarrow's `read_table`: what that imports takes as long as to read a small table
        with pq.ParquetFile(
            path, page_checksum_verification=True, read_dictionary=list(coded), pre_buffer=True
        ) as file:
            names = file.schema_arrow.names
            lacking = [column for column in columns or () if column not in names]
            if not lacking:
                return file.read(None if columns is None else list(columns))
    except FileNotFoundError as error:
        raise RunError(f"{path}: this table is missing; {anew(path)}") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise damaged(path, error) from error
    raise RunError(f"{path}: no column {', '.join(lacking)}; it has {', '.join(names)}")


def damaged(path: Path, error: Exception) -> RunError:
    """Gives the error of a table that cannot be read."""
    size = path.stat().st_size
    return RunError(
        f"{path}: truncated or damaged Parquet ({size} bytes, {type(error).__name__}); {anew(path)}"
    )
