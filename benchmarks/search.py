"""Search and stopping on recorded learning curves: hypervolume against epochs and simulated time.

    python -m benchmarks.search CURVES.parquet ... [--seeds 30] [--workers 1 4 16 64] [--out DIR]

Replays what `benchmarks.curves` recorded. A point's objectives are the means over its seeds of
score and cost on selection; a sampler's proposal becomes the nearest recorded point that is free. A
point counts with the values of the last epoch it reached: a router that was stopped is a router all
the same. Epochs are those of one point with all its seeds, and take 0.8 to 1.25 units of simulated
time each, drawn by point. Whatever does not choose points sees the same ones in the same order. The
table gives hypervolume in percent of that of all recorded points at full length, mean over seeds,
and the difference to random search with its 95 % interval, paired by seed.
"""

from __future__ import annotations

import argparse
import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import moocore
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sweeps.axes import Axis
from sweeps.search import Batch, Result, SearchRule, ask
from sweeps.stopping import Entry, Rule, arrival, cut

Values = NDArray[np.float64]

BRACKET: Final = 27
BUDGETS: Final = (100, 200, 400, 800, 1600)
"""Epochs at which hypervolumes are read off."""

LOGARITHMIC: Final = ("alpha", "beta", "learning_rate", "temperature")
CHOICE: Final = "router_hidden_size"


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Recorded points. P points, E epochs."""

    name: str
    settings: list[dict[str, Any]]
    losses: Values
    """(P, E, 2): score less than 0, and cost; minimised."""

    reference: Values
    """(2,) worst score and dearest cost of all that was recorded."""

    whole: float
    """Hypervolume of all points at full length."""

    @staticmethod
    def read(path: Path) -> Curves:
        """The curves of a file, means over seeds."""
        frame = pq.read_table(path).to_pandas()
        mean = frame.groupby(["point", "epoch"], sort=True)[["score", "cost"]].mean()
        epochs = int(frame["epoch"].max())
        losses = mean.to_numpy(np.float64).reshape(-1, epochs, 2) * [-1, 1]
        names = [*LOGARITHMIC, CHOICE]
        first = frame.groupby("point", sort=True)[names].first()
        reference = losses.reshape(-1, 2).max(axis=0)
        return Curves(
            name=path.stem,
            settings=[dict(row) for row in first.to_dict("records")],
            losses=losses,
            reference=reference,
            whole=float(moocore.hypervolume(losses[:, -1], ref=reference)),
        )

    @property
    def epochs(self) -> int:
        """E."""
        return int(self.losses.shape[1])

    def space(self) -> dict[str, Axis]:
        """What samplers search: the ranges of what was recorded."""
        found = {}
        for name in LOGARITHMIC:
            column = [each[name] for each in self.settings]
            found[name] = Axis(kind="loguniform", low=min(column), high=max(column))
        sizes = tuple(sorted({each[CHOICE] for each in self.settings}))
        return {**found, CHOICE: Axis(kind="choice", values=sizes)}

    def places(self) -> Values:
        """(P, 5) settings scaled to 0..1."""
        space = self.space()
        return np.array([self._place(each, space) for each in self.settings])

    def _place(self, settings: dict[str, Any], space: dict[str, Axis]) -> list[float]:
        found = []
        for name in LOGARITHMIC:
            low, high = np.log(space[name].low), np.log(space[name].high)
            found.append(float((np.log(settings[name]) - low) / (high - low)))
        sizes = space[CHOICE].values
        return [*found, sizes.index(settings[CHOICE]) / (len(sizes) - 1)]

    def nearest(self, settings: dict[str, Any], taken: set[int], places: Values) -> int:
        """The recorded point nearest to these settings that is not taken."""
        far = np.linalg.norm(places - self._place(settings, self.space()), axis=1)
        far[list(taken)] = np.inf
        return int(far.argmin())


@dataclass(kw_only=True)
class Trace:
    """What happened, in simulated time."""

    curves: Curves
    time: list[float] = field(default_factory=list)
    visits: list[tuple[int, int]] = field(default_factory=list)
    """(point, epoch) in the order of being done."""

    def after(self, count: int) -> float:
        """Hypervolume in percent of the whole after so many epochs."""
        latest: dict[int, int] = {}
        for point, epoch in self.visits[:count]:
            latest[point] = epoch
        values = np.array([self.curves.losses[p, e - 1] for p, e in latest.items()])
        return (
            100 * float(moocore.hypervolume(values, ref=self.curves.reference)) / self.curves.whole
        )

    def at(self, moment: float) -> float:
        """The same at a moment of simulated time."""
        return self.after(max(1, int(np.searchsorted(self.time, moment, side="right"))))


GoesOn = Callable[[int, int], bool]
"""Whether a point goes on after an epoch that is not its last."""


def alone(
    curves: Curves, source: Iterator[int], goes_on: GoesOn, workers: int, speed: Values
) -> Trace:
    """Points one by one on workers, each epoch answered as it comes: asynchronous stopping."""
    trace = Trace(curves=curves)
    running: list[tuple[float, int, int]] = []

    def begin(now: float) -> None:
        point = next(source, None)
        if point is not None:
            heapq.heappush(running, (now + speed[point], point, 1))

    for _ in range(workers):
        begin(0.0)
    while running and len(trace.visits) < BUDGETS[-1]:
        now, point, epoch = heapq.heappop(running)
        trace.time.append(now)
        trace.visits.append((point, epoch))
        if epoch < curves.epochs and goes_on(point, epoch):
            heapq.heappush(running, (now + speed[point], point, epoch + 1))
        else:
            begin(now)
    return trace


def entry(curves: Curves, point: int, epoch: int, objectives: int) -> Entry:
    """A point at a rung as `sweeps.stopping` takes it."""
    losses = tuple(map(float, curves.losses[point, epoch - 1, :objectives]))
    return Entry(name=f"p{point}", losses=losses)


def ours(curves: Curves, rule: Rule, seed: int, objectives: int = 2) -> GoesOn:
    """Asynchronous stopping by `sweeps.stopping.arrival`."""
    rungs = {epoch: list[Entry]() for epoch in rule.rungs(curves.epochs)}

    def goes_on(point: int, epoch: int) -> bool:
        if epoch not in rungs:
            return True
        mine = entry(curves, point, epoch, objectives)
        verdict = arrival(mine, rungs[epoch], rule, seed=seed, epoch=epoch)
        rungs[epoch].append(mine)
        return verdict.goes_on

    return goes_on


def rays(curves: Curves, rule: Rule) -> GoesOn:
    """Ray Tune's ASHA, which takes one metric: the score."""
    from ray.tune.schedulers.async_hyperband import _Bracket

    bracket = _Bracket(rule.grace, curves.epochs, rule.eta, 0)
    return lambda point, epoch: (
        bracket.on_result(_Numbered(str(point)), epoch, -curves.losses[point, epoch - 1, 0])
        == "CONTINUE"
    )


