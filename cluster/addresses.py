"""The module finds the Ray clusters whose nodes run on this machine."""

from __future__ import annotations

import contextlib
from pathlib import PurePath
from typing import Final

_HEAD: Final = "--gcs-address="
"""It begins the word of a node's command line that names its cluster's head."""


def clusters_here(*, embedded: str) -> list[str]:
    """Lists HOST:PORT of the heads of this machine's Ray nodes, without those of a sweep.

    Args:
        embedded: the beginning of the names of folders in which a sweep's own Ray works.
    """
    import psutil  # of the extra [sweep]; commands that look for no cluster do without it

    heads = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if not words or PurePath(words[0]).name != "raylet":
                continue
            if any(f"/{embedded}" in word for word in words):
                continue
            heads |= {word.removeprefix(_HEAD) for word in words if word.startswith(_HEAD)}
    return sorted(heads - {""})
