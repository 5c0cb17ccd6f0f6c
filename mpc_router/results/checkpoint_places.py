"""Finds the checkpoint that a path names: a folder, or a key in a run's folder of checkpoints."""

from __future__ import annotations

from pathlib import Path

from mpc_router.config.trial import ConfigError, read_yaml
from mpc_router.messages import quoted
from mpc_router.run_names import (
    ALL,
    CHECKPOINTS_FOLDER,
    FRONT,
    NONE,
    STUDY_FILE,
    whole_key,
)
from mpc_router.storage.lane_files import LaneFile, damage, files_by_key
from mpc_router.storage.tensor_files import HEAD, TRIAL_FILE, CheckpointError, is_pickle


def lane_file_of(path: Path) -> LaneFile | None:
    """Gives the file of a run with the router of a trial, whose key a path in it ends with.

    None where the path is no key's, or no file of the run holds the trial.

    Raises:
        CheckpointError: none holds it, and one is damaged.
    """
    if path.is_dir() or path.parent.name != CHECKPOINTS_FOLDER:
        return None
    file = files_by_key(path.parent).get(path.name)
    if file is None and (error := damage(path.parent)) is not None:
        raise CheckpointError(str(error)) from error
    return file


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
    if path.parent.name == CHECKPOINTS_FOLDER and path.parent.parent.is_dir():
        return _of_key(path), None
    if path.suffix != ".pt":
        return path, None
    folder = path.with_suffix("")
    return folder, f"{path} is read as the folder {folder}: checkpoints are folders here"


def _why_missing(run: Path) -> str | None:
    """Says which setting of a run's study keeps routers out of it; None where it keeps all."""
    try:
        kept = read_yaml(run / STUDY_FILE).get("checkpoints", ALL)
    except ConfigError:
        return None
    again = f"train its point again with mpc-router-sweep {run / STUDY_FILE} checkpoints=all"
    if kept == FRONT:
        return (
            "the study says `checkpoints: front`, and only points of the front keep theirs; "
            f"{again}, or take a point of the front"
        )
    return f"the study says `checkpoints: none`; {again}" if kept == NONE else None


def _of_key(path: Path) -> Path:
    """Gives the one checkpoint in a run's folder of them whose key begins so.

    Raises:
        CheckpointError: none does, or several do.
    """
    folders = [folder.name for folder in path.parent.glob("*") if folder.is_dir()]
    keys = [*folders, *files_by_key(path.parent)]
    missing = not any(key.startswith(path.name) for key in keys)
    if missing and (error := damage(path.parent)) is not None:
        raise CheckpointError(str(error)) from error
    if missing and (why := _why_missing(path.parent.parent)) is not None:
        raise CheckpointError(f"{path.parent} has no router of trial {quoted(path.name)}: {why}")
    try:
        return path.with_name(whole_key(path.name, keys, path.parent))
    except ValueError as error:
        raise CheckpointError(str(error)) from error
