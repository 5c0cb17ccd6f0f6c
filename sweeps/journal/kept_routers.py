"""Removes routers from a run's folder that its journal or its study does not keep."""

from __future__ import annotations

import contextlib
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
    routers, and a trial that was trained again has one in an older file, or in a folder of its own
    that an older version wrote. `keep` gives the keys of the trials that keep theirs, in a run that
    does not keep all. A damaged file stays, and so does the folder of a trial that no file holds:
    its experts trained with it.

    Raises:
        OSError: the disk refuses.
    """
    folder = RunFolder(run).checkpoints
    if folder.is_symlink():
        return
    replaced: set[str] = set()
    for path in lane_files(folder):
        with contextlib.suppress(LaneFileError):
            file = LaneFile.read(path)
            kept = [
                key
                for key in file.trials
                if _file_of(key, state) == path.name and (keep is None or key in keep)
            ]
            if len(kept) < len(file.trials):
                file.keep(kept)
            replaced.update(kept)
    if keep is not None:
        replaced |= state.endings.keys() - set(keep)
    for path in folder.glob("*"):  # folders of the run itself alone, whatever keys a file names
        if path.name in replaced and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def _file_of(key: str, state: State) -> str | None:
    """Gives the name of the file with the router of a trial that has ended."""
    ending = state.endings.get(key)
    return routers_file(ending.part) if ending is not None and ending.part else None
