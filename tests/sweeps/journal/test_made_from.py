"""Tables that are whole and up to date are not written again; all others are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweeps.journal import made_from, tables
from sweeps.study.study import Study
from tests.sweeps.conftest import assert_same_tables
from tests.sweeps.faults import Laboratory, laboratory


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, prepared_folder: Path) -> Iterator[Laboratory]:
    with laboratory(tmp_path_factory.mktemp("made-from"), prepared_folder) as made:
        yield made


def _places(run: Path) -> dict[str, int]:
    """The inode of each table and of the view: an atomic write gives a file another one."""
    files = [*run.glob("*.parquet"), *run.glob("optuna.journal")]
    return {path.name: path.stat().st_ino for path in files}


def _provenance(run: Path) -> dict[str, object]:
    recorded: dict[str, object] = json.loads((run / "provenance.json").read_text())
    return recorded


@pytest.mark.parametrize("kind", ["grid", "search"])
def test_a_resume_of_a_finished_run_writes_no_table_again_and_resolves_no_point(
    lab: Laboratory, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = lab.copy(kind)
    before, provenance = _places(run), _provenance(run)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a finished run has no need of it")

    monkeypatch.setattr(tables, "write", refuse)
    monkeypatch.setattr(tables, "check", refuse)
    monkeypatch.setattr(Study, "__post_init__", refuse)
    for _ in range(2):  # what the first resume journals changes no table either
        answer = lab.resume(run)
        assert (answer.code, answer.out, answer.err) == (0, "", "")
    assert _places(run) == before
    assert _provenance(run) == provenance
    assert_same_tables(run, lab.sound(kind))


def _torn(run: Path) -> None:
    table = run / "reports.parquet"
    table.write_bytes(table.read_bytes()[:-7])


def _changed(run: Path) -> None:
    table = run / "routing.parquet"
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(content)


def _of_other_code(run: Path) -> None:
    provenance = json.loads((run / "provenance.json").read_text())
    provenance[made_from.KEY]["code"] = "0123456789abcdef"
    (run / "provenance.json").write_text(json.dumps(provenance))


def _without_record(run: Path) -> None:
    """As an older version wrote it."""
    provenance = json.loads((run / "provenance.json").read_text())
    del provenance[made_from.KEY]
    (run / "provenance.json").write_text(json.dumps(provenance))


def _odd_record(run: Path) -> None:
    (run / "provenance.json").write_text(json.dumps({made_from.KEY: [1]}))


FAULTS: dict[str, Callable[[Path], None]] = {
    "a torn table": _torn,
    "a changed byte": _changed,
    "no trials": lambda run: (run / "trials.parquet").unlink(),
    "no view": lambda run: (run / "optuna.journal").unlink(),
    "no provenance": lambda run: (run / "provenance.json").unlink(),
    "another program": _of_other_code,
    "no record": _without_record,
    "a record that is none": _odd_record,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_tables_that_are_not_whole_or_not_up_to_date_are_written_again(
    lab: Laboratory, fault: str
) -> None:
    run = lab.copy("grid")
    wanted = _provenance(run)
    FAULTS[fault](run)
    before = _places(run)
    assert lab.resume(run).code == 0
    after = _places(run)
    assert after.keys() == _places(lab.sound("grid")).keys()
    assert not set(before.items()) & set(after.items())
    assert_same_tables(run, lab.sound("grid"))
    assert _provenance(run) == wanted


def test_tables_of_another_journal_are_written_again(lab: Laboratory, tmp_path: Path) -> None:
    run = lab.copy("grid")
    for path in lab.sound("search").glob("*.parquet"):  # whole, of a run that is over
        shutil.copy(path, run / path.name)
    assert lab.resume(run).code == 0
    assert_same_tables(run, lab.sound("grid"))


def test_a_curve_table_of_before_does_not_outlive_a_resume(lab: Laboratory) -> None:
    run = lab.copy("grid")
    (run / "curves.parquet").write_bytes(b"PAR1")
    assert lab.resume(run).code == 0
    assert not (run / "curves.parquet").exists()


@pytest.mark.parametrize("event", ["resumed", "closed"])
def test_a_line_is_no_content_only_where_its_event_stands_in_its_place(
    lab: Laboratory, event: str
) -> None:
    run = lab.copy("grid")
    before = made_from.record(run, "code")
    path = run / "journal.jsonl"
    journal = path.read_bytes()
    head = b'{"v":1,"n":9,"time":"2026-11-30T16:00:00.000+00:00","mono":1.5,'
    path.write_bytes(journal + head + b'"event":"%s"}\n' % event.encode())
    assert made_from.record(run, "code") == before
    path.write_bytes(journal + head + b'"event":"told","x":"event:%s"}\n' % event.encode())
    assert made_from.record(run, "code") != before
