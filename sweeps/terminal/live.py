"""The module draws a run live where the output is a terminal."""

from __future__ import annotations

import json
import os
import sys
import time
from types import TracebackType
from typing import TextIO

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
from sweeps.records import FAILED, SELECTION, STOPPED, Message, Pack
from sweeps.terminal.display import Display, front_table, tally


class LiveDisplay(Display):
    """Draws bars, counts and the front so far, anew four times a second."""

    def __init__(self, *, file: TextIO | None = None) -> None:
        super().__init__(file=file)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            console=self.console,
        )
        self._state: State | None = None
        self._tasks: dict[str, TaskID] = {}
        self._whole_run: TaskID | None = None
        self._running: dict[str, Pack] = {}
        self._current: TaskID | None = None
        self._live = Live(get_renderable=self._draw, console=self.console, transient=True)

    def start(self, label: str, total: int) -> None:
        """Adds a bar for a step of preparation."""
        super().start(label, total)
        self._current = self._bars.add_task(label, total=total)

    def advance(self, n: int = 1) -> None:
        """Moves the bar of a step of preparation."""
        if self._current is not None:
            self._bars.advance(self._current, n)

    def finish(self) -> None:
        """Replaces the bar by a line."""
        if self._current is not None:
            self._bars.remove_task(self._current)
            self._current = None
        super().finish()

    def started(self, pack: Pack, state: State) -> None:
        """Adds a bar for the pack, and one for the whole run."""
        self._state = state
        if self._whole_run is None:
            self._whole_run = self._bars.add_task("all trials, epochs", total=None)
        self._bars.update(
            self._whole_run,
            total=_all_epochs(state, self._trials),
            completed=_finished_epochs(state),
        )
        self._running[pack.name] = pack
        total = sum(_epochs(trial.config) for trial in pack.trials)
        self._tasks[pack.name] = self._bars.add_task(pack.name, total=total)

    def received(self, pack: Pack, message: Message, state: State) -> None:
        """Moves the bars, and prints a failure."""
        super().received(pack, message, state)
        self._state = state
        epochs = sum(report.split == SELECTION for report in message.reports)
        if pack.name in self._tasks:  # a pack that was lost before it began has none
            self._bars.advance(self._tasks[pack.name], epochs)
        if self._whole_run is not None:
            self._bars.update(self._whole_run, completed=_finished_epochs(state))

    def ended(self, pack: Pack, state: State) -> None:
        """Removes the pack's bar."""
        self._running.pop(pack.name, None)
        if pack.name in self._tasks:
            self._bars.remove_task(self._tasks.pop(pack.name))

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

    def _draw(self) -> Group:
        """Draws counts, bars and the front so far."""
        state = self._state
        if state is None and self._objectives:
            waited = time.monotonic() - self._began
            return Group(Text(f"workers are being started; {waited:.0f} s", style="bold"))
        if state is None:
            return Group(self._bars)
        counts = tally(state)
        running = sum(len(pack.trials) for pack in self._running.values())
        return Group(
            Text(
                f"trials: {counts['done']} of {max(self._trials, len(state.trials))} done, "
                f"{running} running, "
                f"{counts['failed']} failed; {time.monotonic() - self._began:.0f} s",
                style="bold",
            ),
            self._bars,
            front_table(self._front(state)),
        )


def make_display(*, quiet: bool) -> Display:
    """Makes the live display on a terminal, unless `--quiet` or NO_COLOR forbid it."""
    terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    if quiet or not terminal or os.environ.get("NO_COLOR"):
        return Display(quiet=quiet)
    return LiveDisplay()


def _epochs(config: str) -> int:
    """Gives the epochs of a trial's configuration."""
    return int(json.loads(config)["training"]["epochs"])


def _all_epochs(state: State, trials: int) -> int:
    """Counts the epochs of all trials, also of those that the search has not proposed yet."""
    epochs = [_epochs(trial.config) for trial in state.trials.values()]
    return sum(epochs) + max(0, trials - len(epochs)) * (epochs[-1] if epochs else 0)


def _finished_epochs(state: State) -> int:
    """Counts the epochs that all trials have done; an ended trial has done all of its own."""
    reached = {key: report.epoch for (key, _), report in state.latest.items()}
    for key, ending in state.endings.items():
        if ending.status in (FAILED, STOPPED) and key not in state.finishing:
            reached[key] = _epochs(state.trials[key].config)
    return sum(reached.values())
