"""Ray's temporary folders: ours go, other people's stay."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sweeps import sessions
from sweeps.sessions import LOCK, PREFIX, lead, remove_orphans, session_folder


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder with a path short enough for sockets."""
    short = Path(tempfile.mkdtemp(prefix="t", dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(short))
    return short


def test_a_session_goes_with_its_block(parent: Path) -> None:
    with session_folder() as folder:
        assert folder.parent == parent
        assert folder.stat().st_mode & 0o077 == 0
    assert list(parent.iterdir()) == []


def test_what_a_killed_session_left_goes_with_the_next_and_a_held_one_stays(parent: Path) -> None:
    left = parent / f"{PREFIX}left"
    left.mkdir()
    (left / LOCK).touch()
    with session_folder() as held, session_folder():
        assert held.exists()
        assert not left.exists()


@pytest.mark.parametrize("name", ["mpc-results", f"{PREFIX}mine"])
def test_a_folder_of_somebody_else_stays(parent: Path, name: str) -> None:
    theirs = parent / name
    theirs.mkdir()
    (theirs / "lock").touch()
    (theirs / "results.txt").write_text("precious")
    with session_folder():
        pass
    assert (theirs / "results.txt").read_text() == "precious"


@pytest.mark.skipif(sys.platform != "linux", reason="processes are told apart by /proc")
def test_processes_of_a_killed_session_are_ended_and_counted(parent: Path) -> None:
    left = parent / f"{PREFIX}left"
    left.mkdir()
    (left / LOCK).touch()
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; " + (
        "print(flush=True); time.sleep(600)'])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # of its child, so both run
        lead(left, process.pid)
        with session_folder():  # whoever comes next ends them
            assert process.wait(timeout=10) == -9
            assert process.stdout.read() == b""  # its child has let go of it too
    assert remove_orphans().folders == 0


def test_what_was_left_is_said(parent: Path) -> None:
    (parent / f"{PREFIX}left").mkdir()
    (parent / f"{PREFIX}left" / LOCK).touch()
    assert "a temporary folder of Ray's" in str(remove_orphans())
    assert not (parent / f"{PREFIX}left").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="processes are told apart by /proc")
def test_who_cannot_be_ended_is_named_and_holds_nobody_up(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = parent / f"{PREFIX}left"
    left.mkdir()
    (left / LOCK).touch()
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
    ) as process:
        lead(left, process.pid)
        monkeypatch.setattr(sessions, "kill", lambda _: None)  # as of one that waits for a disk
        monkeypatch.setattr(sessions, "DYING", 0.1)
        found = remove_orphans()
        assert found.undying == (process.pid,)
        assert f"not even kill -9 ends process {process.pid}" in str(found)
        assert left.exists()
        process.kill()
    assert remove_orphans().undying == ()
    assert not left.exists()


@pytest.mark.parametrize("leader", ["null", "3", "[]", "{", '["a", "b", "c"]'])
def test_a_leader_that_is_none_is_passed_over(parent: Path, leader: str) -> None:
    left = parent / f"{PREFIX}left"
    left.mkdir()
    (left / LOCK).touch()
    (left / "leader").write_text(leader)
    assert remove_orphans().processes == 0
    assert not left.exists()


def test_a_folder_of_another_user_is_let_be(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = parent / f"{PREFIX}theirs"
    theirs.mkdir()
    (theirs / LOCK).touch()
    monkeypatch.setattr(os, "getuid", lambda: theirs.stat().st_uid + 1)
    assert remove_orphans().folders == 0
    assert theirs.exists()
