"""One session of a run: the command in a process group of its own, watched, struck, waited for."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sweeps import journal as journals
from tests.chaos import processes
from tests.chaos.blows import DRIVER, HEAD, MACHINE, RAYLET, WORKER, Blow

ROOT: Final = Path(__file__).resolve().parents[2]

RAY: Final = "sweeps.run"
NO_RAY: Final = "tests.chaos.without_ray"

LIMIT: Final = 180.0
"""Seconds that a session may take on a busy machine; a longer one hangs."""

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
        }


def hold(
    place: Place, number: int, arguments: Sequence[str], blow: Blow | None, generator: random.Random
) -> Session:
    """Runs the command until it ends or is killed."""
    out, err = place.log / f"{number:02d}.out", place.log / f"{number:02d}.err"
    moment = blow.moment(place.run) if blow is not None else lambda: False
    spared = {each.pid for each in processes.orphans()}
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
        struck = None
        while running.poll() is None and time.monotonic() - began < LIMIT:
            if blow is not None and struck is None and moment():
                time.sleep(blow.delay)
                struck = blow if strike(blow, running, place, generator) else None
            time.sleep(_GAZE)
        hung = running.poll() is None
        if hung:
            everybody = processes.descendants(running.pid)
            running.kill()
            processes.end(everybody)
        running.wait()
    seconds = time.monotonic() - began
    mine = [each for each in processes.orphans() if each.pid not in spared]
    if mine:
        time.sleep(1.0)
        mine = [each for each in processes.orphans() if each.pid not in spared]
    if not (struck is not None and struck.lingers):
        processes.end(mine)
    return Session(
        code=None if hung else running.returncode,
        struck=struck,
        said=err.read_text(errors="replace"),
        seconds=seconds,
        orphans=len(mine),
    )


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
    if blow.kind == WORKER:
        found = processes.workers(driver.pid)
        if found:
            processes.end([generator.choice(found)])
        return bool(found)
    assert blow.kind in (RAYLET, HEAD)
    raise NotImplementedError("no cluster is started yet")


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
