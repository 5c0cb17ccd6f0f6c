"""Seconds of the analysis on a large generated run, and of the front against other libraries.

    python -m benchmarks.analysis [--rounds 5] [--seeds 1] [--million] [--reports 1] [--run FOLDER]

The run is that of `benchmarks.big_run`: 10,000 trials x 9 epochs, 1,000 of them with routes of 408
(and 367) examples. Every round opens it anew, so nothing is kept from the round before; what is
read from the disk lies in the system's memory after the first. The whole report, with its resamples
and permutations, is a command of its own, run as a user runs it, imports included.

The front of random points is found by all contenders in turn within a round: by this program (which
asks moocore), pymoo, Optuna, and a plain loop over points. pymoo is in no extra of this project
(`pip install --no-deps pymoo` is enough); contenders that are not installed are left out and named.
Medians and quartiles are over rounds, and a ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from analysis.fronts.survey import survey
from analysis.questions import progress
from analysis.questions.utilization import utilization
from analysis.runs.load import load_run
from analysis.stats.dominance import nondominated
from benchmarks.big_run import write_big_run
from benchmarks.big_search import Size

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]
Found = dict[str, list[float]]
Front = Callable[[Values, Values], Mask]

OURS: Final = "this program"
LIMITS: Final = {"all of these": 5.0, "report, seconds": 30.0, "report, MB": 5.0}


def tables(folder: Path) -> dict[str, float]:
    """Seconds of each part of an analysis without resamples, the run opened anew."""
    parts: dict[str, Callable[[], Any]] = {
        "load, every table": lambda: [
            getattr(run, name) for name in ("trials", "reports", "routing", "experts", "examples")
        ],
        "front and yardsticks": lambda: survey(run, resamples=0),
        "indicators": lambda: (
            progress.quality(survey(run, resamples=0)),
            progress.history(run, survey(run, resamples=0)),
        ),
        "utilization": lambda: utilization(run),
    }
    found: dict[str, float] = {}
    began = time.perf_counter()
    run = load_run(folder)
    for name, work in parts.items():
        work()
        found[name] = time.perf_counter() - began - sum(found.values())
    return found | {"all of these": sum(found.values())}


def report(folder: Path, out: Path) -> dict[str, float]:
    """Seconds and megabytes of the whole report, by its command."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "analysis.report", str(folder), "--out", str(out)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    return {"report, seconds": seconds, "report, MB": out.stat().st_size / 1e6}


def plain_loop(scores: Values, costs: Values) -> Mask:
    """What one writes without a library: each point against those kept so far."""
    kept: list[int] = []
    points = list(zip(scores.tolist(), costs.tolist(), strict=True))
    for number, (score, cost) in enumerate(points):
        if any(points[other][0] >= score and points[other][1] <= cost for other in kept):
            continue
        kept = [
            other for other in kept if not (score >= points[other][0] and cost <= points[other][1])
        ]
        kept.append(number)
    mask = np.zeros(len(points), np.bool_)
    mask[kept] = True
    return mask


def by_pymoo(scores: Values, costs: Values) -> Mask:
    """Its first front alone."""
    sorting = importlib.import_module("pymoo.util.nds.non_dominated_sorting")
    losses = np.stack([-scores, costs], axis=-1)
    mask = np.zeros(len(scores), np.bool_)
    mask[sorting.NonDominatedSorting().do(losses, only_non_dominated_front=True)] = True
    return mask


def by_optuna(scores: Values, costs: Values) -> Mask:
    """The function behind `study.best_trials`, private, without the cost of its trials."""
    from optuna.study._multi_objective import _is_pareto_front

    losses = np.stack([-scores, costs], axis=-1)
    return np.asarray(_is_pareto_front(losses, assume_unique_lexsorted=False), np.bool_)


def contenders() -> dict[str, Front]:
    """Who finds fronts here; the plain loop last."""
    found: dict[str, Front] = {OURS: nondominated}
    for name, front in (("pymoo", by_pymoo), ("optuna", by_optuna)):
        if importlib.util.find_spec(name) is None:
            print(f"{name} is not installed and takes no part")
        else:
            found[name] = front
    return found | {"plain loop": plain_loop}


def clouds(count: int) -> dict[str, tuple[Values, Values]]:
    """Points anywhere, whose front is short, and points near a curve, whose front is long."""
    rng = np.random.default_rng(count)
    along = rng.random(count)
    return {
        "anywhere": (rng.random(count), rng.random(count)),
        "near a curve": (np.sqrt(along) - 1e-4 * rng.exponential(size=count), along),
    }


def fronts(count: int, fronts_of: dict[str, Front], *, rounds: int) -> Found:
    """Seconds of every contender on every cloud, a value a round; all must agree."""
    found: Found = {}
    for _ in range(rounds):
        for cloud, (scores, costs) in clouds(count).items():
            first: Mask | None = None
            for name, front in fronts_of.items():
                began = time.perf_counter()
                mask = front(scores, costs)
                seconds = time.perf_counter() - began
                first = mask if first is None else first
                if not np.array_equal(mask, first):
                    raise RuntimeError(f"{name} finds another front than {OURS} on {cloud}")
                title = f"{count:,} points {cloud} (front {first.sum()}), {name}"
                found.setdefault(title, []).append(seconds)
    return found


def show(found: Found, *, unit: str, scale: float = 1.0) -> None:
    """Median and quartiles of each line; a front also beside this program's on the same points."""
    print(f"\n{unit:54} {'median':>9} {'quartiles':>21}")
    for name, values in found.items():
        low, middle, high = np.quantile(scale * np.array(values), [0.25, 0.5, 0.75])
        base = found.get(f"{name.rpartition(', ')[0]}, {OURS}")
        ratio = "" if base is None else f" {np.median(np.divide(values, base)):7.1f}x"
        limit = f"  limit {LIMITS[name]:g}" if name in LIMITS else ""
        print(f"{name:54} {middle:9.3f} {low:9.3f} .. {high:8.3f}{ratio}{limit}")


def collected(rows: Sequence[dict[str, float]]) -> Found:
    """Rounds turned into a list a line."""
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reports", type=int, default=1, help="times the report is written")
    parser.add_argument("--seeds", type=int, default=1, help="of each point")
    parser.add_argument(
        "--million", action="store_true", help="the front of 10^6 points too, alone"
    )
    parser.add_argument("--run", type=Path, help="measure this run instead of a generated one")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.run or write_big_run(
            Path(scratch) / "big", Size(points=10_000 // asked.seeds, seeds=asked.seeds)
        )
        rows = [tables(folder) for _ in range(asked.rounds)]
        pages = [report(folder, Path(scratch) / "page.html") for _ in range(asked.reports)]
    show(collected(rows), unit="tables, seconds")
    if pages:
        show(collected(pages), unit="whole report")
    show(fronts(10_000, contenders(), rounds=asked.rounds), unit="fronts, milliseconds", scale=1e3)
    if asked.million:
        alone = fronts(1_000_000, {OURS: nondominated}, rounds=asked.rounds)
        show(alone, unit="fronts, milliseconds", scale=1e3)


if __name__ == "__main__":
    main()
