"""How long a trial takes: some of its steps, measured. Free of Ray."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass

from mpc_router.trainer import Inputs
from sweeps.records import Pack, Trial, config_of
from sweeps.worker.pack import use_threads
from sweeps.worker.stack import begin_training, group_trials, is_joint


class _Enough(Exception):
    """Says that enough steps have been measured."""


class _Stopwatch:
    """Measures steps as a progress does, and ends the training after enough of them."""

    def __init__(self, seconds: float) -> None:
        self.limit = seconds
        self.total = 0
        self.steps = -1
        """Counts a step, but for the first one with its warming up."""

        self.began = 0.0
        self.spent = 0.0

    def start(self, label: str, total: int) -> None:
        self.total, self.steps = total, -1

    def advance(self, n: int = 1) -> None:
        now = time.perf_counter()
        if not n:
            return
        if self.steps < 0:
            self.began, self.steps = now, 0
            return
        self.steps += n
        self.spent = now - self.began
        if self.spent > self.limit:
            raise _Enough

    def finish(self) -> None:
        """Does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Tells how long a trial takes."""

    step: float
    """Seconds of one step of one trial, its share of its stack's."""

    epoch: float
    """Of all steps of an epoch."""


def measured_steps(
    pack: Pack, inputs: Inputs, *, threads: int, gpus: float = 0.0, seconds: float = 1.0
) -> Measurement:
    """The first stack of the pack trains for some seconds; nothing is written.

    Of a joint trial whose router begins supervised, the steps in which all trains are measured.
    """
    use_threads(threads)
    trials = [_gated(trial) if is_joint(trial) else trial for trial in group_trials(pack)[0]]
    watch = _Stopwatch(seconds)
    try:
        for _ in begin_training(trials, inputs, watch, gpus=gpus):
            pass
    except _Enough:
        pass
    step = watch.spent / max(1, watch.steps) / len(trials)
    epochs = config_of(trials[0]).training.epochs
    return Measurement(step=step, epoch=step * watch.total / epochs)


def _gated(trial: Trial) -> Trial:
    """Gives the trial without the phases before all of it trains."""
    tree = json.loads(trial.config)
    tree["training"]["router"] = "gated"
    return dataclasses.replace(trial, config=json.dumps(tree))
