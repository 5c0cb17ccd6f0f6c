"""The module lists what the cache holds, and prunes what has not been used for longest."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mpc_router.storage import cache as caching

_FOLDERS: Final = (
    "experts",
    "training",
    "passes",
    "orders",
    "outputs",
    "joint",
    "tokens",
    "frames",
)
"""Names the folders of a cache with entries that can be pruned."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Holds an entry of the cache."""

    folder: Path
    label: str
    """Says what it belongs to: an expert, a pool, or tokens."""

    last_use: float
    """Is in seconds since the epoch of the system."""

    files: Mapping[tuple[int, int], int]
    """Gives the bytes by (device, inode): entries may share files."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Sums up the entries that belong to one thing."""

    label: str
    entries: int
    bytes: int
    last_use: float


def entries(cache: Path) -> list[Entry]:
    """Gives the complete entries of a cache, those that were not used for longest first."""
    cache_entries = []
    for kind in _FOLDERS:
        for folder in (cache / kind).glob("[!.]*/"):
            described = None if folder.is_symlink() else caching.peek(folder)
            if described is None:
                continue
            with contextlib.suppress(OSError):  # it was pruned or made anew meanwhile
                cache_entries.append(_entry(folder, _label(kind, described)))
    return sorted(cache_entries, key=lambda entry: (entry.last_use, entry.folder))


def _entry(folder: Path, label: str) -> Entry:
    """Measures an entry."""
    facts = [path.lstat() for path in folder.iterdir()]
    return Entry(
        folder=folder,
        label=label,
        last_use=caching.last_use(folder),
        files={(fact.st_dev, fact.st_ino): fact.st_size for fact in facts},
    )


def _label(kind: str, described: Mapping[str, Any]) -> str:
    """Names what an entry belongs to: an expert where it is one's, else a pool or its kind."""
    if kind in ("experts", "training", "passes"):
        name, layers = described.get("name", described.get("expert")), described.get("layers")
        return f"expert {name}" + (f" [{layers} layers]" if layers else "")
    if kind in ("outputs", "joint"):
        names = ", ".join(
            f"{expert.get('name')}" + (f" [{expert['layers']}]" if expert.get("layers") else "")
            for expert in described.get("experts", ())
        )
        return f"{described.get('task')}, {'joint pool' if kind == 'joint' else 'pool'} of {names}"
    return {"tokens": "tokens", "frames": "tables from Python"}.get(kind, "orders of labels")


def total_bytes(cache_entries: Sequence[Entry]) -> int:
    """Gives the bytes of entries, those that they share once."""
    files = {inode: size for entry in cache_entries for inode, size in entry.files.items()}
    return sum(files.values())


def groups(cache_entries: Sequence[Entry]) -> list[Group]:
    """Sums up entries by what they belong to, the largest first."""
    by_label: dict[str, list[Entry]] = {}
    for entry in cache_entries:
        by_label.setdefault(entry.label, []).append(entry)
    sums = [
        Group(
            label=label,
            entries=len(members),
            bytes=total_bytes(members),
            last_use=max(entry.last_use for entry in members),
        )
        for label, members in by_label.items()
    ]
    return sorted(sums, key=lambda group: (-group.bytes, group.label))


def older_than(cache_entries: Sequence[Entry], *, days: float) -> list[Entry]:
    """Gives the entries that were not used for so many days."""
    return [entry for entry in cache_entries if entry.last_use < time.time() - days * 86400]


def above(
    cache_entries: Sequence[Entry], *, kept: int, may_go: Callable[[Entry], bool]
) -> list[Entry]:
    """Gives the entries, longest unused first, without which at most `kept` bytes are left.

    Only those that `may_go` are taken. A file that entries share goes with the last of them.
    """
    holders = Counter(inode for entry in cache_entries for inode in entry.files)
    left, going = total_bytes(cache_entries), []
    for entry in cache_entries:
        if left <= kept:
            break
        if may_go(entry):
            going.append(entry)
            holders.subtract(entry.files.keys())
            left -= sum(size for inode, size in entry.files.items() if not holders[inode])
    return going


def prune(cache: Path, going: Sequence[Entry]) -> Iterator[Entry]:
    """Removes entries that no running sweep uses and no process makes; gives each that is gone.

    Whether one is in use is looked at again as it goes.
    """
    for entry in going:
        with caching.removable(entry.folder) as free:
            if not (free and entry.folder.is_dir() and is_unused(cache, entry.folder)):
                continue
            gone = entry.folder.with_name(f".{entry.folder.name}-pruned")
            entry.folder.rename(gone)  # half an entry is never found
            shutil.rmtree(gone)
            yield entry


def is_unused(cache: Path, folder: Path) -> bool:
    """Tells whether no sweep that runs now has used an entry."""
    try:
        return caching.last_use(folder) < caching.used_since(cache)
    except OSError:
        return False
