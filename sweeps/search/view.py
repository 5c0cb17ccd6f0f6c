"""Writes the search as a study of Optuna's, for Optuna's own tools."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mpc_router.files import take_rights
from sweeps.search._translation import DIRECTIONS, frozen_trial, quiet
from sweeps.search.space import Axis

if TYPE_CHECKING:
    from sweeps.search.rule import Batch, SearchRule


def write_view(
    path: Path,
    name: str,
    space: Mapping[str, Axis],
    objectives: Mapping[str, str],
    rule: SearchRule,
    batches: Sequence[Batch],
    *,
    running: bool,
) -> None:
    """Writes the search as Optuna's journal, for optuna-dashboard and Optuna; replaces the file.

    A point without a result is RUNNING while the run goes on (`running`) and WAITING after it.
    Failed points are FAIL. The rule makes stopped points PRUNED, or COMPLETE with a constraint.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    with (
        # in a temporary folder: Optuna's lock beside the file would outlive a killed process
        tempfile.TemporaryDirectory(
            prefix=f".{path.name}-", suffix=".tmp", dir=path.parent, ignore_cleanup_errors=True
        ) as folder,
        quiet(),
    ):
        temporary_file = Path(folder) / path.name
        storage = JournalStorage(JournalFileBackend(str(temporary_file)))
        study = optuna.create_study(
            study_name=name,
            storage=storage,
            directions=[DIRECTIONS[direction] for direction in objectives.values()],
        )
        study.set_metric_names(list(objectives))
        study.add_trials(
            frozen_trial(space, rule, batch, place, running=running)
            for batch in batches
            for place in range(len(batch.proposals))
        )
        temporary_file.replace(path)
        take_rights(path)
