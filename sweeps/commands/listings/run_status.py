"""The module tells how a run stands, from its journal alone; also while a sweep writes it."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mpc_router.messages import quoted
from sweeps.journal.journal import state_of
from sweeps.journal.locks import is_running
from sweeps.journal.state import State
from sweeps.records import BUDGET, InputError, SweepError
from sweeps.run_folder import RunFolder
from sweeps.terminal.counts import Counts, counts, epochs_left, seconds_left
from sweeps.terminal.front_so_far import Standing, front
from sweeps.terminal.outline import Outline

RUNNING: Final = "running"
_DONE: Final = "done"
_BEGUN: Final = "never begun"
_BROKEN: Final = "broken off"
"""Are states of a run; others are `budget spent` and `stopped (REASON)`."""


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """Says how a run stands."""

    run: Path
    study: str
    state: str
    started: str
    """Gives the time of the run's beginning, UTC in ISO form."""

    counts: Counts
    epochs: int
    """Counts the epochs that all trials have trained."""

    seconds: float
    """Counts the seconds of all sessions."""

    seconds_left: float | None
    """Estimates the seconds until the run is done; None where nothing is known or no sweep runs."""

    last_event: str
    """Gives the time of the journal's last event, UTC in ISO form."""

    front: Sequence[Standing]

    @property
    def resumes(self) -> bool:
        """Tells whether `--resume` has something to do."""
        return self.state not in (RUNNING, _DONE, _BEGUN)

    def to_json(self) -> dict[str, Any]:
        """Gives plain data."""
        return {
            "run": str(self.run),
            "study": self.study,
            "state": self.state,
            "started": self.started,
            "last_event": self.last_event,
            "trials": dataclasses.asdict(self.counts),
            "epochs": self.epochs,
            "seconds": round(self.seconds, 3),
            "seconds_left": None if self.seconds_left is None else round(self.seconds_left, 1),
            "front": [
                {
                    "point": standing.point.name,
                    "settings": dict(standing.point.settings),
                    "values": dict(standing.values),
                    "epoch": standing.epoch,
                    "stopped": standing.stopped,
                    "breaks": list(standing.breaks),
                }
                for standing in self.front
            ],
        }


def run_status(run: Path) -> RunStatus:
    """Reads how a run stands.

    Raises:
        InputError: there is no run, or its journal cannot be read.
    """
    path = checked_run(run).journal
    try:
        running = is_running(path)
        state = state_of(path)
        modified = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC)
    except (SweepError, OSError) as error:
        raise InputError(str(error)) from error
    figures = _Figures.of(path, state)
    return RunStatus(
        run=run,
        study="" if state.opened is None else str(state.study.get("study", "")),
        state=_words(state, running=running),
        started="" if state.opened is None else str(state.opened["time"]),
        counts=figures.counts,
        epochs=state.epochs,
        seconds=state.seconds,
        seconds_left=figures.seconds_left if running else None,
        last_event=modified.isoformat(timespec="seconds"),
        front=figures.front,
    )


@dataclass(frozen=True, kw_only=True)
class _Figures:
    """Holds what is calculated of a run's state."""

    counts: Counts
    front: Sequence[Standing]
    seconds_left: float | None

    @staticmethod
    def of(path: Path, state: State) -> _Figures:
        """Calculates the figures of a run.

        Raises:
            InputError: the journal's study is no study, or its trials are none.
        """
        if state.opened is None:
            return _Figures(counts=counts(state, Outline()), front=(), seconds_left=None)
        try:
            outline = Outline.of(state.study)
            best = front(state, outline)
            left = epochs_left(state, outline, best)
            return _Figures(
                counts=counts(state, outline),
                front=best,
                seconds_left=seconds_left(
                    state, outline, left=left, seconds=state.seconds, epochs=state.epochs
                ),
            )
        except Exception as error:
            # Whatever is raised: the journal may come from elsewhere, and its study and the
            # configurations of its trials can be of any shape
            raise InputError(
                f"{path}:1: the run's study or a trial is damaged ({quoted(error)}); take another "
                "copy of the run"
            ) from error


def checked_run(run: Path) -> RunFolder:
    """Gives the folder of a run that is there and no link.

    Raises:
        InputError: it is a link, or holds no journal.
    """
    if run.is_symlink():
        raise InputError(f"{run} is a link; name the run's folder itself")
    folder = RunFolder(run)
    if folder.journal.is_symlink() or not folder.journal.is_file():
        raise InputError(f"{run} holds no {folder.journal.name}; name a run's folder")
    return folder


def runs_in(folder: Path) -> Iterator[Path]:
    """Gives the runs in a folder, by name.

    Raises:
        InputError: there is no such folder.
    """
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"--out {folder}: {error.strerror}; name a folder of runs") from error
    for path in paths:
        if not path.is_symlink() and (path / RunFolder(path).journal.name).is_file():
            yield path


def _words(state: State, *, running: bool) -> str:
    """Names the state of a run."""
    if running:
        return RUNNING
    if state.opened is None:
        return _BEGUN
    if state.done:
        return _DONE
    if state.closed is None:
        return _BROKEN
    return "budget spent" if state.closed == BUDGET else f"stopped ({state.closed})"
