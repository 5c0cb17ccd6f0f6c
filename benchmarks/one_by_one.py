"""Points alone on workers, ranked as they arrive: stopped there, or waiting to be promoted."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable

from benchmarks.replay import GoesOn, Proposer, Setting, Trace, entry
from sweeps.search.rule import Result
from sweeps.stopping.ranks import Entry, arrival, bracket_of, promotable
from sweeps.stopping.rule import Rule


def arriving(setting: Setting, rule: Rule, objectives: int = 2) -> GoesOn:
    """Asynchronous stopping by `sweeps.stopping.ranks.arrival`, a rung of its own for each
    bracket."""
    curves = setting.curves
    rungs: dict[tuple[int, int], list[Entry]] = {
        (bracket, epoch): []
        for bracket in range(rule.brackets)
        for epoch in rule.rungs(curves.epochs, bracket)
    }

    def goes_on(point: int, epoch: int) -> bool:
        mine = entry(curves, point, epoch, objectives)
        bracket = bracket_of(mine.name, rule, seed=setting.seed) if rule.brackets > 1 else 0
        if (bracket, epoch) not in rungs:
            return True
        there = rungs[bracket, epoch]
        verdict = arrival(mine, there, rule, seed=setting.seed, epoch=epoch)
        there.append(mine)
        return verdict.goes_on

    return goes_on


class Promoting:
    """Asynchronous halving that promotes: whoever is not among the best waits at its rung."""

    def __init__(self, setting: Setting, rule: Rule) -> None:
        self._setting, self._rule = setting, rule
        self._goes_on = arriving(setting, rule)
        self._there: dict[int, list[Entry]] = {}
        self._waiting: dict[int, dict[str, int]] = {}

    def goes_on(self, point: int, epoch: int) -> bool:
        """Whether it is among the best as it arrives."""
        rungs = self._rule.rungs(self._setting.curves.epochs)
        if epoch not in rungs:
            return True
        mine = entry(self._setting.curves, point, epoch)
        self._there.setdefault(epoch, []).append(mine)
        found = self._goes_on(point, epoch)
        if not found:
            self._waiting.setdefault(epoch, {})[mine.name] = point
        return found

    def promoted(self) -> tuple[int, int] | None:
        """A point that waits and goes on now, and the epochs that it has."""
        for epoch in sorted(self._waiting, reverse=True):
            there, waiting = self._there[epoch], self._waiting[epoch]
            best = promotable(there, waiting, self._rule, seed=self._setting.seed, epoch=epoch)
            if best is not None:
                return waiting.pop(best.name), epoch
        return None


def one_by_one(
    setting: Setting,
    proposer: Proposer,
    goes_on: GoesOn,
    promoted: Callable[[], tuple[int, int] | None] = lambda: None,
) -> Trace:
    """Points alone on workers, each epoch answered as it comes.

    A free worker takes a point that is `promoted` before a new one. One that finds no point to
    train, for the batches before are not told, waits.
    """
    return _OneByOne(setting, proposer, goes_on, promoted).run()


class _OneByOne:
    def __init__(
        self,
        setting: Setting,
        proposer: Proposer,
        goes_on: GoesOn,
        promoted: Callable[[], tuple[int, int] | None],
    ) -> None:
        self.setting, self.proposer = setting, proposer
        self.goes_on, self.promoted = goes_on, promoted
        self.trace = Trace()
        self.running: list[tuple[float, int, int]] = []
        self.queue: deque[int] = deque()
        self.batches: list[list[int]] = []
        self.home: dict[int, int] = {}
        self.results: dict[int, Result] = {}
        self.told = 0
        self.idle = setting.workers

    def run(self) -> Trace:
        setting = self.setting
        self._fill(0.0)
        while self.running:
            now, point, epoch = heapq.heappop(self.running)
            if now > setting.horizon and len(self.trace.time) >= setting.budget:
                break
            self.trace.add(now, point, epoch)
            if epoch < setting.curves.epochs and self.goes_on(point, epoch):
                self._push(now, point, epoch + 1)
            else:
                self.results[point] = setting.curves.result(point, epoch)
                self.idle += 1
                self._tell()
                self._fill(now)
        return self.trace

    def _push(self, now: float, point: int, epoch: int) -> None:
        heapq.heappush(self.running, (now + float(self.setting.speed[point]), point, epoch))

    def _tell(self) -> None:
        while self.told < len(self.batches):
            mine = self.batches[self.told]
            if any(point not in self.results for point in mine):
                return
            self.proposer.told(self.told, tuple(self.results[point] for point in mine))
            self.told += 1

    def _fill(self, now: float) -> None:
        while self.idle:
            again = self.promoted()
            if again is not None:
                self.idle -= 1
                self._push(now, again[0], again[1] + 1)
                continue
            if not self.queue and len(self.batches) - self.proposer.parallel < self.told:
                self.batches.append(self.proposer.ask())
                self.queue.extend(self.batches[-1])
                if not self.queue:
                    self.batches.pop()
            if not self.queue:
                return
            self.idle -= 1
            self._push(now, self.queue.popleft(), 1)
