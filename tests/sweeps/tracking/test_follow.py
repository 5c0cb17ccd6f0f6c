"""What a tracker is told of a journal: live and afterwards the same, equal to the tables."""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path

import pytest

from mpc_router.run_names import REPORT_NUMBERS
from sweeps.journal import tables
from sweeps.journal.journal import Journal, read
from sweeps.records import COMPLETED, INTERRUPTED, STOPPED
from sweeps.tracking import _fold
from sweeps.tracking._follow import follow
from tests.sweeps.conftest import rows
from tests.sweeps.tracking.conftest import Memory, measured, results, told


def _followed(run: Path) -> Memory:
    memory = Memory()
    assert follow(run, memory, lambda: True) == (len(memory.trials), "here")
    return memory


def _seconds(time: str) -> float:
    return datetime.datetime.fromisoformat(time).timestamp()


def test_a_tracker_is_told_every_number_of_the_tables_and_no_other(searched: Path) -> None:
    memory = _followed(searched)
    assert told(memory.trials) == measured(searched)
    assert {
        key: dict(trial.end.results) for key, trial in memory.trials.items() if trial.end
    } == results(searched)
    for row in rows(searched, "trials"):
        trial = memory.trials[row["key"]]
        assert trial.end is not None
        assert (trial.point, trial.seed) == (row["point"], row["seed"])
        assert (trial.end.status, trial.end.epochs) == (row["status"], row["epochs"])
        assert trial.settings == {name: row[name] for name in trial.settings}
    assert {trial.end.status for trial in memory.trials.values() if trial.end} == {
        COMPLETED,
        STOPPED,
    }


def test_a_tracker_is_told_each_number_that_a_report_has_by_name(
    searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_fold, "REPORT_NUMBERS", (*REPORT_NUMBERS, "epoch"))  # one more
    for trial in _followed(searched).trials.values():
        for item in trial.measurements:
            numbers = [value for name, value in item.values.items() if name.endswith("/epoch")]
            assert set(numbers) == {item.epoch}
            assert any(name.endswith("/gate_entropy") for name in item.values)


def test_times_are_those_of_the_journal(searched: Path) -> None:
    memory, events = _followed(searched), list(read(searched / "journal.jsonl"))
    of_kind = {
        kind: {_seconds(event["time"]) for event in events if event["event"] == kind}
        for kind in ("started", "reported", "ended")
    }
    assert memory.sweep is not None
    assert memory.sweep.time == _seconds(events[0]["time"])
    for trial in memory.trials.values():
        assert trial.end is not None
        times = [item.time for item in trial.measurements]
        assert trial.begun in of_kind["started"]
        assert set(times) <= of_kind["reported"]
        assert trial.end.time in of_kind["ended"]
        assert [trial.begun, *times, trial.end.time] == sorted(
            [trial.begun, *times, trial.end.time]
        )


@pytest.mark.parametrize("step", [1, 7])
def test_live_it_is_told_the_same_as_afterwards(searched: Path, tmp_path: Path, step: int) -> None:
    lines = (searched / "journal.jsonl").read_bytes().splitlines(keepends=True)
    live = tmp_path / "live"
    live.mkdir()
    journal = live / "journal.jsonl"
    journal.touch()
    places = iter(range(0, len(lines), step))

    def is_over() -> bool:
        place = next(places, None)
        if place is not None:
            with journal.open("ab") as file:
                file.write(b"".join(lines[place : place + step]))
        return place is None

    memory, afterwards = Memory(), _followed(searched)
    follow(live, memory, is_over)
    assert memory.trials == afterwards.trials
    assert memory.sweep == afterwards.sweep
    assert memory.told > afterwards.told


def test_a_line_that_is_still_being_written_is_not_told(searched: Path, tmp_path: Path) -> None:
    content = (searched / "journal.jsonl").read_bytes()
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "journal.jsonl").write_bytes(content[:-20])
    parts = iter([content[-20:], b""])

    def is_over() -> bool:
        with (torn / "journal.jsonl").open("ab") as file:
            part = next(parts)
            file.write(part)
        return part == b""

    memory = Memory()
    follow(torn, memory, is_over)
    assert memory.trials == _followed(searched).trials


def test_trials_of_a_run_that_broke_off_are_interrupted_and_go_on_later(
    searched: Path, tmp_path: Path
) -> None:
    lines = (searched / "journal.jsonl").read_bytes().splitlines(keepends=True)
    first = next(place for place, line in enumerate(lines) if b'"event":"decided"' in line)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "journal.jsonl").write_bytes(b"".join(lines[:first]))
    trials = _followed(broken).trials
    assert trials
    assert {trial.end.status for trial in trials.values() if trial.end} == {INTERRUPTED}
    later = _followed(searched).trials
    for key, trial in trials.items():
        count = len(trial.measurements)
        assert count > 0
        assert later[key].measurements[:count] == trial.measurements


def test_numbers_that_are_replaced_are_a_new_version_with_the_new_numbers_alone(
    searched: Path,
) -> None:
    before = _followed(searched).trials
    with Journal(searched / "journal.jsonl") as journal:
        state = journal.state
        pack = state.packs["pack00"]
        keys = [trial.key for trial in pack.trials]
        old = [report for report in state.reports.values() if report.key in keys]
        ends = [state.endings[key] for key in keys if state.pack_of[key] == "pack00"]
        again = [ending.key for ending in ends]
        journal.append("unlike", pack="pack00", keys=again, epoch=2, reason="a test")
        new = [
            dataclasses.replace(report, metrics={**report.metrics, "score": 0.125})
            for report in old
            if report.key in again and (report.epoch >= 2 or report.split != "selection")
        ]
        journal.append("reported", pack="pack00", reports=new)
        journal.append("ended", pack="pack00", endings=ends, parts={})
        tables.write(searched, journal.state)
    after = _followed(searched).trials
    assert told(after) == measured(searched)
    replaced = {report.key for report in new}
    assert replaced
    assert {key for key, trial in after.items() if trial.version} == replaced
    assert {key for key in before if after[key] == before[key]} == set(before) - replaced


def test_the_files_of_a_run_are_kept_with_it_but_no_link(searched: Path, tmp_path: Path) -> None:
    (tmp_path / "private").write_text("not of the run")
    (searched / "report.html").symlink_to(tmp_path / "private")
    names = {path.name for path in _followed(searched).files}
    assert names == {
        *("trials.parquet", "reports.parquet"),
        *("study.yaml", "provenance.json", "optuna.journal"),
    }
