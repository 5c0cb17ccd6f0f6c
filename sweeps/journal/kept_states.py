"""Removes states of packs that the journal no longer names."""

from __future__ import annotations

import contextlib
from pathlib import Path

from sweeps.journal.state import State
from sweeps.run_folder import RunFolder


def remove_unnamed(run: Path, state: State, *, pack: str | None = None) -> None:
    """Removes the files of kept states that no pack can go on from: of all packs, or of one.

    A worker writes a state before the journal names it, and the journal names it before the older
    one goes. So the named one is there at any time, whatever is killed.
    """
    folder = RunFolder(run).states
    if folder.is_symlink():
        return
    named = {kept.file for kept in state.kept.values()}
    for path in folder.glob("*.safetensors" if pack is None else f"{pack}[-.]*.safetensors"):
        if path.name not in named:
            with contextlib.suppress(OSError):  # what stays costs room, and is never read
                path.unlink(missing_ok=True)
    if not named and pack is None:
        with contextlib.suppress(OSError):  # there is none, or it holds other files
            folder.rmdir()
