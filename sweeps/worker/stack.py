"""The stacks of a pack in training, and what their lanes leave behind.

Letters: L lanes, N examples, K experts, C outputs of an expert.
"""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import torch

from mpc_router import trainer
from mpc_router.files import make_folder
from mpc_router.progress import Progress
from mpc_router.results.checkpoint import save
from mpc_router.results.records import EpochResult, LanesEnded, SplitReport
from mpc_router.trainer import Events, Inputs, Lane, stack_key
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
from sweeps.worker.job import EPOCHS, Job

_PIECES: Final = 2
"""Of each batch of a joint trial whose GPU's memory ran out."""

Drop = Mapping[str, str]
"""Trials to end now, each with the reason, by key."""


@dataclass(kw_only=True)
class PackRun:
    """A pack in training: what its trials that end leave behind, until it is written."""

    pack: Pack
    job: Job
    began: float = field(default_factory=time.monotonic)
    routing: list[pa.Table] = field(default_factory=list)
    experts: list[pa.Table] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    """Why trials were stopped, by key."""

    notes: dict[str, str] = field(default_factory=dict)
    """What else is to be known of how trials came about, by key."""

    written: int = 0
    """Bulk files."""

    def settled(self, message: Message) -> Message:
        """The message, with the trials that have ended since the last: what they leave is on disk.

        So whoever has left the pack has ended, whatever becomes of the others.
        """
        if not self.endings:
            return message
        files = {
            self.pack.file(self.written): self.routing,
            self.pack.experts_file(self.written): self.experts,
        }
        said = dataclasses.replace(
            message,
            endings=(*message.endings, *self.endings),
            parts={
                name: bulk_files.write(self.job.parts / name, tables)
                for name, tables in files.items()
                if tables
            },
        )
        self.endings, self.routing, self.experts = [], [], []
        self.written += 1
        return said

    def failed(self, trial: Trial, *, epochs: int, reason: str) -> Ending:
        """The ending of a trial by its own fault."""
        return Ending(
            key=trial.key,
            status=FAILED,
            epochs=epochs,
            seconds=self.seconds(),
            attempt=self.pack.attempt,
            reason=reason,
        )

    def seconds(self) -> float:
        """Since the pack began."""
        return time.monotonic() - self.began

    def reports(
        self, split: SplitReport, epoch: int, trials: Sequence[Trial], *, only: int | None = None
    ) -> tuple[Report, ...]:
        """Reports of a split, under the study's measured costs too."""
        measured = self.job.measured.get(trials[0].prepared, {})
        costs = {name: vector.mean(split.share) for name, vector in measured.items()}
        whole = dataclasses.replace(split, cost={**split.cost, **costs})
        return reports(whole, epoch, trials, self.seconds(), only=only)


