"""Prepares, and trains a pack. Free of Ray: `--debug` and tests call it in process.

Letters: L lanes, N examples, K experts, C outputs of an expert.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from mpc_router.checkpoint import save
from mpc_router.config import ConfigError
from mpc_router.evaluate import EpochResult, LanesEnded, SplitReport
from mpc_router.models import ModelError
from mpc_router.outputs import Prepared as Prepared
from mpc_router.outputs import Progress, SplitOutputs, open_prepared
from mpc_router.sources import SourceError
from mpc_router.stack import Lane, stack_key, train
from sweeps import parts
from sweeps.plan import config_of
from sweeps.records import COMPLETED, FAILED, STOPPED, Ending, Message, Pack, Report, Trial

INPUT_ERRORS = (ConfigError, SourceError, ModelError)
"""What says that the user's input is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is common to all packs of a run."""

    prepared: Path
    """Folder of the experts' outputs."""

    parts: Path
    """Where bulk files go."""

    checkpoints: Path
    threads: int = 1

    def to_json(self) -> dict[str, Any]:
        """Plain data, the way Ray carries it."""
        return {
            "prepared": str(self.prepared),
            "parts": str(self.parts),
            "checkpoints": str(self.checkpoints),
            "threads": self.threads,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Job:
        """The job that `to_json` gave."""
        return Job(
            prepared=Path(data["prepared"]),
            parts=Path(data["parts"]),
            checkpoints=Path(data["checkpoints"]),
            threads=data["threads"],
        )


def run_pack(
    pack: Pack, job: Job, *, progress: Progress | None = None
) -> Generator[Message, None, None]:
    """Trains the pack, one stack after the other; says after every epoch what was measured.

    A lane that fails is said to have ended at once, with its reason; the others go on. Those that
    finish are said to have ended in the last message, when their routes and checkpoints are on
    disk. An exception means that the surroundings failed (the disk, the prepared outputs).
    """
    torch.set_num_threads(job.threads)
    run = _Run(pack=pack, job=job, prepared=open_prepared(job.prepared))
    for trials in _stacks(pack):
        yield from _train_stack(run, trials, progress)
    if run.endings:
        sha256 = parts.write(job.parts / pack.file, run.tables)
        yield Message(endings=tuple(run.endings), parts={pack.file: sha256})


@dataclass(kw_only=True)
class _Run:
    """A pack in training: what has been gathered for its last message."""

    pack: Pack
    job: Job
    prepared: Prepared
    began: float = field(default_factory=time.monotonic)
    tables: list[pa.Table] = field(default_factory=list)
    endings: list[Ending] = field(default_factory=list)

    def failed(self, trial: Trial, *, epochs: int, reason: str) -> Ending:
        return Ending(
            key=trial.key,
            status=FAILED,
            epochs=epochs,
            seconds=self.seconds(),
            attempt=self.pack.attempt,
            reason=reason,
        )

    def seconds(self) -> float:
        return time.monotonic() - self.began


def _stacks(pack: Pack) -> list[list[Trial]]:
    """The pack's trials by stack, in the order of their first trials."""
    groups: dict[str, list[Trial]] = {}
    for trial in pack.trials:
        groups.setdefault(stack_key(config_of(trial)), []).append(trial)
    return list(groups.values())


def _train_stack(run: _Run, trials: list[Trial], progress: Progress | None) -> Iterator[Message]:
    lanes = [Lane(config=config_of(trial), seed=trial.seed) for trial in trials]
    device = _device(lanes[0])
    live = set(range(len(lanes)))
    epochs = 0
    events = train(lanes, run.prepared, device=device, progress=progress)
    while True:
        try:
            event = next(events)
        except StopIteration:
            break
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            yield Message(
                endings=tuple(
                    run.failed(trials[lane], epochs=epochs, reason=reason) for lane in sorted(live)
                )
            )
            break
        if isinstance(event, EpochResult):
            dead = {failure.lane for failure in event.failures}
            live -= dead
            yield Message(
                reports=reports(event.report, event.epoch, trials, run.seconds()),
                endings=tuple(
                    run.failed(trials[failure.lane], epochs=epochs, reason=failure.message)
                    for failure in event.failures
                ),
            )
            epochs = event.epoch
        elif event.reason != "failed":
            live -= {int(lane) for lane in event.lanes}
            yield _finish(run, event, trials)


def _finish(run: _Run, event: LanesEnded, trials: Sequence[Trial]) -> Message:
    """Keeps what the lanes leave behind; gives their reports of the quoted splits."""
    quoted: list[Report] = []
    for place, lane in enumerate(event.lanes):
        trial, checkpoint = trials[int(lane)], event.checkpoints[place]
        save(checkpoint, run.job.checkpoints / trial.key)
        for split in event.reports:
            quoted += reports(split, checkpoint.epoch, trials, run.seconds(), only=int(lane))
        run.tables += [
            parts.routing(
                trial.key,
                split.split,
                example=np.asarray(split.example),
                routes=split.routes[place],
                logits=split.logits[place],
            )
            for split in event.routing
        ]
        run.endings.append(
            Ending(
                key=trial.key,
                status=COMPLETED if event.reason == "completed" else STOPPED,
                epochs=event.epoch,
                epoch=checkpoint.epoch,
                seconds=run.seconds(),
                attempt=run.pack.attempt,
                part=run.pack.file,
            )
        )
    return Message(reports=tuple(quoted))


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


def _device(lane: Lane) -> str:
    asked = lane.config.training.device
    if asked != "auto":
        return str(asked)
    return "cuda" if torch.cuda.is_available() else "cpu"


def gpus() -> int:
    """GPUs that torch sees on this machine."""
    return torch.cuda.device_count()


class _Enough(Exception):
    """Steps enough have been measured."""


class _Stopwatch:
    """A progress that measures steps and ends the training when it has seen enough."""

    def __init__(self, seconds: float) -> None:
        self.limit = seconds
        self.total = 0
        self.steps = -1
        """The first step, with its warming up, is not counted."""

        self.began = 0.0
        self.spent = 0.0

    def start(self, label: str, total: int) -> None:
        self.total = max(self.total, total)

    def advance(self, n: int = 1) -> None:
        now = time.perf_counter()
        if self.steps < 0:
            self.began, self.steps = now, 0
            return
        self.steps += n
        self.spent = now - self.began
        if self.spent > self.limit:
            raise _Enough

    def finish(self) -> None:
        """Nothing to do."""


def measured_step(pack: Pack, prepared: Prepared, *, threads: int, seconds: float = 1.0) -> float:
    """Seconds of one step of one lane in the pack's first stack, measured; nothing is written."""
    torch.set_num_threads(threads)
    trials = _stacks(pack)[0]
    lanes = [Lane(config=config_of(trial), seed=trial.seed) for trial in trials]
    watch = _Stopwatch(seconds)
    try:
        for _ in train(lanes, prepared, device=_device(lanes[0]), progress=watch):
            pass
    except _Enough:
        pass
    return watch.spent / max(1, watch.steps) / len(lanes)


def write_shared_parts(prepared: Prepared, folder: Path) -> dict[str, str]:
    """Experts' outputs and examples of every split but train, as bulk files; their hashes."""
    splits = [split for name, split in prepared.splits.items() if name != "train"]
    experts = [table for split in splits for table in _expert_tables(prepared, split)]
    examples = [
        pa.table(
            {
                "split": parts.repeated(split.split, len(split.labels)),
                "example": np.asarray(split.example),
                "label": np.asarray(split.labels, np.float64),
                "tokens": np.asarray(split.tokens),
            }
        )
        for split in splits
    ]
    return {
        parts.EXPERTS: parts.write(folder / parts.EXPERTS, experts),
        parts.EXAMPLES: parts.write(folder / parts.EXAMPLES, examples),
    }


def _expert_tables(prepared: Prepared, split: SplitOutputs) -> Iterator[pa.Table]:
    outputs = np.asarray(split.outputs, np.float64)
    labels = np.asarray(split.labels, np.float64)
    predictions, losses, right = judged(outputs, labels, regression=prepared.task.regression)
    for expert in range(outputs.shape[1]):
        yield pa.table(
            {
                "experts_id": parts.repeated(prepared.experts_id, len(labels)),
                "expert": np.full(len(labels), expert, np.uint8),
                "split": parts.repeated(split.split, len(labels)),
                "example": np.asarray(split.example),
                "prediction": predictions[:, expert],
                "output": parts.lists(np.asarray(split.outputs[:, expert])),
                "loss": losses[:, expert],
                "right": right[:, expert],
            }
        )


def judged(
    outputs: NDArray[np.float64], labels: NDArray[np.float64], *, regression: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Predictions, losses and being right, each (N, K), of outputs (N, K, C) and labels (N,).

    Cross-entropy and the label's class; for a regression the squared error, and right is whoever
    has the least absolute error of the pool.
    """
    if regression:
        predictions = outputs[:, :, 0]
        errors = np.abs(predictions - labels[:, None])
        return predictions, errors**2, errors == errors.min(axis=1, keepdims=True)
    predictions = outputs.argmax(axis=2).astype(np.float64)
    top = outputs.max(axis=2)
    normaliser = top + np.log(np.exp(outputs - top[:, :, None]).sum(axis=2))
    chosen = np.take_along_axis(outputs, labels.astype(np.int64)[:, None, None], axis=2)[:, :, 0]
    return predictions, normaliser - chosen, predictions == labels[:, None]
