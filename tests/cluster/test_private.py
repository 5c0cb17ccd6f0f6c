"""Folders and files that are believed, and those that another user may have made."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cluster import private, state
from cluster.contract import Refused
from cluster.private import NotPrivate, entered, opened, read, remove, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir(mode=0o700)
    write(made / "file", "text")
    return made


def said(folder: Path) -> str:
    with entered(folder) as number:
        return read(number, "file")


def test_what_was_written_is_read_and_only_its_owner_may(folder: Path) -> None:
    assert said(folder) == "text"
    assert stat.S_IMODE((folder / "file").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o710, 0o701, 0o777, 0o1777])
def test_a_folder_that_others_may_enter_is_refused(folder: Path, mode: int) -> None:
    folder.chmod(mode)
    with pytest.raises(NotPrivate):
        said(folder)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_to_is_not_believed(folder: Path, mode: int) -> None:
    (folder / "file").chmod(mode)
    with pytest.raises(NotPrivate):
        said(folder)


def test_what_another_user_owns_is_not_believed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(NotPrivate):
        said(folder)


@pytest.mark.parametrize("what", ["link", "pipe", "folder", "socket to nowhere"])
def test_what_is_no_file_is_not_read_and_not_waited_for(folder: Path, what: str) -> None:
    (folder / "file").rename(folder / "other")
    if what == "link":
        (folder / "file").symlink_to(folder / "other")
    elif what == "pipe":
        os.mkfifo(folder / "file", 0o600)
    elif what == "folder":
        (folder / "file").mkdir(mode=0o700)
    else:
        (folder / "file").symlink_to(folder / "none")
    with pytest.raises(OSError, match="file"):
        said(folder)


def test_a_link_to_a_folder_is_followed_only_where_that_is_meant(folder: Path) -> None:
    link = folder.with_name("link")
    link.symlink_to(folder)
    with pytest.raises(OSError, match="link"):
        said(link)
    with entered(link, link=True) as number:
        assert read(number, "file") == "text"


def test_a_file_without_end_is_not_read_to_its_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private, "_MOST_BYTES", 3)
    with pytest.raises(ValueError, match="more than 3 bytes"):
        said(folder)


def test_what_has_the_folder_s_name_by_now_is_not_removed(folder: Path) -> None:
    with entered(folder) as number, opened(number, "file"):
        moved = folder.rename(folder.with_name("moved"))
        folder.mkdir()
        (folder / "theirs").touch()
        remove(number, folder)
    assert list(moved.iterdir()) == []
    assert (folder / "theirs").exists()


def test_what_a_process_that_is_ending_still_writes_is_removed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    coming = [folder / "late" / "log", folder / "later" / "log"]
    remove_folder = Path.rmdir

    def write_meanwhile(path: Path) -> None:
        if coming:
            late = coming.pop()
            late.parent.mkdir()
            late.touch()
        remove_folder(path)

    monkeypatch.setattr(Path, "rmdir", write_meanwhile)
    with entered(folder) as number:
        remove(number, folder)
    assert not folder.exists()
    assert coming == []


def test_a_folder_that_never_stays_empty_is_given_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_folder = Path.rmdir

    def write_meanwhile(path: Path) -> None:
        (folder / "again").touch()
        remove_folder(path)

    monkeypatch.setattr(Path, "rmdir", write_meanwhile)
    monkeypatch.setattr(private, "_ENDING", 0.1)
    with entered(folder) as number:
        remove(number, folder)
    assert folder.exists()


STATE = '{"address": "127.0.0.1:1", "temporary": "/tmp/mpcr-local-x", "boot": "b", "nodes": []}'


@pytest.mark.parametrize("how", ["folder", "file", "link"])
def test_a_cluster_that_another_user_may_have_written_down_is_refused(
    tmp_path: Path, how: str
) -> None:
    tmp_path.chmod(0o700)
    write(tmp_path / state._STATE, STATE)
    assert state.read(tmp_path) is not None
    if how == "folder":
        tmp_path.chmod(0o770)
    elif how == "file":
        (tmp_path / state._STATE).chmod(0o666)
    else:
        (tmp_path / state._STATE).rename(tmp_path / "theirs")
        (tmp_path / state._STATE).symlink_to(tmp_path / "theirs")
    with pytest.raises(Refused, match="is not safe to read"):
        state.read(tmp_path)


@pytest.mark.parametrize(
    "bad",
    [
        STATE.replace('"b"', "3"),
        STATE.replace("[]", '[{"name": "head", "pid": "1", "start": 1}]'),
        STATE.replace("[]", '[{"name": "head", "pid": true, "start": 1}]'),
        STATE.replace('"127.0.0.1:1"', "null"),
    ],
)
def test_a_cluster_of_the_wrong_kinds_is_refused(tmp_path: Path, bad: str) -> None:
    tmp_path.chmod(0o700)
    write(tmp_path / state._STATE, bad)
    with pytest.raises(Refused, match="cannot be read"):
        state.read(tmp_path)
