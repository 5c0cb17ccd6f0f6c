"""The module is the contract of every kind of cluster: it starts, is asked after, and ends.

A conformance suite holds all kinds to it (`tests/cluster/conformance.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Refused(Exception):
    """Ends a command with a message of one line and an exit code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Running(Refused):
    """Says that a cluster cannot be started, because it runs already."""

    def __init__(self, text: str) -> None:
        super().__init__(text, 2)


class Condition(StrEnum):
    """Names how a cluster stands."""

    ABSENT = "absent"
    """It was not started, has ended, or was stopped."""

    WAITING = "waiting"
    """It was started, and its nodes are not up yet."""

    UP = "up"
    BROKEN = "broken"
    """It has failed, or lost a node; `stop` ends what is left of it."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """Says how a cluster stands, in a word and in lines."""

    condition: Condition
    lines: tuple[str, ...]


class Cluster(Protocol):
    """Describes a place where Ray runs.

    A cluster is known by a folder: a second object for the same folder is the same cluster.
    """

    @property
    def address(self) -> str | None:
        """Gives HOST:PORT of Ray's head; None where there is none yet, or any more.

        Only a cluster whose `condition` is UP is sure to answer there.
        """

    def start(self) -> None:
        """Starts the cluster, and does not wait for its nodes.

        Raises:
            Running: it runs already.
            Refused: it cannot be started; nothing is left of it then.
        """

    def wait(self, seconds: float) -> None:
        """Waits until all nodes are up.

        Raises:
            Refused: it was not started, is broken, or is not up after so many seconds; what has
                started keeps running until `stop` ends it.
        """

    def status(self) -> Status:
        """Asks how the cluster stands, and changes nothing.

        Raises:
            Refused: that cannot be found out.
        """

    def stop(self) -> str:
        """Ends all processes of the cluster and removes its files; says what was ended.

        It may be called in every condition, and again: then there is nothing to end.

        Raises:
            Refused: something of it cannot be ended; a further call tries again.
        """
