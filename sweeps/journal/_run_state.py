"""Holds the state of a run, which its journal's events add up to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sweeps.records import INTERRUPTED, Decision, Ending, Kept, Pack, Point, Report, Trial
from sweeps.search.rule import Batch

Event = Mapping[str, Any]


@dataclass
class State:
    """Holds what all events so far add up to; `replay` makes it, and `apply` alone changes it."""

    opened: Event | None = None
    points: dict[str, Point] = field(default_factory=dict)
    trials: dict[str, Trial] = field(default_factory=dict)
    replicates: dict[str, list[str]] = field(default_factory=dict)
    """Gives the keys of its trials by point."""

    packs: dict[str, Pack] = field(default_factory=dict)
    """Gives the packs by name, as they were asked."""

    pack_of: dict[str, str] = field(default_factory=dict)
    """Gives the name of the pack that trains it by key of a trial; the last one, if several do."""

    running: set[str] = field(default_factory=set)
    """Names the packs that workers train, as far as the journal tells."""

    attempts: dict[str, int] = field(default_factory=dict)
    """Gives the attempt of its last start by pack."""

    reports: dict[tuple[str, int, str], Report] = field(default_factory=dict)
    latest: dict[tuple[str, str], Report] = field(default_factory=dict)
    """Gives the report of the highest epoch by key and split."""

    decisions: dict[tuple[str, int], Decision] = field(default_factory=dict)
    endings: dict[str, Ending] = field(default_factory=dict)
    finishing: set[str] = field(default_factory=set)
    """Holds the stopped trials that are to be finished; their endings stand until then."""

    begun: dict[str, str] = field(default_factory=dict)
    """Gives the time (UTC) at which its pack was first started by key of a trial."""

    ended: dict[str, str] = field(default_factory=dict)
    """Gives the time (UTC) of the ending that stands by key of a trial."""

    kept: dict[str, Kept] = field(default_factory=dict)
    """Gives the newest state on disk by pack that has trials left to train."""

    parts: dict[str, str] = field(default_factory=dict)
    """Gives the hash by name of a bulk file."""

    batches: list[Batch] = field(default_factory=list)
    """Holds the batches of a search: their proposals, and their results once they are told."""

    proposed: list[tuple[str, ...]] = field(default_factory=list)
    """Gives the point of each proposal by batch; equal proposals share a point."""

    told_batches: int = 0
    """Counts the batches whose results the search was told."""

    following: tuple[str, ...] | None = None
    """Names the points of the front that the last follow-up trains; None before the first one."""

    budgets: list[Mapping[str, Any]] = field(default_factory=list)
    """Holds the budgets of the sessions after the first, in order."""

    forced: list[Mapping[str, Any]] = field(default_factory=list)
    """Holds the changes that --force has let through: `time` (UTC), `what`, `then`, `now`."""

    deviations: dict[str, str] = field(default_factory=dict)
    """Says by pack that was trained again how its numbers differ from those of before."""

    seconds: float = 0.0
    """Counts the seconds by the clock of all sessions together."""

    epochs: int = 0
    """Counts the epochs that trials have finished, of all trials together."""

    trained: dict[tuple[str, int], float] = field(default_factory=dict)
    """Gives the seconds of training by pack and attempt."""

    closed: str | None = None
    """Says how the last session was closed; None while one runs."""

    done: bool = False
    """Tells whether the run was closed with no trial left, and none was asked since."""

    events: int = 0
    """Counts the events."""

    last_time: float | None = None
    """Gives the time of the last event by the writer's monotonic clock."""

    @property
    def study(self) -> dict[str, Any]:
        """Gives the run's study, with the budget of its last session."""
        assert self.opened is not None
        tree = dict(self.opened["study"])
        return tree | {"budget": dict(self.budgets[-1])} if self.budgets else tree

    def unended(self) -> tuple[Trial, ...]:
        """Gives the trials that have yet to end, interrupted ones too, in the order of asking."""
        return tuple(trial for key, trial in self.trials.items() if not self.is_final(key))

    def is_final(self, key: str) -> bool:
        """Tells whether a trial has ended and is not to be trained any further."""
        ending = self.endings.get(key)
        return ending is not None and ending.status != INTERRUPTED and key not in self.finishing
