"""Search and stopping on recorded learning curves: hypervolume against epochs and simulated time.

    python -m benchmarks.search CURVES.parquet ... --out DIR [--seeds 30] [--workers 1 4 16 64]

Hypervolumes are in percent of that of all recorded points at full length, by three measures:

- `finished`: equal ground. The search is broken off after n epochs, the front of its own reports
  (each point at the last epoch it reached) is named, every point on it is trained to the end, and
  these epochs count too. The result is quoted at full length: of what was named or had completed.
- `completed`: only points that the search itself trained to the end, as the project's own front.
- `reached`: every router as the search left it; one that was stopped is a router all the same.

No method ever sees a value it has not paid for. Each replay is written to DIR/parts, and one that
is there is not run again; `python -m benchmarks.search_figure DIR` draws.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.looks import MEASURES, looks
from benchmarks.one_by_one import Promoting, arriving, one_by_one
from benchmarks.replay import (
    Asked,
    Curves,
    Drawn,
    GoesOn,
    Proposer,
    Setting,
    Trace,
    Values,
    in_packs,
)
from benchmarks.rivals import rays, syne_tunes
from sweeps.search.rule import _FIDELITIES, SearchRule
from sweeps.stopping.rule import _TIES, Rule

BUDGETS: Final = (50, 71, 100, 141, 200, 283, 400, 566, 800, 1131, 1600)
"""Epochs at which hypervolumes are read off; divided by the workers, units of simulated time."""

JOINT_BATCH: Final = 16

DEAR: Final = ("gp",)
"""Samplers that take minutes a replay: run when named."""

MANY: Final = 10**6

PLAIN: Final = Rule(method="mo_asha")

Method = Callable[[Setting], Trace]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """Ours: how points are proposed and stopped."""

    packs: bool = True
    sampler: str = "random"
    fidelity: str = "complete"
    first: str = ""
    rule: Rule = PLAIN

    @property
    def name(self) -> str:
        """As the tables have it."""
        found = ["ours", "packs" if self.packs else "async", self.rule.ties]
        if self.sampler != "random":
            found += [f"{self.first}+{self.sampler}" if self.first else self.sampler]
            found += [self.fidelity] if self.sampler != "qmc" else []
        for name in ("eta", "grace", "bracket", "brackets"):
            if getattr(self.rule, name) != getattr(PLAIN, name):
                found.append(f"{name}={getattr(self.rule, name)}")
        if self.rule.variant != PLAIN.variant:
            found.append(self.rule.variant)
        if self.rule.method == "none":
            found.append("no stopping")
        return ", ".join(found)

    def __call__(self, setting: Setting) -> Trace:
        """The replay."""
        source = partial(
            points, setting, sampler=self.sampler, fidelity=self.fidelity, first=self.first
        )
        if self.packs:
            packs = source(batch=self.rule.bracket, parallel=setting.workers)
            return in_packs(setting, packs, self.rule)
        if self.rule.variant == "promote":
            waits = Promoting(setting, self.rule)
            return one_by_one(setting, source(), waits.goes_on, waits.promoted)
        return one_by_one(setting, source(), arriving(setting, self.rule))


def points(
    setting: Setting,
    *,
    sampler: str = "random",
    fidelity: str = "complete",
    first: str = "",
    batch: int = JOINT_BATCH,
    parallel: int = 0,
) -> Proposer:
    """Where points come from.

    Batches open at once, `parallel`: as many as workers need and one for the slowest (0), or any
    number where the sampler learns nothing and nobody has to wait.
    """
    if sampler == "random":
        return Drawn(setting=setting, batch=batch)
    if sampler == "qmc":
        parallel = MANY
    rule = SearchRule(
        method=sampler,
        points=MANY,
        batch=batch,
        parallel=parallel or 1 + -(-setting.workers // batch),
        fidelity=fidelity,
    )
    return Asked(setting=setting, rule=rule, first=first)


def rivals(sampler: str = "random") -> dict[str, Method]:
    """What is to be beaten; all see the same points in the same order."""
    stopped: dict[str, Callable[[Setting], GoesOn]] = {
        "no stopping": lambda setting: lambda point, epoch: True,
        "all stopped after one epoch": lambda setting: lambda point, epoch: False,
        "Ray ASHA on score": partial(rays, rule=PLAIN),
        "Syne Tune MOASHA 0.16": partial(syne_tunes, rule=PLAIN),
    }
    by = "" if sampler == "random" else f", {sampler}"
    names = {"no stopping": f"{sampler}, no stopping"}
    return {
        names.get(name, name + by): partial(_rival, sampler, make) for name, make in stopped.items()
    }


def _rival(sampler: str, make: Callable[[Setting], GoesOn], setting: Setting) -> Trace:
    return one_by_one(setting, points(setting, sampler=sampler), make(setting))


def variants() -> list[Variant]:
    """Ours: both ways, orders within a front, samplers and what they hear of stopped points."""
    found = []
    for packs in (True, False):
        for ties in _TIES:
            rule = Rule(method="mo_asha", ties=ties)
            found += [Variant(packs=packs, sampler=name, rule=rule) for name in ("random", "qmc")]
        if not packs:
            waits = Rule(method="mo_asha", variant="promote")
            found += [Variant(packs=False, sampler=name, rule=waits) for name in ("random", "qmc")]
        if packs:
            small = Rule(method="mo_asha", bracket=9)
            found += [Variant(sampler=sampler, rule=small) for sampler in ("random", "qmc")]
        for sampler in ("tpe", "nsga2", "nsga3", *DEAR):
            for fidelity in _FIDELITIES:
                found.append(Variant(packs=packs, sampler=sampler, fidelity=fidelity))
    return found


def methods() -> dict[str, Method]:
    """Everything that is compared, by name."""
    return {**rivals(), **rivals("qmc"), **{variant.name: variant for variant in variants()}}


def replayed(name: str, method: Method, setting: Setting) -> list[dict[str, object]]:
    """One replay: rows of budget x measure."""
    began = time.process_time()
    trace = method(setting)
    took = time.process_time() - began
    found = looks(trace, setting)
    return [
        {
            "curves": setting.curves.name,
            "workers": setting.workers,
            "method": name,
            "seed": setting.seed,
            "budget": budget,
            "measure": measure,
            "by_epochs": found.after(measure, budget, by_time=False),
            "by_time": found.after(measure, budget / setting.workers, by_time=True),
            "spent": float(found.epochs[-1]),
            "points": len(set(trace.point)),
            "seconds": took,
        }
        for measure in MEASURES
        for budget in BUDGETS
        if budget <= setting.budget
    ]


def interval(values: Values) -> float:
    """Half of a 95 % interval of the mean over seeds (normal)."""
    return float(1.96 * values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def chosen(only: Sequence[str], without: Sequence[str]) -> dict[str, Method]:
    """Methods whose name holds one of `only` (none: all but the dear) and none of `without`."""
    return {
        name: method
        for name, method in methods().items()
        if (any(word in name for word in only) if only else not any(dear in name for dear in DEAR))
        and not any(word in name for word in without)
    }


def run(
    paths: Sequence[Path],
    compared: dict[str, Method],
    *,
    workers: Sequence[int],
    seeds: int,
    budget: int,
    out: Path,
) -> None:
    """All replays that are not there yet, a file and a line each method."""
    parts = out / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    for path in paths:
        curves = Curves.read(path)
        print(f"\n{curves.name}: {len(curves.settings)} points x {curves.epochs} epochs")
        for count in workers:
            for name, method in compared.items():
                part = parts / f"{curves.name}.{count}.{_slug(name)}.parquet"
                settings = [
                    Setting(curves=curves, workers=count, seed=seed, budget=budget)
                    for seed in range(seeds)
                ]
                complete(part, name, method, settings)
                print(_line(count, name, part), flush=True)


def complete(part: Path, name: str, method: Method, settings: Sequence[Setting]) -> None:
    """A method's file with all these replays in it; those that are there stay."""
    rows = pq.read_table(part).to_pylist() if part.exists() else []
    there: dict[int, int] = {}
    for row in rows:
        there[row["seed"]] = max(there.get(row["seed"], 0), row["budget"])
    for setting in settings:
        if there.get(setting.seed, 0) >= setting.budget:
            continue
        rows = [row for row in rows if row["seed"] != setting.seed]
        rows += replayed(name, method, setting)
    fresh = part.with_suffix(".new")
    pq.write_table(pa.Table.from_pylist(rows), fresh, compression="zstd")
    fresh.replace(part)


