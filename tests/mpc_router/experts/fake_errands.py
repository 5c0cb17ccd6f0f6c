"""Errands that train nothing: they do what their word says, in a process that imports no torch."""

from __future__ import annotations

import errno
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mpc_router.model.sources import ModelError
from mpc_router.storage import cache as caching

if TYPE_CHECKING:  # with torch
    from mpc_router.experts.errands import Errand
    from mpc_router.terminal.progress import Progress

STEPS = 5
FOREVER = 600.0


class DivergedError(ModelError):
    """Cannot be unpickled, as errors with arguments of their own cannot."""

    def __init__(self, expert: str, step: int) -> None:
        super().__init__(f"the loss of expert {expert} is not finite in step {step}")


@dataclass(frozen=True, kw_only=True)
class FakeErrand:
    """Leaves a note of the process that did it, and ends as its word says."""

    key: str
    word: str
    cache: Path
    device: str = "cpu"

    @property
    def label(self) -> str:
        return f"expert {self.key}"

    def run(self, progress: Progress) -> None:
        progress.start(self.label, STEPS)
        for _ in range(STEPS):
            progress.advance()
        progress.finish()
        number = len(list(self.cache.glob("done-*")))
        (self.cache / f"done-{self.key}").write_text(f"{number} {os.getpid()}")
        self._end()

    def _end(self) -> None:
        if self.word == "refused":
            raise DivergedError(self.key, 3)
        if self.word == "disk":
            raise OSError(errno.ENOSPC, "No space left on device", str(self.cache))
        if self.word == "words":
            raise OSError("it cannot be written: it is full")
        if self.word == "bug":
            raise ZeroDivisionError("by 0")
        if self.word == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.word == "leaves":
            os._exit(7)
        if self.word == "works":
            caching.entry(self.cache / "passes" / self.key, self._work)

    def _work(self, new_folder: Path) -> dict[str, Any]:
        (new_folder / "begun").touch()
        time.sleep(FOREVER)
        return {}


def errand(key: str, cache: Path, word: str = "done") -> Errand:
    """A fake in place of an errand."""
    return cast("Errand", FakeErrand(key=key, word=word, cache=cache))
