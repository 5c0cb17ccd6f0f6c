"""One session of a run: the command in a process group of its own, watched, struck, waited for."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sweeps.journal import journal as journals
from tests.chaos import blows, processes
from tests.chaos.blows import DRIVER, HEAD, MACHINE, WORKER, Blow
from tests.chaos.nodes import Nodes

ROOT: Final = Path(__file__).resolve().parents[2]

RAY: Final = "sweeps.run"
NO_RAY: Final = "tests.chaos.without_ray"

SILENCE: Final = 120.0
LIMIT: Final = 900.0
"""Seconds without a word, in the journal or to people, and in all, after which a session hangs: one
that works may take long on a busy machine."""

_GAZE: Final = 0.002
"""Seconds between two looks."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """How one went."""

    code: int | None
    """Of its exit; None where it hung and was ended."""

    struck: Blow | None
    """The blow, where its moment came."""

    said: str
    """Its standard error."""

    seconds: float
    orphans: int
    """Processes that outlived it by a second."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a round's sessions run."""

    run: Path
    temporary: Path
    """For Ray's sessions: its path must be short."""

    log: Path
    module: str = RAY
    """The command."""

    nodes: Nodes | None = None
    """A cluster that is joined."""

    def command(self, arguments: Sequence[str]) -> list[str]:
        """In a fresh interpreter."""
        return [sys.executable, "-m", self.module, *arguments]

    def environment(self) -> Mapping[str, str]:
        """Of a session's processes: this checkout's packages, one thread each."""
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(self.temporary),
            "NO_COLOR": "1",
            "PYTHONFAULTHANDLER": "1",  # says where it hangs when it is ended
            **(self.nodes.token if self.nodes is not None else {}),
        }


def hold(
    place: Place, number: int, arguments: Sequence[str], blow: Blow | None, generator: random.Random
) -> Session:
    """Runs the command until it ends or is killed."""
    out, err = place.log / f"{number:02d}.out", place.log / f"{number:02d}.err"
    before = {each.pid for each in processes.orphans()}
    began = time.monotonic()
    with out.open("wb") as said, err.open("wb") as complained:
        running = subprocess.Popen(
            place.command(arguments),
            stdout=said,
            stderr=complained,
            stdin=subprocess.DEVNULL,
            cwd=place.run.parent.parent,
            env=place.environment(),
            start_new_session=True,
        )
        processes.AWAITED.add(running.pid)
        struck = _watched(running, place, blow, generator)
        hung = running.poll() is None
        if hung:
            _put_down(running)
        running.wait()
        processes.AWAITED.discard(running.pid)
    seconds = time.monotonic() - began
    mine = _outliving(before, place)
    if not (struck is not None and struck.lingers):
        processes.end(mine)
    return Session(
        code=None if hung else running.returncode,
        struck=struck,
        said=err.read_text(errors="replace"),
        seconds=seconds,
        orphans=len(mine),
    )


def _watched(
    running: subprocess.Popen[bytes], place: Place, blow: Blow | None, generator: random.Random
) -> Blow | None:
    """Looks on until it ends or hangs; gives the blow where it was struck."""
    moment = blow.moment(place.run) if blow is not None else lambda: False
    began = spoke = looked = time.monotonic()
    said, struck = 0, None
    while running.poll() is None and (now := time.monotonic()) < min(
        spoke + SILENCE, began + LIMIT
    ):
        if now - looked > 1.0:
            looked, before, said = now, said, _words(place)
            spoke = now if said != before else spoke
        if blow is not None and struck is None and moment():
            time.sleep(blow.delay)
            struck = blow if strike(blow, running, place, generator) else None
        time.sleep(_GAZE)
    return struck


def _words(place: Place) -> int:
    """Bytes that the round's sessions have said so far."""
    total = 0
    for path in (place.run / "journal.jsonl", *place.log.glob("*.err")):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def _put_down(running: subprocess.Popen[bytes]) -> None:
    """Ends one that hangs; where it hangs stands in what it said."""
    everybody = processes.descendants(running.pid)
    with contextlib.suppress(subprocess.TimeoutExpired):
        running.send_signal(signal.SIGABRT)
        running.wait(timeout=10)
    running.kill()
    processes.end(everybody)


def _outliving(before: set[int], place: Place) -> list[Any]:
    """The session's processes that are there a second after it; those of a cluster are not its."""

    def found() -> list[Any]:
        cluster = place.nodes.everybody() if place.nodes is not None else set()
        return processes.orphans(but=before | cluster)

    end = time.monotonic() + 1.0
    while (mine := found()) and time.monotonic() < end:
        time.sleep(0.05)
    return mine


def strike(
    blow: Blow, driver: subprocess.Popen[bytes], place: Place, generator: random.Random
) -> bool:
    """Kills; False where there is nobody to be killed yet."""
    if blow.kind == DRIVER:
        os.kill(driver.pid, signal.SIGKILL)
        return True
    if blow.kind == MACHINE:
        everybody = processes.descendants(driver.pid)
        os.kill(driver.pid, signal.SIGKILL)
        processes.end(everybody)
        driver.wait()
        processes.end(processes.orphans())
        forget(place.run / "journal.jsonl", generator)
        return True
    found = victims(blow.kind, driver, place)
    processes.end(found if blow.kind == HEAD else found and [generator.choice(found)])
    return bool(found)


def victims(kind: str, driver: subprocess.Popen[bytes], place: Place) -> list[Any]:
    """Who may be killed of this kind; of a head all its processes are."""
    if kind == blows.RAY:
        return processes.rays(processes.descendants(driver.pid))
    if kind == WORKER:
        return processes.workers(
            processes.descendants(driver.pid) if place.nodes is None else processes.orphans()
        )
    assert place.nodes is not None
    return place.nodes.head() if kind == HEAD else place.nodes.raylets()


def forget(journal: Path, generator: random.Random) -> int:
    """What a crash of the machine may do to a journal: any end of it that was not yet durable is
    gone, a line torn in the middle. Gives the bytes that are gone."""
    whole = journal.read_bytes() if journal.exists() else b""
    safe = end = 0
    for line in whole.splitlines(keepends=True):
        end += len(line)
        if any(b'"event":"%s"' % kind.encode() in line[:200] for kind in journals._DURABLE):
            safe = end
    kept = generator.randint(safe, len(whole))
    if kept < len(whole):
        os.truncate(journal, kept)
    return len(whole) - kept
