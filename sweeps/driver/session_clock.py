"""The module tells when a session of limited time starts no pack any more, and when it closes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_CLOSING: Final = 20.0
"""Gives the seconds before the end in which workers leave and the tables are written."""

_MOST_OF_ALL: Final = 3
"""Limits them to this part of the session."""


class SessionClock:
    """Watches the end of a session; without an end it lets everything go on.

    It is no budget: the run goes on in another session. A pack is started only while there is time
    for its first report, as long as the slowest of this session took.
    """

    def __init__(
        self, end: float | None = None, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Begins a session that ends at a time of the clock `now`, in seconds; None is never."""
        self._now = now
        begin = now()
        self._close = (
            float("inf")
            if end is None
            else end - min(_CLOSING, max(0.0, end - begin) / _MOST_OF_ALL)
        )
        self._unreported: dict[str, float] = {}
        """Gives the time of its start by pack that has not reported yet."""

        self._slowest = 0.0
        """Gives the most seconds from a pack's start to its first report."""

        self._held_back = False

    @property
    def closes(self) -> bool:
        """Tells whether packs have to end now."""
        return self._now() >= self._close

    def lets_start(self) -> bool:
        """Tells whether another pack may start; once it may not, none may."""
        self._held_back = self._held_back or self._now() + self._slowest >= self._close
        return not self._held_back

    @property
    def held_back(self) -> bool:
        """Tells whether a pack was not started for want of time."""
        return self._held_back

    def started(self, pack: str) -> None:
        """Notes that a pack runs on a worker."""
        self._unreported[pack] = self._now()

    def reported(self, pack: str) -> None:
        """Notes that a pack has sent reports."""
        if (start := self._unreported.pop(pack, None)) is not None:
            self._slowest = max(self._slowest, self._now() - start)
