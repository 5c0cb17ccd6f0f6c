"""Holds what a part of a pool takes of one example under secure computation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

MEASURED = "measured"
EXTRAPOLATED = "extrapolated"


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Holds the measures of one example, once keys and base transfers are set up."""

    worked: float
    """Seconds of processor time of the party that works longer, on one thread. Other work on the
    machine does not change it."""

    elapsed: float
    """Seconds that passed here, with both parties on this machine."""

    sent_bytes: tuple[float, float]
    """By party."""

    rounds: float
    """Messages of the party that sends fewer of them, one after the other."""

    memory_bytes: int | None = None
    """Most memory that a party held, its libraries included; None where it was not measured."""

    error: float | None = None
    """Largest difference of an output to the same encoder in the clear; None where not known."""

    how: str = MEASURED
    """`measured`, or `extrapolated` from layers that were measured alone."""

    def __add__(self, other: Self) -> Self:
        """Gives what both take, one after the other."""
        memory = [part.memory_bytes for part in (self, other) if part.memory_bytes is not None]
        errors = [part.error for part in (self, other) if part.error is not None]
        hows = {self.how, other.how}
        return dataclasses.replace(
            self,
            worked=self.worked + other.worked,
            elapsed=self.elapsed + other.elapsed,
            sent_bytes=(
                self.sent_bytes[0] + other.sent_bytes[0],
                self.sent_bytes[1] + other.sent_bytes[1],
            ),
            rounds=self.rounds + other.rounds,
            memory_bytes=max(memory) if memory else None,
            error=max(errors) if errors else None,
            how=EXTRAPOLATED if EXTRAPOLATED in hows else MEASURED,
        )

    def times(self, count: int) -> Self:
        """Gives what `count` of them take, one after the other."""
        return dataclasses.replace(
            self,
            worked=self.worked * count,
            elapsed=self.elapsed * count,
            sent_bytes=(self.sent_bytes[0] * count, self.sent_bytes[1] * count),
            rounds=self.rounds * count,
        )

    @property
    def gigabytes(self) -> float:
        """Gives what both parties send, in units of 10^9 bytes."""
        return sum(self.sent_bytes) / 1e9

    def to_json(self) -> dict[str, Any]:
        """Gives the measures as plain JSON."""
        return {**dataclasses.asdict(self), "sent_bytes": list(self.sent_bytes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Makes the measures of what `to_json` gave."""
        first, second = data["sent_bytes"]
        return cls(**{**data, "sent_bytes": (first, second)})
