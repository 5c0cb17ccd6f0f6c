"""Rows of a split as they are stored: they are read in batches as often as they are needed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from mpc_router.data.formats.split_files import check_is_file
from mpc_router.messages import printable, shortened
from mpc_router.source_error import SourceError, shown

_BATCH: Final = 4096
"""Rows read at a time."""

_LONGEST_REASON: Final = 300
"""Characters of what pyarrow says of a file that it cannot read."""


class Rows(Protocol):
    """Gives rows that can be gone through again and again."""

    def batches(self, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """Gives these columns' rows in order: (where they come from, pyarrow RecordBatch)."""


@dataclass(frozen=True)
class Table:
    """Holds rows of a pyarrow table in memory."""

    table: Any
    where: str

    def batches(self, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """See `Rows`."""
        for batch in self.table.select(list(names)).to_batches(max_chunksize=_BATCH):
            if len(batch):
                yield self.where, batch


@dataclass(frozen=True)
class Files:
    """Holds rows of Parquet files, one after the other."""

    paths: tuple[Path, ...]

    def batches(self, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """See `Rows`; other columns are not read, and a file is never held as a whole."""
        import pyarrow as pa

        for path in self.paths:
            count = 0
            with _whole(path), _open(path) as file:
                for batch in file.iter_batches(_BATCH, columns=list(names), use_threads=False):
                    count += len(batch)
                    if len(batch):
                        yield shown(path), batch
                if count != file.metadata.num_rows:
                    raise ValueError(
                        f"the file says that it has {file.metadata.num_rows} rows, and {count} can "
                        "be read"
                    )
        pa.default_memory_pool().release_unused()


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Holds the rows of a split as they are stored, not looked at yet."""

    rows: Rows
    schemas: tuple[tuple[str, Any], ...]
    """Where rows come from and their pyarrow schema: of each file, or of the one table."""


def parquet_rows(paths: Sequence[Path]) -> Stored:
    """Gives the rows of these files, in order.

    Raises:
        SourceError: a file is missing or is no whole Parquet file.
    """
    schemas = []
    for path in paths:
        check_is_file(path)
        with _whole(path), _open(path) as file:
            schemas.append((shown(path), file.schema_arrow))
    return Stored(rows=Files(tuple(paths)), schemas=tuple(schemas))


def table_rows(table: Any, where: str) -> Stored:
    """Gives the rows of a pyarrow table; `where` names it in messages."""
    return Stored(rows=Table(table, where), schemas=((where, table.schema),))


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Turns what reading a file raises into one sentence."""
    try:
        yield
    except SourceError:
        raise
    except Exception as error:
        # whatever is raised: damaged bytes end in errors of any type, also in ones of Python's own
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> SourceError:
    """Gives the message about a file that cannot be read, for whatever reason."""
    if isinstance(error, OSError) and error.errno:
        return SourceError(f"{shown(path)} cannot be read ({error.strerror}); mend that")
    text = " ".join(str(error).split()) or type(error).__name__
    reason = shortened(printable(text), _LONGEST_REASON).rstrip(". ")
    if "encrypted" in reason.lower():
        return SourceError(f"{shown(path)} is encrypted ({reason}); give it without encryption")
    return SourceError(
        f"{shown(path)} is not a whole Parquet file, or one that pyarrow cannot read ({reason}); "
        "copy or download it again"
    )


def _open(path: Path) -> Any:
    import pyarrow.parquet as pq

    # in pieces, else a row group's bytes are held as a whole
    return pq.ParquetFile(
        path, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True
    )
