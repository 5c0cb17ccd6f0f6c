"""Says what a tracker is told.

A tracker is told of a trial whole whenever it has changed, and sends what it has not sent yet. So
it makes no difference to it whether a run goes on, is resumed, or has been over for a year.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Holds the facts about a run that its trials share."""

    name: str
    study: str
    identity: str
    """Tells the run from every other one, also from one of the same name."""

    time: float
    """Gives the time at which the run began, in seconds since 1970 (UTC)."""

    settings: Mapping[str, str]
    """Gives the kind of each searched setting by leaf name: `float`, `int`, `str`, `bool`, ..."""

    results: tuple[str, ...]
    """Names the results that the trials are compared by, as columns of the table of trials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Holds what a trial has measured after an epoch."""

    epoch: int
    time: float
    """Gives the time at which the journal got it, in seconds since 1970 (UTC)."""

    values: Mapping[str, float]
    """Gives the numbers by `split/column`, with the columns of the table of reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Says how a trial has ended."""

    status: str
    reason: str | None
    time: float
    epochs: int
    results: Mapping[str, float]
    """Gives the results by column of the table of trials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedTrial:
    """Holds everything that a journal says of a trial up to now."""

    key: str
    point: str
    seed: int
    settings: Mapping[str, Any]
    """Holds the searched settings by leaf name."""

    version: int
    """Counts how often measurements were replaced by others; those of before no longer count."""

    begun: float
    """Gives the time of its first start, in seconds since 1970 (UTC)."""

    measurements: tuple[Measurement, ...]
    """Holds the measurements in the order of the journal; later ones are only appended."""

    end: End | None
    """Is None while the trial may go on."""

    @property
    def name(self) -> str:
        """Names the trial in its run, such as `p07-seed1`."""
        return f"{self.point}-seed{self.seed}"


class Tracker(Protocol):
    """Sends what it is told to a tracker of experiments.

    Every method may raise whatever the tracker's library raises; the tracker is left then.
    """

    def begin(self, sweep: Sweep) -> None:
        """Is told of the run once, before anything else."""

    def tell(self, trial: TrackedTrial) -> None:
        """Is told of a trial that is new or has changed."""

    def finish(self, files: Sequence[Path], time: float) -> str:
        """Sends what is left, and the run's files; says where everything can be seen.

        `time` is that of the journal's last event.
        """