def syne_tunes(curves: Curves, rule: Rule) -> GoesOn:
    """Syne Tune's MOASHA as released (pip install '.[bench]')."""
    from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

    scheduler = MOASHA(
        {},
        ["score", "cost"],
        max_t=curves.epochs,
        grace_period=rule.grace,
        reduction_factor=rule.eta,
    )

    def goes_on(point: int, epoch: int) -> bool:
        trial = _Numbered(str(point))
        if epoch == 1:
            scheduler.on_trial_add(trial)
        score, cost = curves.losses[point, epoch - 1]
        said = {"training_iteration": epoch, "score": score, "cost": cost}
        return bool(scheduler.on_trial_result(trial, said) == "CONTINUE")

    return goes_on


class _Numbered:
    def __init__(self, name: str) -> None:
        self.trial_id = name


def packed(
    curves: Curves,
    rule: Rule,
    search: SearchRule,
    order: Sequence[int],
    workers: int,
    speed: Values,
    seed: int,
) -> Trace:
    """Brackets in packs, a pack on a worker, stopped synchronously; points from a sampler."""
    trace = Trace(curves=curves)
    places, space = curves.places(), curves.space()
    batches: list[Batch] = []
    members: list[list[int]] = []
    taken: set[int] = set()
    done: list[tuple[float, int, int]] = []
    free = [0.0] * workers
    ended: list[float] = []
    while len(done) < BUDGETS[-1] * 2 and len(taken) + BRACKET <= len(order):
        number = len(batches)
        begin = heapq.heappop(free)
        due = number - workers
        if search.method != "random" and due >= 0:
            begin = max(begin, max(ended[: due + 1]))
        if search.method == "random":
            mine = list(order[number * BRACKET : (number + 1) * BRACKET])
            batches.append(Batch(proposals=()))
        else:
            batch = ask(space, ("max", "min"), search, batches, seed=seed)
            mine = []
            for proposal in batch.proposals:
                mine.append(curves.nearest(dict(proposal.settings), taken | set(mine), places))
            batches.append(batch)
        taken |= set(mine)
        members.append(mine)
        end, visits, results = _pack(curves, rule, mine, begin, speed, seed)
        done += visits
        ended.append(end)
        heapq.heappush(free, end)
        if search.method != "random":
            batches[-1] = Batch(
                proposals=batches[-1].proposals,
                attributes=batches[-1].attributes,
                results=results,
            )
        if sum(time <= min(free) for time, _, _ in done) >= BUDGETS[-1]:
            break
    for time, point, epoch in sorted(done):
        trace.time.append(time)
        trace.visits.append((point, epoch))
    return trace


def _pack(
    curves: Curves, rule: Rule, points: Sequence[int], begin: float, speed: Values, seed: int
) -> tuple[float, list[tuple[float, int, int]], tuple[Result, ...]]:
    """A pack from its begin: its end, its epochs in time, and what came of its points."""
    live, now = list(points), begin
    visits, reached = [], {}
    rungs = rule.rungs(curves.epochs)
    for epoch in range(1, curves.epochs + 1):
        for point in live:
            now += speed[point]
            visits.append((now, point, epoch))
            reached[point] = epoch
        if epoch in rungs:
            there = [entry(curves, point, epoch, 2) for point in live]
            verdicts = cut(there, rule, seed=seed, epoch=epoch)
            live = [p for p, said in zip(live, verdicts, strict=True) if said.goes_on]
    results = tuple(
        Result(
            ended="complete" if reached[point] == curves.epochs else "stopped",
            values=(
                -float(curves.losses[point, reached[point] - 1, 0]),
                float(curves.losses[point, reached[point] - 1, 1]),
            ),
            reached=reached[point] / curves.epochs,
        )
        for point in points
    )
    return now, visits, results


