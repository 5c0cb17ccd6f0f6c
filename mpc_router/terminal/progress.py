"""The module defines how long steps report their progress, and reports it in lines."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, Protocol

MINUTE: Final = 60.0
"""Gives the seconds between two lines about the same step."""


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


class StepCounts(Silence):
    """Hands on how many parts are done, and nothing else, as a `Progress`."""

    def __init__(self, advance: Callable[[int], object]) -> None:
        self._advance = advance

    def advance(self, n: int = 1) -> None:
        """Hands on that `n` more parts are done."""
        self._advance(n)


class StepLines:
    """Prints a line as a step begins, every minute with an estimate, and as it ends.

    It is a `Progress`. The lines of every minute come from a thread, because a step may work for
    long without a word; `close` ends the thread of a step that was broken off.
    """

    def __init__(self, say: Callable[[str], None], *, every_minute: bool = True) -> None:
        """Makes the lines of steps, which `say` prints; `every_minute` may be left out."""
        self._say, self._every_minute = say, every_minute
        self._label, self._total, self._done, self._began = "", 0, 0, 0.0
        self._over = threading.Event()

    def start(self, label: str, total: int) -> None:
        """Prints that a step begins."""
        self.close()
        self._label, self._total, self._done, self._began = label, total, 0, time.monotonic()
        self._say(f"{label} ...")
        if self._every_minute:
            self._over = threading.Event()
            threading.Thread(target=self._repeat, args=(self._over,), daemon=True).start()

    def advance(self, n: int = 1) -> None:
        """Counts `n` more parts as done."""
        self._done += n

    def finish(self) -> None:
        """Prints that the step is over."""
        self.close()
        self._say(f"{self._label}: {time.monotonic() - self._began:.1f} s")

    def close(self) -> None:
        """Ends the lines of every minute; may be called twice."""
        self._over.set()

    def _repeat(self, over: threading.Event) -> None:
        """Prints a line every minute until the step is over."""
        while not over.wait(MINUTE):
            self._say(self.so_far(time.monotonic()))

    def so_far(self, now: float) -> str:
        """Says how far the step is, and about how long it still takes, at a monotonic time."""
        seconds = now - self._began
        parts = f"{self._done} of {self._total}, " if self._total > 1 else ""
        left = (self._total - self._done) * seconds / self._done if self._done else None
        return f"{self._label}: {parts}{times(seconds, left)}"


def times(seconds: float, left: float | None) -> str:
    """Writes how long something has taken, and about how long it still takes if that is known."""
    return duration(seconds) + ("" if left is None else f", about {duration(left)} left")


def duration(seconds: float) -> str:
    """Writes a length of time in whole units, such as `35 s`, `18 min` or `2 h 5 min`."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h" + (f" {minutes} min" if minutes else "")
    days, hours = divmod(hours, 24)
    return f"{days} d" + (f" {hours} h" if hours else "")
