"""Ray's temporary folders: ours go, other people's stay."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import local_nodes
from cluster.local import _MOST_NODES
from sweeps.raytune import folders
from sweeps.raytune.folders import (
    _LEADER,
    _LOCK,
    PREFIX,
    RAY,
    end_session,
    lead,
    remove_orphans,
    session_folder,
)


@pytest.fixture
def parent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        yield Path(short)


@pytest.fixture
def left(parent: Path) -> Path:
    """What a killed session has left: a folder of ours, and a lock that nobody holds."""
    folder = parent / f"{PREFIX}left"
    folder.mkdir(mode=0o700)
    (folder / _LOCK).touch(mode=0o600)
    return folder


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that leads a session of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True
    ) as process:
        yield process
        process.kill()


def test_a_session_goes_with_its_block(parent: Path) -> None:
    with session_folder() as folder:
        assert folder.parent == parent
        assert folder.stat().st_mode & 0o077 == 0
    assert list(parent.iterdir()) == []


def test_what_a_killed_session_left_goes_with_the_next_and_a_held_one_stays(left: Path) -> None:
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


def test_processes_of_a_killed_session_are_ended_and_counted(left: Path) -> None:
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
            assert process.wait(timeout=300) == -9
            assert process.stdout.read() == b""  # its child has let go of it too
    assert remove_orphans().folders == 0


def test_what_was_left_is_said(left: Path) -> None:
    assert "a temporary folder of Ray's" in str(remove_orphans())
    assert not left.exists()


def test_who_cannot_be_ended_is_named_and_holds_nobody_up(
    left: Path, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    lead(left, sleeper.pid)
    monkeypatch.setattr(folders, "kill", lambda _: None)  # as of one that waits for a disk
    monkeypatch.setattr(folders, "_DYING", 0.1)
    found = remove_orphans()
    assert found.undying == (sleeper.pid,)
    assert f"not even kill -9 ends process {sleeper.pid}" in str(found)
    assert left.exists()
    sleeper.kill()
    sleeper.wait()
    assert remove_orphans().undying == ()
    assert not left.exists()


@pytest.mark.parametrize(
    "leader", ["null", "3", "[]", "{", '["a", "b", "c"]', "\0", "[1, true, 2]", '["1", 2, "3"]']
)
def test_a_leader_that_is_none_is_passed_over(left: Path, leader: str) -> None:
    (left / _LEADER).write_text(leader)
    assert remove_orphans().processes == 0
    assert not left.exists()


@pytest.mark.parametrize("of", ["owner", "mode", "folder", "link", "pipe"])
def test_a_leader_that_another_user_may_have_written_ends_no_process(
    left: Path, sleeper: subprocess.Popen[bytes], of: str, tmp_path: Path
) -> None:
    lead(left, sleeper.pid)
    if of == "owner":
        if os.getuid():
            pytest.skip("only root may give a file away")
        os.chown(left / _LEADER, 65534, 65534)
    elif of == "mode":
        (left / _LEADER).chmod(0o622)
    elif of == "folder":
        left.chmod(0o777)
    else:
        (left / _LEADER).rename(tmp_path / _LEADER)
        os.mkfifo(left / _LEADER) if of == "pipe" else (left / _LEADER).symlink_to(
            tmp_path / _LEADER
        )
    assert remove_orphans().processes == 0
    assert end_session(left) == (0, [])
    assert sleeper.poll() is None


def test_a_folder_of_another_user_is_let_be(
    left: Path, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    lead(left, sleeper.pid)
    monkeypatch.setattr(os, "geteuid", lambda: left.stat().st_uid + 1)
    assert remove_orphans().folders == 0
    assert left.exists()
    assert sleeper.poll() is None


def test_nothing_is_removed_at_the_other_end_of_a_link(left: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir(mode=0o700)
    (precious / _LOCK).touch(mode=0o600)
    (precious / "results").write_text("years of work")
    (left.parent / f"{PREFIX}link").symlink_to(precious)
    (left / "folder").symlink_to(precious)
    (left / "deeper").mkdir()
    (left / "deeper" / "file").symlink_to(precious / "results")
    assert remove_orphans().folders == 1
    assert not left.exists()
    assert (precious / "results").read_text() == "years of work"


def test_a_session_that_was_swapped_for_a_link_goes_and_the_link_s_target_stays(
    parent: Path, tmp_path: Path
) -> None:
    (tmp_path / "results").write_text("years of work")
    with session_folder() as folder:
        (folder / "mine").touch()
        moved = folder.rename(parent / "moved")
        folder.symlink_to(tmp_path)
    assert list(moved.iterdir()) == []
    assert (tmp_path / "results").read_text() == "years of work"


def test_a_temporary_folder_in_which_others_may_rename_is_not_taken(parent: Path) -> None:
    parent.chmod(0o777)
    with session_folder() as folder:
        assert folder.parent == Path("/tmp")
    parent.chmod(0o1777)
    with session_folder() as folder:
        assert folder.parent == parent


def test_the_longest_path_of_a_socket_fits() -> None:
    made_by_ray = "session_2026-11-29_18-44-45_444959_4194304/sockets/plasma_store"
    assert folders._SHORT + len(f"/{PREFIX}12345678/{RAY}/{made_by_ray}") <= 107
    assert (
        local_nodes._SHORT + len(f"/{local_nodes._PREFIX}12345678/{_MOST_NODES - 1}/{made_by_ray}")
        <= 107
    )
