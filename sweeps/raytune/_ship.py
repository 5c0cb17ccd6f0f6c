"""The module sends folders to nodes of a cluster that do not see them.

`sweeps.raytune._depot` decides which node gets which. Ray must have been joined; tasks and actors
here take no share of a node.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import secrets
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster import private

PREFIX: Final = "mpcr-node-"
LOCK: Final = ".mpc-router-node"
"""A sent folder has the name and the file; a folder with only one of them is let be."""

CHUNK: Final = 8 * 2**20
"""It is how many bytes are sent at a time: object stores may be small."""

ANSWER_TIMEOUT: Final = 120.0
"""It is the time for a node's answer, in seconds: it may have to start a process first."""

Listing = Mapping[str, tuple[int, int]]
"""It gives size and time of a folder's files by their path in it.

The time counts because a node may have prepared other numbers in files of the same size.
"""


Folders = Mapping[Path, Sequence[str] | None]
"""It gives the names of the files that are read in each folder; None where all below it are."""


class ReachError(Exception):
    """Reports in a sentence that a node does not answer, or that a file was damaged on the way."""


@dataclass(frozen=True, kw_only=True)
class NodeView:
    """Tells which folders of the sweep's machine a node sees."""

    node: str
    """It is the node's number in Ray."""

    name: str
    missing: tuple[str, ...]
    """They are folders that the node does not see, or sees with other files."""

    shares: bool
    """It is true where the node sees the folder to be written to."""

    @property
    def complete(self) -> bool:
        """Tells whether nothing has to be sent to the node, or back from it."""
        return self.shares and not self.missing


def listing(folder: Path, names: Sequence[str] | None = None) -> dict[str, tuple[int, int]]:
    """Gives size and time of those of a folder's files that are there; `names` None: of all."""
    paths = sorted(folder.rglob("*")) if names is None else [folder / name for name in names]
    stats = {path: path.stat() for path in paths if path.is_file()}
    return {
        path.relative_to(folder).as_posix(): (stat.st_size, int(stat.st_mtime))
        for path, stat in stats.items()
    }


def view_node(node: str, folders: Folders, writable: Path) -> NodeView:
    """Asks a node which of the folders it sees: those to read, and the one to write to.

    Raises:
        ReachError: the node does not answer, or has gone.
    """
    name = next((facts["NodeName"] for facts in ray.nodes() if facts["NodeID"] == node), node)
    wanted = {str(folder): (names, listing(folder, names)) for folder, names in folders.items()}
    token = secrets.token_hex(16)
    probe = writable / f".probe-{token}.tmp"
    probe.write_text(token)
    try:
        promise = ray.remote(_view).options(**on_node(node)).remote(wanted, str(probe), token)
        missing, shares = answer(name, promise)
    finally:
        probe.unlink(missing_ok=True)
    return NodeView(node=node, name=name, missing=tuple(missing), shares=shares)


def _view(
    wanted: Mapping[str, tuple[Sequence[str] | None, Listing]], probe: str, token: str
) -> tuple[list[str], bool]:
    """Tells, on a node, which folders are missing and whether the probe is there."""
    missing = [
        folder for folder, (names, files) in wanted.items() if listing(Path(folder), names) != files
    ]
    try:
        shares = Path(probe).read_text() == token
        Path(f"{probe[: -len('.tmp')]}.back.tmp").touch()
        Path(f"{probe[: -len('.tmp')]}.back.tmp").unlink()
    except OSError:
        shares = False
    return missing, shares


def on_node(node: str) -> dict[str, Any]:
    """Gives Ray's options for a task or actor on a node."""
    return {
        "num_cpus": 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False),
    }


def answer(name: str, promise: Any) -> Any:
    """Waits for the answer of the node of this name.

    Raises:
        ReachError: the node fails or does not answer.
    """
    try:
        return ray.get(promise, timeout=ANSWER_TIMEOUT)
    except ray.exceptions.RayTaskError as error:
        raise ReachError(f"node {name} failed: {error.cause}") from error
    except ray.exceptions.RayError as error:
        raise ReachError(f"node {name} does not answer: {type(error).__name__}") from error


class FolderActor:
    """Holds a folder on a node that lacks some, as an actor of Ray; the folder is removed with it.

    The folder of a killed actor is removed when the next actor starts on the node.
    """

    def __init__(self) -> None:
        for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            with (
                contextlib.suppress(OSError),
                private.entered(path) as folder,
                private.opened(folder, LOCK) as lock,
            ):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                private.remove(folder, path)
        self._folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        new_lock = self._folder / f"{LOCK}.new"
        self._lock = new_lock.open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        new_lock.chmod(0o600)
        new_lock.rename(self._folder / LOCK)  # others see it only when it is locked

    def folder(self) -> str:
        """Gives the path of the folder."""
        return str(self._folder)

    def take(self, name: str, chunk: bytes) -> None:
        """Appends some bytes to a file."""
        path = inside(self._folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(chunk)

    def digest(self, name: str) -> str:
        """Gives the sha256 of a file that has been sent."""
        with inside(self._folder, name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def remove(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


@dataclass(frozen=True, kw_only=True)
class SentFolders:
    """Tells where a node that lacks folders reads, and where it writes."""

    folders: Mapping[str, str]
    """They are the node's copies, by the folder that was copied."""

    writable: str | None
    """It replaces the folder to be written to; None where the node sees that."""

    def of(self, prepared: Mapping[str, Path]) -> dict[str, Path]:
        """Gives the folders on the node of prepared sets, by the set's name."""
        return {
            name: Path(self.folders.get(str(folder), folder)) for name, folder in prepared.items()
        }


def send(
    folder: Path, names: Sequence[str] | None, name_there: str, actor: Any, *, node: str
) -> None:
    """Sends a folder's files to the actor of the node of this name, and compares the copies.

    `names` are the files that are sent if they are there; None: all.

    Raises:
        ReachError: the node does not answer, or a file was damaged on the way.
    """
    for relative in listing(folder, names):
        name, sha256 = f"{name_there}/{relative}", hashlib.sha256()
        with (folder / relative).open("rb") as file:
            chunk = file.read(CHUNK)
            while True:  # an empty file is a chunk too
                sha256.update(chunk)
                answer(node, actor.take.remote(name, chunk))
                if not (chunk := file.read(CHUNK)):
                    break
        if answer(node, actor.digest.remote(name)) != sha256.hexdigest():
            raise ReachError(f"{folder / relative} was damaged on its way to node {node}")


def inside(folder: Path, name: str) -> Path:
    """Gives the path of a file in a folder.

    Raises:
        ReachError: the name points out of the folder.
    """
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or PurePosixPath(name).is_absolute():
        raise ReachError(f"{name!r} is no name of a file in {folder}")
    return folder.joinpath(*parts)
