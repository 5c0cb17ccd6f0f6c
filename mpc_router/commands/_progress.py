"""What a command shows while it works: a bar on a terminal, else lines; on stderr."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TextIO

from mpc_router.terminal.progress import StepLines


class Lines:
    """Prints lines about every step (`StepLines`); none where `quiet`.

    It is a `Progress` (start, advance, finish) and a context manager.
    """

    def __init__(self, *, quiet: bool = False, file: TextIO | None = None) -> None:
        self.quiet = quiet
        self._file = file
        self._lines = StepLines(self.tell, every_minute=not quiet)

    def say(self, text: str, *, style: str = "") -> None:
        """Prints a line, `quiet` or not; `style` is rich's, where there are colours."""
        print(text, file=self._file or sys.stderr, flush=True)

    def tell(self, text: str) -> None:
        """Prints a line that `quiet` leaves out."""
        if not self.quiet:
            self.say(text)

    def start(self, label: str, total: int) -> None:
        """Begins a step of `total` parts."""
        self._lines.start(label, total)

    def advance(self, n: int = 1) -> None:
        """Counts `n` more parts as done."""
        self._lines.advance(n)

    def finish(self) -> None:
        """Ends the step."""
        self._lines.finish()

    def __enter__(self) -> Lines:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes what is open."""
        self._lines.close()


class Bars(Lines):
    """Draws a bar for the step that runs; lines stand above it."""

    def __init__(self, *, file: TextIO | None = None) -> None:
        super().__init__(file=file)
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TaskID,
            TextColumn,
            TimeRemainingColumn,
        )

        self._console = Console(file=file or sys.stderr, highlight=False)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
            redirect_stdout=False,  # what is found goes to stdout, whatever stderr is
        )
        self._current: TaskID | None = None
        self._step = ("", 0.0)

    def say(self, text: str, *, style: str = "") -> None:
        """Prints a line above the bar."""
        from rich.text import Text

        self._console.print(Text(text, style=style))

    def start(self, label: str, total: int) -> None:
        """Draws a bar for the step."""
        self._drop()
        self._step = (label, time.monotonic())
        self._current = self._bars.add_task(label, total=total)

    def advance(self, n: int = 1) -> None:
        """Lengthens the bar."""
        if self._current is not None:
            self._bars.advance(self._current, n)

    def finish(self) -> None:
        """Replaces the bar by a line."""
        self._drop()
        label, began = self._step
        self.tell(f"{label}: {time.monotonic() - began:.1f} s")

    def _drop(self) -> None:
        if self._current is not None:
            self._bars.remove_task(self._current)
            self._current = None

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()


def progress(quiet: bool) -> Lines:
    """Gives bars on a terminal, unless `quiet` or NO_COLOR say otherwise, else lines."""
    terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    if quiet or not terminal or os.environ.get("NO_COLOR"):
        return Lines(quiet=quiet)
    return Bars()
