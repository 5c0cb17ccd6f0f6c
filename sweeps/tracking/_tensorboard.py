"""Writes a run's trials for TensorBoard and its HParams page: a folder for each trial."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from mpc_router.run_names import COMPLETED, FAILED, STOPPED
from mpc_router.storage.files import make_folder, take_rights
from sweeps.run_folder import RunFolder
from sweeps.tracking._tracker import Sweep, TrackedTrial

_FILE: Final = "events.out.tfevents.0.sweep"
"""Names the file of events in a trial's folder; TensorBoard looks for `tfevents`."""

_STATUS: Final = {
    COMPLETED: "STATUS_SUCCESS",
    STOPPED: "STATUS_SUCCESS",
    FAILED: "STATUS_FAILURE",
}


class TensorBoard:
    """Writes into the run's own folder; what an earlier session has written there is replaced."""

    def __init__(self, run: Path) -> None:
        self._folder = RunFolder(run).tensorboard
        self._written: dict[str, tuple[int, int, bool]] = {}
        """Gives version, number of measurements and whether it had ended by key."""

    def begin(self, sweep: Sweep) -> None:
        """Removes what is there, and says what the trials are compared by."""
        if self._folder.exists():
            shutil.rmtree(self._folder)
        make_folder(self._folder)
        experiment = api_pb2.Experiment(
            description=f"{sweep.study}: {sweep.name}",
            time_created_secs=sweep.time,
            hparam_infos=[
                api_pb2.HParamInfo(name=name, type=_type(kind))
                for name, kind in {**sweep.settings, "seed": "int"}.items()
            ],
            metric_infos=[
                api_pb2.MetricInfo(name=api_pb2.MetricName(tag=name)) for name in sweep.results
            ],
        )
        data = plugin_data_pb2.HParamsPluginData(experiment=experiment)
        self._write(self._folder, [_hparams(metadata.EXPERIMENT_TAG, data, sweep.time)], anew=True)

    def tell(self, trial: TrackedTrial) -> None:
        """Appends what is new; writes the file anew where something in it no longer holds."""
        version, sent, had_ended = self._written.get(trial.key, (-1, 0, False))
        anew = version != trial.version or had_ended
        events = [
            *(_begin(trial) if anew else ()),
            *_scalars(trial, 0 if anew else sent),
            *_end(trial),
        ]
        folder = self._folder / trial.name
        make_folder(folder)
        self._write(folder, events, anew=anew)
        self._written[trial.key] = trial.version, len(trial.measurements), trial.end is not None

    def finish(self, files: Sequence[Path], time: float) -> str:
        """Gives the command that shows the run; the files lie beside it already."""
        return f"tensorboard --logdir {self._folder}"

    def _write(self, folder: Path, events: Sequence[Any], *, anew: bool) -> None:
        """Appends events to a folder's file, or replaces the file."""
        path = folder / _FILE
        if anew:
            path.unlink(missing_ok=True)
            first = event_pb2.Event(wall_time=events[0].wall_time, file_version="brain.Event:2")
            events = [first, *events]
        with path.open("ab") as file:
            writer = RecordWriter(file)
            for event in events:
                writer.write(event.SerializeToString())
        if anew:
            take_rights(path)


def _begin(trial: TrackedTrial) -> Iterator[Any]:
    """Gives the event that says with which settings a trial began."""
    info = plugin_data_pb2.SessionStartInfo(start_time_secs=trial.begun, group_name=trial.key)
    for name, value in {**trial.settings, "seed": trial.seed}.items():
        if isinstance(value, bool):
            info.hparams[name].bool_value = value
        elif isinstance(value, int | float):
            info.hparams[name].number_value = value
        else:
            info.hparams[name].string_value = value if isinstance(value, str) else json.dumps(value)
    data = plugin_data_pb2.HParamsPluginData(session_start_info=info)
    yield _hparams(metadata.SESSION_START_INFO_TAG, data, trial.begun)


def _scalars(trial: TrackedTrial, first: int) -> Iterator[Any]:
    """Gives an event for each measurement from this one on."""
    for measurement in trial.measurements[first:]:
        yield _event(measurement.values, measurement.epoch, measurement.time)


def _end(trial: TrackedTrial) -> Iterator[Any]:
    """Gives the events of a trial's results and of its end."""
    if trial.end is None:
        return
    if trial.end.results:
        yield _event(trial.end.results, trial.end.epochs, trial.end.time)
    status = api_pb2.Status.Value(_STATUS.get(trial.end.status, "STATUS_UNKNOWN"))
    info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=trial.end.time)
    data = plugin_data_pb2.HParamsPluginData(session_end_info=info)
    yield _hparams(metadata.SESSION_END_INFO_TAG, data, trial.end.time)


def _event(values: Mapping[str, float], step: int, time: float) -> Any:
    """Gives numbers of one moment as an event."""
    summary = summary_pb2.Summary(
        value=[
            summary_pb2.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()
        ]
    )
    return event_pb2.Event(wall_time=time, step=step, summary=summary)


def _hparams(tag: str, data: Any, time: float) -> Any:
    """Gives a message for the page HParams as an event."""
    value = summary_pb2.Summary.Value(
        tag=tag,
        metadata=metadata.create_summary_metadata(data),
        tensor=metadata.NULL_TENSOR,
    )
    return event_pb2.Event(wall_time=time, summary=summary_pb2.Summary(value=[value]))


def _type(kind: str) -> int:
    """Gives TensorBoard's type of a setting of this kind."""
    names = {"float": "FLOAT64", "int": "FLOAT64", "bool": "BOOL"}
    return int(api_pb2.DataType.Value(f"DATA_TYPE_{names.get(kind, 'STRING')}"))
