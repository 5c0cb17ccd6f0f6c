"""Damaged runs: refused in a sentence, and repaired to the same tables."""

from __future__ import annotations

import errno
import itertools
import stat
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from sweeps.driver._ledger import Ledger
from sweeps.journal.journal import read
from sweeps.journal.state import replay
from sweeps.records import COMPLETED, FAILED, STOPPED, Message, Pack, Trial
from sweeps.worker import shared_parts, stack
from tests.sweeps.conftest import FIX, assert_same_tables, rows
from tests.sweeps.search.test_searches import FINISHED

Command = Callable[..., int]
Made = Generator[Any, Any, None]

pytestmark = pytest.mark.usefixtures("no_front")


ONE = ("mrpc_grid", *FIX, "seeds=[0]", "start=[]", "alpha=0.05", "beta=0.1")
"""A single trial."""


@pytest.fixture
def run(made_run: Callable[..., Path], tmp_path: Path) -> Path:
    """A search with brackets and finished points, and its tables kept beside it."""
    found = made_run(tmp_path / "runs" / "r", *FINISHED)
    (tmp_path / "wanted").mkdir()
    for file in found.glob("*.parquet"):
        (tmp_path / "wanted" / file.name).write_bytes(file.read_bytes())
    return found


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "how"),
    [
        ("pack00.parquet", "gone"),
        ("pack02.parquet", "flipped"),
        ("experts.parquet", "flipped"),
        ("examples.parquet", "gone"),
    ],
)
def test_a_damaged_bulk_file_is_named_and_a_repair_gives_the_same_tables(
    run: Path,
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    part: str,
    how: str,
) -> None:
    path = run / "parts" / part
    if how == "gone":
        path.unlink()
    else:
        flip(path, 100)
    before = (run / "journal.jsonl").read_bytes()
    assert command("--resume", str(run), "--no-report") == 2
    said = capsys.readouterr().err
    assert part in said
    assert "--repair trains" in said
    assert (run / "journal.jsonl").read_bytes() == before
    assert command("--resume", str(run), "--repair", "--no-report", "--quiet") == 0
    assert "repair: " in capsys.readouterr().err
    assert_same_tables(run, tmp_path / "wanted")


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_damaged_journal_is_named_and_a_repair_gives_the_same_tables(
    run: Path,
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    share: float,
) -> None:
    journal = run / "journal.jsonl"
    whole = journal.read_bytes()
    first = whole.index(b"\n") + 1
    flip(journal, first + int(share * (len(whole) - first - 2)))
    assert command("--resume", str(run), "--no-report") == 3
    said = capsys.readouterr().err
    assert "journal.jsonl:" in said
    assert "--repair keeps them" in said
    assert command("--resume", str(run), "--repair", "--no-report", "--quiet") == 0
    assert "lines from there on are gone" in capsys.readouterr().err
    assert_same_tables(run, tmp_path / "wanted")
    (saved,) = run.glob("journal.jsonl.damaged-*")
    assert len(saved.read_bytes()) == len(whole)
    assert list(read(journal))[-1]["event"] == "closed"


