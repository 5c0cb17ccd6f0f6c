"""Counts the packs whose surroundings failed by node, and says which nodes are left out."""

from __future__ import annotations

from collections import Counter
from typing import Final

FAILURES: Final = 3
"""Counts the packs in a row that must fail on a node until it is left out, or ends the run."""


class NodeFaults:
    """Tells a node that fails from surroundings that fail everywhere.

    A node on which packs fail in a row is left out where another one has trained in this session.
    So one node never ends a run, and a full disk that all nodes share still does.
    """

    def __init__(self) -> None:
        self._in_a_row = Counter[str]()
        self._sound: set[str] = set()
        self.left_out: list[str] = []
        """Holds the nodes that get no more packs, in the order in which they were left out."""

    def trained(self, node: str) -> None:
        """Notes that a pack has trained on a node, which may yet fail before the pack is over."""
        self._sound.add(node)

    def finished(self, node: str) -> None:
        """Notes that a pack has ended well on a node."""
        self._in_a_row[node] = 0

    def failed(self, node: str) -> bool:
        """Notes that a pack's surroundings failed on a node; tells whether others are sound."""
        self._in_a_row[node] += 1
        if not self._sound - {node, *self.left_out}:
            return False
        if self._in_a_row[node] >= FAILURES and node not in self.left_out:
            self.left_out.append(node)
        return True
