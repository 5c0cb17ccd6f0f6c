"""The names that a run's folder is written and read with."""

from __future__ import annotations

import ast
from pathlib import Path

from analysis import schema
from mpc_router import run_names
from sweeps import records

ROOT = Path(run_names.__file__).parents[1]
VALUES = {
    value
    for name, value in vars(run_names).items()
    if name.isupper() and not name.startswith("_") and isinstance(value, str)
}


def test_a_name_of_a_run_is_defined_in_one_place() -> None:
    definitions = [
        (path.relative_to(ROOT).as_posix(), ast.unparse(statement))
        for package in ("mpc_router", "sweeps", "analysis", "cluster")
        for path in sorted((ROOT / package).rglob("*.py"))
        for statement in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        and isinstance(statement.value, ast.Constant)
        and statement.value.value in VALUES
    ]
    files = {file for file, _ in definitions}
    assert files == {"mpc_router/run_names.py"}, definitions


def test_writers_and_readers_speak_the_same_names() -> None:
    for name in ("JOURNAL_FILE", "STUDY_FILE", "STATUSES", "SELECTION", "PARTS_FOLDER"):
        assert getattr(schema, name) is getattr(records, name) is getattr(run_names, name)
