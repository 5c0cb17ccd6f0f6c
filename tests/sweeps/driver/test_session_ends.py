"""How a session's end is told from a user's stop, and from one that no further session mends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweeps.driver import session
from sweeps.driver._ledger import Ledger
from sweeps.driver.queue import Batches
from sweeps.driver.session import _ask
from sweeps.driver.session_clock import SessionClock
from sweeps.journal import tables
from sweeps.records import Message, Pack
from sweeps.terminal.signals import ASKED, TIME, CleanStop
from sweeps.worker.job import Job
from sweeps.worker.pack import run_pack
from tests.sweeps.conftest import FIX

Command = Callable[..., int]

LITTLE = ("mrpc_grid", *FIX, "seeds=[0]", "pack.points=3", "--name", "r", "--no-report", "--quiet")


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets the clock of sessions jump by an hour."""
    later = [0.0]
    clock = {"now": lambda: time.monotonic() + later[0]}
    monkeypatch.setattr(SessionClock.__init__, "__kwdefaults__", clock)
    return lambda: later.insert(0, later[0] + 3600.0)


@pytest.mark.parametrize(("reason", "stays"), [(TIME, True), (None, False)])
def test_a_stop_file_stays_where_the_session_had_ended_before_it(
    tmp_path: Path, reason: str | None, stays: bool
) -> None:
    (tmp_path / "stop").touch()
    with CleanStop(lambda: None) as stop:
        if reason is not None:
            stop.ask(reason)
        _ask(stop, tmp_path / "stop", SessionClock())
    assert stop.reason == (reason or ASKED)
    assert (tmp_path / "stop").exists() == stays


def test_a_session_whose_packs_gained_nothing_in_its_time_is_an_error_and_no_75(
    command: Command,
    jump: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def slow(pack: Pack, job: Job, **more: Any) -> Iterator[Message]:
        jump()
        yield from run_pack(pack, job, **more)

    monkeypatch.setattr(session, "_run_pack", slow)
    assert command(*LITTLE, "--session-time", "600") == 3
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: nothing was finished in this session, because ")
    assert "; give the next one more time: mpc-router-sweep --resume " in error


def test_a_session_that_only_had_time_to_prepare_is_followed_by_another(
    command: Command, jump: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    take = Batches.take

    def late(batches: Batches) -> Pack | None:
        jump()
        return take(batches)

    monkeypatch.setattr(Batches, "take", late)
    assert command(*LITTLE, "--session-time", "600") == 75


def test_a_spent_budget_is_not_said_to_be_want_of_time(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*LITTLE, "budget.epochs=1") == 5
    capsys.readouterr()
    assert command("--resume", str(tmp_path / "runs" / "r"), "--no-report", "--quiet") == 5
    said = capsys.readouterr().err
    assert "is used up" in said
    assert "more time" not in said


def driven(monkeypatch: pytest.MonkeyPatch, drive: Callable[[Batches, Ledger, Job], None]) -> None:
    """Lets a function of the test do what Ray's driver does."""

    def train(
        journal: Any, display: Any, planner: Any, common: Job, refresh: Any, clock: Any
    ) -> session.Outcome:
        def by_hand(batches: Batches, ledger: Ledger, stopped: Any) -> None:
            drive(batches, ledger, common)

        return session._train(journal, display, planner, by_hand, common, refresh, clock)

    monkeypatch.setattr(session, "train_in_process", train)


def taken(batches: Batches, ledger: Ledger) -> Pack:
    pack = batches.take()
    assert pack is not None
    ledger.started(pack)
    return pack


def trained(pack: Pack, ledger: Ledger, job: Job) -> None:
    for message in run_pack(pack, job):
        ledger.received(pack, message)
    ledger.finished(pack)


@pytest.mark.parametrize(("time_ends", "code"), [(True, 75), (False, 3)])
def test_a_pack_that_was_given_up_keeps_no_other_from_another_session(
    command: Command,
    jump: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    time_ends: bool,
    code: int,
) -> None:
    def drive(batches: Batches, ledger: Ledger, job: Job) -> None:
        ledger.interrupted(taken(batches, ledger), "it is gone", lost=True)
        trained(taken(batches, ledger), ledger, job)
        if time_ends:
            jump()
        while (pack := batches.take()) is not None:
            ledger.started(pack)
            trained(pack, ledger, job)

    driven(monkeypatch, drive)
    assert command(*LITTLE, "--session-time", "600") == code


def test_the_time_of_a_pack_that_hung_is_not_the_time_of_a_first_report(
    command: Command, jump: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def drive(batches: Batches, ledger: Ledger, job: Job) -> None:
        pack = taken(batches, ledger)
        jump()
        ledger.interrupted(pack, "it sent no message", lost=True)
        assert batches.take() is not None  # of two hours one is left

    driven(monkeypatch, drive)
    assert command(*LITTLE, "--session-time", "7000") == 3


def test_tables_are_kept_up_to_date_while_work_is_left(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last pack they are written anyway."""
    events: list[str] = []

    def drive(batches: Batches, ledger: Ledger, job: Job) -> None:
        while (pack := batches.take()) is not None:
            ledger.started(pack)
            trained(pack, ledger, job)
            events.append("over")

    driven(monkeypatch, drive)
    monkeypatch.setattr(tables.Refresh, "maybe", lambda _: events.append("refreshed"))
    assert command(*LITTLE, "pack.points=1") == 0
    assert len(events) >= 3
    assert events == ["refreshed", "over"] * (len(events) // 2) + ["over"]
