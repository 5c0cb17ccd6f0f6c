"""The frozen nouns that every other file of this package speaks. No library is loaded."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from mpc_router.run_names import CHECKPOINTS_FOLDER as CHECKPOINTS_FOLDER
from mpc_router.run_names import COMPLETED as COMPLETED
from mpc_router.run_names import FAILED as FAILED
from mpc_router.run_names import INTERRUPTED as INTERRUPTED
from mpc_router.run_names import JOURNAL_FILE as JOURNAL_FILE
from mpc_router.run_names import PARTS_FOLDER as PARTS_FOLDER
from mpc_router.run_names import SELECTION as SELECTION
from mpc_router.run_names import STATUSES as STATUSES
from mpc_router.run_names import STOPPED as STOPPED
from mpc_router.run_names import STUDY_FILE as STUDY_FILE
from mpc_router.shapes import PlainName

if TYPE_CHECKING:
    from mpc_router.config.trial import TrialConfig


BUDGET: Final = "budget"
"""Reason of a trial that the budget has interrupted."""


FIRST_SET: Final = "set00"
"""Of what is prepared for a study; most studies have no other."""

INSIDE: Final = "inside"
BETWEEN: Final = "between"
"""Where a pack's points are ranked: against each other at rungs that all of them reach together, or
against those of other packs as they arrive."""


class InputError(Exception):
    """Says in a sentence what is wrong with the user's input."""


class SweepError(Exception):
    """Says that the surroundings failed; what was done is safe, and how to go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Holds one configuration without its seed."""

    name: PlainName
    """Names it in its run: `p00`, in the order of asking."""

    settings: Mapping[str, Any]
    """Its searched settings by leaf name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Holds a point with a seed."""

    key: PlainName
    """The same on every machine and in every run."""

    point: PlainName
    seed: int
    config: str
    """The complete configuration as JSON in the published shape."""

    prepared: PlainName = FIRST_SET
    """Name of the prepared set that it trains on, or begins with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """What Ray schedules as one: some points with all their replicates, grouped by stack."""

    name: PlainName
    trials: tuple[Trial, ...]
    attempt: int = 1
    """1, and one more for every start after an interruption."""

    stopping: str = ""
    """`INSIDE` or `BETWEEN`: where its points are ranked; empty where nothing is stopped early."""

    def file(self, number: int = 0) -> str:
        """Name of a bulk file in `parts/`, of which a pack writes one each time that trials end.

        An attempt never overwrites an earlier one's.
        """
        return f"{self._stem(number)}.parquet"

    def experts_file(self, number: int = 0) -> str:
        """Gives the name of the bulk file with the outputs of its trials' own experts."""
        return f"{self._stem(number)}.experts.parquet"

    def _stem(self, number: int) -> str:
        attempt = f".{self.attempt}" if self.attempt > 1 else ""
        return f"{self.name}{attempt}" + (f"-{number}" if number else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Holds what one trial measured after one epoch on one split."""

    key: str
    epoch: int
    """From 1."""

    split: str
    metrics: Mapping[str, float]
    """`score` and the task's own metrics, of the hard gate."""

    cost: Mapping[str, float]
    """By cost vector: the mean over examples, the router paid."""

    losses: Mapping[str, float]
    """`loss` of the soft gate, and its terms `loss_task`, `loss_balance`, `loss_cost`."""

    share: tuple[float, ...]
    """Hard routes' share by expert."""

    gate: tuple[float, ...]
    """Mean soft gate by expert."""

    gate_entropy: float
    """Mean entropy of a gate in nats."""

    seconds: float
    """Since the trial's pack started."""

    @property
    def place(self) -> tuple[str, int, str]:
        """(key, epoch, split): unique in a run."""
        return self.key, self.epoch, self.split

    def value(self, name: str, cost_vector: str) -> float:
        """Gives the value of an objective: a metric, `cost`, or `cost_VECTOR`."""
        if name == "cost":
            return self.cost[cost_vector]
        if name.startswith("cost_"):
            return self.cost[name.removeprefix("cost_")]
        return self.metrics[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """At an epoch, a trial goes on or leaves its pack."""

    key: str
    epoch: int
    goes_on: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Says how a trial ended."""

    key: PlainName
    status: str
    epochs: int
    """Epochs it finished."""

    seconds: float
    attempt: int
    epoch: int = 0
    """Epoch whose results are the trial's; 0 where there are none."""

    reason: str | None = None
    part: PlainName | None = None
    """File in `parts/` with its routes."""

    experts: PlainName | None = None
    """File in `parts/` with what its own experts say; None where they were frozen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a worker says while it trains a pack. `parts` are files in `parts/` with their hash."""

    reports: tuple[Report, ...] = ()
    decisions: tuple[Decision, ...] = ()
    """Of a rung inside the pack, which these reports reach."""

    endings: tuple[Ending, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Gives plain data, the way the journal and Ray carry it."""
        return {
            "reports": [dataclasses.asdict(report) for report in self.reports],
            "decisions": [dataclasses.asdict(decision) for decision in self.decisions],
            "endings": [dataclasses.asdict(ending) for ending in self.endings],
            "parts": dict(self.parts),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Message:
        """Reads the message that `to_json` gave."""
        return Message(
            reports=tuple(report_from(each) for each in data["reports"]),
            decisions=tuple(Decision(**each) for each in data["decisions"]),
            endings=tuple(Ending(**each) for each in data["endings"]),
            parts=data["parts"],
        )


def report_from(data: Mapping[str, Any]) -> Report:
    """Reads a report from its plain data."""
    return Report(**{**data, "share": tuple(data["share"]), "gate": tuple(data["gate"])})


def pack_from(data: Mapping[str, Any]) -> Pack:
    """Reads a pack from its plain data."""
    return Pack(**{**data, "trials": tuple(Trial(**each) for each in data["trials"])})


def config_of(trial: Trial) -> TrialConfig:
    """Reads the trial's complete configuration."""
    return _config(trial.config)


@functools.lru_cache(maxsize=4096)
def _config(said: str) -> TrialConfig:
    """Reading it takes some hundredths of a second, more than some trials train."""
    from mpc_router.config.trial import trial_config

    return trial_config(json.loads(said))
