"""What one lane's training has said so far, epoch by epoch."""

from __future__ import annotations

from typing import Any

from mpc_router.evaluate import EpochResult, Failure, LanesEnded
from mpc_router.summary import split_summary


class Record:
    """The epochs of one lane on selection, its end or its failure."""

    def __init__(self) -> None:
        self.history: list[dict[str, Any]] = []
        """`split_summary` of selection with its `epoch`, in order."""

        self.ended: LanesEnded | None = None
        self.failure: Failure | None = None

    def hear(self, event: EpochResult | LanesEnded) -> bool:
        """Takes an event in; True if it is an epoch, and the best one so far."""
        if isinstance(event, LanesEnded):
            self.ended = event if event.reason != "failed" else None
            return False
        if event.failures:
            self.failure = event.failures[0]
            return False
        found = {"epoch": event.epoch, **split_summary(event.report)}
        best = all(each["score"] < found["score"] for each in self.history)
        self.history.append(found)
        return best

    def selection(self, epoch: int) -> dict[str, Any]:
        """What an epoch was worth on selection."""
        return {name: value for name, value in self.history[epoch - 1].items() if name != "epoch"}
