"""The epochs of a joint trial on disk: checkpoints to go on from, and the reports so far.

In the folder lies `epoch-NNNN`, one a kept epoch: the newest two, from which training can go on,
and the weights of the one that was best on selection as of either of them. A folder appears whole
or not at all.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from mpc_router.config.trial import TrialConfig, settings
from mpc_router.results.checkpoint import (
    CheckpointError,
    JointCheckpoint,
    load,
    save,
    without_optimizer,
)
from mpc_router.results.records import ARRAYS, SplitReport
from mpc_router.storage.files import sync_folder, take_rights
from mpc_router.tasks import Task, merit

PREFIX: Final = "epoch-"
KEPT: Final = 2
"""Newest epochs that are kept: the one before steps in for a newest that is damaged."""

log = logging.getLogger(__name__)


class History:
    """Keeps a trial's epochs in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, epoch: int) -> Path:
        """Gives the folder of an epoch."""
        return self.folder / f"{PREFIX}{epoch:04d}"

    def epochs(self) -> list[int]:
        """Lists the epochs in the folder, newest first."""
        names = [path.name.removeprefix(PREFIX) for path in self.folder.glob(f"{PREFIX}*")]
        return sorted((int(name) for name in names if name.isdigit()), reverse=True)

    def clear(self) -> None:
        """Removes every epoch, and what a crash left."""
        self.tidy()
        for epoch in self.epochs():
            shutil.rmtree(self.place(epoch), ignore_errors=True)

    def tidy(self) -> None:
        """Removes what a crash left half written."""
        for path in self.folder.glob(f".{PREFIX}*"):
            shutil.rmtree(path, ignore_errors=True)

    def keep(self, checkpoint: JointCheckpoint, scores: Sequence[float]) -> None:
        """Adds an epoch, durable on return, and removes those that are no longer wanted.

        `scores` are those of all epochs up to it. The folder that `folder` lies in is never made: a
        run that was renamed or removed meanwhile does not come back.
        """
        self.folder.mkdir(exist_ok=True)
        place = self.place(checkpoint.epoch)
        unfinished = place.with_name(f".{place.name}.{os.getpid()}")
        shutil.rmtree(unfinished, ignore_errors=True)
        try:
            unfinished.mkdir()
            take_rights(unfinished)
            save(checkpoint, unfinished)
            shutil.rmtree(place, ignore_errors=True)
            unfinished.replace(place)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        sync_folder(self.folder)
        task = checkpoint.config.data.definition
        newest = range(max(1, checkpoint.epoch - KEPT + 1), checkpoint.epoch + 1)
        wanted = {*newest, *(best_epoch(task, scores[:epoch]) for epoch in newest)}
        for epoch in self.epochs():
            if epoch not in wanted:
                shutil.rmtree(self.place(epoch), ignore_errors=True)
            elif epoch not in newest:
                try:
                    without_optimizer(self.place(epoch))
                except CheckpointError as error:  # it could not have been gone on from either
                    log.warning("epoch %d is removed: %s", epoch, error)
                    shutil.rmtree(self.place(epoch), ignore_errors=True)

    def weights(self, epoch: int) -> JointCheckpoint | None:
        """Loads a kept epoch; gives None, and a line in the log, where it is damaged."""
        try:
            checkpoint = load(self.place(epoch))
        except CheckpointError as error:
            log.warning("epoch %d cannot be used: %s", epoch, error)
            return None
        return checkpoint if isinstance(checkpoint, JointCheckpoint) else None

    def newest(
        self, config: TrialConfig, seed: int, *, data: str, models: str
    ) -> JointCheckpoint | None:
        """Loads the newest complete epoch of this trial to resume from; None without one.

        Where the best epoch is what a trial leaves, the best one so far has to be whole as well.

        Raises:
            CheckpointError: what lies there is another trial's.
        """
        self.tidy()
        for epoch in self.epochs():
            checkpoint = self.weights(epoch)
            if (
                checkpoint is not None
                and checkpoint.optimizer is not None
                and self._reported(checkpoint)
            ):
                self._check(checkpoint, config, seed, data=data, models=models)
                if config.training.epoch != "best_score" or self._has_best(checkpoint):
                    return checkpoint
        return None

    def _reported(self, checkpoint: JointCheckpoint) -> bool:
        """Tells whether a checkpoint's reports can be read; logs a line where they cannot."""
        try:
            scores = [report_of(report).metrics["score"][0] for report in checkpoint.history]
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            log.warning(
                "epoch %d cannot be used: its reports are none (%r)", checkpoint.epoch, error
            )
            return False
        return bool(scores)

    def _has_best(self, checkpoint: JointCheckpoint) -> bool:
        scores = [report["metrics"]["score"][0] for report in checkpoint.history]
        best = best_epoch(checkpoint.config.data.definition, scores)
        return best == checkpoint.epoch or self.weights(best) is not None

    def _check(
        self, checkpoint: JointCheckpoint, config: TrialConfig, seed: int, *, data: str, models: str
    ) -> None:
        wanted, kept = settings(config), settings(checkpoint.config)
        differing = [name for name in wanted if name != "device" and wanted[name] != kept[name]]
        differing += ["seed"] if checkpoint.seed != seed else []
        differing += ["the data"] if checkpoint.data_fingerprint != data else []
        differing += ["the models"] if checkpoint.models_id != models else []
        if differing:
            raise CheckpointError(
                f"{self.folder} holds epochs of another trial ({', '.join(differing)} differ); "
                "train without resuming, or in another folder"
            )


def best_epoch(task: Task, scores: Sequence[float]) -> int:
    """Gives the first epoch, from 1, with the best score."""
    return int(np.argmax(merit(task, np.asarray(scores, np.float64)))) + 1


def report_json(report: SplitReport) -> dict[str, Any]:
    """Gives a report as JSON that `report_of` reads back to the last bit."""
    return {
        "split": report.split,
        "lanes": report.lanes.tolist(),
        "metrics": {name: value.tolist() for name, value in report.metrics.items()},
        "cost": {name: value.tolist() for name, value in report.cost.items()},
        **{name: getattr(report, name).tolist() for name in ARRAYS},
    }


def report_of(report: Mapping[str, Any]) -> SplitReport:
    """Reads the report that `report_json` wrote."""

    def values(numbers: object) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.asarray(numbers, np.float64)

    return SplitReport(
        split=str(report["split"]),
        lanes=np.asarray(report["lanes"], np.int64),
        metrics={name: values(value) for name, value in report["metrics"].items()},
        cost={name: values(value) for name, value in report["cost"].items()},
        **{name: values(report[name]) for name in ARRAYS},
    )


def light(checkpoint: JointCheckpoint) -> JointCheckpoint:
    """Gives the same checkpoint without the state that only a resume needs."""
    return dataclasses.replace(checkpoint, optimizer=None)
