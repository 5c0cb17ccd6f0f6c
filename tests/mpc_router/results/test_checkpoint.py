from __future__ import annotations

import json
import pickle
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from mpc_router.config.trial import trial_config
from mpc_router.model.router import MLPRouter, initial_weights
from mpc_router.results.checkpoint import (
    _OPTIMIZER_FILE,
    _POOL_FILE,
    TRIAL_FILE,
    WEIGHTS_FILE,
    CheckpointError,
    JointCheckpoint,
    LaneCheckpoint,
    load,
    save,
    without_optimizer,
)
from mpc_router.results.checkpoint_places import CheckpointPlace, checkpoint_place
from mpc_router.storage.tensor_files import read_tensors, write_tensors


def a_checkpoint(seed: int = 1) -> LaneCheckpoint:
    return LaneCheckpoint(
        config=trial_config({"task": "sst2", "alpha": 0.1, "learning_rate": 3e-4}),
        seed=seed,
        epoch=2,
        step=40,
        weights=initial_weights(6, 8, 3, torch.Generator().manual_seed(seed)),
        feature_mean=torch.randn(6),
        feature_deviation=torch.rand(6) + 0.5,
        stem={"name": "org/stem", "hash": "ab", "stand_in": None},
        experts=({"name": "org/a", "layers": 2, "hash": "cd"}, {"name": "b", "layers": 0}),
    )


def a_joint_checkpoint(seed: int = 1) -> JointCheckpoint:
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(4, 4, generator=generator)
    return JointCheckpoint(
        config=trial_config({"task": "sst2", "experts": "joint"}),
        seed=seed,
        epoch=3,
        step=30,
        description={"experts": [{"depth": 2}]},
        # a buffer of integers, a view, and one tensor under two names
        weights={
            "experts.0.label_order": torch.tensor([1, 0]),
            "stem.weight": shared[1:3],
            "tied": shared[1:3],
            "router.out.weight": torch.randn(2, 3, generator=generator).T,
        },
        stem={"name": "org/stem", "hash": "ab"},
        experts=({"name": "org/a", "layers": 2},),
        data_fingerprint="data",
        models_id="models",
        score=0.1 + 0.2,
        history=({"metrics": {"score": [0.1 + 0.2]}},),
        optimizer={"step.tied": torch.tensor(3.0), "exp_avg.tied": shared[1:3] / 3},
    )


def test_a_joint_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    kept = a_joint_checkpoint()
    save(kept, tmp_path)
    found = load(tmp_path)
    assert isinstance(found, JointCheckpoint)
    for field in fields(JointCheckpoint):
        mine, theirs = getattr(kept, field.name), getattr(found, field.name)
        if field.name in ("weights", "optimizer"):
            assert mine.keys() == theirs.keys()
            assert all(torch.equal(mine[name], theirs[name]) for name in mine)
        else:
            assert mine == theirs
    assert {path.name for path in tmp_path.iterdir()} == {_POOL_FILE, _OPTIMIZER_FILE, TRIAL_FILE}


def test_the_optimizer_can_be_left_behind(tmp_path: Path) -> None:
    save(a_joint_checkpoint(), tmp_path)
    for _ in range(2):
        without_optimizer(tmp_path)
        checkpoint = load(tmp_path)
        assert isinstance(checkpoint, JointCheckpoint)
        assert checkpoint.optimizer is None
    assert {path.name for path in tmp_path.iterdir()} == {_POOL_FILE, TRIAL_FILE}


@pytest.mark.parametrize("name", [_POOL_FILE, _OPTIMIZER_FILE, TRIAL_FILE])
def test_a_joint_file_cut_or_gone_is_never_read(tmp_path: Path, name: str) -> None:
    save(a_joint_checkpoint(), tmp_path)
    whole = (tmp_path / name).read_bytes()
    for length in range(0, len(whole), 97):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=name):
            load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load(tmp_path)


@pytest.mark.parametrize("missing", ["description", "history", "score", "optimizer_sha256"])
def test_a_joint_trial_file_without_an_entry_is_refused(tmp_path: Path, missing: str) -> None:
    save(a_joint_checkpoint(), tmp_path)
    path = tmp_path / TRIAL_FILE
    trial = json.loads(path.read_text())
    del trial[missing], trial["sha256"]
    path.write_text(json.dumps(trial))
    with pytest.raises(CheckpointError, match=f"'{missing}' is missing"):
        load(tmp_path)


@pytest.mark.parametrize(("begin", "step"), [(b"\x80", 256), (b"PK", 65536)])
def test_safetensors_that_begin_like_a_pickle_are_read(
    tmp_path: Path, begin: bytes, step: int
) -> None:
    path = tmp_path / WEIGHTS_FILE
    wanted = int.from_bytes(begin, "little")
    plain = write_tensors(path, {"a": torch.ones(2)}, format="test")
    assert read_tensors(path, plain)
    header = int.from_bytes(path.read_bytes()[:8], "little")
    name = "a" * (1 + (wanted - header) % step)
    sha256 = write_tensors(path, {name: torch.ones(2)}, format="test")
    assert path.read_bytes().startswith(begin)
    assert torch.equal(read_tensors(path, sha256)[name], torch.ones(2))
    with pytest.raises(CheckpointError, match="is not the file that"):
        read_tensors(path, "0" * 64)


