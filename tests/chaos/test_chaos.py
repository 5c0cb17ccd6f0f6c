"""A grid on Ray and a search with rungs, killed and resumed: the short form of `make chaos`."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sweeps.journal.journal import Journal
from tests.chaos import sessions
from tests.chaos.blows import DRIVER, Blow, Course, drawn
from tests.chaos.sessions import LIMIT, ROOT, SILENCE, Place, _watched, forget
from tests.chaos.variants import VARIANTS
from tests.sweeps.journal.test_journal import write as short_run


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone lets a process adopt orphans")
def test_a_killed_grid_and_a_killed_search_end_as_if_nobody_had_disturbed_them(
    tmp_path: Path,
) -> None:
    pytest.importorskip("psutil", reason="psutil finds the processes to be killed")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.chaos", "--short", "--rounds", "2", "--keep"),
            *("--variants", "grid,rungs", "--out", str(tmp_path)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "round 0 grid: kills 1 driver; 2 sessions" in done.stdout
    assert "round 1 rungs: kills 1 machine; 2 sessions" in done.stdout
    assert "2 rounds, every one kept the promise" in done.stdout


def test_the_same_seed_draws_the_same_blows() -> None:
    course = Course(seconds=20, lines=120)
    for variant in VARIANTS.values():
        one, two = (drawn(variant, course, random.Random("7")) for _ in range(2))
        assert one == two
    kinds = {
        (blow.kind, blow.after, blow.what)
        for seed in range(200)
        for blow in drawn(VARIANTS["rungs"], course, random.Random(seed))
    }
    assert {("driver", "file", "tables"), ("machine", "file", "view")} <= kinds
    assert {kind for kind, _, _ in kinds} == {"driver", "machine", "ray", "worker"}


@pytest.mark.parametrize("name", [".pack00.safetensors-ab.tmp", "KEY/.pool.safetensors-ab.tmp"])
def test_routers_are_struck_while_a_file_of_many_or_a_joint_trials_folder_is_written(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "checkpoints" / "KEY").mkdir(parents=True)
    (tmp_path / "checkpoints" / "KEY" / ".old.tmp").touch()
    has_come = Blow(kind=DRIVER, after="file", what="checkpoints").moment(tmp_path)
    assert not has_come()
    (tmp_path / "checkpoints" / name).touch()
    assert has_come()


def test_a_session_that_trains_nothing_is_struck_only_by_what_it_may_see() -> None:
    idle = {
        blow
        for variant in VARIANTS.values()
        for seed in range(200)
        for blow in drawn(variant, Course(seconds=20, lines=120), random.Random(seed))
        if blow.may_strike_idle
    }
    assert {blow.kind for blow in idle} == {"driver", "machine"}
    assert {blow.what for blow in idle if blow.after == "event"} == {"resumed", "closed"}
    assert {blow.what for blow in idle if blow.after == "file"} == {"tables", "texts", "view"}
    assert {blow.count for blow in idle if blow.after in ("event", "lines")} == {1, 2}
    assert {"clock"} < {blow.after for blow in idle}


class _Played:
    """A session and its clock: it says a word now and then until it is silent, and then ends."""

    def __init__(self, place: Place, *, silent_from: float, ends: float) -> None:
        self._said, self._silent_from, self._ends = place.log / "00.err", silent_from, ends
        self._now = 0.0

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        before, self._now = self._now, self._now + seconds
        if self._now < self._silent_from and before // 50 != self._now // 50:
            with self._said.open("a") as file:
                file.write("a word\n")

    def poll(self) -> int | None:
        return 0 if self._now >= self._ends else None


@pytest.mark.parametrize(
    ("silent_from", "ends", "over"),
    [(400, 460, 460), (100, 500, 50 + SILENCE), (0, 500, SILENCE), (5000, 5000, LIMIT)],
)
def test_a_session_hangs_that_says_nothing_for_long_or_never_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent_from: float, ends: float, over: float
) -> None:
    place = Place(run=tmp_path / "runs" / "r", temporary=tmp_path, log=tmp_path)
    session: Any = _Played(place, silent_from=silent_from, ends=ends)
    monkeypatch.setattr(sessions, "time", session)
    monkeypatch.setattr(sessions, "_GAZE", 0.1)
    assert _watched(session, place, None, random.Random(0)) is None
    assert session.monotonic() == pytest.approx(over, abs=3)


def test_a_crash_of_the_machine_forgets_only_what_was_not_durable(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        short_run(journal)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    assert forget(path, random.Random(0)) == 0  # `closed` is durable, and all before it
    durable, flushed = b"".join(lines[:2]), b"".join(lines[:4])  # asked; started, reported
    left = set()
    for seed in range(50):
        path.write_bytes(flushed)
        forget(path, random.Random(seed))
        found = path.read_bytes()
        assert flushed.startswith(found)
        assert found.startswith(durable)
        left.add(len(found))
    assert len(left) > 20
