"""Files that are whole or not there, also after the power has gone."""

from __future__ import annotations

import os
from pathlib import Path


def settle(fresh: Path, path: Path) -> None:
    """Gives a file that was written under a temporary name its own, once its content is on disk.

    Both lie in one folder. Readable by the owner's group and others, as far as the folder is.
    """
    with fresh.open("rb+") as file:
        os.fsync(file.fileno())
    fresh.chmod(0o644)
    fresh.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes names in a folder durable: a new file, or one that was renamed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
