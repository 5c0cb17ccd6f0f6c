"""What feeding workers costs the driver, and how many it keeps busy.

    python -m benchmarks.driver [--packs 16] [--lanes 1 64] [--workers 2] [--real 8]

Packs that do nothing run through Ray, the pipe and the journal, as fast as these take their
messages. Processor time is counted by process, so that other work on the machine matters little:
of Ray Tune's process, of the one with the journal, and of Ray's own processes. Runs of two and of
ten epochs tell what a result costs, and what a pack costs beside its results: planning its points,
asking, starting and ending it.

The table says by that which share of their time workers train. Ray Tune's process waits for the
journal's answer, so both are one server, which takes a result at a time; a worker trains its next
epoch after that. A pack has nine epochs. `--real` runs so many workers on this machine with epochs
of one second, in which they wait, and says their share beside the simulated one.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import io
import os
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest import mock

import psutil

from sweeps.driver import _supervisor
from sweeps.driver._ledger import Ledger
from sweeps.driver._workers import Workers
from sweeps.driver.queue import Batches
from sweeps.journal.journal import Journal, read
from sweeps.plan.plan import Fingerprints, Planner
from sweeps.raytune.process import Machine, ray_process
from sweeps.records import JOURNAL_FILE
from sweeps.study.read import load
from sweeps.terminal.display import Display
from sweeps.terminal.outline import Outline
from sweeps.worker.job import Job

EPOCHS: Final = 9
"""Counts the epochs of a simulated pack."""

SHORT, LONG = 2, 10
"""Count the epochs of the two runs whose difference is the results'."""

ROOT: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Holds what a run has spent, in seconds."""

    wall: float
    tune: float
    """It is the processor time of Ray Tune's process."""

    journal: float
    ray: float
    """It is that of Ray's own processes: head, raylet, agents."""

    packs: int
    results: int
    pack_seconds: float
    """It is the mean time from a pack's start to its end."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Holds what a result, or a pack, costs the driver's processes, in seconds."""

    tune: float
    journal: float
    ray: float

    @property
    def served(self) -> float:
        """Gives the time in which no other result is taken."""
        return self.tune + self.journal


def spend(*, packs: int, lanes: int, epochs: int, workers: int, pause: float = 0.0) -> Spent:
    """Runs packs that do nothing through Ray and the journal; gives what that has spent."""
    study = load(
        "mrpc_grid",
        [
            *("pool=sample", f"epochs={epochs}", "seeds=[0]", "start=[]", f"pack.points={lanes}"),
            "alpha={grid: [" + ", ".join(f"{1 + n / 4096}" for n in range(lanes)) + "]}",
            "beta={grid: [" + ", ".join(f"{1 + n / 4096}" for n in range(packs)) + "]}",
        ],
    )
    prints = {item.name: Fingerprints(data="data", models="models") for item in study.sets}
    planner = Planner(study=study, prints=prints, workers=workers, stack_key=lambda _: "")
    watched: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="mpcr-driver-") as folder, _idle(pause):
        run = Path(folder)
        job = Job(prepared={}, parts=run / "parts", checkpoints=run / "c", states=run / "s")
        with Journal(run / JOURNAL_FILE) as journal:
            _open(journal, study)
            display = Display(file=io.StringIO(), quiet=True)
            display.study(Outline.of(journal.state.study))
            ledger = Ledger(journal, display)
            begin, own = time.perf_counter(), time.process_time()
            stop = threading.Event()
            watch = threading.Thread(target=_watch, args=(watched, stop), daemon=True)
            watch.start()
            cpus = min(1.0, 2 / workers)
            with ray_process(None, Machine.of(workers, cpus, 0.0)) as ray:
                _supervisor.drive(
                    Batches(journal, planner),
                    job,
                    ledger,
                    ray=ray,
                    workers=Workers(count=workers, cpus=cpus),
                    stopped=lambda: False,
                )
            stop.set()
            watch.join()
            return Spent(
                wall=time.perf_counter() - begin,
                tune=watched.get("tune", 0.0),
                journal=time.process_time() - own - watched.get("watch", 0.0),
                ray=watched.get("ray", 0.0),
                packs=packs,
                results=packs * epochs,
                pack_seconds=_pack_seconds(run / JOURNAL_FILE),
            )


def _pack_seconds(journal: Path) -> float:
    """Gives the mean time from a pack's start to its end, by the journal's clock."""
    times: dict[str, dict[str, float]] = {"started": {}, "ended": {}}
    for event in read(journal):
        if event["event"] in times:
            times[event["event"]][event["pack"]] = event["mono"]
    spans = [end - times["started"][pack] for pack, end in times["ended"].items()]
    return sum(spans) / len(spans)


def _open(journal: Journal, study: Any) -> None:
    """Journals what a run begins with."""
    journal.append(
        "opened",
        run="driver",
        study=study.to_tree(),
        **study.facts(),
        provenance={},
        parts={},
        places={"cache": "cache", "data": None, "models": None, "sample": True},
    )


