"""The module prints a run's events as plain lines; where there is a terminal, `live` adds to it."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mpc_router.messages import decimal, printable
from mpc_router.terminal.console import LastingConsole
from mpc_router.terminal.progress import MINUTE, StepLines, times
from sweeps.journal.journal import Journal
from sweeps.journal.state import State
from sweeps.records import FAILED, Message, Pack
from sweeps.terminal.counts import counts, epochs_left, seconds_left
from sweeps.terminal.front_so_far import Standing, front
from sweeps.terminal.outline import Outline
from sweeps.terminal.signals import tell

_FRONT_ROWS = 12

_SHORT_TIME = 0.01
"""It is the time that finding the front may take every time, in seconds."""

_PAUSE_FACTOR = 20
"""It is how many times its own time passes until a slow front is found again."""

_FAILURES_IN_FULL = 5
"""It is how many failed trials are printed in full; later ones are counted."""


class Display:
    """Prints lines about a run; also where there is no terminal, and with `--quiet`.

    It is told of steps (`start`, `advance`, `finish`), of packs (`started`, `received`, `ended`,
    `lost`), and of the time that passes while packs train (`turn`).
    """

    def __init__(
        self, *, file: TextIO | None = None, quiet: bool = False, every_minute: bool = True
    ) -> None:
        """Makes the display of a run; `every_minute` may be left out."""
        self.console = LastingConsole(file=file or sys.stderr, highlight=False, soft_wrap=True)
        self.quiet = quiet
        self._every_minute = every_minute and not quiet
        self._steps = StepLines(self.tell, every_minute=self._every_minute)
        self._outline = Outline()
        self._began = time.monotonic()
        self._epochs_before = 0
        self._line_due = math.inf
        self._stopping = False
        self._failures = 0
        self._lost = ""
        self._best: list[Standing] = []
        self._epochs_left = 0.0
        self._best_due = 0.0

    def say(self, text: str, *, style: str = "") -> None:
        """Prints a line."""
        lines = map(printable, text.split("\n"))  # a reason may have several
        self.console.print(Text("\n".join(lines), style=style))

    def tell(self, text: str) -> None:
        """Prints a line that `--quiet` leaves out."""
        if not self.quiet:
            self.say(text)

    def study(self, outline: Outline) -> None:
        """Sets what the run is judged by."""
        self._outline = outline

    def training(self, state: State) -> None:
        """Shows that workers are started to train what a run has left."""
        self._began, self._epochs_before = time.monotonic(), state.epochs
        self._line_due = self._began + MINUTE
        self.tell(f"training: {counts(state, self._outline)}; workers are being started ...")

    def turn(self, state: State) -> None:
        """Prints every minute how far the training is."""
        if self._every_minute and time.monotonic() >= self._line_due:
            self._line_due = time.monotonic() + MINUTE
            self.say(
                f"{counts(state, self._outline)}; {self._times(state)}{self._front_text(state)}"
            )

    def _times(self, state: State) -> str:
        """Writes how long the training has taken, and about how long it still takes."""
        seconds, epochs = time.monotonic() - self._began, state.epochs - self._epochs_before
        self._front(state)
        left = seconds_left(
            state, self._outline, left=self._epochs_left, seconds=seconds, epochs=epochs
        )
        return times(seconds, left)

    def _front_text(self, state: State) -> str:
        """Describes the front so far in words; empty before the first report."""
        best = self._front(state)
        grey = sum(standing.stopped for standing in best)
        stopped = f" ({grey} of them stopped early)" if grey else ""
        return f"; front of {len(best)}{stopped}{_ends(best)}" if best else ""

    def opened(self, journal: Journal) -> None:
        """Prints how much was cut off the journal as it was opened."""
        if journal.torn:
            self.say(f"{journal.path}: a torn last line of {journal.torn} bytes was cut off")
        if journal.repaired is not None:
            cut = journal.repaired
            self.say(
                f"repair: line {cut.line} of {journal.path} {cut.reason}; {cut.gone} lines from "
                f"there on are gone, the journal as it was is {cut.saved}",
                style="yellow",
            )

    def start(self, label: str, total: int) -> None:
        """Shows that a step begins."""
        self._steps.start(label, total)

    def advance(self, n: int = 1) -> None:
        """Shows that a step goes on."""
        self._steps.advance(n)

    def finish(self) -> None:
        """Shows that a step is over."""
        self._steps.finish()

    def started(self, pack: Pack, state: State) -> None:
        """Shows that a pack runs on a worker."""

    def received(self, pack: Pack, message: Message, state: State) -> None:
        """Shows a message of a running pack."""
        failed = [ending for ending in message.endings if ending.status == FAILED]
        in_full = failed[: max(0, _FAILURES_IN_FULL - self._failures)]
        self._failures += len(failed)
        for ending in in_full:
            self.say(_failure_line(ending.key, ending.reason, state), style="red")
        if others := len(failed) - len(in_full):
            self.say(f"{pack.name}: {others} more FAILED, each with its reason in trials.parquet")
        if message.decisions and not self.quiet:
            self.say(_rung_line(pack, message))

    def ended(self, pack: Pack, state: State) -> None:
        """Shows that a pack is over."""
        if self._lost == pack.name:  # `lost` has reported it
            self._lost = ""
            return
        self._line_due = time.monotonic() + MINUTE
        self.say(
            f"{pack.name} is over; {counts(state, self._outline)}; {self._times(state)}"
            f"{self._front_text(state)}"
        )

    def lost(self, pack: Pack, reason: str, *, again: bool) -> None:
        """Prints that a worker is lost; also with `--quiet`, for it may need the user's help."""
        self._lost = pack.name
        outcome = "it is tried again" if again else "it is left to --resume"
        self.say(f"{pack.name} lost its worker ({reason}); {outcome}", style="yellow")

    def _front(self, state: State) -> list[Standing]:
        """Gives the front, and estimates what is left with it.

        Slow ones are made anew after `_PAUSE_FACTOR` times their own time.
        """
        began = time.monotonic()
        if began >= self._best_due:
            self._best = front(state, self._outline)
            self._epochs_left = epochs_left(state, self._outline, self._best)
            took = time.monotonic() - began
            self._best_due = began + _PAUSE_FACTOR * took if took > _SHORT_TIME else 0.0
        return self._best

    def deviated(self, pack: Pack, reason: str) -> None:
        """Prints that a pack gives other numbers than before; also with `--quiet`."""
        self.say(
            f"{pack.name} gives other numbers than before it was interrupted ({reason}); the new "
            "numbers replace the old",
            style="yellow",
        )

    def left_out(self, node: str, reason: str) -> None:
        """Prints that a node gets no more packs; also with `--quiet`."""
        self.say(f"node {node} is left out: packs fail there in a row ({reason})", style="yellow")

    def measured(self, text: str) -> None:
        """Prints what a dry step has shown of a pack's share of a GPU."""
        self.tell(f"pack.gpus: {text}")

    def waits(self, share: str) -> None:
        """Prints that packs wait for a node; also with `--quiet`, for it may need the user."""
        self.say(f"waiting for a node with room for a pack ({share})", style="yellow")

    def restarts(self, pack: Pack, reason: str) -> None:
        """Prints that a pack begins at its start; also with `--quiet`."""
        self.say(
            f"{pack.name} begins at its start, because its kept state cannot be used ({reason})",
            style="yellow",
        )

    def stopping(self) -> None:
        """Prints, once, that a clean stop was asked for and takes some seconds."""
        if not self._stopping:
            self._stopping = True
            self.say("stopping; what is done is kept (Ctrl-C again ends at once)", style="yellow")

    def abandon(self) -> None:
        """Prints the last line before the process ends, from a signal's handler."""
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
        """Closes the display."""
        self._steps.close()
        self._line_due = math.inf


