"""The module is the cluster of several Ray nodes on this machine, known by a private folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cluster import local_nodes, state
from cluster.contract import Condition, Refused, Running, Status
from cluster.local_nodes import Wanted
from cluster.state import LocalNodes


class LocalCluster:
    """Starts, watches and ends Ray nodes on this machine's loopback."""

    def __init__(self, folder: Path, wanted: Callable[[], Wanted] | None = None) -> None:
        """Names the cluster of a folder; without `wanted` it can be asked after and stopped."""
        self.folder = folder
        self._wanted = wanted

    @property
    def address(self) -> str | None:
        """Gives HOST:PORT of the head; None where nothing was started."""
        started = self._started()
        return None if started is None else started.address

    def start(self) -> None:
        """Starts a head, then workers as soon as it answers.

        Raises:
            Running: nodes run already.
            Refused: the nodes do not start; those that did are ended.
        """
        assert self._wanted is not None
        state.make_private(self.folder)
        with state.locked(self.folder):
            earlier = state.read(self.folder)
            if earlier is not None and earlier.processes():
                raise Running(f"a cluster is up at {earlier.address}")
            wanted = self._wanted()
            local_nodes.end(self.folder, earlier)  # a dead cluster has left its files
            try:
                local_nodes.start(wanted, self.folder)
            except BaseException:
                local_nodes.end(self.folder, state.read(self.folder))
                raise

    def wait(self, seconds: float) -> None:
        """Waits until Ray counts all nodes as alive; prints a line for each.

        Raises:
            Refused: nothing was started, a node ended, or not all are up in time.
        """
        started = self._started()
        if started is None:
            raise Refused("nothing is up", 2)
        local_nodes.wait(self.folder, started, seconds)

    def status(self) -> Status:
        """Asks the machine which nodes live, and Ray which ones it counts."""
        started = self._started()
        if started is None:
            return Status(condition=Condition.ABSENT, lines=("nothing is up",))
        living, running = started.living(), started.processes()
        head_lives = bool(started.nodes) and started.nodes[0] in living
        alive = local_nodes.alive(self.folder, started) if head_lives else {}
        up = [node for node in living if node.name in alive]
        lines = [f"{started.address}: {len(up)} of {len(started.nodes)} nodes are up"]
        for node in started.nodes:
            count = sum(process.session == node.pid for process in running)
            if node in up:
                resources = alive[node.name]
                condition = f"up, {resources.get('CPU', 0):g} CPU, {resources.get('GPU', 0):g} GPU"
            elif node in living:
                condition = "not up: its process runs, but Ray does not count it"
            else:
                condition = "dead: its process has ended"
            lines.append(f"  {node.name}: {condition}; pid {node.pid}, {count} processes")
        return Status(
            condition=_condition(started, living=len(living), up=len(up)), lines=tuple(lines)
        )

    def stop(self) -> str:
        """Ends the nodes that were started, by process id, and removes their files.

        Raises:
            Refused: another `up` or `down` runs, or a process outlives SIGKILL.
        """
        if not self.folder.is_dir():
            return "nothing is up"
        with state.locked(self.folder):
            started = self._started()
            if started is None:  # then a file `token` in the folder is not this program's
                return "nothing is up"
            ended, forced = local_nodes.end(self.folder, started)
        by_force = f", {forced} of them by SIGKILL" if forced else ""
        count = len(started.nodes)
        return f"ended {count} nodes at {started.address}: {ended} processes{by_force}"

    def _started(self) -> LocalNodes | None:
        """Reads what was started; None where nothing was."""
        return state.read(self.folder)


def _condition(started: LocalNodes, *, living: int, up: int) -> Condition:
    """Puts the counts of living nodes, and of those that are up, into a word."""
    if not started.nodes or living < len(started.nodes):
        return Condition.BROKEN
    return Condition.UP if up == living else Condition.WAITING
