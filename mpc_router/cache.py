"""Folders of arrays that are written once, whole or not at all, and then only memory-mapped.

A folder is an entry of the cache: it is made under a temporary name and renamed while a lock file
beside it is held, so that two processes that want the same entry make it once. What is found is
never trusted blindly: an entry with a file missing or cut short is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import ArrayLike, DTypeLike, NDArray

from mpc_router.files import write_text

_CONTENTS: Final = "contents.json"
"""Written last: the bytes of every other file of the entry, and its description."""

WAITING: Final = 2.0
"""Seconds after which waiting for another process is worth a line in the log."""

Mapped = np.memmap[Any, np.dtype[Any]]

log = logging.getLogger(__name__)


def digest(*parts: object) -> str:
    """32 hex digits of these parts; text and bytes as they are, anything else as canonical JSON."""
    total = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, bytes):
            raw = part
        elif isinstance(part, str):
            raw = part.encode()
        else:
            raw = json.dumps(part, sort_keys=True, separators=(",", ":")).encode()
        total.update(len(raw).to_bytes(8, "little"))
        total.update(raw)
    return total.hexdigest()


def description(folder: Path) -> dict[str, Any] | None:
    """The description of a sound entry; None where there is none, or it is not whole."""
    try:
        contents = json.loads((folder / _CONTENTS).read_text(encoding="utf-8"))
        sizes = contents["bytes"]
        whole = all((folder / name).stat().st_size == size for name, size in sizes.items())
        found = contents["description"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return found if whole and isinstance(found, dict) else None


def entry(
    folder: Path,
    make: Callable[[Path], Mapping[str, Any]],
    *,
    waiting: AbstractContextManager[object] | None = None,
) -> dict[str, Any]:
    """The description of the entry at `folder`, made if it is not there or not whole.

    `make` writes files into the folder it is given and returns the description (JSON). Safe for
    several processes at once: the others wait, inside `waiting` where that takes some seconds. What
    a crash leaves nobody reads, and the next to make the entry removes it.
    """
    found = description(folder)
    if found is not None:
        return found
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder, waiting or contextlib.nullcontext()):
        found = description(folder)
        if found is not None:
            return found
        for left in folder.parent.glob(f".{folder.name}-*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            made = json.loads(json.dumps(make(fresh)))
            sizes = {path.name: path.stat().st_size for path in fresh.iterdir()}
            write_json(fresh / _CONTENTS, {"bytes": sizes, "description": made})
            if folder.exists():
                shutil.rmtree(folder)
            fresh.chmod(0o755)
            os.replace(fresh, folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    assert isinstance(made, dict)
    return made


@contextlib.contextmanager
def _locked(folder: Path, waiting: AbstractContextManager[object]) -> Iterator[None]:
    """The entry's lock, held; says so where it has to wait for it."""
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        lock.acquire(timeout=WAITING)
    except Timeout:
        log.info("waiting for another process that makes %s", folder)
        with waiting:
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def save(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write each array as `NAME.npy`."""
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)


class Growing:
    """The array `NAME.npy` while it is written, part after part: none of it stays in memory."""

    def __init__(self, folder: Path, name: str, kind: DTypeLike) -> None:
        self._file = (folder / f"{name}.npy").open("wb")
        self._kind = np.dtype(kind)
        self._count = 0
        self._head()
        self._begin = self._file.tell()

    def append(self, part: ArrayLike) -> None:
        """Add these numbers at the end."""
        array = np.ascontiguousarray(part, self._kind)
        array.tofile(self._file)
        self._count += len(array)

    def _head(self) -> None:
        """numpy's header, which leaves room for any count."""
        stated = {
            "descr": np.lib.format.dtype_to_descr(self._kind),
            "fortran_order": False,
            "shape": (self._count,),
        }
        np.lib.format.write_array_header_1_0(self._file, stated)

    def __enter__(self) -> Growing:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.seek(0)
        self._head()
        whole = self._file.tell() == self._begin
        self._file.close()
        if not whole:
            raise RuntimeError("numpy's header of a longer array takes more room than before")


def blank(folder: Path, name: str, shape: tuple[int, ...], kind: DTypeLike) -> Mapped:
    """The array `NAME.npy`, mapped, to be filled in: what is written is no process's memory."""
    path = folder / f"{name}.npy"
    array: Mapped = np.lib.format.open_memmap(path, "w+", np.dtype(kind), shape)
    return array


def share(source: Path, folder: Path, name: str) -> None:
    """Give an entry in the making the array file `source` under the name `NAME.npy`.

    As a hard link, which takes no room, or as a copy where the disk cannot.
    """
    try:
        os.link(source, folder / f"{name}.npy")
    except OSError:
        shutil.copyfile(source, folder / f"{name}.npy")


def load(folder: Path, name: str) -> NDArray[Any]:
    """The array `NAME.npy`, memory-mapped and read-only: no process has a copy of its own."""
    array: NDArray[Any] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    return array


def write_json(path: Path, value: object) -> None:
    """Writes plain JSON, readable by people, complete or not at all."""
    write_text(path, json.dumps(value, indent=1) + "\n", durable=False)
