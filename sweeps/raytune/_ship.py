"""What the nodes of a joined cluster see of this machine's folders, and what is done for those that
do not: what they need is sent to them once, and what they write is sent back.

Ray must have been joined; tasks and actors here take no share of a node.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster import private
from mpc_router.files import atomic, take_rights

PREFIX: Final = "mpcr-node-"
LOCK: Final = ".mpc-router-node"
"""Both are ours alone: of a folder that has the one and not the other we let be."""

CHUNK: Final = 8 * 2**20
"""Bytes that travel at a time: object stores may be small."""

PATIENCE: Final = 120.0
"""Seconds that a node has for an answer: it may have to start a process first."""

Listing = Mapping[str, tuple[int, int]]
"""Size and time of a folder's files by their path in it: what a node has prepared itself may have
other numbers in files of the same size."""


class ReachError(Exception):
    """Says in a sentence that a node does not answer, or that a file did not arrive whole."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """Tells which of this machine's folders a node sees."""

    node: str
    """Its number in Ray."""

    name: str
    missing: tuple[str, ...]
    """Folders that it does not see, or sees with other files."""

    shares: bool
    """Whether the folder to be written to is the very same."""

    @property
    def whole(self) -> bool:
        """Tells whether nothing has to be sent to the node, or back from it."""
        return self.shares and not self.missing


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Gives size and time of a folder's files; empty where there is no such folder."""
    stats = {path: path.stat() for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        path.relative_to(folder).as_posix(): (facts.st_size, int(facts.st_mtime))
        for path, facts in stats.items()
    }


def look(folders: Sequence[Path], writable: Path) -> list[Sight]:
    """Asks every node which of the folders to be read, and to be written to, it sees.

    Raises:
        ReachError: a node does not answer.
    """
    wanted = {str(folder): listing(folder) for folder in folders}
    token = secrets.token_hex(16)
    probe = writable / f".probe-{token}.tmp"
    probe.write_text(token)
    nodes = {each["NodeID"]: each["NodeName"] for each in ray.nodes() if each["Alive"]}
    try:
        said = _each(
            nodes,
            {
                node: ray.remote(_seen).options(**_on(node)).remote(wanted, str(probe), token)
                for node in nodes
            },
        )
    finally:
        probe.unlink(missing_ok=True)
    return [
        Sight(node=node, name=nodes[node], missing=tuple(missing), shares=shares)
        for node, (missing, shares) in said.items()
    ]


def _seen(wanted: Mapping[str, Listing], probe: str, token: str) -> tuple[list[str], bool]:
    """Tells, on a node, which folders are missing and whether the probe is there."""
    missing = [folder for folder, files in wanted.items() if listing(Path(folder)) != files]
    try:
        shares = Path(probe).read_text() == token
        Path(f"{probe[: -len('.tmp')]}.back.tmp").touch()
        Path(f"{probe[: -len('.tmp')]}.back.tmp").unlink()
    except OSError:
        shares = False
    return missing, shares


def _on(node: str) -> dict[str, Any]:
    return {
        "num_cpus": 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False),
    }


