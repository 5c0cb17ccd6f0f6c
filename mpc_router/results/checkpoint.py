"""A trained trial on disk: safetensors and JSON, written atomically, read without any pickle.

There are two kinds. A lane's checkpoint (frozen experts) holds its router and names the encoders it
belongs to; a joint one holds stem, router and experts. `trial.json` says which, and everything that
is no tensor. A checkpoint is written file by file, each of them complete or absent at any time.

The lanes of a run's pack that end together share one file (`mpc_router.storage.lane_files`), and
`KEY` in the run's folder of checkpoints, which is no folder then, still names each of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from mpc_router.config.trial import (
    ConfigError,
    TrialConfig,
    flatten,
    to_tree,
    trial_config,
)
from mpc_router.plugins import part_error
from mpc_router.results.checkpoint_places import lane_file_of
from mpc_router.routes import Paths
from mpc_router.storage.files import sync_folder
from mpc_router.storage.lane_files import LaneFile, metadata
from mpc_router.storage.tensor_files import (
    TRIAL_FILE,
    CheckpointError,
    check_trial,
    checked_trial,
    read_tensors,
    read_trial,
    tensors_in,
    with_prefix,
    write_tensors,
    write_trial,
)

__all__ = [
    "TRIAL_FILE",
    "WEIGHTS_FILE",
    "CheckpointError",
    "JointCheckpoint",
    "LaneCheckpoint",
    "load",
    "save",
    "save_lanes",
    "without_optimizer",
]

WEIGHTS_FILE: Final = "router.safetensors"
"""Of a lane: weights and feature moments."""

_POOL_FILE: Final = "pool.safetensors"
_OPTIMIZER_FILE: Final = "optimizer.safetensors"
"""Of a joint trial: everything's weights, and the optimizer's state where it can go on."""

_FORMAT: Final = "mpc-router lane 1"
_JOINT_FORMAT: Final = "mpc-router joint 1"

_ODD: Final = (
    *(ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError),
)
"""What data of another shape than was written raise."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LaneCheckpoint:
    """Holds a router, what it was trained with, and which encoders it belongs to."""

    config: TrialConfig
    seed: int
    epoch: int
    """Epochs trained, from 1."""

    step: int
    weights: dict[str, Tensor]
    """The router's state dict, no lane dimension."""

    feature_mean: Tensor
    """(F,) of train: features are standardised by it."""

    feature_deviation: Tensor
    """(F,)"""

    stem: dict[str, Any]
    """`name` and `hash` of the stem, and what else names it."""

    experts: tuple[dict[str, Any], ...]
    """`name`, `layers` and `hash` of each expert, cheapest first."""

    paths: Paths | None = None
    """What the router chooses between, where that is not single experts."""


@dataclass(frozen=True, kw_only=True, eq=False)
class JointCheckpoint:
    """Holds stem, router and experts that trained together; it needs no other file."""

    config: TrialConfig
    seed: int
    epoch: int
    """Epochs trained, from 1."""

    step: int
    """Updates made."""

    description: dict[str, Any]
    """The shape of all modules: `description.rebuild` makes a `GatedBertPool` of it."""

    weights: dict[str, Tensor]
    """State dict of the `GatedBertPool`."""

    stem: dict[str, Any]
    """`name` and `hash` of what the stem was before, and what else names it."""

    experts: tuple[dict[str, Any], ...]
    """`name`, `layers` and `hash` of what each expert was before, cheapest first."""

    data_fingerprint: str
    models_id: str
    """Name the data, and the models it started from."""

    score: float | None = None
    """On selection after that epoch."""

    history: tuple[dict[str, Any], ...] = ()
    """The reports on selection up to this epoch, as JSON."""

    optimizer: dict[str, Tensor] | None = None
    """The optimizer's state by parameter, for going on; None when the trial has ended for good."""


def save(checkpoint: LaneCheckpoint | JointCheckpoint, folder: Path) -> None:
    """Writes the checkpoint into `folder`; durable on return, an older one there is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(checkpoint, LaneCheckpoint):
        tensors = _lane_tensors(checkpoint)
        sha256 = write_tensors(folder / WEIGHTS_FILE, tensors, format=_FORMAT)
        write_trial(folder, _lane_facts(checkpoint) | {"weights_sha256": sha256})
        return
    resumable = {"resumable": checkpoint.optimizer is not None}
    write_trial(folder, _write_joint(checkpoint, folder) | _facts(checkpoint) | resumable)


def save_lanes(checkpoints: Mapping[str, LaneCheckpoint], path: Path) -> None:
    """Writes lanes' checkpoints by key into one file; durable on return.

    Raises:
        OSError: the disk refuses.
    """
    tensors: dict[str, Tensor] = {}
    trials: dict[str, dict[str, Any]] = {}
    for key, checkpoint in checkpoints.items():
        of_lane = _lane_tensors(checkpoint)
        tensors |= {f"{key}.{name}": value for name, value in of_lane.items()}
        trials[key] = checked_trial(_lane_facts(checkpoint) | {"weights_sha256": _digest(of_lane)})
    write_tensors(path, tensors, **metadata(trials))
    sync_folder(path.parent)


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Gives the sha256 of tensors with their names, types and shapes."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        plain = value.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        digest.update(plain.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _facts(checkpoint: LaneCheckpoint | JointCheckpoint) -> dict[str, Any]:
    """Gives what is no tensor in a checkpoint of either kind."""
    return {
        "seed": checkpoint.seed,
        "epoch": checkpoint.epoch,
        "step": checkpoint.step,
        "stem": checkpoint.stem,
        "experts": list(checkpoint.experts),
        "config": to_tree(checkpoint.config),
    }


def _lane_facts(checkpoint: LaneCheckpoint) -> dict[str, Any]:
    """Gives what is no tensor in a lane's checkpoint."""
    paths = {} if checkpoint.paths is None else {"paths": checkpoint.paths.to_json()}
    return {"format": _FORMAT, **paths, **_facts(checkpoint)}


