"""Paths that name checkpoints of a run: keys, their beginnings, files, and what is not there."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mpc_router.results.checkpoint import LaneCheckpoint, load, save, save_lanes
from mpc_router.results.checkpoint_places import checkpoint_place
from mpc_router.storage.lane_files import LaneFile
from mpc_router.storage.tensor_files import CheckpointError
from tests.mpc_router.results.test_checkpoint import a_checkpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's checkpoints: three files of two routers, of which the last is the newest."""
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    for number in range(3):
        routers = {f"{letter}{number}": a_checkpoint(number) for letter in "ab"}
        path = folder / f"pack{number:02d}.safetensors"
        save_lanes(routers, path)
        os.utime(path, (number + 1, number + 1))
    return folder


def trials(run: Path, **statuses: str) -> None:
    """A run's table of them."""
    table = pa.table({"key": list(statuses), "status": list(statuses.values())})
    pq.write_table(table, run / "trials.parquet")


def epoch(path: Path) -> int:
    place = checkpoint_place(path)
    loaded = load(place.folder, place.lanes)
    assert isinstance(loaded, LaneCheckpoint)
    return loaded.epoch


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as refused:
        checkpoint_place(path)
    return str(refused.value)


def test_a_router_in_a_file_goes_before_a_folder_of_its_key(folder: Path) -> None:
    """An older version wrote the folder, and the trial was trained again since."""
    save(replace(a_checkpoint(), epoch=7), folder / "a1")
    save(replace(a_checkpoint(), epoch=8), folder / "c1")
    for path, wanted in ((folder / "a1", 2), (folder / "c1", 8), (folder / "c", 8)):
        assert epoch(path) == wanted
    loaded = load(folder / "a1")
    assert isinstance(loaded, LaneCheckpoint)
    assert loaded.epoch == 2


def test_a_key_is_looked_for_once_and_no_further_than_its_newest_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    read = LaneFile.read

    def counted(path: Path) -> LaneFile:
        seen.append(path.name)
        return read(path)

    monkeypatch.setattr(LaneFile, "read", counted)
    newest_first = ["pack02.safetensors", "pack01.safetensors", "pack00.safetensors"]
    for key, count in (("a2", 1), ("a1", 2), ("b0", 3)):
        assert epoch(folder / key) == 2
        assert seen == newest_first[:count]
        seen.clear()


@pytest.mark.parametrize("name", ["checkpoints", "of-others"])
def test_a_key_is_found_in_any_folder_of_files_and_from_inside_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = folder.rename(folder.with_name(name))
    assert epoch(folder / "a1") == 2
    monkeypatch.chdir(folder)
    assert epoch(Path("a1")) == 2
    assert "begins 3 keys" in refusal(Path("a"))
    assert "has no router of a trial whose key is 'zz'" in refusal(Path("zz"))
    assert refusal(folder / "zz") == refusal(Path("zz"))


def test_a_folder_without_files_of_routers_is_no_runs(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"of something else")
    for name in ("typo", "other"):
        assert checkpoint_place(tmp_path / name).folder == tmp_path / name
    assert checkpoint_place(tmp_path / "typo.pt").note is not None


def test_a_file_of_routers_says_what_to_name_in_its_place(folder: Path) -> None:
    path = folder / "pack01.safetensors"
    assert "mpc-router-train" not in refusal(path)
    assert str(folder / "a1") in refusal(path)
    path.write_bytes(path.read_bytes()[:-1])
    assert f"{path} is no sound file of routers" in refusal(path)


@pytest.mark.parametrize(
    ("setting", "status", "message"),
    [
        ("all", "COMPLETED", "its file is gone"),
        ("all", "STOPPED", "its file is gone"),
        ("all", "INTERRUPTED", "has not ended; mpc-router-sweep --resume"),
        ("all", "FAILED", "--retry-failed trains it again"),
        ("front", "COMPLETED", "`checkpoints: front`, and once the run is done only points"),
        ("front", "INTERRUPTED", "has not ended; mpc-router-sweep --resume"),
        ("front", "FAILED", "--retry-failed trains it again"),
        ("none", "COMPLETED", "`checkpoints: none`"),
        ("none", "INTERRUPTED", "`checkpoints: none`"),
        ("[front]", "COMPLETED", "its file is gone"),
    ],
)
def test_a_missing_router_of_a_trial_says_why_it_is_missing(
    folder: Path, setting: str, status: str, message: str
) -> None:
    run = folder.parent
    (run / "study.yaml").write_text(f"checkpoints: {setting}\n")
    trials(run, a0="COMPLETED", d34=status)
    for start in ("d34", "d"):
        assert f"{folder} has no router of trial 'd34': " in refusal(folder / start)
        assert message in refusal(folder / start)
    for setting_of_all in ("front", "none"):
        named = f"`checkpoints: {setting_of_all}`" in refusal(folder / "d34")
        assert named == (f"`checkpoints: {setting_of_all}`" in message)
    if "checkpoints=all" in refusal(folder / "d34"):
        assert "trains the whole study again" in refusal(folder / "d34")
    assert epoch(folder / "a0") == 2


def test_a_trial_that_the_run_does_not_have_is_not_explained_by_its_study(folder: Path) -> None:
    (folder.parent / "study.yaml").write_text("checkpoints: front\n")
    trials(folder.parent, a0="COMPLETED", d34="COMPLETED", d35="COMPLETED")
    assert "has no trial 'zz', nor one whose key begins so" in refusal(folder / "zz")
    assert "'d' begins 2 keys" in refusal(folder / "d")


@pytest.mark.parametrize("kind", ["gone", "a pipe", "no table", "of other columns", "of numbers"])
def test_a_run_whose_table_cannot_be_read_explains_nothing(folder: Path, kind: str) -> None:
    run = folder.parent
    table = run / "trials.parquet"
    os.mkfifo(run / "study.yaml")
    if kind == "a pipe":
        os.mkfifo(table)
    elif kind == "no table":
        table.write_bytes(b"PAR1 of nothing")
    elif kind == "of other columns":
        pq.write_table(pa.table({"key": ["zz"]}), table)
    elif kind == "of numbers":
        pq.write_table(pa.table({"key": [1], "status": [[1]]}), table)
    assert "has no router of a trial whose key is 'zz' or begins so" in refusal(folder / "zz")


def test_a_copy_of_the_files_alone_says_where_more_is_known(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "elsewhere")
    assert "the folder in its run, whose tables say more" in refusal(copy / "zz")
