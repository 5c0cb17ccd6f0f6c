"""A trained lane on disk: safetensors and JSON, written atomically, read without any pickle.

`router.safetensors` holds every tensor, `trial.json` everything else and the hash of the tensors'
file, so that a crash between the two renames is seen when they are read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from mpc_router.config import ConfigError, TrialConfig, flatten, to_tree, trial_config

WEIGHTS_FILE: Final = "router.safetensors"
TRIAL_FILE: Final = "trial.json"
FORMAT: Final = "mpc-router lane 1"

_FEATURES: Final = ("feature_mean", "feature_deviation")


class CheckpointError(ValueError):
    """A checkpoint that cannot be read: which file, why, what to do."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LaneCheckpoint:
    """A router, what it was trained with, and which encoders it belongs to."""

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


def save(checkpoint: LaneCheckpoint, folder: Path) -> None:
    """Write the checkpoint into `folder`; durable on return, an older one there is replaced.

    Each file is complete or absent at any time.
    """
    from safetensors.torch import save as to_bytes

    tensors = {f"weights.{name}": value for name, value in checkpoint.weights.items()}
    tensors |= {name: getattr(checkpoint, name) for name in _FEATURES}
    if checkpoint.optimizer is not None:
        tensors |= {f"optimizer.{name}": value for name, value in checkpoint.optimizer.items()}
    # a lane is a slice of a stack: own memory, or safetensors would refuse what is shared
    own = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    packed = to_bytes(own, metadata={"format": FORMAT})
    trial = {
        "format": FORMAT,
        "weights_sha256": hashlib.sha256(packed).hexdigest(),
        "seed": checkpoint.seed,
        "epoch": checkpoint.epoch,
        "step": checkpoint.step,
        "resumable": checkpoint.optimizer is not None,
        "stem": checkpoint.stem,
        "experts": list(checkpoint.experts),
        "config": to_tree(checkpoint.config),
    }
    text = json.dumps(trial, indent=1, allow_nan=False).encode()
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / WEIGHTS_FILE, packed)
    _write(folder / TRIAL_FILE, text)
    _sync_folder(folder)


def load(folder: Path) -> LaneCheckpoint:
    """The checkpoint that `save` wrote into `folder`.

    Raises:
        CheckpointError: a file is missing, damaged, of another format, or a pickle.
    """
    trial = _read_trial(folder / TRIAL_FILE)
    tensors = _read_tensors(folder / WEIGHTS_FILE, trial["weights_sha256"])
    try:
        weights = _with_prefix(tensors, "weights.")
        optimizer = _with_prefix(tensors, "optimizer.")
        return LaneCheckpoint(
            config=trial_config(flatten(trial["config"])),
            seed=int(trial["seed"]),
            epoch=int(trial["epoch"]),
            step=int(trial["step"]),
            weights=weights,
            feature_mean=tensors["feature_mean"],
            feature_deviation=tensors["feature_deviation"],
            stem=dict(trial["stem"]),
            experts=tuple(dict(expert) for expert in trial["experts"]),
            optimizer=optimizer if trial["resumable"] else None,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        hint = "it was written by another version" if isinstance(error, ConfigError) else "damaged"
        raise CheckpointError(f"{folder / TRIAL_FILE}: {reason} ({hint})") from error


def _read_trial(path: Path) -> dict[str, Any]:
    try:
        trial = json.loads(_bytes_of(path))
    except ValueError as error:
        raise CheckpointError(
            f"{path} is not JSON ({error}); it is damaged, take another checkpoint"
        ) from error
    if not isinstance(trial, dict) or trial.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no checkpoint of a lane ({FORMAT!r})")
    if not isinstance(trial.get("weights_sha256"), str):
        raise CheckpointError(f"{path} does not name the hash of {WEIGHTS_FILE}; it is damaged")
    return trial


def _read_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    packed = _bytes_of(path)
    if packed[:1] == b"\x80" or packed[:2] == b"PK":
        raise CheckpointError(f"{path} is a pickle, which can run code; it is not read")
    if hashlib.sha256(packed).hexdigest() != sha256:
        raise CheckpointError(
            f"{path} is not the file that {TRIAL_FILE} beside it belongs to: it is truncated or "
            "was half replaced; take another checkpoint or train the trial again"
        )
    try:
        tensors: dict[str, Tensor] = from_bytes(packed)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is not safetensors: {error}") from error
    return tensors


def _bytes_of(path: Path) -> bytes:
    if path.parent.is_file():
        raise CheckpointError(
            f"{path.parent} is a file; a checkpoint is a folder with {WEIGHTS_FILE} and "
            f"{TRIAL_FILE} (files that torch.save wrote are pickles and are not read)"
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{path}: {error.strerror or error}; a checkpoint is a folder with {WEIGHTS_FILE} and "
            f"{TRIAL_FILE}"
        ) from error


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the renames durable; on a system without folder handles there is nothing to do."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
