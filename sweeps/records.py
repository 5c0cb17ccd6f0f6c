"""Defines the frozen records that all of this package exchanges; loads no library."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from mpc_router.run_names import CHECKPOINTS_FOLDER as CHECKPOINTS_FOLDER
from mpc_router.run_names import COMPLETED as COMPLETED
from mpc_router.run_names import FAILED as FAILED
from mpc_router.run_names import INTERRUPTED as INTERRUPTED
from mpc_router.run_names import JOURNAL_FILE as JOURNAL_FILE
from mpc_router.run_names import PARTS_FOLDER as PARTS_FOLDER
from mpc_router.run_names import REPORT_LISTS
from mpc_router.run_names import SELECTION as SELECTION
from mpc_router.run_names import STATES_FOLDER as STATES_FOLDER
from mpc_router.run_names import STATUSES as STATUSES
from mpc_router.run_names import STOPPED as STOPPED
from mpc_router.run_names import STUDY_FILE as STUDY_FILE
from mpc_router.shapes import PlainName

if TYPE_CHECKING:
    from mpc_router.config.trial import TrialConfig


BUDGET: Final = "budget"
"""Names the reason of a trial that the budget has interrupted."""

LOSS_TOLERANCE: Final = 1e-5
"""Bounds how far losses of a repeated report may differ; scores and costs may not differ."""

FIRST_SET: Final = "set00"
"""Names the first prepared set of a study; most studies have no other."""

INSIDE: Final = "inside"
BETWEEN: Final = "between"
"""Say where a pack's points are ranked.

Inside a pack, points are ranked against each other at rungs that all of them reach together.
Between packs, a point is ranked as it arrives, against those that arrived before.
"""


class InputError(Exception):
    """Says in a sentence what is wrong with the user's input."""


class SweepError(Exception):
    """Says that the surroundings of a run failed, and how to resume it; its results are safe."""


