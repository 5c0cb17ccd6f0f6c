"""What is killed, and when: drawn from a seed, struck while a session runs."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.chaos.variants import Variant

DRIVER: Final = "driver"
MACHINE: Final = "machine"
"""The driver and all its processes in one moment; the journal loses what was not yet durable."""

RAY: Final = "ray"
"""The process that Ray lives in: the journal's sees it go."""

WORKER: Final = "worker"
RAYLET: Final = "raylet"
HEAD: Final = "head"
KINDS: Final = (DRIVER, MACHINE, RAY, WORKER, RAYLET, HEAD)

_ALONE: Final = (DRIVER, DRIVER, MACHINE, RAY, WORKER)

_PLACES: Final = {
    "tables": (".*.parquet-*.tmp",),
    "texts": (".study.yaml-*.tmp",),
    "parts": ("parts/.*.tmp",),
    "checkpoints": ("checkpoints/.*.tmp", "checkpoints/*/.*.tmp"),
    "view": (".optuna.journal-*.tmp/*",),
}
"""Names of files that are there only while something is being written. Routers on frozen experts
are one file, and a joint trial has a folder."""

_IDLE_EVENTS: Final = ("resumed", "closed")
_TRAINING_WRITES: Final = ("parts", "checkpoints")
"""What a session that trains nothing journals, and what it does not write."""


@dataclass(frozen=True, kw_only=True)
class Blow:
    """One kill."""

    kind: str
    after: str
    """`clock`: so many seconds of a session; `lines`: so many new lines of the journal; `event`:
    a new event of this kind; `file`: a temporary file of this kind."""

    what: str = ""
    """The kind of event or file."""

    count: float = 0.0
    """Seconds, lines, or how many such events."""

    delay: float = 0.0
    """Seconds more."""

    lingers: bool = False
    """Whether the processes that outlive a driver are left alone until the next session is over."""

    def __str__(self) -> str:
        when = {
            "clock": f"after {self.count:.1f} s",
            "lines": f"after {self.count:.0f} lines",
            "event": f"at {self.count:.0f} x {self.what}",
            "file": f"while {self.what} are written",
        }[self.after]
        return f"{self.kind} {when}{' (orphans linger)' if self.lingers else ''}"

    @property
    def may_strike_idle(self) -> bool:
        """Whether its moment may come in a session that finds nothing left to train: that is begun,
        writes two lines, tables and views, and ends, without any Ray."""
        if self.kind not in (DRIVER, MACHINE):
            return False
        if self.after == "lines":
            return self.count <= len(_IDLE_EVENTS)
        if self.after == "event":
            return self.what in _IDLE_EVENTS and self.count == 1
        return self.after == "clock" or self.what not in _TRAINING_WRITES

    def moment(self, run: Path) -> Callable[[], bool]:
        """Whether it has come, from now on asked again and again."""
        if self.after == "clock":
            end = time.monotonic() + self.count
            return lambda: time.monotonic() >= end
        if self.after == "file":
            known = _files(run, self.what)  # what an earlier kill has left
            return lambda: bool(_files(run, self.what) - known)
        news = _News(run / "journal.jsonl")
        if self.after == "lines":
            return lambda: news.gained().count(b"\n") >= self.count
        said = b'"event":"%s"' % self.what.encode()
        return lambda: news.gained().count(said) >= self.count


def _files(run: Path, kind: str) -> set[tuple[str, int]]:
    """Temporary files with the time of their last change."""
    found = set()
    for path in (path for place in _PLACES[kind] for path in run.glob(place)):
        with contextlib.suppress(FileNotFoundError):
            found.add((path.name, path.lstat().st_mtime_ns))
    return found


class _News:
    """What a journal has gained since now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = path.stat().st_size if path.exists() else 0
        self._seen, self._gained = self._known, b""

    def gained(self) -> bytes:
        """All of it; read only when the file has grown."""
        size = self._path.stat().st_size if self._path.exists() else 0
        if size != self._seen:
            with self._path.open("rb") as file:
                file.seek(self._known)
                self._gained = file.read()
            self._seen = size
        return self._gained


@dataclass(frozen=True, kw_only=True)
class Course:
    """How an undisturbed run went: where in it blows may fall."""

    seconds: float
    lines: int
    """Of its journal."""


def drawn(variant: Variant, course: Course, generator: random.Random) -> tuple[Blow, ...]:
    """The blows of a round, one a session: some while it trains, often one as it writes tables."""
    found = [_while_it_runs(variant, course, generator) for _ in range(generator.randint(2, 3))]
    if generator.random() < 0.6:
        found.append(_at_the_end(variant, generator))
    return tuple(found)


def short(variant: Variant) -> tuple[Blow, ...]:
    """The same ones every time, for the test suite."""
    if variant.name == "rungs":
        return (Blow(kind=MACHINE, after="file", what="tables"),)
    return (Blow(kind=DRIVER, after="event", what="reported", count=3, lingers=True),)


def _while_it_runs(variant: Variant, course: Course, generator: random.Random) -> Blow:
    kind = generator.choice(_kinds(variant))
    lingers = kind == DRIVER and generator.random() < 0.4
    delay = generator.choice([0.0, generator.uniform(0, 0.05)])
    if kind in (RAY, WORKER, RAYLET, HEAD):
        lines = generator.randint(4, max(5, course.lines * 2 // 3))
        return Blow(kind=kind, after="lines", count=lines, delay=delay)
    way = generator.choice(["clock", "lines", "lines", "event", "file"])
    if way == "clock":
        seconds = generator.uniform(0.3, course.seconds)
        return Blow(kind=kind, after=way, count=seconds, lingers=lingers)
    if way == "lines":
        lines = generator.randint(1, max(2, course.lines * 3 // 4))
        return Blow(kind=kind, after=way, count=lines, delay=delay, lingers=lingers)
    if way == "event":
        events = ["asked", "started", "ended", "reported", "resumed"]
        events += ["decided"] if not variant.name.startswith("grid") else []
        events += ["told"] if variant.searches else []
        return Blow(
            kind=kind,
            after=way,
            what=generator.choice(events),
            count=generator.randint(1, 3),
            lingers=lingers,
        )
    files = ["parts", "checkpoints", "view", "view"]
    return Blow(kind=kind, after="file", what=generator.choice(files), lingers=lingers)


def _kinds(variant: Variant) -> Sequence[str]:
    return [DRIVER, RAY, WORKER, RAYLET, RAYLET, HEAD] if variant.cluster else _ALONE


def _at_the_end(variant: Variant, generator: random.Random) -> Blow:
    kind = DRIVER if variant.cluster else generator.choice([DRIVER, MACHINE])
    if generator.random() < 0.6:
        what = generator.choice(["tables", "tables", "texts"])
        return Blow(kind=kind, after="file", what=what, delay=generator.uniform(0, 0.03))
    return Blow(kind=kind, after="event", what="closed", count=1, delay=generator.uniform(0, 0.3))
