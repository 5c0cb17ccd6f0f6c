"""Logs a run to W&B or to trackio, which has the same calls: a run for each trial, in one group.

Where and how they keep it are their own settings (`WANDB_MODE`, `WANDB_PROJECT`, `TRACKIO_DIR`,
...), and so is the key, which only they read.
"""

from __future__ import annotations

import contextvars
import hashlib
import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mpc_router.run_names import FAILED
from sweeps.records import SELECTION
from sweeps.tracking._tracker import Measurement, Sweep, TrackedTrial

_OPEN: Final = 32
"""Limits the runs that are open at once; a trial beyond them is logged when it has ended."""


@dataclass
class _Open:
    """Holds the open run of a trial."""

    run: Any
    version: int
    rows: int
    """Counts the rows, one an epoch, that the run has."""


class Wandb:
    """Logs with a library of W&B's calls to its project, or to one of the study's name."""

    def __init__(self, library: str) -> None:
        self._library: Any = importlib.import_module(library)
        self._is_wandb = library == "wandb"
        self._sweep: Sweep | None = None
        self._open: dict[str, _Open] = {}

    def begin(self, sweep: Sweep) -> None:
        """Notes the sweep, whose name is the group of its trials."""
        self._sweep = sweep

    def tell(self, trial: TrackedTrial) -> None:
        """Logs a row for each new epoch; the end is one more row, or part of the last one."""
        opened = self._open.get(trial.key)
        if opened is not None and opened.version != trial.version:  # its numbers were replaced
            opened.run.log({"status": "REPLACED"}, step=opened.rows)
            self._close(trial.key)
            opened = None
        if opened is None:
            if trial.end is None and len(self._open) >= _OPEN:
                return
            opened = self._open[trial.key] = self._begun(trial)
        rows = [item for item in trial.measurements if _is_of_selection(item)]
        for item in rows:
            if item.epoch >= opened.rows:
                opened.run.log(self._row(item), step=item.epoch)
                opened.rows = item.epoch + 1
        if trial.end is not None:
            self._end(trial, opened)
            self._close(trial.key, failed=trial.end.status == FAILED)

    def _begun(self, trial: TrackedTrial) -> _Open:
        """Opens the run of a trial; goes on with it where it is there already."""
        assert self._sweep is not None
        sweep, again = self._sweep, f" ({trial.version + 1})" if trial.version else ""
        facts = {"seed": trial.seed, "point": trial.point, "key": trial.key}
        arguments: dict[str, Any] = {
            "project": os.environ.get(f"{self._library.__name__.upper()}_PROJECT") or sweep.study,
            "name": f"{sweep.name}/{trial.name}{again}",
            "group": sweep.name,
            "config": {**trial.settings, **facts},
            "resume": "allow",
        }
        if self._is_wandb:
            identity = f"{sweep.identity} {trial.key} {trial.version}"
            arguments |= {
                "id": hashlib.sha256(identity.encode()).hexdigest()[:20],
                "reinit": "create_new",
                "settings": self._library.Settings(
                    console="off", disable_git=True, save_code=False, x_disable_stats=True
                ),
            }
        else:
            arguments |= {"auto_log_gpu": False, "auto_log_cpu": False, "embed": False}
        # trackio ends the run that its context holds, so each run gets a context of its own
        run = contextvars.Context().run(self._library.init, **arguments)
        rows = run.step if self._is_wandb else run._next_step
        return _Open(run=run, version=trial.version, rows=rows)

    def _row(self, item: Measurement) -> dict[str, Any]:
        """Gives the row of a measurement; W&B also takes its time."""
        time = {"_timestamp": item.time} if self._is_wandb else {}
        return {**item.values, "epoch": item.epoch, **time}

    def _end(self, trial: TrackedTrial, opened: _Open) -> None:
        """Logs results, status and the numbers of the quoted splits, in the trial's last row."""
        end = trial.end
        assert end is not None
        quoted = {
            name: value
            for item in trial.measurements
            for name, value in item.values.items()
            if not name.startswith(f"{SELECTION}/")
        }
        facts = {"status": end.status, "reason": end.reason, "epochs": end.epochs}
        row = {**quoted, **end.results, **{k: v for k, v in facts.items() if v is not None}}
        if self._is_wandb:
            row["_timestamp"] = end.time
        opened.run.log(row, step=max(end.epochs, opened.rows - 1, 0))

    def _close(self, key: str, *, failed: bool = False) -> None:
        """Closes the run of a trial; W&B shows one that failed as such."""
        run = self._open.pop(key).run
        if self._is_wandb:
            run.finish(exit_code=int(failed))
        else:
            run.finish()

    def finish(self, files: Sequence[Path], time: float) -> str:
        """Says where the trials are; all of them have ended by now."""
        assert self._sweep is not None
        return f"the group {self._sweep.name} of {self._library.__name__}"


def _is_of_selection(item: Measurement) -> bool:
    """Tells whether a measurement is that of an epoch, and not only of the quoted splits."""
    return any(name.startswith(f"{SELECTION}/") for name in item.values)
