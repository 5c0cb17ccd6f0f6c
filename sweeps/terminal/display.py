"""The module prints a run's events as plain lines; where there is a terminal, `live` adds to it."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TextIO

from rich import box
from rich.table import Table
from rich.text import Text

from mpc_router.console import LastingConsole
from mpc_router.messages import decimal, printable
from sweeps.journal.journal import Journal
from sweeps.journal.state import State
from sweeps.records import COMPLETED, FAILED, STOPPED, Message, Pack
from sweeps.stopping.constraints import Constraint
from sweeps.terminal._front_so_far import Standing, front
from sweeps.terminal.signals import tell

_FRONT_ROWS = 12

_SHORT_TIME = 0.01
"""It is the time that finding the front may take every time, in seconds."""

_PAUSE_FACTOR = 20
"""It is how many times its own time passes until a slow front is found again."""

_FAILURES_IN_FULL = 5
"""It is how many failed trials are printed in full; later ones are counted."""


class Display:
    """Prints a line for each event; also where there is no terminal, and with `--quiet`.

    It is told of preparation (`start`, `advance`, `finish`) and packs (`started`, `heard`, `left`).
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
        """Prints a line."""
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
        """Sets the front's objectives and constraints, and the number of trials."""
        self._objectives, self._vector, self._trials = objectives, cost_vector, trials
        self._constraints = constraints
        self._began = time.monotonic()

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
        """Shows that a step of preparation begins."""
        self._step = (label, time.monotonic())

    def advance(self, n: int = 1) -> None:
        """Shows that a step of preparation goes on."""

    def finish(self) -> None:
        """Shows that a step of preparation is over."""
        label, began = self._step
        if not self.quiet:
            self.say(f"{label}: {time.monotonic() - began:.1f} s")

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
        counts = tally(state)
        best = self._front(state)
        trials = max(self._trials, len(state.trials))
        self.say(
            f"{pack.name}: {len(pack.trials)} trials; {counts['done']} of {trials} "
            f"done, {counts['failed']} failed, {time.monotonic() - self._began:.0f} s; "
            f"front of {len(best)}{_ends(best)}"
        )

    def lost(self, pack: Pack, reason: str, *, again: bool) -> None:
        """Prints that a worker is lost; also with `--quiet`, for it may need the user's help."""
        self._lost = pack.name
        outcome = "it is tried again" if again else "it is left to --resume"
        self.say(f"{pack.name} lost its worker ({reason}); {outcome}", style="yellow")

    def _front(self, state: State) -> list[Standing]:
        """Gives the front; a slow one is found again after `_PAUSE_FACTOR` times its own time."""
        began = time.monotonic()
        if began >= self._best_due:
            self._best = front(state, self._objectives, self._vector, self._constraints)
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


def tally(state: State) -> Counter[str]:
    """Counts the trials that are `done` and `failed`."""
    counts: Counter[str] = Counter()
    for key, ending in state.endings.items():
        if key in state.finishing:
            continue
        counts["done"] += ending.status in (COMPLETED, STOPPED)
        counts["failed"] += ending.status == FAILED
    return counts


def front_table(standings: list[Standing]) -> Table:
    """Draws the front so far, on selection, without the dearest rows of a long one."""
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
    for standing in standings[:_FRONT_ROWS]:
        table.add_row(
            *(decimal(value, 4) for value in standing.values.values()),
            *(Text(printable(_short(value))) for value in standing.point.settings.values()),
            str(standing.epoch),
            *([Text(", ".join(standing.breaks))] if broken else []),
        )
    if len(standings) > _FRONT_ROWS:
        table.caption = f"and {len(standings) - _FRONT_ROWS} more"
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
    return (
        f"{pack.name}: after epoch {first.epoch} {sum(points.values())} of {len(points)} points "
        "go on"
    )


def _short(value: object) -> str:
    """Writes a setting's value in few characters."""
    return f"{value:g}" if isinstance(value, float) else str(value)


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
