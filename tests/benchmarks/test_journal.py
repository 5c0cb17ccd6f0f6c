"""Appends are measured on sound journals, and the parts of a sweep's time add up."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from benchmarks.journal import filled, renamed
from benchmarks.timed_sweep import APPEND, FSYNC, JOURNAL, LEDGER, Stopwatch, Sweep
from sweeps.journal._lines import line_of
from sweeps.journal.journal import Journal, read
from tests.sweeps.journal.test_journal import write as short_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A short run, its keys as long as those of a sweep."""
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        short_run(journal)
    text = (
        json.dumps(list(read(path))).replace('"k0"', f'"{0:016x}"').replace('"k1"', f'"{1:016x}"')
    )
    path.write_bytes(b"".join(line_of(event) for event in json.loads(text)))
    return tmp_path


@pytest.mark.parametrize("events", [1, 3, 200])
def test_a_journal_is_filled_with_a_run_over_and_over_and_folds(run: Path, events: int) -> None:
    path = run / "filled.jsonl"
    filled(path, events, run)
    with Journal(path) as journal:
        assert journal.state.events == events
        journal.append("closed", outcome="done")


def test_every_copy_of_a_run_is_of_other_trials(run: Path) -> None:
    whole = list(read(run / "journal.jsonl"))
    cycle = [event for event in whole if event["event"] not in ("opened", "closed")]
    filled(run / "filled.jsonl", 1 + 5 * len(cycle), run)
    with Journal(run / "journal.jsonl") as one, Journal(run / "filled.jsonl") as five:
        for name in ("trials", "points", "packs", "reports", "endings"):
            assert len(getattr(five.state, name)) == 5 * len(getattr(one.state, name)), name


def test_an_event_of_other_trials_keeps_all_its_numbers(run: Path) -> None:
    event = next(each for each in read(run / "journal.jsonl") if each["event"] == "reported")
    other = renamed(event, 7)
    assert other["pack"] == f"{event['pack']}-7"
    for mine, theirs in zip(event["reports"], other["reports"], strict=True):
        assert {**theirs, "key": mine["key"]} == mine


def test_of_nested_calls_each_part_has_its_own_seconds() -> None:
    class Books:
        def inner(self) -> None:
            time.sleep(0.02)

        def outer(self) -> None:
            time.sleep(0.01)
            self.inner()

        def alone(self) -> None:
            self.inner()

    watch = Stopwatch()
    watch.wrap(Books, "inner", FSYNC, within=APPEND)
    watch.wrap(Books, "outer", APPEND)
    watch.wrap(Books, "alone", LEDGER)
    began = time.monotonic()
    Books().outer()
    whole = time.monotonic() - began
    Books().alone()
    assert [part for part, _, _ in watch.calls] == [FSYNC, APPEND, LEDGER]
    seconds = {part: each for part, _, each in watch.calls}
    assert seconds[FSYNC] >= 0.02
    assert seconds[APPEND] >= 0.01
    assert seconds[LEDGER] >= 0.02, "an inner call of another part is this part's own"
    assert seconds[FSYNC] + seconds[APPEND] <= whole


def test_shares_are_of_the_command_and_of_the_time_in_which_packs_were_trained() -> None:
    calls = ((APPEND, 1.0, 1.0), (APPEND, 12.0, 2.0), (FSYNC, 14.0, 1.0), (LEDGER, 13.0, 1.0))
    sweep = Sweep(run=Path(), wall=40.0, training=(10.0, 20.0), calls=calls)
    shares = sweep.shares()
    assert shares[APPEND] == pytest.approx((3 / 40, 2 / 10))
    assert shares[JOURNAL] == pytest.approx((4 / 40, 3 / 10))
    assert shares["all of these"] == pytest.approx((5 / 40, 4 / 10))
