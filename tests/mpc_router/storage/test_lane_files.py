"""Many routers in one file: what was written comes back, alone and after others have gone."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mpc_router.results.checkpoint import LaneCheckpoint, load, save, save_lanes
from mpc_router.results.checkpoint_places import checkpoint_folder
from mpc_router.storage.lane_files import LaneFile, files_by_key, lane_files
from mpc_router.storage.tensor_files import CheckpointError
from tests.mpc_router.results.test_checkpoint import a_checkpoint, assert_equal_weights

KEYS = ("aa01", "aa02", "bb03")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's checkpoints: a file of three routers."""
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    save_lanes({key: a_checkpoint(seed) for seed, key in enumerate(KEYS)}, folder / "p.safetensors")
    return folder


def lane(path: Path) -> LaneCheckpoint:
    loaded = load(path)
    assert isinstance(loaded, LaneCheckpoint)
    return loaded


def test_a_router_of_a_shared_file_is_the_one_of_a_folder_of_its_own(
    folder: Path, tmp_path: Path
) -> None:
    kept = a_checkpoint(1)
    save_lanes({"k": kept, "l": a_checkpoint(2)}, folder / "q.safetensors")
    save(kept, tmp_path / "own")
    shared, own = lane(folder / "k"), lane(tmp_path / "own")
    assert_equal_weights(shared, own)
    assert torch.equal(shared.feature_mean, own.feature_mean)
    assert torch.equal(shared.feature_deviation, own.feature_deviation)
    unlike = {"weights", "feature_mean", "feature_deviation"}
    for name in LaneCheckpoint.__dataclass_fields__.keys() - unlike:
        assert getattr(shared, name) == getattr(own, name)


def test_the_start_of_a_key_names_a_router_of_a_shared_file(folder: Path) -> None:
    assert checkpoint_folder(folder / "bb")[0] == folder / "bb03"
    with pytest.raises(CheckpointError, match="'aa' begins 2 keys"):
        checkpoint_folder(folder / "aa")
    with pytest.raises(CheckpointError, match="no trial 'cc'"):
        checkpoint_folder(folder / "cc")


def test_routers_that_stay_are_the_same_bits_when_others_go(folder: Path) -> None:
    before = {key: lane(folder / key) for key in KEYS}
    size = (folder / "p.safetensors").stat().st_size
    LaneFile.read(folder / "p.safetensors").keep(["aa02", "bb03"])
    assert files_by_key(folder).keys() == {"aa02", "bb03"}
    for key in ("aa02", "bb03"):
        assert_equal_weights(lane(folder / key), before[key])
    assert (folder / "p.safetensors").stat().st_size < 0.7 * size
    assert {name.partition(".")[0] for name in load_file(folder / "p.safetensors")} == {
        "aa02",
        "bb03",
    }
    LaneFile.read(folder / "p.safetensors").keep([])
    assert list(folder.iterdir()) == []


def test_the_newest_router_of_a_trial_counts(folder: Path) -> None:
    save_lanes({"aa01": replace(a_checkpoint(), epoch=9)}, folder / "p.2.safetensors")
    os.utime(folder / "p.safetensors", (1, 1))
    assert lane(folder / "aa01").epoch == 9
    assert [path.name for path in lane_files(folder)] == ["p.2.safetensors", "p.safetensors"]


def test_a_damaged_file_hinders_no_router_of_another(folder: Path) -> None:
    save_lanes({"cc04": a_checkpoint(4)}, folder / "q.safetensors")
    path = folder / "p.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert lane(folder / "cc04").seed == 4
    for named in (folder / "aa01", folder / "zz"):
        with pytest.raises(CheckpointError, match=r"p\.safetensors is no sound file of routers"):
            checkpoint_folder(named)
    with pytest.raises(CheckpointError, match=r"p\.safetensors is no sound file of routers"):
        load(folder / "aa01")


def test_a_changed_bit_of_a_router_is_seen_and_its_neighbours_are_sound(folder: Path) -> None:
    path = folder / "p.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    sound = []
    for key in KEYS:
        with contextlib.suppress(CheckpointError):
            sound.append(load(folder / key))
    assert len(sound) == 2


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_file_of_routers_that_is_none_is_not_opened(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    path = folder / "p.safetensors"
    path.rename(tmp_path / "elsewhere")
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        os.mkfifo(path)
    assert files_by_key(folder) == {}


@pytest.mark.parametrize(
    ("kept", "message"),
    [("front", "only points of the front keep theirs"), ("none", "`checkpoints: none`")],
)
def test_a_missing_router_names_the_setting_that_kept_it_out(
    folder: Path, kept: str, message: str
) -> None:
    (folder.parent / "study.yaml").write_text(f"checkpoints: {kept}\n")
    with pytest.raises(CheckpointError, match=message) as refused:
        checkpoint_folder(folder / "dd")
    assert "checkpoints=all" in str(refused.value)
    assert checkpoint_folder(folder / "aa01")[0] == folder / "aa01"
