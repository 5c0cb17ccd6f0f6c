"""The module keeps what ended trials of a pack leave behind, until it is on disk."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from mpc_router.results.checkpoint import JointCheckpoint, LaneCheckpoint, save, save_lanes
from mpc_router.results.records import LanesEnded, SplitReport
from mpc_router.routes import expert_shares, single_paths
from mpc_router.run_names import REPORT_LISTS, REPORT_LOSSES, REPORT_NUMBERS
from mpc_router.storage.files import make_folder
from mpc_router.trainer import Inputs
from sweeps.journal import bulk_files
from sweeps.records import (
    COMPLETED,
    FAILED,
    STOPPED,
    Ending,
    Message,
    Pack,
    Report,
    Trial,
    config_of,
)
from sweeps.worker._kept_states import StateWriter, TrialsState
from sweeps.worker.job import Job


@dataclass(kw_only=True)
class PackRun:
    """Holds a pack in training, and what its ended trials leave behind until it is written."""

    pack: Pack
    job: Job
    began: float = field(default_factory=time.monotonic)
    routing: list[pa.Table] = field(default_factory=list)
    experts: list[pa.Table] = field(default_factory=list)
    paths: dict[str, pa.Table] = field(default_factory=dict)
    """They are the paths that trials choose between, by their name."""

    endings: list[Ending] = field(default_factory=list)
    stop_reasons: dict[str, str] = field(default_factory=dict)
    """They are the reasons why trials were stopped, by key."""

    notes: dict[str, str] = field(default_factory=dict)
    """They are notes on how trials were trained, by key."""

    routers: dict[str, LaneCheckpoint] = field(default_factory=dict)
    """They are the routers of ended trials on frozen experts, by key."""

    written: int = 0
    """It counts the messages whose bulk files are written."""

    restarts: str = ""
    """It says until the first message why the pack does not go on from its kept state."""

    def __post_init__(self) -> None:
        """Begins the time until the pack's first state is written."""
        self._writer = StateWriter(pack=self.pack, folder=self.job.states)

    def settle(self, message: Message, states: Callable[[], Sequence[TrialsState]]) -> Message:
        """Adds the trials that have ended since the last message, and the state of the others.

        What ended trials leave is written before, so that the ending of a trial that has left the
        pack is safe, whatever happens to the others. `states` gives what these are after the epoch,
        which is written where it is due.
        """
        settled = self._with_endings(message)
        kept, restarts, self.restarts = self._writer.write(states), self.restarts, ""
        return dataclasses.replace(settled, kept=kept, restarts=restarts)

    def _with_endings(self, message: Message) -> Message:
        """Adds the trials that have ended since the last message, after writing what they leave."""
        if not self.endings:
            return message
        if self.routers:
            make_folder(self.job.checkpoints)
            save_lanes(self.routers, self.job.checkpoints / self.pack.routers_file(self.written))
        files = {
            self.pack.file(self.written): self.routing,
            self.pack.experts_file(self.written): self.experts,
            self.pack.paths_file(self.written): list(self.paths.values()),
        }
        settled = dataclasses.replace(
            message,
            endings=(*message.endings, *self.endings),
            parts={
                name: bulk_files.write(self.job.parts / name, tables)
                for name, tables in files.items()
                if tables
            },
        )
        self.endings, self.routing, self.experts, self.paths = [], [], [], {}
        self.routers = {}
        self.written += 1
        return settled

    def fail(self, trial: Trial, *, epochs: int, reason: str) -> Ending:
        """Makes the ending of a trial that failed by its own fault."""
        return Ending(
            key=trial.key,
            status=FAILED,
            epochs=epochs,
            seconds=self.seconds(),
            attempt=self.pack.attempt,
            reason=reason,
        )

    def seconds(self) -> float:
        """Gives the seconds since the pack began."""
        return time.monotonic() - self.began

    def reports(
        self,
        split: SplitReport,
        epoch: int,
        trials: Sequence[Trial],
        *,
        only_lane: int | None = None,
    ) -> tuple[Report, ...]:
        """Makes reports of a split, with the study's measured costs; `only_lane`'s if given."""
        measured = self.job.measured.get(trials[0].prepared, {})
        paths = config_of(trials[0]).paths
        costs = {name: vector.on(paths).mean(split.share) for name, vector in measured.items()}
        with_measured = dataclasses.replace(split, cost={**split.cost, **costs})
        seconds = self.seconds()
        return tuple(
            _report(with_measured, row, trials[int(lane)], epoch, seconds)
            for row, lane in enumerate(split.lanes)
            if only_lane is None or int(lane) == only_lane
        )

    def finish(
        self, event: LanesEnded, trials: Sequence[Trial], inputs: Inputs
    ) -> tuple[Report, ...]:
        """Keeps what the ended lanes leave behind; gives their reports of the quoted splits."""
        reports: list[Report] = []
        for place, lane in enumerate(event.lanes):
            trial, checkpoint = trials[int(lane)], event.checkpoints[place]
            if self.job.keeps_routers:
                self._keep(trial.key, checkpoint)
            for split in event.reports:
                reports += self.reports(split, checkpoint.epoch, trials, only_lane=int(lane))
            self.routing += [
                bulk_files.routing(
                    trial.key,
                    split.split,
                    example=np.asarray(split.example),
                    routes=split.routes[place],
                    logits=split.logits[place],
                )
                for split in event.routing
            ]
            for outputs in event.experts:  # a joint trial's: no other trial has these experts
                self.experts += bulk_files.experts(
                    trial.key, outputs, regression=inputs.task.regression
                )
            if event.paths is not None:
                self.paths.setdefault(event.paths.name, bulk_files.paths(event.paths))
            self.endings.append(self._ending(event, trial, checkpoint.epoch))
        return tuple(reports)

    def _keep(self, key: str, checkpoint: LaneCheckpoint | JointCheckpoint) -> None:
        """Keeps the router of an ended trial; one that is trained with its experts is written."""
        if isinstance(checkpoint, LaneCheckpoint):
            self.routers[key] = checkpoint
            return
        for folder in (self.job.checkpoints, self.job.checkpoints / key):
            make_folder(folder)
        save(checkpoint, self.job.checkpoints / key)

    def _ending(self, event: LanesEnded, trial: Trial, epoch: int) -> Ending:
        """Makes the ending of a trial whose checkpoint is of an epoch."""
        reasons = [self.stop_reasons.get(trial.key), self.notes.get(trial.key)]
        return Ending(
            key=trial.key,
            status=COMPLETED if event.reason == "completed" else STOPPED,
            epochs=event.epoch,
            epoch=epoch,
            seconds=self.seconds(),
            attempt=self.pack.attempt,
            reason="; ".join(filter(None, reasons)) or None,
            part=self.pack.file(self.written),
            experts=self.pack.experts_file(self.written) if event.experts else None,
            paths=self.pack.paths_file(self.written) if event.paths else None,
            paths_id=event.paths.name if event.paths else None,
        )


def _report(split: SplitReport, row: int, trial: Trial, epoch: int, seconds: float) -> Report:
    """Makes the report of one row of a split's arrays over lanes."""
    lists: dict[str, Any] = {
        name: tuple(getattr(split, name)[row].tolist()) for name in REPORT_LISTS
    }
    numbers: dict[str, Any] = {name: float(getattr(split, name)[row]) for name in REPORT_NUMBERS}
    config = config_of(trial)
    runs: tuple[float, ...] = ()
    if config.paths != single_paths(config.experts):
        runs = tuple(expert_shares(split.share[row], config.paths, config.experts).tolist())
    return Report(
        key=trial.key,
        epoch=epoch,
        split=split.split,
        metrics={name: float(values[row]) for name, values in split.metrics.items()},
        cost={name: float(values[row]) for name, values in split.cost.items()},
        losses={name: float(getattr(split, name)[row]) for name in REPORT_LOSSES},
        seconds=seconds,
        runs=runs,
        **lists,
        **numbers,
    )