def _lane_tensors(checkpoint: LaneCheckpoint) -> dict[str, Tensor]:
    """Gives the tensors of a lane's checkpoint by name."""
    tensors = {f"weights.{name}": value for name, value in checkpoint.weights.items()}
    tensors["feature_mean"] = checkpoint.feature_mean
    tensors["feature_deviation"] = checkpoint.feature_deviation
    return tensors


def _write_joint(checkpoint: JointCheckpoint, folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = {
        "format": _JOINT_FORMAT,
        "weights_sha256": write_tensors(
            folder / _POOL_FILE, checkpoint.weights, format=_JOINT_FORMAT
        ),
        "score": checkpoint.score,
        "data_fingerprint": checkpoint.data_fingerprint,
        "models_id": checkpoint.models_id,
        "description": checkpoint.description,
        "history": list(checkpoint.history),
    }
    if checkpoint.optimizer is not None:
        content["optimizer_sha256"] = write_tensors(
            folder / _OPTIMIZER_FILE, checkpoint.optimizer, format=_JOINT_FORMAT
        )
    return content


def without_optimizer(folder: Path) -> None:
    """Removes what only a resume needs from a joint trial's checkpoint, two thirds of its bytes."""
    trial = read_trial(folder, (_JOINT_FORMAT,))
    if trial["resumable"]:
        write_trial(folder, trial | {"resumable": False})
    (folder / _OPTIMIZER_FILE).unlink(missing_ok=True)


def load(folder: Path, lanes: LaneFile | None = None) -> LaneCheckpoint | JointCheckpoint:
    """Loads what `save_lanes` wrote beside `folder` for the key of its name, or `save` into it.

    `lanes` is the file with that key where it has been looked for before.

    Raises:
        CheckpointError: a file is missing, damaged, of another format, or a pickle.
    """
    lanes = lanes or lane_file_of(folder)
    if lanes is None:
        path = folder / TRIAL_FILE
        trial = read_trial(folder, (_FORMAT, _JOINT_FORMAT))
    else:
        path = lanes.path
        trial = check_trial(path, lanes.trials[folder.name], (_FORMAT,))
    try:
        common: dict[str, Any] = {
            "config": trial_config(flatten(trial["config"])),
            "seed": int(trial["seed"]),
            "epoch": int(trial["epoch"]),
            "step": int(trial["step"]),
            "stem": dict(trial["stem"]),
            "experts": tuple(dict(expert) for expert in trial["experts"]),
        }
        if lanes is not None:
            return _lane_of(_tensors_of(lanes, folder.name, trial), trial, common)
        if trial["format"] == _FORMAT:
            tensors = read_tensors(folder / WEIGHTS_FILE, trial["weights_sha256"])
            return _lane_of(tensors, trial, common)
        return _read_joint(folder, trial, common, resumable=bool(trial["resumable"]))
    except CheckpointError:
        raise
    except _ODD as error:
        if (fault := part_error(error)) is not None:
            raise CheckpointError(f"{path}: {fault}") from error
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        hint = "it was written by another version" if isinstance(error, ConfigError) else "damaged"
        raise CheckpointError(f"{path}: {reason} ({hint})") from error


def _tensors_of(file: LaneFile, key: str, trial: Mapping[str, Any]) -> dict[str, Tensor]:
    """Reads the tensors of one trial out of a file of many.

    Raises:
        CheckpointError: they are not those that were written.
    """
    tensors = tensors_in(file.alone(key), file.path)
    if _digest(tensors) != trial["weights_sha256"]:
        raise CheckpointError(
            f"{file.path} is damaged: the router of {key} has another hash than its header names; "
            "take another checkpoint or train the trial again"
        )
    return tensors


def _lane_of(
    tensors: Mapping[str, Tensor], trial: Mapping[str, Any], common: Mapping[str, Any]
) -> LaneCheckpoint:
    """Makes a lane's checkpoint of what its files hold."""
    paths = Paths.from_json(trial["paths"]) if trial.get("paths") is not None else None
    return LaneCheckpoint(
        **common,
        weights=with_prefix(tensors, "weights."),
        feature_mean=tensors["feature_mean"],
        feature_deviation=tensors["feature_deviation"],
        paths=paths,
    )


def _read_joint(
    folder: Path, trial: dict[str, Any], common: dict[str, Any], *, resumable: bool
) -> JointCheckpoint:
    optimizer = None
    if resumable:
        optimizer = read_tensors(folder / _OPTIMIZER_FILE, str(trial["optimizer_sha256"]))
    return JointCheckpoint(
        **common,
        description=dict(trial["description"]),
        weights=read_tensors(folder / _POOL_FILE, trial["weights_sha256"]),
        data_fingerprint=str(trial["data_fingerprint"]),
        models_id=str(trial["models_id"]),
        score=None if trial["score"] is None else float(trial["score"]),
        history=tuple(dict(report) for report in trial["history"]),
        optimizer=optimizer,
    )
