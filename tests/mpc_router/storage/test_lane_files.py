"""Many routers in one file: what was written comes back, alone and after others have gone."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mpc_router.results.checkpoint import LaneCheckpoint, load, save, save_lanes
from mpc_router.results.checkpoint_places import checkpoint_place
from mpc_router.storage.lane_files import (
    LANES_FORMAT,
    LaneFile,
    LaneFileError,
    files_by_key,
    lane_files,
)
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
    assert checkpoint_place(folder / "bb").folder == folder / "bb03"
    with pytest.raises(CheckpointError, match="'aa' begins 2 keys"):
        checkpoint_place(folder / "aa")
    with pytest.raises(CheckpointError, match="no router of a trial whose key is 'cc' or begins"):
        checkpoint_place(folder / "cc")


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
            checkpoint_place(named)
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


def written(path: Path, entries: dict[str, Any], trials: str, data: bytes) -> Path:
    """A file of routers whose header says this."""
    said = {"format": LANES_FORMAT, "trials": trials}
    text = json.dumps({"__metadata__": said, **entries}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(begin: Any = 0, end: Any = 4, shape: Any = (1,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


TWO = {"a.x": entry(), "b.x": entry(4, 8)}
TRIALS = '{"a": {}, "b": {}}'
HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "offsets reversed": (TWO | {"b.x": entry(8, 4)}, TRIALS),
    "offsets before the file": (TWO | {"b.x": entry(-4, 4)}, TRIALS),
    "no offsets": (TWO | {"b.x": entry() | {"data_offsets": []}}, TRIALS),
    "offsets of text": (TWO | {"b.x": entry("4", "8")}, TRIALS),
    "offsets that are true": ({"a.x": entry(0, 1), "b.x": entry(True, 8, [7], "U8")}, TRIALS),
    "the same bytes twice": ({"a.x": entry(0, 8, [2]), "b.x": entry(0, 8, [2])}, TRIALS),
    "a gap": ({"a.x": entry(), "b.x": entry(6, 8, [1], "U16")}, TRIALS),
    "bytes of none": ({"a.x": entry(0, 2, [1], "U16"), "b.x": entry(2, 6)}, TRIALS),
    "past the end": (TWO | {"b.x": entry(4, 12, [2])}, TRIALS),
    "another shape": (TWO | {"b.x": entry(4, 8, [2])}, TRIALS),
    "a shape below zero": (TWO | {"b.x": entry(4, 8, [-1, -1])}, TRIALS),
    "a shape of text": (TWO | {"b.x": entry(4, 8, "1")}, TRIALS),
    "a long shape": (TWO | {"b.x": entry(4, 8, [1] * 99)}, TRIALS),
    "another type": (TWO | {"b.x": entry(4, 8, [1], "F99")}, TRIALS),
    "a type that is a list": (TWO | {"b.x": entry(4, 8, [1], [])}, TRIALS),
    "an entry of nothing": (TWO | {"b.x": None}, TRIALS),
    "NaN": (TWO, '{"a": {"x": NaN}, "b": {}}'),
    "infinity": (TWO, '{"a": {"x": 1e999}, "b": {}}'),
    "a trial that is a list": (TWO, '{"a": [], "b": {}}'),
    "trials that are a list": (TWO, '["a", "b"]'),
    "nested without end": (TWO, '{"a": {"x": ' + "[" * 5000 + "]" * 5000 + '}, "b": {}}'),
    "another trial": (TWO, '{"a": {}, "c": {}}'),
    "a key that leaves the folder": (TWO | {"../b.x": entry(4, 8)}, '{"a": {}, "..": {}}'),
    "a key of a path": ({"a.x": entry(), "/b.x": entry(4, 8)}, '{"a": {}, "/b": {}}'),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_header_that_safetensors_would_refuse_is_a_damaged_file(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    assert LaneFile.read(written(folder / "q.safetensors", TWO, TRIALS, bytes(8))).trials
    path = written(folder / "q.safetensors", *HOSTILE[kind], bytes(8))
    before = path.read_bytes()
    with pytest.raises(LaneFileError, match=r"q\.safetensors is no sound file of routers"):
        LaneFile.read(path)
    with pytest.raises(CheckpointError, match=r"q\.safetensors is no sound file of routers"):
        load(folder / "b")
    assert files_by_key(folder).keys() == set(KEYS)
    assert path.read_bytes() == before


def below(levels: int, call: Callable[[], object]) -> None:
    """A call from so many levels further down."""
    call() if levels == 0 else below(levels - 1, call)


def test_a_trial_too_deep_to_be_written_again_is_a_damaged_file(folder: Path) -> None:
    """How deep a text may be that Python reads or writes depends on how deep the caller stands."""
    trials = '{"a": {"format": "mpc-router lane 1", "sha256": "", "x": NEST}, "b": {}}'
    path = folder / "q.safetensors"
    reads = []
    for depth in range(200, 1000, 10):
        nest = "[" * depth + "]" * depth
        with contextlib.suppress(LaneFileError):
            reads.append(LaneFile.read(written(path, TWO, trials.replace("NEST", nest), bytes(8))))
            before = path.read_bytes()
    path.write_bytes(before)
    with contextlib.suppress(LaneFileError):
        below(50, lambda: reads[-1].keep(["a"]))
    assert path.read_bytes() == before or files_by_key(folder).keys() == {*KEYS, "a"}
    with pytest.raises(CheckpointError, match=r"q\.safetensors"):
        below(50, lambda: load(folder / "a", reads[-1]))
