"""The module defines how long steps report their progress."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol


@contextlib.contextmanager
def shown(progress: Progress, label: str) -> Iterator[None]:
    """Reports a step without parts: it begins and ends with the block."""
    progress.start(label, 1)
    try:
        yield
    finally:
        progress.advance()
        progress.finish()


class Progress(Protocol):
    """Shows how far a long step is; callers implement it."""

    def start(self, label: str, total: int) -> None:
        """Shows that a step of `total` parts begins."""

    def advance(self, n: int = 1) -> None:
        """Shows that `n` more parts are done."""

    def finish(self) -> None:
        """Shows that the step is over."""


class Silence:
    """Shows nothing, as a `Progress`."""

    def start(self, label: str, total: int) -> None:
        """Does nothing."""

    def advance(self, n: int = 1) -> None:
        """Does nothing."""

    def finish(self) -> None:
        """Does nothing."""