def test_a_published_path_names_our_folder(tmp_path: Path) -> None:
    place = checkpoint_place(tmp_path / "mrpc_best_model.pt")
    assert place.folder == tmp_path / "mrpc_best_model"
    assert place.note is not None
    assert "mrpc_best_model.pt is read as the folder" in place.note
    assert checkpoint_place(tmp_path / "mine") == CheckpointPlace(folder=tmp_path / "mine")
    (tmp_path / "odd.pt").mkdir()
    assert checkpoint_place(tmp_path / "odd.pt") == CheckpointPlace(folder=tmp_path / "odd.pt")


def test_a_file_at_the_published_path_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mrpc_best_model.pt"
    torch.save({"weights": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="is a pickle, which can run code, and is not read"):
        checkpoint_place(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="is a file; a checkpoint is a folder"):
        checkpoint_place(path)


def assert_equal_weights(one: LaneCheckpoint, other: LaneCheckpoint) -> None:
    assert one.weights.keys() == other.weights.keys()
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    kept = a_checkpoint()
    save(kept, tmp_path / "deep" / "lane")
    found = load(tmp_path / "deep" / "lane")
    assert isinstance(found, LaneCheckpoint)
    for name in ("config", "seed", "epoch", "step", "stem", "experts"):
        assert getattr(found, name) == getattr(kept, name)
    assert torch.equal(found.feature_mean, kept.feature_mean)
    assert torch.equal(found.feature_deviation, kept.feature_deviation)
    assert_equal_weights(found, kept)
    MLPRouter(6, 3, 8).load_state_dict(found.weights)


def test_a_newer_checkpoint_replaces_the_older_and_leaves_no_other_file(tmp_path: Path) -> None:
    save(a_checkpoint(1), tmp_path)
    save(a_checkpoint(2), tmp_path)
    assert load(tmp_path).seed == 2
    assert {path.name for path in tmp_path.iterdir()} == {WEIGHTS_FILE, TRIAL_FILE}


@pytest.mark.parametrize("name", [WEIGHTS_FILE, TRIAL_FILE])
def test_a_file_cut_anywhere_is_never_read(tmp_path: Path, name: str) -> None:
    save(a_checkpoint(), tmp_path)
    whole = (tmp_path / name).read_bytes()
    for length in range(0, len(whole), 97):
        (tmp_path / name).write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=name):
            load(tmp_path)


def test_a_crash_between_the_two_files_is_seen(tmp_path: Path) -> None:
    save(a_checkpoint(1), tmp_path / "old")
    save(a_checkpoint(2), tmp_path / "new")
    (tmp_path / "new" / WEIGHTS_FILE).replace(tmp_path / "old" / WEIGHTS_FILE)
    with pytest.raises(CheckpointError, match="half replaced"):
        load(tmp_path / "old")


@pytest.mark.parametrize("name", [WEIGHTS_FILE, TRIAL_FILE])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    save(a_checkpoint(), tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name}: No such file.*a checkpoint is a folder"):
        load(tmp_path)


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("trapped"),))  # type: ignore[return-value]


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_a_pickle_is_refused_and_not_run(
    tmp_path: Path, writer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(a_checkpoint(), tmp_path / "lane")
    path = tmp_path / "lane" / WEIGHTS_FILE
    if writer == "pickle":
        path.write_bytes(pickle.dumps(Trap()))
    else:
        torch.save({"weights": Trap()}, path)
    with pytest.raises(CheckpointError, match=f"{WEIGHTS_FILE} is a pickle"):
        load(tmp_path / "lane")
    assert not (tmp_path / "trapped").exists()


def test_a_file_of_torch_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "mrpc_best_model.pt")
    with pytest.raises(CheckpointError, match=r"mrpc_best_model\.pt is a file; a checkpoint is"):
        load(tmp_path / "mrpc_best_model.pt")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, "no checkpoint of a lane"),
        ({"weights_sha256": None}, "does not name the hash"),
        ({"seed": None}, "damaged"),
        ({"experts": 3}, "damaged"),
        ({"config": {"model": {"alhpa": 1}}}, "unknown setting.*another version"),
    ],
)
def test_a_trial_file_that_says_something_else_is_refused(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    save(a_checkpoint(), tmp_path)
    path = tmp_path / TRIAL_FILE
    said = json.loads(path.read_text())
    del said["sha256"]  # as of a file that says so itself
    path.write_text(json.dumps(said | change))
    with pytest.raises(CheckpointError, match=words):
        load(tmp_path)


@pytest.mark.parametrize("missing", ["stem", "seed"])
def test_a_trial_file_without_an_entry_is_refused(tmp_path: Path, missing: str) -> None:
    save(a_checkpoint(), tmp_path)
    path = tmp_path / TRIAL_FILE
    trial = json.loads(path.read_text())
    del trial[missing], trial["sha256"]
    path.write_text(json.dumps(trial))
    with pytest.raises(CheckpointError, match=f"'{missing}' is missing"):
        load(tmp_path)


def test_a_disk_that_fails_leaves_the_older_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(a_checkpoint(1), tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save(a_checkpoint(2), tmp_path)
    assert load(tmp_path).seed == 1
    assert {path.name for path in tmp_path.iterdir()} == {WEIGHTS_FILE, TRIAL_FILE}
