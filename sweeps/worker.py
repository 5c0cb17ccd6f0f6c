"""Prepares, and trains a pack. Free of Ray: `--debug` and tests call it in process.

Letters: L lanes, N examples, K experts, C outputs of an expert.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import torch

from mpc_router import joint, joint_inputs, outputs, stack
from mpc_router.checkpoint import save
from mpc_router.config import ConfigError, TrialConfig
from mpc_router.costs import CostVector, from_json, to_json
from mpc_router.evaluate import EpochResult, LanesEnded, SplitReport
from mpc_router.joint_inputs import JointInputs
from mpc_router.models import ModelError
from mpc_router.outputs import Places, Prepared, Progress
from mpc_router.sources import SourceError
from mpc_router.stack import Lane, stack_key
from sweeps import parts
from sweeps.plan import config_of
from sweeps.records import COMPLETED, FAILED, STOPPED, Ending, Message, Pack, Report, Trial

Inputs = Prepared | JointInputs
"""What trials train on: outputs of frozen experts, or what their own experts begin with."""

INPUT_ERRORS = (ConfigError, SourceError, ModelError)
"""What says that the user's input is wrong."""

EPOCHS: Final = "epochs"
"""In a joint trial's checkpoint, while it trains: what it goes on from when interrupted."""


def check(config: TrialConfig, places: Places) -> None:
    """Finds what is wrong with data and models before anything is prepared.

    Raises:
        ConfigError, SourceError, ModelError: what was found.
    """
    if config.training.experts == "joint":
        joint_inputs.check_joint(config, places)
    else:
        outputs.check_inputs(config, places)


