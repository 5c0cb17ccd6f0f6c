"""Writes the points of a run as a study of Optuna's, for Optuna's own tools."""

from __future__ import annotations

import datetime
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpc_router.storage.files import take_rights
from sweeps.search._translation import DIRECTIONS, distributions, frozen_trial, quiet
from sweeps.search.space import Axis

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.storages.journal import BaseJournalBackend
    from optuna.trial import FrozenTrial

    from sweeps.search.rule import Proposal, Result, SearchRule


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewedPoint:
    """Holds a point of a run with its result and its times."""

    name: str
    proposal: Proposal
    result: Result
    begun: str | None
    """Gives the time (ISO, UTC) at which its first trial was started; None before."""

    ended: str | None
    """Gives the time (ISO, UTC) at which its last trial ended; None before."""


def write_view(
    path: Path,
    name: str,
    space: Mapping[str, Axis],
    objectives: Mapping[str, str],
    rule: SearchRule,
    points: Iterable[ViewedPoint],
    *,
    running: bool,
) -> None:
    """Writes the points as Optuna's journal, for optuna-dashboard and Optuna; replaces the file.

    A point without a result is RUNNING if it was started and the run goes on (`running`), else
    WAITING. Failed points are FAIL. The rule makes stopped points PRUNED, or COMPLETE with a
    constraint. Start and end are the run's own, and not the time of this writing.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    lines = _lines_in_memory()
    with (
        # in a temporary folder: Optuna's lock beside the file would outlive a killed process
        tempfile.TemporaryDirectory(
            prefix=f".{path.name}-", suffix=".tmp", dir=path.parent, ignore_cleanup_errors=True
        ) as folder,
        quiet(),
    ):
        study = optuna.create_study(
            study_name=name,
            storage=JournalStorage(lines),
            directions=[DIRECTIONS[direction] for direction in objectives.values()],
        )
        study.set_metric_names(list(objectives))
        optuna_space = distributions(space)
        study.add_trials(_trial_of(point, optuna_space, rule, running=running) for point in points)
        temporary_file = Path(folder) / path.name
        JournalFileBackend(str(temporary_file)).append_logs(list(lines.read_logs(0)))
        temporary_file.replace(path)
        take_rights(path)


def _lines_in_memory() -> BaseJournalBackend:
    """Makes a journal of Optuna's in memory; in a file it would lock and sync each trial."""
    from optuna.storages.journal import BaseJournalBackend

    class Lines(BaseJournalBackend):
        """Holds the lines of a journal."""

        def __init__(self) -> None:
            """Begins without lines."""
            self._lines: list[dict[str, Any]] = []

        def read_logs(self, log_number_from: int) -> list[dict[str, Any]]:
            """Gives the lines from a number on."""
            return self._lines[log_number_from:]

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            """Adds lines."""
            self._lines += logs

    return Lines()


def _trial_of(
    point: ViewedPoint, space: Mapping[str, BaseDistribution], rule: SearchRule, *, running: bool
) -> FrozenTrial:
    """Gives a point as a trial of Optuna's with its true times."""
    runs = running and point.begun is not None
    trial = frozen_trial(space, rule, point.proposal, point.result, running=runs)
    trial.set_user_attr("point", point.name)
    if trial.state.name != "WAITING":
        trial.datetime_start = _local(point.begun or point.ended) or trial.datetime_start
    if trial.state.is_finished():
        trial.datetime_complete = _local(point.ended) or trial.datetime_start
    return trial


def _local(time: str | None) -> datetime.datetime | None:
    """Gives a time in UTC as Optuna has it: by the machine's own clock, without a zone."""
    if time is None:
        return None
    return datetime.datetime.fromisoformat(time).astimezone().replace(tzinfo=None)