def test_wrong_words_are_refused_before_anything_is_cut(
    run: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    journal = run / "journal.jsonl"
    flip(journal, journal.stat().st_size // 2)
    before = journal.read_bytes()
    assert command("--resume", str(run), "--repair", "budget.tiem=3") == 2
    assert "'tiem'; did you mean time?" in capsys.readouterr().err
    assert journal.read_bytes() == before
    assert not list(run.glob("*.damaged-*"))


def test_a_repair_takes_shared_files_as_it_has_written_them(
    run: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another version of pyarrow writes the same content in other bytes."""
    flip(run / "parts" / "examples.parquet", 100)
    before = replay(read(run / "journal.jsonl")).parts["examples.parquet"]
    monkeypatch.setattr(pq, "write_table", partial(pq.write_table, data_page_version="2.0"))
    assert command("--resume", str(run), "--repair", "--no-report", "--quiet") == 0
    assert replay(read(run / "journal.jsonl")).parts["examples.parquet"] != before
    assert_same_tables(run, tmp_path / "wanted")
    assert command("--resume", str(run), "--no-report", "--quiet") == 0


def test_a_run_that_could_not_begin_leaves_its_name_free(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> dict[str, str]:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_parts, "write_shared_parts", full)
        assert command(*ONE, "--name", "n", "--no-report", "--quiet") == 3
    assert "--resume" not in capsys.readouterr().err
    assert not (tmp_path / "runs" / "n").exists()
    assert command(*ONE, "--name", "n", "--no-report", "--quiet") == 0


def test_a_repair_needs_a_run(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("mrpc_grid", "--repair") == 2
    assert "--repair needs --resume RUN" in capsys.readouterr().err


def test_a_file_named_stop_ends_a_run_cleanly_and_it_goes_on_to_the_same(
    run: Path,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = tmp_path / "runs" / "s"
    heard = Ledger.received

    def touch(self: Ledger, pack: Pack, message: Message) -> dict[str, str]:
        (other / "stop").touch()
        return heard(self, pack, message)

    monkeypatch.setattr(Ledger, "received", touch)
    assert command(*FINISHED, "--name", "s", "--no-report", "--quiet") == 143
    errors = capsys.readouterr().err
    assert "\nasked to stop: " in errors  # no signal came
    assert "SIGTERM" not in errors + (other / "journal.jsonl").read_text()
    assert replay(read(other / "journal.jsonl")).closed == "asked to stop"
    monkeypatch.setattr(Ledger, "received", heard)
    assert stat.S_IMODE(other.stat().st_mode) == 0o700
    (other / "stop").touch()  # the last session has not seen this one
    assert command("--resume", str(other), "--no-report", "--quiet") == 0
    assert not (other / "stop").exists()
    assert_same_tables(other, run)


def test_failed_trials_are_tried_again_when_asked(
    command: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    real = stack.begin_training

    def out_of_memory(trials: Sequence[Trial], *more: Any, **named: Any) -> Made:
        """The stacks of the second bracket fail after their first epoch."""
        made, answer = real(trials, *more, **named), None
        for count in itertools.count():
            if count == 1 and trials[0].point >= "p06":
                raise RuntimeError("CUDA out of memory")
            try:
                answer = yield made.send(answer)
            except StopIteration:
                return

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stack, "begin_training", out_of_memory)
        assert command(*FINISHED, "--name", "f", "--no-report", "--quiet") == 4
    failed = tmp_path / "runs" / "f"
    reasons = {trial["reason"] for trial in rows(failed, "trials") if trial["status"] == FAILED}
    assert reasons == {"RuntimeError: CUDA out of memory"}
    capsys.readouterr()
    assert command("--resume", str(failed), "--no-report", "--quiet") == 4
    again = ("--resume", str(failed), "--retry-failed", "--no-report", "--quiet")
    assert command(*again) == 0
    assert "FAILED trials are retried" in capsys.readouterr().err
    assert {trial["status"] for trial in rows(failed, "trials")} == {COMPLETED, STOPPED}
    assert command(*again) == 0
    assert "no trial FAILED" in capsys.readouterr().err


def test_a_bracket_of_which_a_trial_failed_is_ranked_anew_though_some_of_it_were_finished(
    command: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The front of the retried run is complete, and every decision is that of its reports."""
    real = stack.begin_training

    def loses_one(trials: Sequence[Trial], *more: Any, **named: Any) -> Made:
        """The last stack of the first bracket fails before it has said anything."""
        if trials[-1].point == "p05":
            raise RuntimeError("CUDA out of memory")
        yield from real(trials, *more, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stack, "begin_training", loses_one)
        assert command(*FINISHED, "--name", "f", "--no-report", "--quiet") == 4
    failed = tmp_path / "runs" / "f"
    before = replay(read(failed / "journal.jsonl"))
    first = {trial.key for trial in before.packs["pack00"].trials}
    assert any(before.pack_of[key] != "pack00" for key in first)  # some of it were finished
    again = ("--resume", str(failed), "--retry-failed", "--no-report", "--quiet")
    assert command(*again) == 0
    state = replay(read(failed / "journal.jsonl"))
    assert state.following is not None
    trials = rows(failed, "trials")
    assert {trial["status"] for trial in trials} == {COMPLETED, STOPPED}
    decided = {key for key, epoch in state.decisions if epoch == 1}
    assert first <= decided
    assert sum(state.decisions[key, 1].goes_on for key in first) == 2 * 2  # a third of six points
