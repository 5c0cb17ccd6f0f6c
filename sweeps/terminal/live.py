"""The module draws a run live where the output is a terminal."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Final, TextIO

from rich.console import Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from sweeps.journal.state import State
from sweeps.records import Message, Pack
from sweeps.terminal.counts import counts, full_epochs, trained_epochs
from sweeps.terminal.display import Display, front_table

_AROUND_THE_FRONT: Final = 5
"""Counts the lines of the front's table that are no rows."""

_LEAST_ROWS: Final = 3
_MOST_ROWS: Final = 12
"""Limit the rows of the front so far, whatever the terminal's height."""


class LiveDisplay(Display):
    """Draws bars, counts and the front so far, anew four times a second."""

    def __init__(self, *, file: TextIO | None = None) -> None:
        super().__init__(file=file, every_minute=False)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            console=self.console,
        )
        self._packs = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            TextColumn("{task.fields[trials]}"),
            console=self.console,
        )
        self._state: State | None = None
        self._training = False
        self._tasks: dict[str, TaskID] = {}
        self._step: TaskID | None = None
        self._step_start = ("", 0.0)
        self._live = Live(get_renderable=self._draw, console=self.console, transient=True)

    def start(self, label: str, total: int) -> None:
        """Adds a bar for a step."""
        self._step_start = (label, time.monotonic())
        self._step = self._bars.add_task(label, total=total)

    def advance(self, n: int = 1) -> None:
        """Moves the bar of a step."""
        if self._step is not None:
            self._bars.advance(self._step, n)

    def finish(self) -> None:
        """Replaces the bar by a line."""
        if self._step is not None:
            self._bars.remove_task(self._step)
            self._step = None
        label, began = self._step_start
        self.say(f"{label}: {time.monotonic() - began:.1f} s")

    def training(self, state: State) -> None:
        """Shows that workers are started to train what a run has left."""
        self._began, self._epochs_before = time.monotonic(), state.epochs
        self._training = True

    def started(self, pack: Pack, state: State) -> None:
        """Adds a bar for the pack."""
        self._state = state
        total = sum(map(full_epochs, pack.trials))
        self._tasks[pack.name] = self._packs.add_task(pack.name, total=total, trials="")
        self._move(pack, state)

    def received(self, pack: Pack, message: Message, state: State) -> None:
        """Moves the pack's bar, and prints a failure."""
        super().received(pack, message, state)
        self._state = state
        self._move(pack, state)

    def _move(self, pack: Pack, state: State) -> None:
        """Sets the pack's bar to the epochs that its trials have done.

        An ended trial has done all of its own, for a stopped one has none left.
        """
        if pack.name not in self._tasks:  # it was lost before it began
            return
        training = [trial for trial in pack.trials if not state.is_final(trial.key)]
        done = sum(map(full_epochs, pack.trials)) - sum(
            full_epochs(trial) - trained_epochs(state, trial) for trial in training
        )
        self._packs.update(
            self._tasks[pack.name],
            completed=done,
            trials=f"{len(training)} of {len(pack.trials)} trials train",
        )

    def ended(self, pack: Pack, state: State) -> None:
        """Removes the pack's bar."""
        if pack.name in self._tasks:
            self._packs.remove_task(self._tasks.pop(pack.name))

    def abandon(self) -> None:
        """Prints the last line and shows the cursor again, which the display hides."""
        self.console.show_cursor()
        super().abandon()

    def __enter__(self) -> LiveDisplay:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()
        self._training = False

    def _draw(self) -> Group:
        """Draws counts, bars and the front so far."""
        state = self._state
        if not self._training:
            return Group(self._bars)
        if state is None:
            waited = time.monotonic() - self._began
            return Group(Text(f"workers are being started; {waited:.0f} s", style="bold"))
        trials = counts(state, self._outline)
        lines = [
            Text(trials.over, style="bold"),
            Text(f"{trials.now}; {self._times(state)}"),
        ]
        room = self.console.height - len(lines) - len(self._tasks) - _AROUND_THE_FRONT
        return Group(
            *lines,
            self._packs,
            front_table(
                self._front(state),
                rows=max(_LEAST_ROWS, min(room, _MOST_ROWS)),
                width=self.console.width,
            ),
        )


def make_display(*, quiet: bool) -> Display:
    """Makes the live display on a terminal, unless `--quiet` or NO_COLOR forbid it."""
    terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    if quiet or not terminal or os.environ.get("NO_COLOR"):
        return Display(quiet=quiet)
    return LiveDisplay()