class Stack:
    """Lanes in training together, an epoch at a time."""

    def __init__(
        self, run: PackRun, trials: list[Trial], progress: Progress | None, *, saving: str = ""
    ) -> None:
        """`saving` memory, because it ran out before: how that is said of the trials."""
        self._run, self._trials, self._progress, self._saving = run, trials, progress, saving
        run.notes |= {trial.key: saving for trial in trials if saving}
        first = trials[0]
        self._inputs = trainer.open_inputs(run.job.prepared[first.prepared], config_of(first))
        epochs = run.job.checkpoints / first.key / EPOCHS
        if is_joint(first):
            for folder in (run.job.checkpoints, epochs.parent, epochs):
                make_folder(folder)
        pieces = _PIECES if saving else 1
        self._training = events(
            trials,
            self._inputs,
            progress,
            gpus=run.job.gpus,
            checkpoints=epochs,
            pieces=pieces,
        )
        self._live = set(range(len(trials)))
        self._epochs = 0
        self._error: str | None = None
        self.over = False
        self._ran_out = False
        self.divides = False
        """Whether it has broken down, and others are to take its place (`divided`)."""

    def advance(self, drop: Drop) -> Message:
        """Ends the trials to drop and trains the others an epoch, or ends them after their last.

        Gives the reports of the new epoch, and those of the quoted splits of trials that ended.
        """
        left = self.leave(drop)
        quoted, endings = list(left.reports), list(left.endings)
        for event in self._events():
            if isinstance(event, EpochResult):
                message = self._reported(event)
                quoted += message.reports
                endings += message.endings
                break
            quoted += self._ended(event)
        return Message(reports=tuple(quoted), endings=(*endings, *self._broken()))

    def leave(self, drop: Drop) -> Message:
        """Ends the trials to drop; gives their reports of the quoted splits. Nothing is trained."""
        leaving = {lane for lane in self._live if self._trials[lane].key in drop}
        if not leaving or self.over or not self._epochs:
            return Message()
        for lane in leaving:
            self._run.reasons[self._trials[lane].key] = drop[self._trials[lane].key]
        quoted: list[Report] = []
        for event in self._events(leaving):
            assert not isinstance(event, EpochResult)  # lanes that leave are told of first
            quoted += self._ended(event)
            if not leaving & self._live:
                break
        if not self._live:
            self.over = True
            self._training.close()
        return Message(reports=tuple(quoted), endings=self._broken())

    def _events(self, answer: set[int] | None = None) -> Iterator[EpochResult | LanesEnded]:
        """What the training yields from here; it is over where that ends."""
        while not self.over:
            try:
                event = self._training.send(answer)
            except StopIteration:
                self.over = True
            except OSError:
                raise  # the surroundings, and no trial's fault
            except Exception as error:
                self.over = True
                self._ran_out = isinstance(error, torch.OutOfMemoryError)
                self.divides = self._may_divide(error)
                self._error = None if self.divides else _reason_of(error)
            else:
                yield event
            answer = None

    def _may_divide(self, error: Exception) -> bool:
        """Whether others may fare better: where the GPU's memory ran out it is tried once, and
        nothing was said that would be said again."""
        if (self._ran_out and self._saving) or _of_the_host(error):
            return False
        if is_joint(self._trials[0]):
            return self._ran_out
        return not self._epochs and len(self._trials) > 1

    def divided(self) -> list[Stack]:
        """Those that take the place of one that has broken down.

        Routers in two stacks of half the lanes, which gives the same numbers, for no lane depends
        on the others: they need less memory, and whoever breaks a stack is alone in the end. A
        joint trial from its newest whole epoch, every batch in `_PIECES`.
        """
        self._training.close()
        del self._training
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        ran_out = "the GPU's memory ran out"
        if is_joint(self._trials[0]):
            saving = f"{ran_out}: batches were accumulated from {_PIECES} pieces each"
            return [Stack(self._run, self._trials, self._progress, saving=saving)]
        half = (len(self._trials) + 1) // 2
        halves = self._trials[:half], self._trials[half:]
        saving = f"{ran_out}: trained in two stacks" if self._ran_out else self._saving
        return [Stack(self._run, each, self._progress, saving=saving) for each in halves]

    def _broken(self) -> tuple[Ending, ...]:
        """Endings of the trials that an exception has ended."""
        if self._error is None:
            return ()
        reason, self._error = self._error, None
        lanes, self._live = sorted(self._live), set()
        return tuple(
            self._run.failed(self._trials[lane], epochs=self._epochs, reason=reason)
            for lane in lanes
        )

    def _ended(self, event: LanesEnded) -> tuple[Report, ...]:
        if event.reason == "failed":
            return ()
        self._live -= {int(lane) for lane in event.lanes}
        return _finish(self._run, event, self._trials, self._inputs)

    def _reported(self, event: EpochResult) -> Message:
        self._live -= {failure.lane for failure in event.failures}
        endings = tuple(
            self._run.failed(
                self._trials[failure.lane], epochs=self._epochs, reason=failure.message
            )
            for failure in event.failures
        )
        self._epochs = event.epoch
        reports = self._run.reports(event.report, event.epoch, self._trials)
        return Message(reports=reports, endings=endings)


def _reason_of(error: Exception) -> str:
    """Why a trial FAILED by its own fault, in a sentence."""
    if isinstance(error, torch.OutOfMemoryError):
        advice = "take a smaller batch_size, or fewer packs a GPU (pack.gpus)"
        return f"out of GPU memory: {_said_of(error)}; {advice}"
    if _of_the_host(error):
        return f"out of memory on the host: {_said_of(error)}; take a smaller batch_size"
    return f"{type(error).__name__}: {error}"