class NodesGone(SweepError):
    """Says that no node has room for a pack any more; the same command goes on elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodesWanted:
    """Says how many nodes of a cluster a sweep waits for, and how long."""

    count: int
    """Counts the nodes that have room for a pack."""

    seconds: float
    """Limits the wait, at the start and whenever all of them have left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Holds one configuration without its seed."""

    name: PlainName
    """Names the point in its run, such as `p00`, in the order of asking."""

    settings: Mapping[str, Any]
    """Holds the searched settings by leaf name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Holds a point with a seed."""

    key: PlainName
    """Identifies the trial on every machine and in every run."""

    point: PlainName
    seed: int
    config: str
    """Holds the complete configuration as JSON in the published shape."""

    prepared: PlainName = FIRST_SET
    """Names the prepared set that the trial trains on, or begins with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """Holds the trials, of one stack, that one worker trains together.

    Replicates of a point that are asked together stay together.
    """

    name: PlainName
    trials: tuple[Trial, ...]
    attempt: int = 1
    """Counts the starts of the pack, from 1."""

    stopping: str = ""
    """Says where points are ranked: `INSIDE` or `BETWEEN`; empty where nothing is stopped early."""

    def file(self, number: int = 0) -> str:
        """Gives the name of a bulk file in `parts/`; a pack writes one each time that trials end.

        No attempt overwrites a file of an earlier one.
        """
        return f"{self._stem(number)}.parquet"

    def experts_file(self, number: int = 0) -> str:
        """Gives the name of the bulk file with the outputs of its trials' own experts."""
        return f"{self._stem(number)}.experts.parquet"

    def paths_file(self, number: int = 0) -> str:
        """Gives the name of the bulk file with the paths that its trials route between."""
        return f"{self._stem(number)}.paths.parquet"

    def routers_file(self, number: int = 0) -> str:
        """Gives the name of the file in `checkpoints/` with the routers of its ended trials."""
        return routers_file(self.file(number))

    def state_file(self, epoch: int) -> str:
        """Gives the name of the file in `states/` with what its lanes are after an epoch."""
        return f"{self._stem(epoch)}.safetensors"

    def _stem(self, number: int) -> str:
        """Gives the beginning of a bulk file's name: pack, attempt and number."""
        attempt = f".{self.attempt}" if self.attempt > 1 else ""
        return f"{self.name}{attempt}" + (f"-{number}" if number else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Holds what one trial measured after one epoch on one split."""

    key: str
    epoch: int
    """Counts from 1."""

    split: str
    metrics: Mapping[str, float]
    """Holds `score` and the task's own metrics, of the hard gate."""

    cost: Mapping[str, float]
    """Holds the mean cost of an example by cost vector, the router included."""

    losses: Mapping[str, float]
    """Holds `loss` of the soft gate, and its terms `loss_task`, `loss_balance`, `loss_cost`."""

    share: tuple[float, ...]
    """Holds the share of hard routes by expert, or by path of the trial's."""

    gate: tuple[float, ...]
    """Holds the mean soft gate, likewise."""

    gate_entropy: float
    """Gives the mean entropy of a gate in nats."""

    seconds: float
    """Counts from the start of the trial's pack."""

    runs: tuple[float, ...] = ()
    """Holds the share of examples that each expert runs for, where routes are paths of several
    experts; else it is empty."""

    @property
    def expert_share(self) -> tuple[float, ...]:
        """Gives the share of examples that each expert runs for."""
        return self.runs or self.share

    def to_json(self) -> dict[str, Any]:
        """Gives plain data, which shares the report's mappings; `runs` is left out if empty."""
        return {name: getattr(self, name) for name in _REPORT_FIELDS if name != "runs" or self.runs}

    @property
    def place(self) -> tuple[str, int, str]:
        """Gives the report's identity in its run: (key, epoch, split)."""
        return self.key, self.epoch, self.split

    def value(self, name: str, cost_vector: str) -> float:
        """Gives the value of an objective: a metric, `cost`, or `cost_VECTOR`."""
        if name == "cost":
            return self.cost[cost_vector]
        if name.startswith("cost_"):
            return self.cost[name.removeprefix("cost_")]
        return self.metrics[name]

    def difference(self, repeat: Report) -> str | None:
        """Says in words how a repeat of this report differs; None where it does not."""
        for values, repeated in ((self.metrics, repeat.metrics), (self.cost, repeat.cost)):
            for name, value in values.items():
                if repeated.get(name) != value:
                    return f"its {name} was {value} and is {repeated.get(name)}"
        for name, value in self.losses.items():
            loss = repeat.losses.get(name, math.nan)
            if not math.isclose(value, loss, rel_tol=0, abs_tol=LOSS_TOLERANCE):
                return f"its {name} was {value} and is {loss}"
        return None


_REPORT_FIELDS: Final = tuple(field.name for field in dataclasses.fields(Report))


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Says whether a trial goes on or stops after an epoch."""

    key: str
    epoch: int
    goes_on: bool
    reason: str

    @property
    def place(self) -> tuple[str, int]:
        """Gives the decision's identity in its run: (key, epoch)."""
        return self.key, self.epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Says how a trial ended."""

    key: PlainName
    status: str
    epochs: int
    """Counts the epochs that the trial finished."""

    seconds: float
    attempt: int
    epoch: int = 0
    """Says which epoch's results are the trial's; 0 where there are none."""

    reason: str | None = None
    part: PlainName | None = None
    """Names the file in `parts/` with the trial's routes."""

    experts: PlainName | None = None
    """Names the file in `parts/` with its experts' outputs; None where they were frozen."""

    paths: PlainName | None = None
    """Names the file in `parts/` with the paths of its routes; None where a route is an expert."""

    paths_id: str | None = None
    """Names its paths in that file: equal paths have one name."""

    @property
    def files(self) -> tuple[str, ...]:
        """Names the files in `parts/` that hold what the trial left."""
        return tuple(filter(None, (self.part, self.experts, self.paths)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Names the state of a pack on disk from which its training can go on."""

    epoch: int
    """Counts the epochs that its lanes have trained."""

    file: PlainName
    """Names the file in `states/`."""

    sha256: str
    stacks: tuple[tuple[PlainName, ...], ...]
    """Gives the keys of the trials that still train, by stack; the pack's others have ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Holds what a worker reports of a pack while it trains it."""

    reports: tuple[Report, ...] = ()
    decisions: tuple[Decision, ...] = ()
    """Holds the decisions of a rung inside the pack, which these reports reach."""

    endings: tuple[Ending, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)
    """Gives the hash by name of a file in `parts/`."""

    kept: Kept | None = None
    """Names the pack's state after this message; None where none was written."""

    restarts: str = ""
    """Says why the pack begins at its start although a state of it was kept."""

    def to_json(self) -> dict[str, Any]:
        """Gives plain data, the way the journal and Ray carry it."""
        return {
            "reports": [report.to_json() for report in self.reports],
            "decisions": [dataclasses.asdict(decision) for decision in self.decisions],
            "endings": [dataclasses.asdict(ending) for ending in self.endings],
            "parts": dict(self.parts),
            "kept": self.kept and dataclasses.asdict(self.kept),
            "restarts": self.restarts,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Message:
        """Reads the message that `to_json` gave."""
        return Message(
            reports=tuple(report_from(report) for report in data["reports"]),
            decisions=tuple(Decision(**decision) for decision in data["decisions"]),
            endings=tuple(Ending(**ending) for ending in data["endings"]),
            parts=data["parts"],
            kept=data["kept"] and kept_from(data["kept"]),
            restarts=data["restarts"],
        )


def routers_file(part: str) -> str:
    """Gives the name of the file in `checkpoints/` with the routers whose routes are in a part."""
    return f"{part.removesuffix('.parquet')}.safetensors"


def report_from(data: Mapping[str, Any]) -> Report:
    """Reads a report from its plain data."""
    lists = {name: tuple(data[name]) for name in REPORT_LISTS}
    return Report(**{**data, **lists, "runs": tuple(data.get("runs", ()))})


def kept_from(data: Mapping[str, Any]) -> Kept:
    """Reads what was kept of a pack from its plain data."""
    return Kept(
        epoch=data["epoch"],
        file=data["file"],
        sha256=data["sha256"],
        stacks=tuple(map(tuple, data["stacks"])),
    )


def pack_from(data: Mapping[str, Any]) -> Pack:
    """Reads a pack from its plain data."""
    return Pack(**{**data, "trials": tuple(Trial(**trial) for trial in data["trials"])})


def config_of(trial: Trial) -> TrialConfig:
    """Reads the trial's complete configuration."""
    return _config(trial.config)


@functools.lru_cache(maxsize=4096)
def _config(config_json: str) -> TrialConfig:
    """Reads a configuration once: that takes longer than some trials train."""
    import json

    from mpc_router.config.trial import trial_config

    return trial_config(json.loads(config_json))
