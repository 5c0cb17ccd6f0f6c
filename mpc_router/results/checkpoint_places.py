"""Finds the checkpoint that a path names: a folder, or a key in a run's folder of checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mpc_router.config.trial import ConfigError, read_yaml
from mpc_router.messages import quoted
from mpc_router.run_names import (
    ALL,
    CHECKPOINTS_FOLDER,
    FAILED,
    FRONT,
    INTERRUPTED,
    NONE,
    STUDY_FILE,
    table_file,
    whole_key,
)
from mpc_router.storage.lane_files import ENDING, LaneFile, LaneFileError, files_in
from mpc_router.storage.tensor_files import HEAD, TRIAL_FILE, CheckpointError, is_pickle


@dataclass(frozen=True, kw_only=True)
class CheckpointPlace:
    """Says where a checkpoint is."""

    folder: Path
    """It holds the checkpoint, or its name is the trial's key where `lanes` does."""

    lanes: LaneFile | None = None
    """It is the file with the routers of many trials that holds the checkpoint."""

    note: str | None = None
    """It is a sentence where the folder is not the path that was given."""


@dataclass(frozen=True, kw_only=True)
class _Routers:
    """Holds the routers in files of a folder whose keys begin alike."""

    by_key: Mapping[str, LaneFile]
    """It gives the newest file of each, and of one alone if its key is the whole beginning."""

    damage: LaneFileError | None
    """It says what is wrong with a file that was looked into."""

    sound: int
    """It counts the files that were looked into and are files of routers."""

    @classmethod
    def find(cls, folder: Path, start: str) -> _Routers:
        """Looks for the routers in a folder whose keys begin so, until one's whole key does."""
        by_key: dict[str, LaneFile] = {}
        damage, sound = None, 0
        for file in files_in(folder):
            if isinstance(file, LaneFileError):
                damage = damage or file
                continue
            sound += 1
            if start in file.trials:
                by_key = {start: file}
                break
            alike = [key for key in file.trials if key.startswith(start)]
            by_key = {key: file for key in alike} | by_key
        return cls(by_key=by_key, damage=damage, sound=sound)


def lane_file_of(path: Path) -> LaneFile | None:
    """Gives the file beside a path with the router of the trial whose key its name is.

    None where no file there holds the trial, so that the path can be a folder's alone.

    Raises:
        CheckpointError: none holds it, the path is no folder either, and a file is damaged.
    """
    place = path.absolute()
    routers = _Routers.find(place.parent, place.name)
    if (file := routers.by_key.get(place.name)) is not None or path.is_dir():
        return file
    if routers.damage is not None and _is_of_run(place.parent, routers):
        raise CheckpointError(str(routers.damage)) from routers.damage
    return None


def checkpoint_place(path: Path) -> CheckpointPlace:
    """Gives the place of the checkpoint that a path names.

    The published commands name `outputs/mrpc_best_model.pt`: ours is the folder of that name
    without `.pt`. In a run's `checkpoints`, and in a copy of it under any name, the start of a key
    names its router. A file of routers goes before a folder, which an older version wrote.

    Raises:
        CheckpointError: the path is a file, which is no checkpoint, and may be a pickle; or it is
            the start of no key of a run, or of several.
    """
    if path.is_file():
        raise CheckpointError(_file_error(path))
    place = path.absolute()
    routers = _Routers.find(place.parent, place.name)
    if (file := routers.by_key.get(place.name)) is not None or path.is_dir():
        return CheckpointPlace(folder=path, lanes=file)
    if _is_of_run(place.parent, routers):
        key = _key_in(place.parent, place.name, routers)
        return CheckpointPlace(folder=path.with_name(key), lanes=routers.by_key.get(key))
    if path.suffix != ".pt":
        return CheckpointPlace(folder=path)
    folder = path.with_suffix("")
    note = f"{path} is read as the folder {folder}: checkpoints are folders here"
    return CheckpointPlace(folder=folder, note=note)


