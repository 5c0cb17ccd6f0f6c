"""The module measures some steps of a trial, without Ray, to tell how long it takes."""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass

import torch

from mpc_router.trainer import Inputs
from sweeps.records import InputError, Pack, Trial, config_of
from sweeps.worker.pack import use_threads
from sweeps.worker.stack import begin_training, group_trials, is_joint


class _Enough(Exception):
    """Ends the training when enough steps have been measured."""


class _Stopwatch:
    """Measures steps as a progress does, and ends the training after enough of them."""

    def __init__(self, seconds: float) -> None:
        self.limit = seconds
        self.total = 0
        self.steps = -1
        """It counts steps without the first ones, which include the warm-up."""

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
    """It is the time of one step of one trial in seconds: a share of its stack's step."""

    epoch: float
    """It is the time of all steps of an epoch, in seconds."""


def check_measurable(device: str) -> None:
    """Makes sure that steps on this device can be measured on this machine.

    Raises:
        InputError: they are to be on a GPU, and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "--dry-run measures steps on this machine and device is 'cuda', but torch sees no GPU "
            "here; add device=auto to the dry run, or give it on a machine with a GPU"
        )


def measured_steps(
    pack: Pack, inputs: Inputs, *, threads: int, gpus: float = 0.0, seconds: float = 1.0
) -> Measurement:
    """Measures the first stack of the pack in training for some seconds; writes nothing.

    A joint trial whose router begins supervised is measured in the steps in which all trains.
    """
    use_threads(threads)
    trials = [_measurable(trial) for trial in group_trials(pack)[0]]
    watch = _Stopwatch(seconds)
    try:
        for _ in begin_training(trials, inputs, watch, gpus=gpus):
            pass
    except _Enough:
        pass
    step = watch.spent / max(1, watch.steps) / len(trials)
    epochs = config_of(trials[0]).training.epochs
    return Measurement(step=step, epoch=step * watch.total / epochs)


def _measurable(trial: Trial) -> Trial:
    """Gives a trial of two epochs or more, without phases in which only a part of it trains.

    The first steps, which are not counted, may be all of an epoch.
    """
    tree = json.loads(trial.config)
    tree["training"]["epochs"] = max(2, tree["training"]["epochs"])
    if is_joint(trial):
        tree["training"]["router"] = "gated"
    return dataclasses.replace(trial, config=json.dumps(tree))
