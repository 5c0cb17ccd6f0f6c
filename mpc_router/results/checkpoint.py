"""A trained trial on disk: safetensors and JSON, written atomically, read without any pickle.

There are two kinds. A lane's checkpoint (frozen experts) holds its router and names the encoders it
belongs to; a joint one holds stem, router and experts. `trial.json` says which, and everything that
is no tensor. A checkpoint is written file by file, each of them complete or absent at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from mpc_router.config.trial import ConfigError, TrialConfig, flatten, to_tree, trial_config
from mpc_router.plugins import part_error
from mpc_router.routes import Paths
from mpc_router.run_names import CHECKPOINTS_FOLDER, whole_key
from mpc_router.storage.tensor_files import (
    HEAD,
    TRIAL_FILE,
    CheckpointError,
    is_pickle,
    read_tensors,
    read_trial,
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
    "checkpoint_folder",
    "load",
    "save",
    "without_optimizer",
]

WEIGHTS_FILE: Final = "router.safetensors"
"""Of a lane: weights, feature moments and the optimizer's."""

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

    optimizer: dict[str, Tensor] | None = None
    """The optimizer's moments, for going on; None when the lane has ended for good."""

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
    trial = {
        "seed": checkpoint.seed,
        "epoch": checkpoint.epoch,
        "step": checkpoint.step,
        "resumable": checkpoint.optimizer is not None,
        "stem": checkpoint.stem,
        "experts": list(checkpoint.experts),
        "config": to_tree(checkpoint.config),
    }
    if isinstance(checkpoint, LaneCheckpoint):
        trial = _write_lane(checkpoint, folder) | trial
    else:
        trial = _write_joint(checkpoint, folder) | trial
    write_trial(folder, trial)


def _write_lane(checkpoint: LaneCheckpoint, folder: Path) -> dict[str, Any]:
    tensors = {f"weights.{name}": value for name, value in checkpoint.weights.items()}
    tensors["feature_mean"] = checkpoint.feature_mean
    tensors["feature_deviation"] = checkpoint.feature_deviation
    if checkpoint.optimizer is not None:
        tensors |= {f"optimizer.{name}": value for name, value in checkpoint.optimizer.items()}
    sha256 = write_tensors(folder / WEIGHTS_FILE, tensors, form=_FORMAT)
    paths = {} if checkpoint.paths is None else {"paths": checkpoint.paths.to_json()}
    return {"format": _FORMAT, "weights_sha256": sha256, **paths}


def _write_joint(checkpoint: JointCheckpoint, folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = {
        "format": _JOINT_FORMAT,
        "weights_sha256": write_tensors(
            folder / _POOL_FILE, checkpoint.weights, form=_JOINT_FORMAT
        ),
        "score": checkpoint.score,
        "data_fingerprint": checkpoint.data_fingerprint,
        "models_id": checkpoint.models_id,
        "description": checkpoint.description,
        "history": list(checkpoint.history),
    }
    if checkpoint.optimizer is not None:
        content["optimizer_sha256"] = write_tensors(
            folder / _OPTIMIZER_FILE, checkpoint.optimizer, form=_JOINT_FORMAT
        )
    return content


def without_optimizer(folder: Path) -> None:
    """Removes what only a resume needs from a joint trial's checkpoint, two thirds of its bytes."""
    trial = read_trial(folder, (_JOINT_FORMAT,))
    if trial["resumable"]:
        write_trial(folder, trial | {"resumable": False})
    (folder / _OPTIMIZER_FILE).unlink(missing_ok=True)


def load(folder: Path) -> LaneCheckpoint | JointCheckpoint:
    """Loads the checkpoint that `save` wrote into `folder`.

    Raises:
        CheckpointError: a file is missing, damaged, of another format, or a pickle.
    """
    trial = read_trial(folder, (_FORMAT, _JOINT_FORMAT))
    try:
        common: dict[str, Any] = {
            "config": trial_config(flatten(trial["config"])),
            "seed": int(trial["seed"]),
            "epoch": int(trial["epoch"]),
            "step": int(trial["step"]),
            "stem": dict(trial["stem"]),
            "experts": tuple(dict(expert) for expert in trial["experts"]),
        }
        resumable = bool(trial["resumable"])
        if trial["format"] == _FORMAT:
            return _read_lane(folder, trial, common, resumable=resumable)
        return _read_joint(folder, trial, common, resumable=resumable)
    except CheckpointError:
        raise
    except _ODD as error:
        if (fault := part_error(error)) is not None:
            raise CheckpointError(f"{folder / TRIAL_FILE}: {fault}") from error
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        hint = "it was written by another version" if isinstance(error, ConfigError) else "damaged"
        raise CheckpointError(f"{folder / TRIAL_FILE}: {reason} ({hint})") from error


def _read_lane(
    folder: Path, trial: dict[str, Any], common: dict[str, Any], *, resumable: bool
) -> LaneCheckpoint:
    tensors = read_tensors(folder / WEIGHTS_FILE, trial["weights_sha256"])
    paths = Paths.from_json(trial["paths"]) if trial.get("paths") is not None else None
    return LaneCheckpoint(
        **common,
        weights=with_prefix(tensors, "weights."),
        feature_mean=tensors["feature_mean"],
        feature_deviation=tensors["feature_deviation"],
        optimizer=with_prefix(tensors, "optimizer.") if resumable else None,
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


def checkpoint_folder(path: Path) -> tuple[Path, str | None]:
    """Gives the folder that a checkpoint's path names, and a sentence where the two differ.

    The published commands name `outputs/mrpc_best_model.pt`: ours is the folder of that name
    without `.pt`. In a run's `checkpoints` the start of a key names its folder.

    Raises:
        CheckpointError: the path is a file, which is no checkpoint, and may be a pickle; or it is
            the start of several keys.
    """
    if path.is_file():
        with path.open("rb") as file:
            pickled = is_pickle(file.read(HEAD))
        what = "a pickle, which can run code, and is not read" if pickled else "a file"
        raise CheckpointError(
            f"{path} is {what}; a checkpoint is a folder that holds {TRIAL_FILE}: train the trial "
            "with mpc-router-train and name the folder it writes"
        )
    if path.is_dir():
        return path, None
    if path.parent.name == CHECKPOINTS_FOLDER and path.parent.is_dir():
        return _of_key(path), None
    if path.suffix != ".pt":
        return path, None
    folder = path.with_suffix("")
    return folder, f"{path} is read as the folder {folder}: checkpoints are folders here"


def _of_key(path: Path) -> Path:
    """Gives the one checkpoint in a run's folder of them whose key begins so.

    Raises:
        CheckpointError: none does, or several do.
    """
    keys = [folder.name for folder in path.parent.iterdir() if folder.is_dir()]
    try:
        return path.with_name(whole_key(path.name, keys, path.parent))
    except ValueError as error:
        raise CheckpointError(str(error)) from error
