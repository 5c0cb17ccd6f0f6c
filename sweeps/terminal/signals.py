"""The module handles Ctrl-C, SIGTERM and SIGHUP.

The first signal asks for a clean stop, another Ctrl-C ends the process at once. It also handles
output whose reader is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final

from cluster import slurm_allocation
from cluster.processes import descendants, kill
from mpc_router.terminal.streams import fall_silent, tell

__all__ = [
    "ALLOCATION",
    "ASKED",
    "EXIT_CODES",
    "SESSION_OVER",
    "TIME",
    "CleanStop",
    "Terminated",
    "fall_silent",
    "stop_code",
    "tell",
    "terminable",
]

SESSION_OVER: Final = 75
"""Is the exit code of a session whose time, or Slurm allocation, ended with work left."""

EXIT_CODES: Final = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}

ASKED: Final = "asked to stop"
"""Is the reason of a stop that a file in the run's folder asked for, and no signal."""

TIME: Final = "the session's time is over"
ALLOCATION: Final = "the Slurm allocation ends"
"""Are the reasons of a stop after which the same command goes on in another session."""


def _stop_reason(number: signal.Signals) -> str:
    """Names what a signal means here: its own name, or that the Slurm allocation ends."""
    if number == signal.SIGTERM and slurm_allocation.is_ending(os.environ, time.time()):
        return ALLOCATION
    return number.name


def stop_code(number: signal.Signals, reason: str | None = None) -> int:
    """Gives the exit code of a command that a signal, or a wish for this reason, has stopped."""
    reason = _stop_reason(number) if reason is None else reason
    return SESSION_OVER if reason in (TIME, ALLOCATION) else EXIT_CODES[number]


class Terminated(KeyboardInterrupt):
    """Interrupts the command on SIGTERM or SIGHUP where nothing needs a clean stop."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__()
        self.number = number


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP interrupt as Ctrl-C does, while its block runs."""

    def terminate(number: signal.Signals) -> None:
        raise Terminated(number)

    with _handled(terminate, signal.SIGTERM, signal.SIGHUP):
        yield


class CleanStop:
    """Turns a signal into a wish to stop, in `number`, while its block runs; `reason` is its name.

    A SIGINT after that ends the process at once, after `last_words`, and with it every process that
    it has started (Ray's agents would outlive it by some seconds). What the journal holds is safe.
    """

    def __init__(self, last_words: Callable[[], None]) -> None:
        self._last_words = last_words
        self.number: signal.Signals | None = None
        self.reason = ""
        self._block = _handled(self._handle, *EXIT_CODES)

    def asked(self) -> bool:
        """Tells whether a signal or a wish came."""
        return self.number is not None

    def ask(self, reason: str) -> None:
        """Asks for the stop without a signal."""
        self._keep(signal.SIGTERM, reason)

    def _keep(self, number: signal.Signals, reason: str) -> None:
        """Keeps the first wish to stop."""
        if self.number is None:
            self.number, self.reason = number, reason

    def __enter__(self) -> CleanStop:
        self._block.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._block.__exit__(kind, error, trace)

    def _handle(self, number: signal.Signals) -> None:
        """Keeps the first signal; ends the process at a SIGINT after it."""
        if self.number is not None and number == signal.SIGINT:
            try:
                self._last_words()
            finally:
                kill(descendants(os.getpid()))
                os._exit(EXIT_CODES[signal.SIGINT])
        self._keep(number, _stop_reason(number))


@contextlib.contextmanager
def _handled(handler: Callable[[signal.Signals], None], *numbers: signal.Signals) -> Iterator[None]:
    """Sets the handler for the time of the block; an ignored SIGHUP (`nohup`) stays ignored."""

    def handle(number: int, _: object) -> None:
        if number == signal.SIGHUP:
            _leave_terminal()
        handler(signal.Signals(number))

    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets the main thread alone handle signals
        return
    handlers_before = {
        number: signal.signal(number, handle)
        for number in numbers
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, earlier in handlers_before.items():
            signal.signal(number, earlier)


def _leave_terminal() -> None:
    """Drops all output from now on, for writing to a closed terminal would fail."""
    null_device = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        if stat.S_ISCHR(os.fstat(number).st_mode):
            os.dup2(null_device, number)
    os.close(null_device)
