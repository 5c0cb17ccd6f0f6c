"""Atomic writes: complete or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mpc_router.storage.files import atomic, write_text


@pytest.mark.parametrize("durable", [True, False])
def test_a_write_that_fails_leaves_the_older_file_alone(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "notes.json"
    write_text(path, "older", durable=durable)
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half \ud800", durable=durable)
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_being_written_has_a_private_name(tmp_path: Path) -> None:
    with atomic(tmp_path / "notes.json") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".notes.json-")
        assert temporary.suffix == ".tmp"
        assert temporary.stat().st_mode & 0o777 == 0o600
        assert not (tmp_path / "notes.json").exists()


def test_the_folder_says_who_reads_a_durable_file_and_the_umask_who_reads_another(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o750)
    umask = os.umask(0o022)
    try:
        write_text(tmp_path / "durable", "")
        write_text(tmp_path / "other", "", durable=False)
    finally:
        os.umask(umask)
    assert (tmp_path / "durable").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "other").stat().st_mode & 0o777 == 0o644


def test_nothing_comes_back_where_the_folder_is_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "gone" / "notes.json", "")
    assert list(tmp_path.iterdir()) == []
