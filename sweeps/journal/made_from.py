"""Records what the tables of a run were made from, so that a resume need not make them again.

The record is in `provenance.json`: the program with the columns of its tables, a hash of the
journal's lines, and the hash of every table that was made from them. Tables are up to date where a
record made anew is equal. The view for Optuna's tools holds times of its writing, so it has no
hash; it was written before the journal said that the run is done.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from analysis import schema
from mpc_router.run_names import PATHS, PROVENANCE_FILE, TABLES, table_file
from sweeps.journal.bulk_files import digest
from sweeps.run_folder import VIEW_FILE, RunFolder, read_journal

KEY: Final = "tables"
"""Names the record in `provenance.json`."""

_NO_CONTENT: Final = re.compile(
    rb'\{"v":\d+,"n":\d+,"time":"[^"]*","mono":[\d.]+,"event":"(resumed|closed)"'
)
"""Begins a line that changes no table: a session begins or ends."""


def record(run: Path, code: str) -> dict[str, Any]:
    """Makes the record of the files that are there now; `code` is the program's fingerprint.

    Raises:
        InputError: the journal is no file of the run's own.
        OSError: a file cannot be read.
    """
    content = hashlib.sha256()
    for line in read_journal(RunFolder(run).journal).splitlines(keepends=True):
        if _NO_CONTENT.match(line) is None:
            content.update(line)
    names = map(table_file, (*TABLES, PATHS))
    files = {name: digest(run / name) for name in names if (run / name).is_file()}
    columns = digest(Path(str(schema.__file__)))
    return {"code": code, "columns": columns, "journal": content.hexdigest(), "files": files}


def current(run: Path, code: str) -> Mapping[str, Any] | None:
    """Gives the record of a run whose tables are whole and up to date; None of any other.

    The run is done.
    """
    try:
        if (run / VIEW_FILE).read_bytes()[-1:] != b"\n":
            return None
        provenance = json.loads((run / PROVENANCE_FILE).read_text(encoding="utf-8"))
        recorded = provenance[KEY]
        if recorded and recorded == record(run, code):
            return dict(recorded)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return None
