"""The module supplies nodes with what they do not see of the sweep's machine, as they come."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import ray

from sweeps.raytune import _ship
from sweeps.raytune._returning import ARRIVING, Arrivals
from sweeps.raytune._ship import CHUNK, FolderActor, Folders, ReachError, SentFolders, on_node

_AT_ONCE: Final = 16
"""It is how many workers may ask at once; those of a node wait for each other."""

_PAUSE: Final = 5.0
"""It is the time between two reports of progress, in seconds."""


class Depot:
    """Supplies nodes, as an actor of Ray on the sweep's machine; each node is supplied once.

    A worker asks for its node before it trains its first pack. So a node that joins during a run is
    supplied when it comes.
    """

    def __init__(self, folders: Sequence[str], run: str) -> None:
        self._folders, self._run = [Path(folder) for folder in folders], Path(run)
        self._arrivals = Arrivals(self._run)
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._asked: dict[str, set[Path]] = {}
        """Gives by node the folders that it was asked about, and sent if it lacked them."""

        self._sent: dict[str, SentFolders] = {}
        self._actors: dict[str, Any] = {}
        self._numbers = itertools.count()

    def supply(
        self, node: str, folders: Mapping[str, Sequence[str] | None] | None = None
    ) -> SentFolders | None:
        """Sends a node what it lacks, unless it has it; gives where it lies, None if it sees all.

        It gets all folders of the depot, and these: the files of the given names, None for all.

        Raises:
            ReachError: the node does not answer, or a file was damaged on the way.
        """
        wanted: dict[Path, Sequence[str] | None] = dict.fromkeys(self._folders)
        wanted |= {Path(folder): names for folder, names in (folders or {}).items()}
        with self._lock:
            lock = self._locks.setdefault(node, threading.Lock())
        with lock:
            asked = self._asked.setdefault(node, set())
            unknown = {folder: names for folder, names in wanted.items() if folder not in asked}
            if unknown or node not in self._sent:
                self._sent[node] = self._supply(node, unknown)
                asked.update(unknown)
            sent = self._sent[node]
            return sent if sent.folders or sent.writable else None

    def _supply(self, node: str, folders: Folders) -> SentFolders:
        """Sends a node what it lacks of these folders, beside what it was sent before."""
        before = self._sent.get(node, SentFolders(folders={}, writable=None))
        view = _ship.view_node(node, folders, self._run)
        if view.complete:
            return before
        if node not in self._actors:
            self._actors[node] = ray.remote(FolderActor).options(**on_node(node)).remote()
        actor = self._actors[node]
        home = _ship.answer(view.name, actor.folder.remote())
        copies = dict(before.folders)
        for folder in view.missing:
            number = next(self._numbers)  # a new one, for an earlier attempt may have begun
            names = folders[Path(folder)]
            _ship.send(Path(folder), names, str(number), actor, node=view.name)
            copies[folder] = f"{home}/{number}"
        return SentFolders(folders=copies, writable=None if view.shares else f"{home}/run")

    def chunk(self, name: str, start: int) -> bytes:
        """Gives bytes of a file in the run's folder from this one on; none after the last.

        Raises:
            ReachError: the name points out of the folder.
            OSError: the file cannot be read.
        """
        with _ship.inside(self._run, name).open("rb") as file:
            file.seek(start)
            return file.read(CHUNK)

    def arrive(self, method: str, *arguments: Any) -> Any:
        """Calls a method of `Arrivals` by its name: files come from nodes to the run's folder."""
        return getattr(self._arrivals, method)(*arguments)

    def close(self) -> None:
        """Removes what was sent, and what has not arrived whole."""
        shutil.rmtree(self._run / ARRIVING, ignore_errors=True)
        for node, actor in self._actors.items():
            with contextlib.suppress(ReachError):
                _ship.answer(node, actor.remove.remote())


class Placeholder:
    """Takes up the room of a pack on a node, as an actor of Ray that does nothing."""


def take_up(node: str, cpus: float) -> list[Any]:
    """Takes up all room on a node, pack by pack as it becomes free; Ray can close no node itself.

    Gives the actors, with which the room becomes free again.
    """
    room = sum(
        int(facts["Resources"].get("CPU", 0) / cpus)
        for facts in ray.nodes()
        if facts["NodeID"] == node
    )
    options = on_node(node) | {"num_cpus": cpus}
    return [ray.remote(Placeholder).options(**options).remote() for _ in range(room)]


@contextlib.contextmanager
def depot(folders: Sequence[Path], run: Path, report_progress: Callable[[], None]) -> Iterator[str]:
    """Opens a depot of these folders for the time of the block; gives its name in Ray.

    The nodes that there are by now are supplied first: Tune may give up a worker that takes longer
    to begin than others take for a pack. What fails on a node is told as its first pack begins.
    `report_progress` is called every few seconds meanwhile.
    """
    name = f"depot-{secrets.token_hex(8)}"
    here = ray.get_runtime_context().get_node_id()
    actor = (
        ray.remote(Depot)
        .options(name=name, max_concurrency=_AT_ONCE, **on_node(here))
        .remote([str(folder) for folder in folders], str(run))
    )
    try:
        nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
        waiting = [actor.supply.remote(node) for node in nodes]
        while waiting:
            _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=_PAUSE)
            report_progress()
        yield name
    finally:
        with contextlib.suppress(ReachError):
            _ship.answer("with the sweep", actor.close.remote())


def fetch(depot: Any, name: str, folder: Path) -> None:
    """Copies a file of the run's folder to the same place below a folder of this node."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        while chunk := ray.get(depot.chunk.remote(name, file.tell())):
            file.write(chunk)
