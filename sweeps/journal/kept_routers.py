"""Removes routers from a run's folder that its journal or its study does not keep."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from mpc_router.storage.lane_files import LaneFile, LaneFileError, lane_files
from sweeps.journal.state import State
from sweeps.records import routers_file
from sweeps.run_folder import RunFolder


def remove_routers(run: Path, state: State, *, keep: Collection[str] | None = None) -> None:
    """Removes the routers of trials whose endings do not name their file.

    A worker writes the file before the journal has the endings, so a killed session leaves such
    routers, and a trial that was trained again has one in an older file. `keep` gives the keys of
    the trials that keep theirs, in a run that does not keep all. A damaged file stays.

    Raises:
        OSError: the disk refuses.
    """
    folder = RunFolder(run).checkpoints
    if folder.is_symlink():
        return
    for path in lane_files(folder):
        try:
            file = LaneFile.read(path)
        except LaneFileError:
            continue
        kept = [
            key
            for key in file.trials
            if _file_of(key, state) == path.name and (keep is None or key in keep)
        ]
        if len(kept) < len(file.trials):
            file.keep(kept)
    if keep is not None:
        for key in state.endings.keys() - set(keep):  # those whose experts trained with them
            if not (path := RunFolder(run).checkpoint(key)).is_symlink():
                shutil.rmtree(path, ignore_errors=True)


def _file_of(key: str, state: State) -> str | None:
    """Gives the name of the file with the router of a trial that has ended."""
    ending = state.endings.get(key)
    return routers_file(ending.part) if ending is not None and ending.part else None