def prepare(config: TrialConfig, places: Places, progress: Progress) -> Inputs:
    """What trials with this configuration train on: made once, then only opened.

    Raises:
        ConfigError, SourceError, ModelError: the input is wrong.
    """
    if config.training.experts == "joint":
        return joint_inputs.prepare_joint(config, places, progress)
    return outputs.prepare(config, places, progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is common to all packs of a run."""

    prepared: Mapping[str, Path]
    """Folders of what is prepared, by the set's name."""

    parts: Path
    """Where bulk files go."""

    checkpoints: Path
    measured: Mapping[str, Mapping[str, CostVector]] = field(default_factory=dict)
    """Costs that the study brings along: by set, then by name."""

    threads: int = 1

    def to_json(self) -> dict[str, Any]:
        """Plain data, the way Ray carries it."""
        return {
            "prepared": {name: str(folder) for name, folder in self.prepared.items()},
            "parts": str(self.parts),
            "checkpoints": str(self.checkpoints),
            "measured": {name: to_json(dict(each)) for name, each in self.measured.items()},
            "threads": self.threads,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Job:
        """The job that `to_json` gave."""
        return Job(
            prepared={name: Path(folder) for name, folder in data["prepared"].items()},
            parts=Path(data["parts"]),
            checkpoints=Path(data["checkpoints"]),
            measured={name: from_json(each) for name, each in data["measured"].items()},
            threads=data["threads"],
        )


def run_pack(
    pack: Pack, job: Job, *, progress: Progress | None = None
) -> Generator[Message, None, None]:
    """Trains the pack, one stack after the other; says after every epoch what was measured.

    A lane that fails is said to have ended at once, with its reason; the others go on. Those that
    finish are said to have ended in the last message, when their routes and checkpoints are on
    disk. A trial whose experts train too goes on from the newest epoch that an interrupted attempt
    has left. An exception means that the surroundings failed (the disk, the prepared outputs).
    """
    use_threads(job.threads)
    run = _Run(pack=pack, job=job)
    for trials in stacks(pack):
        yield from _train_stack(run, trials, progress)
    if run.endings:
        files = {pack.file: run.routing, pack.experts_file: run.experts}
        yield Message(
            endings=tuple(run.endings),
            parts={
                name: parts.write(job.parts / name, tables)
                for name, tables in files.items()
                if tables
            },
        )
    for trial in pack.trials:  # the journal has their endings: nobody goes on from here
        shutil.rmtree(job.checkpoints / trial.key / EPOCHS, ignore_errors=True)


@dataclass(kw_only=True)
class _Run:
    """A pack in training: what has been gathered for its last message."""

    pack: Pack
    job: Job
    began: float = field(default_factory=time.monotonic)
    routing: list[pa.Table] = field(default_factory=list)
    experts: list[pa.Table] = field(default_factory=list)
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

    def reports(
        self, split: SplitReport, epoch: int, trials: Sequence[Trial], *, only: int | None = None
    ) -> tuple[Report, ...]:
        measured = self.job.measured.get(trials[0].prepared, {})
        costs = {name: vector.mean(split.share) for name, vector in measured.items()}
        whole = dataclasses.replace(split, cost={**split.cost, **costs})
        return reports(whole, epoch, trials, self.seconds(), only=only)


def is_joint(trial: Trial) -> bool:
    """Whether its experts train too."""
    return config_of(trial).training.experts == "joint"


def stacks(pack: Pack) -> list[list[Trial]]:
    """The pack's trials by set and stack, in the order of their first trials; joint ones alone."""
    groups: dict[tuple[str, str], list[Trial]] = {}
    for trial in pack.trials:
        together = trial.key if is_joint(trial) else stack_key(config_of(trial))
        groups.setdefault((trial.prepared, together), []).append(trial)
    return list(groups.values())


def _opened(folder: Path, trial: Trial) -> Inputs:
    """What the trial trains on."""
    return joint_inputs.open_joint(folder) if is_joint(trial) else outputs.open_prepared(folder)


def events(
    trials: Sequence[Trial],
    inputs: Inputs,
    progress: Progress | None,
    *,
    checkpoints: Path | None = None,
) -> Generator[EpochResult | LanesEnded, Any, None]:
    """The training of a stack; of a joint trial with its epochs in the folder."""
    lanes = [Lane(config=config_of(trial), seed=trial.seed) for trial in trials]
    device = _device(lanes[0])
    if isinstance(inputs, JointInputs):
        return joint.train(
            lanes,
            inputs,
            device=device,
            progress=progress,
            checkpoints=checkpoints,
            resume=checkpoints is not None,
        )
    return stack.train(lanes, inputs, device=device, progress=progress)


def _train_stack(run: _Run, trials: list[Trial], progress: Progress | None) -> Iterator[Message]:
    first = trials[0]
    inputs = _opened(run.job.prepared[first.prepared], first)
    training = events(
        trials, inputs, progress, checkpoints=run.job.checkpoints / first.key / EPOCHS
    )
    live = set(range(len(trials)))
    epochs = 0
    while True:
        try:
            event = next(training)
        except StopIteration:
            break
        except OSError:
            raise  # the surroundings, and no trial's fault
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
                reports=run.reports(event.report, event.epoch, trials),
                endings=tuple(
                    run.failed(trials[failure.lane], epochs=epochs, reason=failure.message)
                    for failure in event.failures
                ),
            )
            epochs = event.epoch
        elif event.reason != "failed":
            live -= {int(lane) for lane in event.lanes}
            yield _finish(run, event, trials, inputs)


def _finish(run: _Run, event: LanesEnded, trials: Sequence[Trial], inputs: Inputs) -> Message:
    """Keeps what the lanes leave behind; gives their reports of the quoted splits."""
    quoted: list[Report] = []
    for place, lane in enumerate(event.lanes):
        trial, checkpoint = trials[int(lane)], event.checkpoints[place]
        save(checkpoint, run.job.checkpoints / trial.key)
        for split in event.reports:
            quoted += run.reports(split, checkpoint.epoch, trials, only=int(lane))
        run.routing += [
            parts.routing(
                trial.key,
                split.split,
                example=np.asarray(split.example),
                routes=split.routes[place],
                logits=split.logits[place],
            )
            for split in event.routing
        ]
        for said in event.experts:  # of a joint trial: nobody else has these experts
            run.experts += parts.experts(trial.key, said, regression=inputs.task.regression)
        run.endings.append(
            Ending(
                key=trial.key,
                status=COMPLETED if event.reason == "completed" else STOPPED,
                epochs=event.epoch,
                epoch=checkpoint.epoch,
                seconds=run.seconds(),
                attempt=run.pack.attempt,
                part=run.pack.file,
                experts=run.pack.experts_file if event.experts else None,
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


def use_threads(count: int) -> None:
    """Torch's, from now on."""
    torch.set_num_threads(count)


def gpus() -> int:
    """GPUs that torch sees on this machine."""
    return torch.cuda.device_count()


def write_shared_parts(sets: Sequence[Inputs], folder: Path) -> dict[str, str]:
    """Frozen experts' outputs, and examples of every split but train, as bulk files; their hashes.

    Experts that several sets have in common are written once. The examples are those of the first.
    """
    frozen = {each.experts_id: each for each in sets if isinstance(each, Prepared)}
    experts = [
        table
        for prepared in frozen.values()
        for split in _all_but_train(prepared)
        for table in parts.experts(prepared.experts_id, split, regression=prepared.task.regression)
    ]
    examples = [parts.examples(split) for split in _all_but_train(sets[0])]
    written = {parts.EXAMPLES: parts.write(folder / parts.EXAMPLES, examples)}
    if experts:
        written[parts.EXPERTS] = parts.write(folder / parts.EXPERTS, experts)
    return written


def _all_but_train(inputs: Inputs) -> list[Any]:
    return [split for name, split in inputs.splits.items() if name != "train"]
