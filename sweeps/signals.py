"""Ctrl-C and SIGTERM: the first asks for a clean stop, another SIGINT ends at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final

from sweeps.processes import end_descendants

EXIT_CODES: Final = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Terminated(KeyboardInterrupt):
    """SIGTERM where nothing has to be stopped cleanly."""


def terminate(number: int, frame: FrameType | None) -> None:
    """A handler of SIGTERM that behaves as Ctrl-C does."""
    raise Terminated


class CleanStop:
    """While its block runs, a signal sets `number` instead of interrupting.

    A SIGINT after that ends the process at once, after `last_words`, and with it every process that
    it has started (Ray's agents would outlive it by some seconds): what the journal holds is safe.
    """

    def __init__(self, last_words: Callable[[], None]) -> None:
        self._last_words = last_words
        self.number: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def asked(self) -> bool:
        """Whether a signal came."""
        return self.number is not None

    def __enter__(self) -> CleanStop:
        for number in EXIT_CODES:
            self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None and number == signal.SIGINT:
            self._last_words()
            end_descendants()
            os._exit(EXIT_CODES[signal.SIGINT])
        self.number = self.number or signal.Signals(number)