def _slug(name: str) -> str:
    return "".join(sign if sign.isalnum() else "-" for sign in name)


def check(paths: Sequence[Path], workers: Sequence[int], seeds: int, budget: int) -> None:
    """Syne Tune's released scheduler beside its stand-in: raises at the first other decision."""
    for path in paths:
        curves = Curves.read(path)
        for count in workers:
            for seed in range(seeds):
                here = Setting(curves=curves, workers=count, seed=seed, budget=budget)
                began = time.process_time()
                trace = one_by_one(here, points(here), syne_tunes(here, PLAIN, exact=True))
                took = time.process_time() - began
                said = f"{len(trace.time)} reports alike, {took:.0f} s"
                print(f"{curves.name}, {count} workers, seed {seed}: {said}", flush=True)


def _line(workers: int, name: str, part: Path) -> str:
    frame = pq.read_table(part).to_pandas()
    mean = frame[frame["measure"] == MEASURES[0]].groupby("budget")["by_epochs"].mean()
    cells = " ".join(f"{mean[budget]:6.2f}" for budget in mean.index[2::2])
    seconds = frame.groupby("seed")["seconds"].first().mean()
    return f"{workers:3d} workers  {name:44s} {cells}   {seconds:6.1f} s a replay"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("curves", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--budget", type=int, default=BUDGETS[-1], help="epochs of a replay")
    parser.add_argument("--only", nargs="*", default=[], help="methods to run, by a word")
    parser.add_argument("--without", nargs="*", default=[], help="methods to leave out, by a word")
    parser.add_argument("--exact", action="store_true", help="only check Syne Tune's stand-in")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    given = parser.parse_args(arguments)
    if given.exact:
        check(given.curves, given.workers, given.seeds, given.budget)
        return
    run(
        given.curves,
        chosen(given.only, given.without),
        workers=given.workers,
        seeds=given.seeds,
        budget=given.budget,
        out=given.out,
    )


if __name__ == "__main__":
    main()
