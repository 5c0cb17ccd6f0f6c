"""Keeps rows that were handed over in memory as files, so that a run of them can be resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mpc_router.storage import cache as caching


def keep(tables: Mapping[str, Any], folder: Path) -> Path:
    """Writes the Arrow tables of splits below `folder`; gives the folder of `SPLIT.parquet`.

    Its name is a hash of the rows: the same rows are written once.
    """
    import pyarrow.parquet as pq

    content = [part for split in sorted(tables) for part in (split, _hash(tables[split]))]
    target = folder / caching.digest("frames", *content)

    def make(new_folder: Path) -> dict[str, Any]:
        for split, table in tables.items():
            # where the disk is full, the writer leaves a file of its own open
            with (new_folder / f"{split}.parquet").open("wb") as file:
                pq.write_table(table, file)
        return {"splits": sorted(tables)}

    caching.entry(target, make)
    return target


def _hash(table: Any) -> str:
    """Gives hex digits of a table's columns, types and rows."""
    import pyarrow as pa

    total = hashlib.blake2b(digest_size=16)

    class Sink:
        """Hashes what Arrow writes."""

        closed = False

        def write(self, data: Any) -> int:
            total.update(data)
            return len(data)

        def flush(self) -> None:
            pass

        def close(self) -> None:
            pass

    with pa.ipc.new_stream(pa.PythonFile(Sink(), mode="w"), table.schema) as stream:
        stream.write_table(table.combine_chunks())
    return total.hexdigest()