def _is_of_run(folder: Path, routers: _Routers) -> bool:
    """Tells whether a folder holds the checkpoints of a run."""
    return routers.sound > 0 or (folder.name == CHECKPOINTS_FOLDER and folder.parent.is_dir())


def _file_error(path: Path) -> str:
    """Says what to name in place of a file."""
    try:
        key = min(LaneFile.read(path).trials, default="KEY")
        return (
            f"{path} holds routers of many trials; name one by its key, as if it was a folder "
            f"beside the file, such as {path.with_name(key)}"
        )
    except LaneFileError as error:
        if path.suffix == ENDING and path.absolute().parent.name == CHECKPOINTS_FOLDER:
            return str(error)
    with path.open("rb") as file:
        pickled = is_pickle(file.read(HEAD))
    what = "a pickle, which can run code, and is not read" if pickled else "a file"
    return (
        f"{path} is {what}; a checkpoint is a folder that holds {TRIAL_FILE}: train the trial "
        "with mpc-router-train and name the folder it writes"
    )


def _key_in(folder: Path, start: str, routers: _Routers) -> str:
    """Gives the one key in a run's folder of checkpoints that begins so.

    Raises:
        CheckpointError: none does, or several do.
    """
    folders = [path.name for path in folder.glob("*") if path.is_dir()]
    keys = [key for key in (*folders, *routers.by_key) if key.startswith(start)]
    try:
        if keys:
            return whole_key(start, keys, folder)
        if routers.damage is not None:
            raise routers.damage
        raise CheckpointError(_why_missing(folder, start))
    except ValueError as error:
        raise CheckpointError(str(error)) from error


def _why_missing(folder: Path, start: str) -> str:
    """Says why a run's folder of checkpoints has no router of a trial.

    Raises:
        ValueError: the run has no trial whose key begins so, or several.
    """
    run = folder.parent
    statuses = _statuses(run)
    if not statuses:
        return (
            f"{folder} has no router of a trial whose key is {quoted(start)} or begins so; name a "
            "key that a file there holds, or the folder in its run, whose tables say more"
        )
    key = whole_key(start, statuses, run)
    kept, status = _setting(run), statuses[key]
    again = (
        f"mpc-router-sweep {run / STUDY_FILE} checkpoints=all, with the run's own flags, trains "
        "the whole study again and keeps every router"
    )
    if kept == NONE:
        why = f"the study says `checkpoints: none`; {again}"
    elif status == INTERRUPTED:
        why = f"the trial has not ended; mpc-router-sweep --resume {run} goes on with it"
    elif status == FAILED:
        why = (
            "the trial FAILED, and `reason` in trials.parquet says why; mpc-router-sweep --resume "
            f"{run} --retry-failed trains it again"
        )
    elif kept == FRONT:
        why = (
            "the study says `checkpoints: front`, and once the run is done only points of the "
            f"front keep theirs; take one of these. {again}"
        )
    else:
        why = f"its file is gone; take it from a copy of the run. {again}"
    return f"{folder} has no router of trial {quoted(key)}: {why}"


def _setting(run: Path) -> object:
    """Says which routers a run's study keeps: all where no study can be read."""
    path = run / STUDY_FILE
    try:
        return read_yaml(path).get("checkpoints", ALL) if path.is_file() else ALL
    except ConfigError:
        return ALL


def _statuses(run: Path) -> dict[str, object]:
    """Gives the status by key of a run's trials; nothing where their table cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = run / table_file("trials")
    try:
        if not path.is_file():
            return {}
        table = pq.read_table(path, columns=["key", "status"])
        rows = zip(table["key"].to_pylist(), table["status"].to_pylist(), strict=True)
        return {key: status for key, status in rows if isinstance(key, str)}
    except (pa.ArrowException, OSError, UnicodeDecodeError, KeyError):
        return {}  # the table may come from elsewhere, and only explains what is missing
