"""The module writes and reads a checkpoint's files: tensors as safetensors, the others as JSON.

Each is written under a temporary name and renamed, and durable once its folder is synced; users
who may read the folder may read it. The JSON names the hash of every file of tensors, so that a
crash between two renames is seen on reading.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor

from mpc_router.messages import quoted
from mpc_router.storage.files import atomic, write_text
from mpc_router.storage.json_text import json_value

TRIAL_FILE: Final = "trial.json"
_CHECK: Final = "sha256"
"""It names the field with the checksum of all other fields."""

_PICKLES: Final = (b"\x80", b"PK")
"""They begin a pickle, and a zip file, which is what torch makes of one."""

HEAD: Final = 9
"""It is how many bytes of a file tell a pickle from safetensors."""


class CheckpointError(ValueError):
    """Reports a checkpoint that cannot be read: which file, why, what to do."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor], **metadata: str) -> str:
    """Writes tensors under their names; gives the file's sha256 in hex.

    Tensors may be views of others. The header names the file's `format`, and what else is given.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with atomic(path, sync_name=False) as temporary:
        try:
            save_file(_unshared(tensors), temporary, metadata=metadata)
        except SafetensorError as error:  # the disk refuses: the machine's fault, and no trial's
            raise OSError(f"{path} cannot be written: {error}") from error
        with temporary.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return sha256


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives the tensors on the CPU, contiguous, and copied where they share memory.

    Safetensors refuses shared memory.
    """
    unshared: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in tensors.items():
        plain = value.detach().cpu().contiguous()
        storage = plain.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != plain.nbytes:
            plain = plain.clone(memory_format=torch.contiguous_format)
        seen.add(plain.untyped_storage().data_ptr())
        unshared[name] = plain
    return unshared


def read_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    """Reads the tensors of a file with this hash.

    Raises:
        CheckpointError: the file is missing, another file, no safetensors, or a pickle.
    """
    packed = _bytes_of(path)
    _check_hash(path, hashlib.sha256(packed).hexdigest(), sha256, packed[:HEAD])
    return tensors_in(packed, path)


def tensors_in(packed: bytes, path: Path) -> dict[str, Tensor]:
    """Reads tensors out of safetensors, which come from a file.

    Raises:
        CheckpointError: they are no safetensors.
    """
    from safetensors.torch import load as from_bytes

    try:
        tensors: dict[str, Tensor] = from_bytes(packed)
    except Exception as error:
        # Whatever is raised: the file may come from elsewhere, and its header name any type or size
        raise CheckpointError(f"{path} is not safetensors: {quoted(error)}") from error
    return tensors


class OpenTensors:
    """Reads single tensors of a file with this hash, which stays open and is mapped into memory.

    Raises:
        CheckpointError: the file is missing, another file, no safetensors, or a pickle.
    """

    def __init__(self, path: Path, sha256: str) -> None:
        from safetensors import safe_open

        try:
            with path.open("rb") as file:
                head = file.read(HEAD)
                file.seek(0)
                _check_hash(path, hashlib.file_digest(file, "sha256").hexdigest(), sha256, head)
            self._file = cast("Any", safe_open(path, framework="pt"))
            self.names: tuple[str, ...] = tuple(self._file.keys())
        except CheckpointError:
            raise
        except Exception as error:
            # Whatever is raised: the file may come from elsewhere
            raise CheckpointError(f"{path} cannot be read: {quoted(error)}") from error

    def tensor(self, name: str) -> Tensor:
        """Reads the tensor of this name."""
        value: Tensor = self._file.get_tensor(name)
        return value

    def with_prefix(self, prefix: str) -> dict[str, Tensor]:
        """Reads the tensors whose names begin with a prefix, and gives them without it."""
        names = [name for name in self.names if name.startswith(prefix)]
        return {name.removeprefix(prefix): self.tensor(name) for name in names}


