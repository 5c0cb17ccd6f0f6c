"""Runs of every version of the tables are read, and gone on with as is promised."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from analysis import front, schema
from analysis.fronts.survey import survey
from analysis.runs.load import load_run
from sweeps import run
from sweeps.provenance import changes
from tests.sweeps.conftest import in_process, on_disk
from tests.sweeps.older_runs.__main__ import ROWS

FOLDER = Path(__file__).parent
VERSIONS = sorted(path.name for path in FOLDER.glob("version*"))


@pytest.fixture(params=VERSIONS)
def older(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a recorded run, whose prepared outputs are here again."""
    on_disk(tmp_path / "prepared", rows=ROWS)
    in_process(monkeypatch, tmp_path / "prepared")
    return Path(shutil.copytree(FOLDER / str(request.param), tmp_path / str(request.param)))


def version_of(folder: Path) -> int:
    metadata = pq.read_schema(folder / schema.table_file("trials")).metadata
    return int(metadata[schema.VERSION_KEY])


def resumed(folder: Path, *words: str) -> int:
    places = ("--cache", str(folder.parent / "cache"), "--sample")
    return run.main(["--resume", str(folder), "--no-report", "--quiet", *places, *words])


def test_there_is_a_recorded_run_of_every_version_that_is_read() -> None:
    versions = [version_of(FOLDER / name) for name in VERSIONS]
    assert sorted(versions) == sorted(schema.READ_VERSIONS)
    assert [f"version{version}" for version in versions] == VERSIONS


def test_an_older_run_has_its_front(older: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert front.main([str(older)]) == 0
    assert "Front: " in capsys.readouterr().out


@pytest.mark.parametrize("name", VERSIONS)
def test_every_version_says_the_same_of_the_same_run(name: str) -> None:
    first, other = (survey(load_run(FOLDER / version)) for version in (VERSIONS[0], name))
    assert len(first.points) == 2
    for column in ("score", "cost"):
        np.testing.assert_array_equal(first.points[column], other.points[column])


def test_a_resume_of_an_older_run_that_is_over_writes_its_tables_as_of_today(
    older: Path, tmp_path: Path
) -> None:
    before = Path(shutil.copytree(older, tmp_path / "before"))
    assert resumed(older) == 0
    assert version_of(older) == schema.VERSION
    for table in schema.TABLES:
        new, old = (pq.read_table(run / schema.table_file(table)) for run in (older, before))
        assert set(old.column_names) <= set(new.column_names)
        assert new.select(old.column_names).equals(old), table


def test_an_older_run_with_trials_left_is_refused_and_goes_on_by_force(
    older: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "code_fingerprint", lambda: "of today")
    journal = older / schema.JOURNAL_FILE
    lines = journal.read_bytes().splitlines(keepends=True)
    kinds = [json.loads(line)["event"] for line in lines]
    journal.write_bytes(b"".join(lines[: kinds.index("ended") + 1]))
    for table in schema.TABLES:
        (older / schema.table_file(table)).unlink()
    cut = journal.read_bytes()
    assert resumed(older) == 2
    message = capsys.readouterr().err
    assert "would mix them with those of another program: " in message
    assert journal.read_bytes() == cut
    assert resumed(older, "--force") == 0
    assert len(load_run(older).trials) == 4
