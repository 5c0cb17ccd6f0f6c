"""Describes who is told of a run's events."""

from __future__ import annotations

from typing import Protocol

from sweeps.journal.state import State
from sweeps.records import Message, Pack


class Watcher(Protocol):
    """Is told of a run's events, each after the journal holds it."""

    def started(self, pack: Pack, state: State) -> None:
        """Is told that a pack runs on a worker."""

    def received(self, pack: Pack, message: Message, state: State) -> None:
        """Is told of a message of a running pack."""

    def ended(self, pack: Pack, state: State) -> None:
        """Is told that a pack is over, or lost."""

    def deviated(self, pack: Pack, reason: str) -> None:
        """Is told that a pack gives other numbers than before it was interrupted."""

    def restarts(self, pack: Pack, reason: str) -> None:
        """Is told that a pack begins at its start although a state of it was kept."""

    def left_out(self, node: str, reason: str) -> None:
        """Is told that a node gets no more packs."""

    def measured(self, text: str) -> None:
        """Is told what a dry step has shown of a pack's share of a GPU."""

    def waits(self, share: str) -> None:
        """Is told that packs of such a share wait, and no node has room for one."""

    def lost(self, pack: Pack, reason: str, *, again: bool) -> None:
        """Is told that a pack's worker is lost, and whether the pack is retried."""