Method = Callable[[Curves, Sequence[int], int, Values, int], Trace]


def methods(*, samplers: bool) -> dict[str, Method]:
    """Everything that is compared, by name."""
    plain = Rule(method="mo_asha")

    def async_(make: Callable[[Curves, int], GoesOn]) -> Method:
        return lambda curves, order, workers, speed, seed: alone(
            curves, iter(order), make(curves, seed), workers, speed
        )

    found: dict[str, Method] = {
        "random, no stopping": async_(lambda c, s: lambda point, epoch: True),
        "all stopped after one epoch": async_(lambda c, s: lambda point, epoch: False),
        "Ray ASHA on score": async_(lambda c, s: rays(c, plain)),
        "Syne Tune MOASHA 0.16": async_(lambda c, s: syne_tunes(c, plain)),
    }
    for ties in ("crowding", "epsilon_net"):
        rule = Rule(method="mo_asha", ties=ties)
        found[f"ours, async, {ties}"] = async_(partial(_ours, rule))
        found[f"ours, packs, {ties}"] = _packs(rule, SearchRule(method="random", points=10**6))
    if samplers:
        for name in ("qmc", "tpe", "nsga2"):
            for fidelity in ("complete", "left_out", "infeasible"):
                search = SearchRule(method=name, points=10**6, batch=BRACKET, fidelity=fidelity)
                found[f"ours, packs, {name}, {fidelity}"] = _packs(plain, search)
    return found


def _ours(rule: Rule, curves: Curves, seed: int) -> GoesOn:
    return ours(curves, rule, seed)


def _packs(rule: Rule, search: SearchRule) -> Method:
    def run(curves: Curves, order: Sequence[int], workers: int, speed: Values, seed: int) -> Trace:
        mine = SearchRule(**{**_fields(search), "parallel": workers})
        return packed(curves, rule, mine, order, workers, speed, seed)

    return run


def _fields(rule: SearchRule) -> dict[str, Any]:
    return {name: getattr(rule, name) for name in rule.__slots__}


def measured(curves: Curves, method: Method, workers: int, seeds: int) -> tuple[Values, Values]:
    """Hypervolumes (seeds, budgets) after so many epochs, and at the time these take on average."""
    by_epochs, by_time = [], []
    for seed in range(seeds):
        source = np.random.default_rng(seed)
        order = [int(each) for each in source.permutation(len(curves.settings))]
        speed = np.exp(source.uniform(np.log(0.8), np.log(1.25), len(order)))
        trace = method(curves, order, workers, speed, seed)
        by_epochs.append([trace.after(min(budget, len(trace.visits))) for budget in BUDGETS])
        by_time.append([trace.at(budget / workers) for budget in BUDGETS])
    return np.array(by_epochs), np.array(by_time)


def interval(values: Values) -> float:
    """Half of a 95 % interval of the mean over seeds (normal)."""
    return float(1.96 * values.std(ddof=1) / np.sqrt(len(values)))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("curves", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--without", nargs="*", default=[], help="methods to leave out, by a word")
    parser.add_argument("--out", type=Path, help="folder for the numbers as Parquet")
    given = parser.parse_args(arguments)
    rows = []
    for path in given.curves:
        curves = Curves.read(path)
        print(f"\n{curves.name}: {len(curves.settings)} points x {curves.epochs} epochs")
        for workers in given.workers:
            print(
                f"\n{workers} workers; hypervolume in % after epochs "
                + ", ".join(map(str, BUDGETS))
            )
            first: Values | None = None
            for name, method in methods(samplers=workers <= 4).items():
                if any(word in name for word in given.without):
                    continue
                epochs, moments = measured(curves, method, workers, given.seeds)
                first = epochs if first is None else first
                gain = epochs - first
                cells = [f"{epochs[:, b].mean():6.2f}" for b in range(len(BUDGETS))]
                more = f"{gain[:, -2].mean():+.2f} ± {interval(gain[:, -2]):.2f}"
                print(f"  {name:38s} {' '.join(cells)}   at {BUDGETS[-2]}: {more}", flush=True)
                for seed in range(given.seeds):
                    for place, budget in enumerate(BUDGETS):
                        rows.append(
                            {
                                "curves": curves.name,
                                "workers": workers,
                                "method": name,
                                "seed": seed,
                                "budget": budget,
                                "after_epochs": epochs[seed, place],
                                "at_time": moments[seed, place],
                            }
                        )
    if given.out:
        import pyarrow as pa

        given.out.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), given.out / "search.parquet", compression="zstd")


if __name__ == "__main__":
    main()
