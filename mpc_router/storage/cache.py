"""The module keeps folders of arrays that are written once, complete or not at all, then mapped.

A folder is an entry of the cache: it is made under a temporary name and renamed while a lock file
beside it is locked, so that two processes that want the same entry make it once. An entry with a
file missing or cut short is made again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import math
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import ArrayLike, DTypeLike, NDArray

from mpc_router.storage.files import write_text

_CONTENTS: Final = "contents.json"
"""It is written last: it has the size of every other file of the entry, and its description."""

_LEASES: Final = "leases"
"""It is the folder of a cache with a locked file for each sweep that runs."""

WAITING: Final = 2.0
"""It is the wait for another process, in seconds, after which the log has a line."""

_Mapped = np.memmap[Any, np.dtype[Any]]

log = logging.getLogger(__name__)


def digest(*parts: object) -> str:
    """Gives 32 hex digits of these parts: text and bytes as they are, others as canonical JSON."""
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
    """Gives the description of a complete entry; None where there is none.

    A caller that asks is about to use the entry, so its last use is noted (`last_use`).
    """
    described = peek(folder)
    if described is not None:
        with contextlib.suppress(OSError):  # a cache may be read-only
            os.utime(folder / _CONTENTS)
    return described


def peek(folder: Path) -> dict[str, Any] | None:
    """Gives the description of a complete entry, as `description` does, without a use of it."""
    try:
        contents = json.loads((folder / _CONTENTS).read_text(encoding="utf-8"))
        sizes = contents["bytes"]
        is_complete = all((folder / name).stat().st_size == size for name, size in sizes.items())
        described = contents["description"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return described if is_complete and isinstance(described, dict) else None


def last_use(folder: Path) -> float:
    """Gives when a complete entry was last used, in seconds since the epoch of the system.

    Raises:
        OSError: there is no such entry any more.
    """
    return (folder / _CONTENTS).stat().st_mtime


@contextlib.contextmanager
def in_use(cache: Path) -> Iterator[None]:
    """Keeps what is used of a cache from now on from being pruned, for the time of the block.

    A file in `_LEASES` is locked for as long. The lock of a killed process is free, so that its
    file counts no longer.
    """
    folder = cache / _LEASES
    name = f"{os.getpid()}-{secrets.token_hex(4)}"
    with _new_file(folder / f".{name}.new") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        lease = Path(file.name).rename(folder / name)  # others see it only when it is locked
        try:
            yield
        finally:
            lease.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # other sweeps have theirs there
                folder.rmdir()


def _new_file(path: Path) -> BinaryIO:
    """Opens a new file in a folder that another process may remove while it is empty."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            return path.open("xb")


def used_since(cache: Path) -> float:
    """Gives the time since when running sweeps use entries of a cache; infinity if none runs."""
    return min(_lease_starts(cache), default=math.inf)


def _lease_starts(cache: Path) -> Iterator[float]:
    """Gives when each lease was begun; removes those of killed processes."""
    for path in (cache / _LEASES).glob("[!.]*"):
        with contextlib.suppress(OSError), path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                yield os.fstat(file.fileno()).st_mtime
            else:
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def removable(folder: Path) -> Iterator[bool]:
    """Locks an entry for the time of the block, and tells whether no other process makes it."""
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def entry(
    folder: Path,
    make: Callable[[Path], Mapping[str, Any]],
    *,
    waiting: AbstractContextManager[object] | None = None,
) -> dict[str, Any]:
    """Gives the description of the entry at `folder`, which is made if it is missing or incomplete.

    `make` writes files into the folder it gets and returns the description (JSON). Several
    processes may call this at once: the others wait, inside `waiting` where that takes some
    seconds. What a crash leaves is never read, and is removed when the entry is made.
    """
    described = description(folder)
    if described is not None:
        return described
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder, waiting or contextlib.nullcontext()):
        described = description(folder)
        if described is not None:
            return described
        for orphan in folder.parent.glob(f".{folder.name}-*"):  # left by a killed process
            shutil.rmtree(orphan, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            new_description = json.loads(json.dumps(make(temporary)))
            sizes = {path.name: path.stat().st_size for path in temporary.iterdir()}
            write_json(temporary / _CONTENTS, {"bytes": sizes, "description": new_description})
            if folder.exists():
                shutil.rmtree(folder)
            temporary.chmod(0o755)
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    assert isinstance(new_description, dict)
    return new_description


def take_in(arrived: Path, folder: Path) -> bool:
    """Makes the entry at `folder` of one that has arrived on the same disk, which is gone then.

    Nothing is done to one that is not complete, and false is given.
    """
    described = peek(arrived)
    if described is None:
        return False

    def move(new_folder: Path) -> dict[str, Any]:
        for path in arrived.iterdir():
            if path.name != _CONTENTS:
                path.replace(new_folder / path.name)
        return described

    entry(folder, move)
    shutil.rmtree(arrived)
    return True


@contextlib.contextmanager
def _locked(folder: Path, waiting: AbstractContextManager[object]) -> Iterator[None]:
    """Holds the entry's lock for the time of the block; logs a line where it has to wait."""
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
    """Writes each array as `NAME.npy`."""
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)


class Growing:
    """Writes the array `NAME.npy` part after part, so that none of it stays in memory."""

    def __init__(self, folder: Path, name: str, kind: DTypeLike) -> None:
        self._file = (folder / f"{name}.npy").open("wb")
        self._kind = np.dtype(kind)
        self._count = 0
        self._write_header()
        self._begin = self._file.tell()

    def append(self, part: ArrayLike) -> None:
        """Adds numbers at the end of the array."""
        array = np.ascontiguousarray(part, self._kind)
        array.tofile(self._file)
        self._count += len(array)

    def _write_header(self) -> None:
        """Writes numpy's header, which leaves room for any count."""
        header = {
            "descr": np.lib.format.dtype_to_descr(self._kind),
            "fortran_order": False,
            "shape": (self._count,),
        }
        np.lib.format.write_array_header_1_0(self._file, header)

    def __enter__(self) -> Growing:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.seek(0)
        self._write_header()
        has_same_length = self._file.tell() == self._begin
        self._file.close()
        if not has_same_length:
            raise RuntimeError("numpy's header of a longer array takes more room than before")


def blank(folder: Path, name: str, shape: tuple[int, ...], kind: DTypeLike) -> _Mapped:
    """Makes the array `NAME.npy`, memory-mapped, to be filled in without memory of a process."""
    path = folder / f"{name}.npy"
    array: _Mapped = np.lib.format.open_memmap(path, "w+", np.dtype(kind), shape)
    return array


def share(source: Path, folder: Path, name: str) -> None:
    """Adds the array file `source` to an entry in the making, under the name `NAME.npy`.

    It becomes a hard link, which takes no room, or a copy where the disk has no links.
    """
    try:
        os.link(source, folder / f"{name}.npy")
    except OSError:
        shutil.copyfile(source, folder / f"{name}.npy")


def load(folder: Path, name: str) -> NDArray[Any]:
    """Opens the array `NAME.npy` memory-mapped and read-only, so that processes share it."""
    array: NDArray[Any] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    return array


def write_json(path: Path, value: object) -> None:
    """Writes indented JSON to a file, complete or not at all."""
    write_text(path, json.dumps(value, indent=1) + "\n", durable=False)