@contextlib.contextmanager
def _idle(pause: float) -> Iterator[None]:
    """Makes workers send messages without training, with so many seconds between them."""
    paths = os.pathsep.join([str(ROOT / "benchmarks" / "idle"), str(ROOT)])
    with mock.patch.dict(os.environ, {"PYTHONPATH": paths, "IDLE_SECONDS": str(pause)}):
        yield


def _watch(watched: dict[str, float], stop: threading.Event) -> None:
    """Keeps the processor time of the processes below this one, until it is told to stop."""
    began = time.thread_time()
    while not stop.wait(0.2):
        with contextlib.suppress(psutil.Error):
            children = psutil.Process().children(recursive=True)
            times: dict[str, float] = {"tune": 0.0, "ray": 0.0}
            for child in children:
                with contextlib.suppress(psutil.Error):
                    spent = child.cpu_times()
                    words = " ".join(child.cmdline()[:4])
                    kind = "tune" if "sweeps.raytune" in words else "ray"
                    if "ray::" not in words:
                        times[kind] += spent.user + spent.system
            for kind, seconds in times.items():
                watched[kind] = max(watched.get(kind, 0.0), seconds)
        watched["watch"] = time.thread_time() - began


def costs(*, packs: int, lanes: int, workers: int) -> tuple[Cost, Cost, Spent]:
    """Measures what a result costs and what a pack costs beside; gives the longer run too."""
    start = spend(packs=1, lanes=1, epochs=1, workers=workers)
    short = spend(packs=packs, lanes=lanes, epochs=SHORT, workers=workers)
    long = spend(packs=packs, lanes=lanes, epochs=LONG, workers=workers)

    def both(name: str) -> tuple[float, float]:
        a_result = (getattr(long, name) - getattr(short, name)) / (long.results - short.results)
        beside = getattr(short, name) - getattr(start, name) - a_result * short.results
        return max(0.0, a_result), max(0.0, beside / packs)

    names = ("tune", "journal", "ray")
    result = Cost(**{name: both(name)[0] for name in names})
    pack = Cost(**{name: both(name)[1] for name in names})
    return result, pack, long


def share(*, workers: int, epoch: float, result: float, pack: float, packs: int = 40) -> float:
    """Simulates which share of their time workers train that one server feeds.

    A worker trains an epoch of so many seconds, then its result waits for the server, which takes
    `result` seconds for it; after the ninth the server takes `pack` seconds for the next pack.
    Each worker trains so many packs.
    """
    queue = [(epoch * (1 + number / workers), number, 1) for number in range(workers)]
    free, end, left = 0.0, 0.0, [packs] * workers
    heapq.heapify(queue)
    while queue:
        at, worker, number = heapq.heappop(queue)
        free = max(free, at) + result
        if number == EPOCHS:
            free += pack
            left[worker] -= 1
            number = 0
        end = max(end, free)
        if left[worker]:
            heapq.heappush(queue, (free + epoch, worker, number + 1))
    return packs * EPOCHS * epoch / end


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints costs, rates and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Raw)
    parser.add_argument("--packs", type=int, default=16, help="packs of a run (16)")
    parser.add_argument("--lanes", type=int, nargs="+", default=[1, 64], help="of a pack (1 64)")
    parser.add_argument("--workers", type=int, default=2, help="that run at once (2)")
    parser.add_argument("--real", type=int, default=0, help="workers that wait a second an epoch")
    args = parser.parse_args(arguments)
    for lanes in args.lanes:
        result, pack, spent = costs(packs=args.packs, lanes=lanes, workers=args.workers)
        print(f"{lanes} lanes: CPU ms of", "Ray Tune's process, the journal's, Ray's own")
        for name, cost in (("result", result), ("pack", pack)):
            print(
                f"  a {name:6} {1e3 * cost.tune:8.2f} {1e3 * cost.journal:8.2f} "
                f"{1e3 * cost.ray:8.2f}"
            )
        print(
            f"  {spent.results / spent.wall:.1f} results and {spent.packs / spent.wall:.1f} packs "
            "a second, the start of Ray included"
        )
        print("  share of their time that workers train, simulated:")
        print("  epoch   " + "".join(f"{count:>8}" for count in (8, 32, 128)) + " workers")
        for epoch in (1.0, 10.0, 100.0):
            shares = [
                share(workers=count, epoch=epoch, result=result.served, pack=pack.served)
                for count in (8, 32, 128)
            ]
            print(f"  {epoch:4g} s  " + "".join(f"{100 * value:7.0f}%" for value in shares))
        if args.real:
            _real(args.real, lanes, result)


def _real(workers: int, lanes: int, result: Cost) -> None:
    """Runs workers that wait a second an epoch, and prints their share beside the simulated one."""
    spent = spend(packs=2 * workers, lanes=lanes, epochs=EPOCHS, workers=workers, pause=1.0)
    simulated = share(workers=workers, epoch=1.0, result=result.served, pack=0.0)
    print(
        f"  {workers} workers here: {100 * EPOCHS / spent.pack_seconds:.0f} % of the time from a "
        f"pack's start to its end, simulated {100 * simulated:.0f} %"
    )


class _Raw(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description."""


if __name__ == "__main__":
    main()
