"""Tables that lie in a file of ours and are looked at where they lie: memory stays flat."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mpc_router.source_error import SourceError, shown


def mapped(batches: Iterable[Any], schema: Any) -> Any:
    """Gives a pyarrow table of these batches, written to a temporary file and mapped.

    The file has no name any more when this returns: its room is free once the table is forgotten.

    Raises:
        SourceError: the temporary folder has no room.
    """
    import pyarrow as pa

    handle, name = tempfile.mkstemp(prefix="mpc-router-", suffix=".arrow")
    os.close(handle)
    try:
        with pa.OSFile(name, "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in batches:
                writer.write(batch)
        return pa.ipc.open_file(pa.memory_map(name)).read_all()
    except OSError as error:
        raise SourceError(
            f"{shown(Path(name))} cannot be written ({error.strerror or error}); the rows of a "
            "data set are kept there while they are read: set TMPDIR to a folder with room"
        ) from error
    finally:
        os.unlink(name)
