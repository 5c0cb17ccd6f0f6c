"""Logs a run to MLflow: a run for the sweep with its files, and below it one for each trial.

Where MLflow keeps them is MLflow's own setting, `MLFLOW_TRACKING_URI`. Times are those of the
journal. A trial that is there already, from an earlier session, is continued: MLflow keeps a number
of one step and time once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from mpc_router.run_names import COMPLETED, FAILED, INTERRUPTED, STOPPED
from sweeps.tracking._names import tag_of
from sweeps.tracking._tracker import Sweep, TrackedTrial

_BATCH: Final = 1000
"""Limits the metrics that MLflow takes at once."""

_STATUS: Final = {COMPLETED: "FINISHED", STOPPED: "FINISHED", FAILED: "FAILED"}

_SWEEP, _KEY, _VERSION = "mpc_router.sweep", "mpc_router.key", "mpc_router.version"
"""Name the tags that a run is found by."""


class Mlflow:
    """Logs to the experiment `MLFLOW_EXPERIMENT_NAME`, or to one of the study's name."""

    def __init__(self) -> None:
        self._client = MlflowClient()
        self._experiment = self._parent = ""
        self._sweep: Sweep | None = None
        self._runs: dict[str, tuple[str, str]] = {}
        """Gives the id and the version of the trial's run by key."""

        self._sent: dict[str, int] = {}
        self._names: dict[str, str] = {}

    def begin(self, sweep: Sweep) -> None:
        """Finds the runs of an earlier session, or makes the run of the sweep."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or sweep.study
        experiment = self._client.get_experiment_by_name(name)
        self._experiment = (
            experiment.experiment_id if experiment else self._client.create_experiment(name)
        )
        self._sweep = sweep
        for run in self._earlier(sweep.identity):
            tags = run.data.tags
            if _KEY in tags:
                self._runs[tags[_KEY]] = run.info.run_id, tags[_VERSION]
            else:
                self._parent = run.info.run_id
        if not self._parent:
            self._parent = self._client.create_run(
                self._experiment,
                start_time=_milliseconds(sweep.time),
                run_name=sweep.name,
                tags={_SWEEP: sweep.identity},
            ).info.run_id
        self._client.update_run(self._parent, status="RUNNING")

    def _earlier(self, identity: str) -> Iterator[Any]:
        """Gives the runs of this sweep that are there already."""
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment], f"tags.`{_SWEEP}` = '{identity}'", page_token=token
            )
            yield from page
            if not (token := page.token):
                return

    def tell(self, trial: TrackedTrial) -> None:
        """Logs what is new of a trial, in as few calls as it takes."""
        run, version = self._runs.get(trial.key, ("", ""))
        if run and version != str(trial.version):  # its numbers were replaced
            self._client.delete_run(run)
            run = ""
        if not run:
            run = self._made(trial)
            self._runs[trial.key] = run, str(trial.version)
            self._sent[trial.key] = 0
        new = trial.measurements[self._sent.get(trial.key, 0) :]
        self._log(run, ((item.values, item.time, item.epoch) for item in new))
        self._sent[trial.key] = len(trial.measurements)
        end = trial.end
        if end is None:
            self._client.update_run(run, status="RUNNING")
            return
        if end.status != INTERRUPTED:  # it has results once it has gone on and ended
            self._log(run, [(end.results, end.time, end.epochs)])
        tags = {"status": end.status, **({"reason": end.reason[:5000]} if end.reason else {})}
        self._client.log_batch(run, tags=[RunTag(name, value) for name, value in tags.items()])
        self._client.set_terminated(
            run, _STATUS.get(end.status, "KILLED"), end_time=_milliseconds(end.time)
        )

    def _made(self, trial: TrackedTrial) -> str:
        """Makes the run of a trial; gives its id."""
        assert self._sweep is not None
        tags = {
            _SWEEP: self._sweep.identity,
            _KEY: trial.key,
            _VERSION: str(trial.version),
            "mlflow.parentRunId": self._parent,
            "point": trial.point,
        }
        run: str = self._client.create_run(
            self._experiment,
            start_time=_milliseconds(trial.begun),
            run_name=trial.name,
            tags=tags,
        ).info.run_id
        params = {**trial.settings, "seed": trial.seed}
        self._client.log_batch(
            run, params=[Param(name, json.dumps(value)) for name, value in params.items()]
        )
        return run

    def _log(self, run: str, numbers: Iterable[tuple[Mapping[str, float], float, int]]) -> None:
        """Logs numbers, each with its time and epoch."""
        metrics = [
            Metric(self._name(name), value, _milliseconds(time), epoch)
            for values, time, epoch in numbers
            for name, value in values.items()
        ]
        for first in range(0, len(metrics), _BATCH):
            self._client.log_batch(run, metrics=metrics[first : first + _BATCH])

    def _name(self, name: str) -> str:
        """Gives a metric's name as MLflow takes it, always the same one."""
        if name not in self._names:
            self._names[name] = tag_of(name, self._names.values())
        return self._names[name]

    def finish(self, files: Sequence[Path], time: float) -> str:
        """Logs the run's files as artifacts; gives the place of the tracking server."""
        for path in files:
            self._client.log_artifact(self._parent, str(path))
        self._client.set_terminated(self._parent, end_time=_milliseconds(time))
        assert self._sweep is not None
        return f"the run {self._sweep.name} in {self._client.tracking_uri}"


def _milliseconds(seconds: float) -> int:
    """Gives a time as MLflow has it."""
    return round(1000 * seconds)
