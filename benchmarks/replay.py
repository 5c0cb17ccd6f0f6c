"""Recorded learning curves, and searches replayed on them in simulated time.

A point's objectives are the means over its seeds of score and cost on selection. An epoch is one of
a point with all its seeds; it takes 0.8 to 1.25 units of simulated time, drawn by point. Letters: P
recorded points, E epochs, V visits (a point's epochs, each when it is done).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

import moocore
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sweeps.records import SELECTION, Report
from sweeps.search.ask import ask
from sweeps.search.rule import Batch, Proposal, Result, SearchRule
from sweeps.search.space import Axis
from sweeps.stopping.ranks import Entry, cut
from sweeps.stopping.rule import Rule
from sweeps.stopping.rungs import Ranking, entry_of

Values = NDArray[np.float64]
Numbers = NDArray[np.int64]

LOGARITHMIC: Final = ("alpha", "beta", "learning_rate", "temperature")
CHOICE: Final = "router_hidden_size"
OBJECTIVES: Final = ("score", "cost")


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Recorded points."""

    name: str
    settings: list[dict[str, Any]]
    losses: Values
    """(P, E, 2): score less than 0, and cost; minimised."""

    reference: Values
    """(2,) worst score and dearest cost of all that was recorded."""

    @staticmethod
    def read(path: Path) -> Curves:
        """The curves of a file, means over seeds."""
        frame = pq.read_table(path).to_pandas()
        mean = frame.groupby(["point", "epoch"], sort=True)[list(OBJECTIVES)].mean()
        epochs = int(frame["epoch"].max())
        losses = mean.to_numpy(np.float64).reshape(-1, epochs, 2) * [-1, 1]
        first = frame.groupby("point", sort=True)[[*LOGARITHMIC, CHOICE]].first()
        return Curves(
            name=path.stem,
            settings=[dict(row) for row in first.to_dict("records")],
            losses=losses,
            reference=losses.reshape(-1, 2).max(axis=0),
        )

    @property
    def epochs(self) -> int:
        """E."""
        return int(self.losses.shape[1])

    @cached_property
    def whole(self) -> float:
        """Hypervolume of all points at full length."""
        return float(moocore.hypervolume(self.losses[:, -1], ref=self.reference))

    def percent(self, losses: Values) -> float:
        """Hypervolume of (N, 2) losses in percent of the whole; 0 of none."""
        if not len(losses):
            return 0.0
        return 100 * float(moocore.hypervolume(losses, ref=self.reference)) / self.whole

    @cached_property
    def space(self) -> dict[str, Axis]:
        """What samplers search: the ranges of what was recorded."""
        found = {}
        for name in LOGARITHMIC:
            column = [each[name] for each in self.settings]
            found[name] = Axis(kind="loguniform", low=min(column), high=max(column))
        sizes = tuple(sorted({each[CHOICE] for each in self.settings}))
        return {**found, CHOICE: Axis(kind="choice", values=sizes)}

    @cached_property
    def places(self) -> Values:
        """(P, 5) settings scaled to 0..1."""
        return np.array([self._place(each) for each in self.settings])

    def _place(self, settings: dict[str, Any]) -> list[float]:
        found = []
        for name in LOGARITHMIC:
            low, high = np.log(self.space[name].low), np.log(self.space[name].high)
            found.append(float((np.log(settings[name]) - low) / (high - low)))
        sizes = self.space[CHOICE].values
        return [*found, sizes.index(settings[CHOICE]) / (len(sizes) - 1)]

    def nearest(self, settings: dict[str, Any], taken: Iterable[int]) -> int:
        """The recorded point nearest to these settings that is not taken."""
        far = np.linalg.norm(self.places - self._place(settings), axis=1)
        far[list(taken)] = np.inf
        return int(far.argmin())

    def result(self, point: int, reached: int) -> Result:
        """What a search is told of a point."""
        score, cost = self.losses[point, reached - 1]
        return Result(
            ended="complete" if reached == self.epochs else "stopped",
            values=(-float(score), float(cost)),
            reached=reached / self.epochs,
        )


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What one replay is given: paired across methods by the seed."""

    curves: Curves
    workers: int
    seed: int
    budget: int
    """Epochs and, divided by the workers, units of simulated time until which is replayed."""

    @cached_property
    def order(self) -> list[int]:
        """(P,) the points as random search draws them."""
        source = np.random.default_rng(self.seed)
        return [int(each) for each in source.permutation(len(self.curves.settings))]

    @cached_property
    def speed(self) -> Values:
        """(P,) simulated time of an epoch."""
        source = np.random.default_rng([self.seed, 1])
        return np.exp(source.uniform(np.log(0.8), np.log(1.25), len(self.curves.settings)))

    @property
    def horizon(self) -> float:
        """The end of simulated time."""
        return self.budget / self.workers * 1.05


class Proposer(Protocol):
    """Where points come from, batch by batch."""

    @property
    def parallel(self) -> int:
        """Batches open at once."""

    def ask(self) -> list[int]:
        """The next batch; empty when the recorded points are used up."""

    def told(self, batch: int, results: tuple[Result, ...]) -> None:
        """What came of a batch."""


@dataclass(kw_only=True)
class Drawn:
    """Random search: every method sees the same points in the same order."""

    setting: Setting
    batch: int
    parallel: int = 10**9
    _asked: int = 0

    def ask(self) -> list[int]:
        """The next of the order."""
        start, self._asked = self._asked, self._asked + self.batch
        return self.setting.order[start : start + self.batch]

    def told(self, batch: int, results: tuple[Result, ...]) -> None:
        """Nothing is learnt."""


@dataclass(kw_only=True)
class Asked:
    """`sweeps.search.ask.ask`; a proposal becomes the nearest recorded point that is free.

    The sampler is shown the settings of the recorded point, not those it proposed: what it hears is
    true of the former.
    """

    setting: Setting
    rule: SearchRule
    first: str = ""
    """Sampler of the first batch, where it is another."""

    _batches: list[Batch] = field(default_factory=list)
    _taken: set[int] = field(default_factory=set)

    @property
    def parallel(self) -> int:
        """Batches open at once."""
        return self.rule.parallel

    def ask(self) -> list[int]:
        """The next batch, as long as there are enough recorded points."""
        curves = self.setting.curves
        if len(self._taken) + self.rule.batch > len(curves.settings):
            return []
        rule = self.rule
        if self.first and not self._batches:
            rule = SearchRule(**{**fields(rule), "method": self.first})
        batch = ask(curves.space, ("max", "min"), rule, self._batches, seed=self.setting.seed)
        mine: list[int] = []
        proposals = []
        for proposal in batch.proposals:
            point = curves.nearest(dict(proposal.settings), self._taken)
            self._taken.add(point)
            mine.append(point)
            proposals.append(
                Proposal(settings=curves.settings[point], attributes=proposal.attributes)
            )
        self._batches.append(Batch(proposals=tuple(proposals), attributes=batch.attributes))
        return mine

    def told(self, batch: int, results: tuple[Result, ...]) -> None:
        """Kept for the batches to come."""
        asked = self._batches[batch]
        self._batches[batch] = Batch(
            proposals=asked.proposals, attributes=asked.attributes, results=results
        )


def fields(rule: SearchRule) -> dict[str, Any]:
    """A rule as keyword arguments."""
    return {name: getattr(rule, name) for name in rule.__slots__}


@dataclass(kw_only=True)
class Trace:
    """What happened: (V,) in the order of simulated time."""

    time: list[float] = field(default_factory=list)
    point: list[int] = field(default_factory=list)
    epoch: list[int] = field(default_factory=list)

    def add(self, time: float, point: int, epoch: int) -> None:
        """One more epoch of a point."""
        self.time.append(time)
        self.point.append(point)
        self.epoch.append(epoch)

    def sorted(self) -> Trace:
        """In the order of time."""
        rows = sorted(zip(self.time, self.point, self.epoch, strict=True))
        found = Trace()
        for row in rows:
            found.add(*row)
        return found


GoesOn = Callable[[int, int], bool]
"""Whether a point goes on after an epoch that is not its last."""


_VECTOR: Final = "recorded"


def entry(curves: Curves, point: int, epoch: int, objectives: int = 2) -> Entry:
    """A point at a rung, as `sweeps.stopping.rungs` makes it of a report."""
    loss, cost = map(float, curves.losses[point, epoch - 1])
    report = Report(
        key=f"p{point}",
        epoch=epoch,
        split=SELECTION,
        metrics={"score": -loss},
        cost={_VECTOR: cost},
        losses={},
        share=(),
        gate=(),
        gate_entropy=0.0,
        seconds=0.0,
    )
    directions = dict(list(zip(OBJECTIVES, ("max", "min"), strict=True))[:objectives])
    ranking = Ranking(rule=Rule(), objectives=directions, cost_vector=_VECTOR, epochs=curves.epochs)
    return entry_of(report.key, [report], ranking)


def in_packs(setting: Setting, proposer: Proposer, rule: Rule) -> Trace:
    """Brackets in packs, a pack on a worker, stopped together by `sweeps.stopping.ranks.cut`.

    A pack's points train in one stack: an epoch of it takes the sum of its points' times, and all
    report at its end.
    """
    trace = Trace()
    free = [0.0] * setting.workers
    ended: list[float] = []
    while True:
        begin = heapq.heappop(free)
        due = len(ended) - proposer.parallel
        if due >= 0:
            begin = max(begin, *ended[: due + 1])
        heapq.heappush(free, begin)
        now = min(free)
        spent = sum(time <= now for time in trace.time)
        if now > setting.horizon and spent >= setting.budget:
            break
        points = proposer.ask()
        if not points:
            break
        heapq.heappop(free)
        end, results = _pack(setting, rule, points, begin, trace)
        proposer.told(len(ended), results)
        ended.append(end)
        heapq.heappush(free, end)
    return trace.sorted()


def _pack(
    setting: Setting, rule: Rule, points: Sequence[int], begin: float, trace: Trace
) -> tuple[float, tuple[Result, ...]]:
    """A pack from its begin: its end, and what came of its points."""
    curves, live, now = setting.curves, list(points), begin
    reached = {}
    rungs = rule.rungs(curves.epochs)
    for epoch in range(1, curves.epochs + 1):
        now += float(setting.speed[live].sum())
        for point in live:
            trace.add(now, point, epoch)
            reached[point] = epoch
        if epoch in rungs:
            there = [entry(curves, point, epoch) for point in live]
            verdicts = cut(there, rule, seed=setting.seed, epoch=epoch)
            live = [p for p, said in zip(live, verdicts, strict=True) if said.goes_on]
    return now, tuple(curves.result(point, reached[point]) for point in points)
