"""How the work of preparing tells how far it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol


@contextlib.contextmanager
def shown(progress: Progress, label: str) -> Iterator[None]:
    """A step without parts: said when it begins, over when the block is left."""
    progress.start(label, 1)
    try:
        yield
    finally:
        progress.advance()
        progress.finish()


class Progress(Protocol):
    """Hears how far a long step is; the caller shows it."""

    def start(self, label: str, total: int) -> None:
        """A step of `total` parts begins."""

    def advance(self, n: int = 1) -> None:
        """`n` more parts are done."""

    def finish(self) -> None:
        """The step is over."""


class Silence:
    """A `Progress` that shows nothing."""

    def start(self, label: str, total: int) -> None:
        """Nothing."""

    def advance(self, n: int = 1) -> None:
        """Nothing."""

    def finish(self) -> None:
        """Nothing."""
