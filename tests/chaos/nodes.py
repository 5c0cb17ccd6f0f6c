"""The cluster of a round: three nodes on this machine, of which some are killed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import psutil

from cluster import state
from cluster.processes import members, processes

COUNT: Final = 3


class Nodes:
    """A head and workers, started and ended by `cluster.local`."""

    def __init__(self, folder: Path, environment: Mapping[str, str], *, cwd: Path) -> None:
        self._folder, self._environment, self._cwd = folder, environment, cwd

    def up(self) -> None:
        """Starts all of them."""
        self._call("up", "--nodes", str(COUNT))

    def down(self) -> None:
        """Ends what lives of them."""
        self._call("down")

    def renew(self) -> None:
        """Others instead, at another address."""
        self.down()
        self.up()

    @property
    def flags(self) -> tuple[str, ...]:
        """That a run joins them with."""
        found = state.read(self._folder)
        assert found is not None
        return ("--address", found.address)

    @property
    def token(self) -> Mapping[str, str]:
        """What a run shows them, in its environment."""
        return {"RAY_AUTH_TOKEN_PATH": str(self._folder / state.TOKEN)}

    def everybody(self) -> set[int]:
        """Numbers of all their processes."""
        found = state.read(self._folder)
        return {each.pid for each in found.processes()} if found is not None else set()

    def head(self) -> list[Any]:
        """Processes of the head."""
        return self._members(first=0, last=1)

    def raylets(self) -> list[Any]:
        """Of the nodes that are no head."""
        return [each for each in self._members(first=1, last=COUNT) if each.name() == "raylet"]

    def _members(self, *, first: int, last: int) -> list[Any]:
        found = state.read(self._folder)
        assert found is not None
        leaders = {node.pid: node.start for node in found.nodes[first:last]}
        return [
            psutil.Process(each.pid)
            for each in members(leaders, processes())
            if psutil.pid_exists(each.pid)
        ]

    def _call(self, *words: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "cluster.local", *words, "--folder", str(self._folder)],
            env=dict(self._environment),
            cwd=self._cwd,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(
                f"cluster.local {words[0]} ended with {done.returncode}: {done.stderr}"
            )
