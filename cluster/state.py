"""The module keeps the state of a cluster of this machine in a file, with its token beside it."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import platformdirs

from cluster import private
from cluster.contract import Refused
from cluster.processes import Process, boot, members, processes

LOOPBACK: Final = "127.0.0.1"
_STATE: Final = "cluster.json"
TOKEN: Final = "token"


@dataclass(frozen=True, kw_only=True)
class Node:
    """Holds a node: a `ray start --block`, which leads the session of all its processes."""

    name: str
    pid: int
    start: int
    """It is the start of the process, as in `Process`: a later one of this number has another."""


@dataclass(frozen=True, kw_only=True)
class LocalNodes:
    """Holds the nodes that were started on this machine, with their address and folder."""

    address: str
    temporary: str
    """It is Ray's own folder, with sockets and logs."""

    boot: str
    """It names the boot of the machine: after another boot, no process is the cluster's."""

    nodes: tuple[Node, ...] = ()
    """They begin with the head."""

    def processes(self) -> list[Process]:
        """Lists the processes of the cluster that still run."""
        if self.boot != boot():
            return []
        return members({node.pid: node.start for node in self.nodes}, processes())

    def living(self) -> list[Node]:
        """Lists the nodes whose `ray start` runs."""
        running = {(process.pid, process.start) for process in self.processes()}
        return [node for node in self.nodes if (node.pid, node.start) in running]


def default_folder() -> Path:
    """Gives the default folder of the state's file and the token."""
    return platformdirs.user_cache_path("mpc-router") / "cluster"


def token_of(address: str) -> Path | None:
    """Gives the token's file, if this is the address of the cluster in the default folder."""
    host, _, port = address.rpartition(":")
    with contextlib.suppress(Refused, OSError):
        cluster = read(default_folder())
        is_same = cluster is not None and cluster.address == f"{LOOPBACK}:{port}"
        if is_same and host in (LOOPBACK, "localhost"):
            return default_folder() / TOKEN
    return None


def read(folder: Path) -> LocalNodes | None:
    """Reads the cluster that was started with a folder; None if there is none.

    The file names processes to be ended, so it is read only if folder and file are this user's, and
    no other user may change them.

    Raises:
        Refused: another user may change them, or the file is damaged.
    """
    try:
        with private.entered(folder, link=True) as number:
            return _cluster(json.loads(private.read(number, _STATE)))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Refused(
            f"{folder / _STATE} is not safe to read ({error.strerror or error}); make its folder "
            "yours, of mode 700, and the file too, of mode 600",
            3,
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Refused(
            f"{folder / _STATE} cannot be read; end its processes by hand, then delete it", 3
        ) from error


def _cluster(tree: Any) -> LocalNodes:
    """Makes the cluster of a state file's content."""
    nodes = tuple(Node(**node) for node in tree.pop("nodes"))
    cluster = LocalNodes(**tree, nodes=nodes)
    words = (cluster.address, cluster.temporary, cluster.boot, *(node.name for node in nodes))
    numbers = [number for node in nodes for number in (node.pid, node.start)]
    if not all(type(word) is str for word in words) or not all(
        type(number) is int for number in numbers
    ):
        raise TypeError("a word where a number is meant, or the other way round")
    return cluster


def write(folder: Path, cluster: LocalNodes) -> None:
    """Writes the state to its file, by an atomic write."""
    temporary = folder / f"{_STATE}.new"
    private.write(temporary, json.dumps(dataclasses.asdict(cluster), indent=1))
    temporary.replace(folder / _STATE)


def remove(folder: Path) -> None:
    """Removes the files of the cluster and its token."""
    for name in (TOKEN, _STATE):
        (folder / name).unlink(missing_ok=True)


def make_private(folder: Path) -> None:
    """Makes a folder that only its owner may enter.

    Raises:
        Refused: the folder cannot be made, or is open to others.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with private.entered(folder, link=True):
            pass
    except private.NotPrivate as error:
        raise Refused(
            f"--folder {folder} is open to others; give a folder that is yours alone", 2
        ) from error
    except OSError as error:
        raise Refused(f"--folder {folder} cannot be used: {error.strerror}", 2) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Refused(f"--folder {folder} cannot be written to; give another", 2)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Locks the folder, so that one `up` or `down` runs at a time.

    Raises:
        Refused: another `up` or `down` runs.
    """
    number = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused(f"another up or down runs in {folder}; wait for it", 3) from error
        yield
    finally:
        os.close(number)