def _of_the_host(error: Exception) -> bool:
    """Whether the host's memory ran out."""
    return isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)


def _said_of(error: Exception) -> str:
    """What it says in its first line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def is_joint(trial: Trial) -> bool:
    """Whether its experts train too."""
    return config_of(trial).training.joint


def stacks(pack: Pack) -> list[list[Trial]]:
    """The pack's trials by set and stack, in the order of their first trials; joint ones alone."""
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in pack.trials:
        together = trial.key if is_joint(trial) else stack_key(config_of(trial))
        groups.setdefault((trial.prepared, together), []).append(trial)
    return list(groups.values())


def events(
    trials: Sequence[Trial],
    inputs: Inputs,
    progress: Progress | None,
    *,
    gpus: float = 0.0,
    checkpoints: Path | None = None,
    pieces: int = 1,
) -> Events:
    """Trains a stack; a joint trial with its epochs in the folder, and with every batch in so many
    pieces."""
    lanes = [Lane(config=config_of(trial), seed=trial.seed) for trial in trials]
    return trainer.train(
        lanes,
        inputs,
        device=_device(lanes[0], gpus),
        progress=progress,
        checkpoints=checkpoints,
        resume=checkpoints is not None,
        pieces=pieces,
    )


def _finish(
    run: PackRun, event: LanesEnded, trials: Sequence[Trial], inputs: Inputs
) -> tuple[Report, ...]:
    """Keeps what the lanes leave behind; gives their reports of the quoted splits."""
    quoted: list[Report] = []
    for place, lane in enumerate(event.lanes):
        trial, checkpoint = trials[int(lane)], event.checkpoints[place]
        folder = run.job.checkpoints / trial.key
        make_folder(run.job.checkpoints)
        make_folder(folder)
        save(checkpoint, folder)
        for split in event.reports:
            quoted += run.reports(split, checkpoint.epoch, trials, only=int(lane))
        run.routing += [
            bulk_files.routing(
                trial.key,
                split.split,
                example=np.asarray(split.example),
                routes=split.routes[place],
                logits=split.logits[place],
            )
            for split in event.routing
        ]
        for said in event.experts:  # of a joint trial: nobody else has these experts
            run.experts += bulk_files.experts(trial.key, said, regression=inputs.task.regression)
        run.endings.append(
            Ending(
                key=trial.key,
                status=COMPLETED if event.reason == "completed" else STOPPED,
                epochs=event.epoch,
                epoch=checkpoint.epoch,
                seconds=run.seconds(),
                attempt=run.pack.attempt,
                reason="; ".join(
                    filter(None, [run.reasons.get(trial.key), run.notes.get(trial.key)])
                )
                or None,
                part=run.pack.file(run.written),
                experts=run.pack.experts_file(run.written) if event.experts else None,
            )
        )
    return tuple(quoted)


def reports(
    split: SplitReport,
    epoch: int,
    trials: Sequence[Trial],
    seconds: float,
    *,
    only: int | None = None,
) -> tuple[Report, ...]:
    """A report for each lane of arrays over lanes; `only` that one if given."""
    return tuple(
        Report(
            key=trials[int(lane)].key,
            epoch=epoch,
            split=split.split,
            metrics={name: float(values[row]) for name, values in split.metrics.items()},
            cost={name: float(values[row]) for name, values in split.cost.items()},
            losses={
                name: float(getattr(split, name)[row])
                for name in ("loss", "loss_task", "loss_balance", "loss_cost")
            },
            share=tuple(map(float, split.share[row])),
            gate=tuple(map(float, split.gate[row])),
            gate_entropy=float(split.gate_entropy[row]),
            seconds=seconds,
        )
        for row, lane in enumerate(split.lanes)
        if only is None or int(lane) == only
    )


def _device(lane: Lane, gpus: float) -> str:
    """Of a pack that has so many GPUs: one without takes none, whatever torch sees."""
    asked = lane.config.training.device
    if asked != "auto":
        return str(asked)
    return "cuda" if gpus and torch.cuda.is_available() else "cpu"
