"""A sweep as its command runs it, and how long the keeping of its books took.

    python -m benchmarks.timed_sweep TIMES.json STUDY [key=value ...] [flags of sweeps.run]

The functions that keep the books are wrapped in this process before `sweeps.run` is called; the
workers, which train, are other processes and are not touched. Every call is written down with when
it began and how long it took without those of the other parts that it called, so that the parts
add up.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sweeps.journal.journal import read
from sweeps.records import JOURNAL_FILE

ROOT: Final = Path(__file__).resolve().parent.parent

FSYNC: Final = "journal, fsync"
APPEND: Final = "journal, all else"
LEDGER: Final = "ledger"
BATCHES: Final = "asking and telling"
VIEW: Final = "Batches.show"
TABLES: Final = "tables.write"
JOURNAL: Final = "the journal"
PARTS: Final = (FSYNC, APPEND, LEDGER, BATCHES, VIEW, TABLES)


@dataclass
class Stopwatch:
    """Seconds by part; of nested calls each its own."""

    calls: list[tuple[str, float, float]] = field(default_factory=list)
    """Part, when it began by the monotonic clock, seconds of its own."""

    _open: list[list[Any]] = field(default_factory=list)
    """Of the calls that have not returned: part, and the seconds of those that they made."""

    def wrap(self, place: Any, name: str, part: str, *, within: str | None = None) -> None:
        """Measures a function of a class or module from now on; `within` another part alone."""
        inner: Callable[..., Any] = getattr(place, name)

        @functools.wraps(inner)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if within is not None and not (self._open and self._open[-1][0] == within):
                return inner(*args, **kwargs)
            self._open.append([part, 0.0])
            began = time.monotonic()
            try:
                return inner(*args, **kwargs)
            finally:
                seconds = time.monotonic() - began
                _, others = self._open.pop()
                self.calls.append((part, began, seconds - others))
                if self._open:
                    self._open[-1][1] += seconds

        setattr(place, name, timed)


def watched() -> Stopwatch:
    """Wraps all that keeps the books."""
    from sweeps.driver._ledger import Ledger
    from sweeps.driver.queue import Batches
    from sweeps.journal import tables
    from sweeps.journal.journal import Journal

    watch = Stopwatch()
    watch.wrap(Journal, "append", APPEND)
    watch.wrap(os, "fsync", FSYNC, within=APPEND)
    watch.wrap(tables, "write", TABLES)
    watch.wrap(Batches, "show", VIEW)
    for name in ("take", "tell", "requeue"):
        watch.wrap(Batches, name, BATCHES)
    for name in (
        "started",
        "received",
        "breaks_off",
        "finished",
        "interrupted",
        "failed",
        "used_up",
    ):
        watch.wrap(Ledger, name, LEDGER)
    return watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One that has been run."""

    run: Path
    wall: float
    """Seconds of its command."""

    training: tuple[float, float]
    """When the first pack started and the last trial ended, by the monotonic clock."""

    calls: tuple[tuple[str, float, float], ...]
    """Part, when it began, seconds."""

    def seconds(self, part: str, *, training: bool = False) -> float:
        """Of a part in all; or while packs were trained."""
        first, last = self.training
        return sum(
            seconds
            for name, began, seconds in self.calls
            if name == part and (not training or first <= began <= last)
        )

    def shares(self) -> dict[str, tuple[float, float]]:
        """By part: of the command's time, and of that in which packs were trained."""
        first, last = self.training
        found = {
            part: (
                self.seconds(part) / self.wall,
                self.seconds(part, training=True) / (last - first),
            )
            for part in PARTS
        }
        return {
            **found,
            JOURNAL: _sum(found[part] for part in (APPEND, FSYNC)),
            "all of these": _sum(found.values()),
        }


def _sum(shares: Iterable[tuple[float, float]]) -> tuple[float, float]:
    whole, training = zip(*shares, strict=True)
    return sum(whole), sum(training)


def timed(words: Sequence[str], run: Path, *, cache: Path) -> Sweep:
    """Runs one on the embedded sample by its command.

    Raises:
        RuntimeError: it did not end well.
    """
    run.parent.mkdir(parents=True, exist_ok=True)
    times = run.with_suffix(".json")
    began = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.timed_sweep", str(times), *words),
            *("--sample", "--quiet", "--no-report", "--cache", str(cache)),
            *("--out", str(run.parent), "--name", run.name),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    wall = time.monotonic() - began
    if done.returncode != 0:
        raise RuntimeError(f"the sweep {run.name} ended with {done.returncode}: {done.stderr}")
    at = [(event["event"], event["mono"]) for event in read(run / JOURNAL_FILE)]
    return Sweep(
        run=run,
        wall=wall,
        training=(
            min(mono for kind, mono in at if kind == "started"),
            max(mono for kind, mono in at if kind == "ended"),
        ),
        calls=tuple((part, when, seconds) for part, when, seconds in json.loads(times.read_text())),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    out, *words = sys.argv[1:] if arguments is None else arguments
    from sweeps import run

    watch = watched()
    code = run.main(words)
    Path(out).write_text(json.dumps(watch.calls))
    return code


if __name__ == "__main__":
    sys.exit(main())
