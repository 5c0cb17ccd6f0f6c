"""Ray's temporary folders: ours go, other people's stay."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from sweeps.sessions import LOCK, PREFIX, session_folder


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