def _check_hash(path: Path, sha256: str, named: str, head: bytes) -> None:
    """Refuses a file of tensors that has another hash than the JSON beside it names.

    Raises:
        CheckpointError: it has.
    """
    if sha256 == named:
        return
    if is_pickle(head):
        raise CheckpointError(f"{path} is a pickle, which can run code; it is not read")
    raise CheckpointError(
        f"{path} is not the file that {TRIAL_FILE} beside it belongs to: it is truncated or was "
        "half replaced; take another checkpoint or train the trial again"
    )


def is_pickle(head: bytes) -> bool:
    """Tells whether a file's first `HEAD` bytes are a pickle's.

    Safetensors begin with eight bytes for the length of their JSON, which may look like a pickle.
    """
    return head.startswith(_PICKLES) and head[HEAD - 1 : HEAD] != b"{"


def with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Gives the tensors whose names begin with a prefix, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def write_trial(folder: Path, trial: Mapping[str, Any]) -> None:
    """Writes the JSON file of a checkpoint, and makes all renames in `folder` durable."""
    write_text(folder / TRIAL_FILE, json.dumps(checked_trial(trial), indent=1, allow_nan=False))


def checked_trial(trial: Mapping[str, Any]) -> dict[str, Any]:
    """Gives what is no tensor in a checkpoint with the checksum of all of it."""
    return {**trial, _CHECK: _check_of(trial)}


def read_trial(folder: Path, formats: Collection[str]) -> dict[str, Any]:
    """Reads the JSON file of a checkpoint of one of these formats.

    Raises:
        CheckpointError: the file is missing, damaged, or of another format.
    """
    path = folder / TRIAL_FILE
    try:
        trial = json_value(_bytes_of(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{path} is not JSON ({quoted(error)}); it is damaged, take another checkpoint"
        ) from error
    return check_trial(path, trial, formats)


def check_trial(path: Path, content: Any, formats: Collection[str]) -> dict[str, Any]:
    """Checks what is no tensor in a checkpoint of one of these formats, and gives it.

    Raises:
        CheckpointError: it is damaged, or of another format.
    """
    trial = dict(content) if isinstance(content, dict) else {}
    if trial.get("format") not in formats:
        allowed = " or ".join(map(repr, formats))
        raise CheckpointError(f"{path} is no checkpoint of a lane or of a joint trial: {allowed}")
    check = trial.pop(_CHECK, None)
    try:
        differs = check is not None and check != _check_of(trial)  # other programs' have none
    except RecursionError as error:
        raise CheckpointError(
            f"{path} is nested too deeply; it is damaged, take another checkpoint"
        ) from error
    if differs:
        raise CheckpointError(
            f"{path} is not what was written (its checksum differs); it is damaged, take another "
            "checkpoint or train the trial again"
        )
    if not isinstance(trial.get("weights_sha256"), str):
        raise CheckpointError(f"{path} does not name the hash of its weights; it is damaged")
    return trial


def _check_of(trial: Mapping[str, Any]) -> str:
    """Gives the checksum of all fields of a checkpoint's JSON file."""
    canonical = json.dumps(trial, sort_keys=True, allow_nan=False).encode()
    return hashlib.sha256(canonical).hexdigest()


def _bytes_of(path: Path) -> bytes:
    """Reads a file's content.

    Raises:
        CheckpointError: the file cannot be read, or what should be its folder is a file.
    """
    if path.parent.is_file():
        raise CheckpointError(
            f"{path.parent} is a file; a checkpoint is a folder with weights (safetensors) and "
            f"{TRIAL_FILE} (files that torch.save wrote are pickles and are not read)"
        )
    if path.exists() and not path.is_file():  # reading a pipe would wait
        raise CheckpointError(f"{path} is no file; take another checkpoint")
    try:
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{path}: {error.strerror or error}; a checkpoint is a folder with weights "
            f"(safetensors) and {TRIAL_FILE}"
        ) from error