def front_table(
    standings: Sequence[Standing], *, rows: int = _FRONT_ROWS, width: int | None = None
) -> Table:
    """Draws the front so far, on selection, without the dearest rows of a long one.

    Stopped points are grey. Settings that a narrow terminal, of `width` columns, has no room for
    are left out, for numbers that are cut say nothing.
    """
    settings = list(standings[0].point.settings) if standings else []
    for count in range(len(settings), -1, -1):
        table = _front_table(standings, rows, settings[:count], left_out=len(settings) - count)
        if width is None or Console(width=10 * width).measure(table).maximum <= width:
            break
    return table


def _front_table(
    standings: Sequence[Standing], rows: int, settings: Sequence[str], *, left_out: int
) -> Table:
    """Draws the front so far with some of the settings."""
    broken = bool(standings) and bool(standings[0].breaks)
    grey = any(standing.stopped for standing in standings)
    table = Table(
        title="front so far (selection)"
        + ("; no point keeps the constraints" if broken else "")
        + ("; grey: stopped early" if grey else "")
        + (f"; settings without room: {left_out}" if left_out else ""),
        title_justify="left",
        title_style="dim",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    if not standings:
        return table
    first = standings[0]
    for name in (*first.values, *settings, "epoch", *(["breaks"] if broken else [])):
        table.add_column(Text(printable(name)), justify="right")
    for standing in standings[:rows]:
        table.add_row(
            *(decimal(value, 4) for value in standing.values.values()),
            *(Text(printable(_short(standing.point.settings.get(name, "")))) for name in settings),
            str(standing.epoch),
            *([Text(", ".join(standing.breaks))] if broken else []),
            style="bright_black" if standing.stopped else None,
        )
    if len(standings) > rows:
        table.caption = f"and {len(standings) - rows} more"
    return table


def _failure_line(key: str, reason: str | None, state: State) -> str:
    """Names a failed trial by its settings and seed."""
    trial = state.trials[key]
    settings = state.points[trial.point].settings
    shown = ", ".join(f"{name} {_short(value)}" for name, value in settings.items())
    return f"FAILED {key} ({shown or trial.point}, seed {trial.seed}): {reason}"


def _rung_line(pack: Pack, message: Message) -> str:
    """Names which points go on at a rung; for a pack of one trial, the reason."""
    first = message.decisions[0]
    if len(message.decisions) == 1:
        verb = "goes on" if first.goes_on else "is stopped"
        return f"{pack.name} {verb}: {first.reason}"
    going = {decision.key: decision.goes_on for decision in message.decisions}
    points: dict[str, bool] = {}
    for trial in pack.trials:
        if trial.key in going:
            points[trial.point] = going[trial.key]
    going_on = sum(points.values())
    return (
        f"{pack.name}: {going_on} of {len(points)} points {'goes' if going_on == 1 else 'go'} on "
        f"after epoch {first.epoch}"
    )


def _short(value: object) -> str:
    """Writes a setting's value in few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _ends(standings: list[Standing]) -> str:
    """Describes the cheapest and the dearest point of the front in words."""
    if not standings:
        return ""
    broken = " (no point keeps the constraints)" if standings[0].breaks else ""
    ends = [standings[0], standings[-1]] if len(standings) > 1 else standings
    texts = [
        ", ".join(f"{name} {decimal(value, 4)}" for name, value in standing.values.items())
        for standing in ends
    ]
    return f"{broken}: {' to '.join(texts)}"
