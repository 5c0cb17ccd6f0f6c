"""What the terminal shows: live where there is a terminal, else a plain line a pack."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TextIO

from rich import box
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
from rich.table import Table
from rich.text import Text

from mpc_router.console import LastingConsole
from mpc_router.messages import printable
from sweeps.constraints import Constraint
from sweeps.journal import Journal
from sweeps.records import COMPLETED, FAILED, SELECTION, STOPPED, Message, Pack
from sweeps.signals import tell
from sweeps.standing import Standing, front
from sweeps.state import State

FRONT_ROWS = 12

SHORT = 0.01
"""Seconds that finding the front may take every time."""

REST = 20
"""Times as long as finding the front took passes before it is found anew."""

WHOLE_FAILURES = 5
"""Failed trials that are said in full; of later ones only how many."""


class Display:
    """Says what happens, a line an event; also where there is no terminal, and with `--quiet`.

    It hears preparation (`start`, `advance`, `finish`) and packs (`started`, `heard`, `left`).
    """

    def __init__(self, *, file: TextIO | None = None, quiet: bool = False) -> None:
        self.console = LastingConsole(file=file or sys.stderr, highlight=False, soft_wrap=True)
        self.quiet = quiet
        self._objectives: Mapping[str, str] = {}
        self._trials = 0
        self._vector = ""
        self._constraints: Sequence[Constraint] = ()
        self._began = time.monotonic()
        self._step = ("", 0.0)
        self._stopping = False
        self._failures = 0
        self._lost = ""
        self._best: list[Standing] = []
        self._best_due = 0.0

    def say(self, text: str, *, style: str = "") -> None:
        """A line for people."""
        lines = map(printable, text.split("\n"))  # a reason may have several
        self.console.print(Text("\n".join(lines), style=style))

    def study(
        self,
        objectives: Mapping[str, str],
        cost_vector: str,
        *,
        trials: int,
        constraints: Sequence[Constraint] = (),
    ) -> None:
        """What the front is made of and must keep to, and how many trials there will be."""
        self._objectives, self._vector, self._trials = objectives, cost_vector, trials
        self._constraints = constraints
        self._began = time.monotonic()

    def opened(self, journal: Journal) -> None:
        """What opening a journal has cut off."""
        if journal.torn:
            self.say(f"{journal.path}: a torn last line of {journal.torn} bytes was cut off")
        if journal.repaired is not None:
            gone = journal.repaired
            self.say(
                f"repair: line {gone.line} of {journal.path} {gone.reason}; {gone.gone} lines from "
                f"there on are gone, the journal as it was is {gone.saved}",
                style="yellow",
            )

    def start(self, label: str, total: int) -> None:
        """A step of preparation begins."""
        self._step = (label, time.monotonic())

    def advance(self, n: int = 1) -> None:
        """It goes on."""

    def finish(self) -> None:
        """It is over."""
        label, began = self._step
        if not self.quiet:
            self.say(f"{label}: {time.monotonic() - began:.1f} s")

    def started(self, pack: Pack, state: State) -> None:
        """A pack runs on a worker."""

    def heard(self, pack: Pack, message: Message, state: State) -> None:
        """A running pack said something."""
        failed = [ending for ending in message.endings if ending.status == FAILED]
        whole = failed[: max(0, WHOLE_FAILURES - self._failures)]
        self._failures += len(failed)
        for ending in whole:
            self.say(failure_line(ending.key, ending.reason, state), style="red")
        if more := len(failed) - len(whole):
            self.say(f"{pack.name}: {more} more FAILED, each with its reason in trials.parquet")
        if message.decisions and not self.quiet:
            self.say(rung_line(pack, message))

    def left(self, pack: Pack, state: State) -> None:
        """A pack is over."""
        if self._lost == pack.name:  # and that has been said
            self._lost = ""
            return
        counts = tally(state)
        best = self._front(state)
        trials = max(self._trials, len(state.trials))
        self.say(
            f"{pack.name}: {len(pack.trials)} trials; {counts['done']} of {trials} "
            f"done, {counts['failed']} failed, {time.monotonic() - self._began:.0f} s; "
            f"front of {len(best)}{_ends(best)}"
        )

    def lost(self, pack: Pack, reason: str, *, again: bool) -> None:
        """A worker is gone; also said with `--quiet`, for somebody may want to look after it."""
        self._lost = pack.name
        what = "it is tried again" if again else "it is left to --resume"
        self.say(f"{pack.name} lost its worker ({reason}); {what}", style="yellow")

    def _front(self, state: State) -> list[Standing]:
        """The front; of thousands of trials, where it takes its time, anew so seldom that it costs
        a twentieth of the run's."""
        began = time.monotonic()
        if began >= self._best_due:
            self._best = front(state, self._objectives, self._vector, self._constraints)
            took = time.monotonic() - began
            self._best_due = began + REST * took if took > SHORT else 0.0
        return self._best

    def unlike(self, pack: Pack, reason: str) -> None:
        """Also said with `--quiet`: the run's numbers are those of several machines."""
        self.say(
            f"{pack.name} gives other numbers than before it was interrupted ({reason}); these "
            "take their place",
            style="yellow",
        )

    def stopping(self) -> None:
        """A clean stop was asked for, and takes some seconds; said once."""
        if not self._stopping:
            self._stopping = True
            self.say("stopping; what is done is kept (Ctrl-C again ends at once)", style="yellow")

    def abandon(self) -> None:
        """The last word before the process ends at once; called from a signal's handler."""
        tell("\nended at once; what is journaled is safe, --resume goes on")
        sys.stderr.flush()

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing stays open."""


class LiveDisplay(Display):
    """The same, drawn anew four times a second: bars, counts, the front so far."""

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
        self._whole: TaskID | None = None
        self._running: dict[str, Pack] = {}
        self._current: TaskID | None = None
        self._live = Live(get_renderable=self._draw, console=self.console, transient=True)

    def start(self, label: str, total: int) -> None:
        """A bar for a step of preparation."""
        super().start(label, total)
        self._current = self._bars.add_task(label, total=total)

    def advance(self, n: int = 1) -> None:
        """The bar grows."""
        if self._current is not None:
            self._bars.advance(self._current, n)

    def finish(self) -> None:
        """The bar gives way to a line."""
        if self._current is not None:
            self._bars.remove_task(self._current)
            self._current = None
        super().finish()

    def started(self, pack: Pack, state: State) -> None:
        """A bar for the pack, and one for the whole run."""
        self._state = state
        if self._whole is None:
            self._whole = self._bars.add_task("all trials, epochs", total=None)
        self._bars.update(
            self._whole, total=_all_epochs(state, self._trials), completed=_finished_epochs(state)
        )
        self._running[pack.name] = pack
        total = sum(_epochs(trial.config) for trial in pack.trials)
        self._tasks[pack.name] = self._bars.add_task(pack.name, total=total)

    def heard(self, pack: Pack, message: Message, state: State) -> None:
        """Bars grow; a failure is said."""
        super().heard(pack, message, state)
        self._state = state
        epochs = sum(report.split == SELECTION for report in message.reports)
        if pack.name in self._tasks:  # else it was lost before it began
            self._bars.advance(self._tasks[pack.name], epochs)
        if self._whole is not None:
            self._bars.update(self._whole, completed=_finished_epochs(state))

    def left(self, pack: Pack, state: State) -> None:
        """The pack's bar goes."""
        self._running.pop(pack.name, None)
        if pack.name in self._tasks:
            self._bars.remove_task(self._tasks.pop(pack.name))

    def abandon(self) -> None:
        """The same, with the cursor back that the live display hides."""
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
    """Live on a terminal, unless `--quiet` or NO_COLOR say otherwise."""
    terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    if quiet or not terminal or os.environ.get("NO_COLOR"):
        return Display(quiet=quiet)
    return LiveDisplay()