def _each(nodes: Mapping[str, str], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Gives the nodes' answers, by node."""
    found = {}
    for node, answer in asked.items():
        try:
            found[node] = ray.get(answer, timeout=PATIENCE)
        except ray.exceptions.RayTaskError as error:
            raise ReachError(f"node {nodes[node]} failed: {error.cause}") from error
        except ray.exceptions.RayError as error:
            raise ReachError(
                f"node {nodes[node]} does not answer: {type(error).__name__}"
            ) from error
    return found


class Outpost:
    """An actor on a node that sees too little: it keeps a folder there, which goes with it.

    What a killed one leaves behind goes when the next comes to the node.
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
        fresh = self._folder / f"{LOCK}.new"
        self._lock = fresh.open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        fresh.chmod(0o600)
        fresh.rename(self._folder / LOCK)  # seen by others only when it is held

    def folder(self) -> str:
        """Gives the path of the folder."""
        return str(self._folder)

    def take(self, name: str, chunk: bytes) -> None:
        """Appends some bytes to a file."""
        path = _inside(self._folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(chunk)

    def digest(self, name: str) -> str:
        """Gives the sha256 of a file that has been sent."""
        with _inside(self._folder, name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def leave(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self._folder, ignore_errors=True)


@dataclass(frozen=True, kw_only=True)
class Away:
    """Says where a node that sees too little reads, and where it writes."""

    folders: Mapping[str, str]
    """Copies by the folder that they are of."""

    writable: str | None
    """Of its own, instead of the one to be written to; None where it sees that."""


@contextlib.contextmanager
def supplied(sights: Sequence[Sight], beat: Callable[[], None]) -> Iterator[dict[str, Away]]:
    """Sends every node what it lacks, for the time of the block; gives its folders by node.

    `beat` is called whenever some more was sent.

    Raises:
        ReachError: a node does not answer, or got something else than was sent.
    """
    names = {each.node: each.name for each in sights if not each.whole}
    posts = {node: ray.remote(Outpost).options(**_on(node)).remote() for node in names}
    try:
        homes = _each(names, {node: post.folder.remote() for node, post in posts.items()})
        folders = sorted({folder for each in sights for folder in each.missing})
        for number, folder in enumerate(folders):
            lacking = [each.node for each in sights if folder in each.missing]
            _send(Path(folder), str(number), names, {node: posts[node] for node in lacking}, beat)
        yield {
            each.node: Away(
                folders={
                    folder: f"{homes[each.node]}/{folders.index(folder)}" for folder in each.missing
                },
                writable=None if each.shares else f"{homes[each.node]}/run",
            )
            for each in sights
            if not each.whole
        }
    finally:
        with contextlib.suppress(ReachError):
            _each(names, {node: post.leave.remote() for node, post in posts.items()})


def _send(
    folder: Path,
    to: str,
    names: Mapping[str, str],
    posts: Mapping[str, Any],
    beat: Callable[[], None],
) -> None:
    """Sends a folder to some nodes: reads it once, file by file, and compares the copies."""
    for relative in listing(folder):
        name, sha256 = f"{to}/{relative}", hashlib.sha256()
        with (folder / relative).open("rb") as file:
            chunk = file.read(CHUNK)
            while True:  # an empty file is a chunk too
                sha256.update(chunk)
                sent = ray.put(chunk)
                _each(names, {node: each.take.remote(name, sent) for node, each in posts.items()})
                beat()
                if not (chunk := file.read(CHUNK)):
                    break
        digests = _each(names, {node: each.digest.remote(name) for node, each in posts.items()})
        for node, digest in digests.items():
            if digest != sha256.hexdigest():
                raise ReachError(f"{folder / relative} did not arrive whole on node {names[node]}")


def gather(folder: Path, *, but: str) -> list[tuple[str, bytes]]:
    """Takes every whole file below a folder of a node, with its path in it, and deletes it.

    Names that begin with a dot are still being written; folders of the name `but` stay.
    """
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and but not in parts and not any(part[0] == "." for part in parts):
            found.append((PurePosixPath(*parts).as_posix(), path.read_bytes()))
            path.unlink()
    return found


def spread(folder: Path, files: Sequence[tuple[str, bytes]]) -> None:
    """Writes files that were gathered below a folder, each by an atomic write.

    Raises:
        ReachError: a name that leaves the folder.
        OSError: the disk refuses.
    """
    for path, content in [(_inside(folder, name), content) for name, content in files]:
        for each in reversed(path.relative_to(folder).parents[:-1]):
            with contextlib.suppress(FileExistsError):
                (folder / each).mkdir()
                take_rights(folder / each)
        with atomic(path) as temporary:
            temporary.write_bytes(content)


def _inside(folder: Path, name: str) -> Path:
    parts = PurePosixPath(name).parts
    if not parts or ".." in parts or PurePosixPath(name).is_absolute():
        raise ReachError(f"{name!r} is no name of a file in {folder}")
    return folder.joinpath(*parts)