def tally(state: State) -> Counter[str]:
    """Trials `done` and `failed`."""
    counts: Counter[str] = Counter()
    for key, ending in state.endings.items():
        if key in state.again:
            continue
        counts["done"] += ending.status in (COMPLETED, STOPPED)
        counts["failed"] += ending.status == FAILED
    return counts


def front_table(standings: list[Standing]) -> Table:
    """The front so far, on selection; the dearest rows are left out where it is long."""
    broken = bool(standings) and bool(standings[0].breaks)
    table = Table(
        title=f"front so far (selection){'; no point keeps the constraints' if broken else ''}",
        title_justify="left",
        title_style="dim",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    if not standings:
        return table
    first = standings[0]
    for name in (*first.values, *first.point.settings, "epoch", *(["breaks"] if broken else [])):
        table.add_column(Text(printable(name)), justify="right")
    for each in standings[:FRONT_ROWS]:
        table.add_row(
            *(f"{value:.4f}" for value in each.values.values()),
            *(Text(printable(_short(value))) for value in each.point.settings.values()),
            str(each.epoch),
            *([Text(", ".join(each.breaks))] if broken else []),
        )
    if len(standings) > FRONT_ROWS:
        table.caption = f"and {len(standings) - FRONT_ROWS} more"
    return table


def failure_line(key: str, reason: str | None, state: State) -> str:
    """A failed trial, named the way its user knows it."""
    trial = state.trials[key]
    settings = state.points[trial.point].settings
    named = ", ".join(f"{name} {_short(value)}" for name, value in settings.items())
    return f"FAILED {key} ({named or trial.point}, seed {trial.seed}): {reason}"


def rung_line(pack: Pack, message: Message) -> str:
    """Who goes on at a rung; of a pack of one trial, why."""
    first = message.decisions[0]
    if len(message.decisions) == 1:
        verb = "goes on" if first.goes_on else "is stopped"
        return f"{pack.name} {verb}: {first.reason}"
    going = {each.key: each.goes_on for each in message.decisions}
    points: dict[str, bool] = {}
    for trial in pack.trials:
        if trial.key in going:
            points[trial.point] = going[trial.key]
    return (
        f"{pack.name}: after epoch {first.epoch} {sum(points.values())} of {len(points)} points "
        "go on"
    )


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _ends(standings: list[Standing]) -> str:
    """The cheapest and the dearest of the front, in words."""
    if not standings:
        return ""
    broken = " (no point keeps the constraints)" if standings[0].breaks else ""
    ends = [standings[0], standings[-1]] if len(standings) > 1 else standings
    said = [
        ", ".join(f"{name} {value:.4f}" for name, value in each.values.items()) for each in ends
    ]
    return f"{broken}: {' to '.join(said)}"


def _epochs(config: str) -> int:
    return int(json.loads(config)["training"]["epochs"])


def _all_epochs(state: State, trials: int) -> int:
    """Epochs of all trials, of those too that are still to be asked."""
    known = [_epochs(trial.config) for trial in state.trials.values()]
    return sum(known) + max(0, trials - len(known)) * (known[-1] if known else 0)


def _finished_epochs(state: State) -> int:
    """Epochs that all trials have behind them; an ended one has all of its own."""
    reached = {key: report.epoch for (key, _), report in state.latest.items()}
    for key, ending in state.endings.items():
        if ending.status in (FAILED, STOPPED) and key not in state.again:
            reached[key] = _epochs(state.trials[key].config)
    return sum(reached.values())
