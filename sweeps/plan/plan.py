"""Points x seeds -> trials -> packs, and how long they will take."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mpc_router.config.trial import ConfigError, TrialConfig, to_tree, trial_key
from sweeps.records import BETWEEN, INSIDE, InputError, Pack, Point, Trial, config_of
from sweeps.study.prepared_sets import PreparedSet
from sweeps.study.study import Study

_PACKS_A_WORKER: Final = 2
"""At least so many, where there are points enough: the last worker idles half a pack at most."""

_LANES_A_PACK: Final = 64
"""At most so many (a single point's replicates excepted): larger stacks leave the cache."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Holds a batch of points with their trials, cut into packs."""

    points: tuple[Point, ...]
    packs: tuple[Pack, ...]

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All of them, pack after pack."""
        return tuple(trial for pack in self.packs for trial in pack.trials)


Asked = tuple[Point, TrialConfig]
"""A point with its complete configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprints:
    """Of a prepared set: what its trials' keys hold besides their settings."""

    data: str
    models: str


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Cuts a study's points into packs."""

    study: Study
    prints: Mapping[str, Fingerprints]
    """By set, of what the study's sets are made of."""

    workers: int
    stack_key: Callable[[TrialConfig], str]

    def config(self, proposed: Mapping[str, Any]) -> TrialConfig:
        """The complete configuration of a proposed point.

        Raises:
            InputError: it cannot be, though the ends and the middle of the space can.
        """
        try:
            return self.study.config(proposed)
        except ConfigError as error:
            raise InputError(
                f"space has points inside that cannot be, such as {dict(proposed)}: {error}; "
                "search a narrower one"
            ) from error

    def key(self, config: TrialConfig) -> str:
        """Of a point's first trial: equal for points that are the same trials."""
        each = self.study.set_of(config)
        prints = self.prints[each.name]
        return trial_key(config, self.study.seeds[0], data=prints.data, experts=prints.models)

    def plan(self, points: Sequence[Asked], *, packs: int = 0) -> Plan:
        """Some points in packs: as even as can be, replicates never apart.

        Without stopping a pack is one stack. With it, it is a bracket of all kinds of points with
        frozen experts, in the order given. A trial whose experts train too is a pack of its own.
        `packs` are there already.

        Raises:
            InputError: two points are the same trials.
        """
        seeds = self.study.first_seeds
        trials = {point.name: self.replicates(point, config, seeds) for point, config in points}
        stopped = self.study.stopping.method != "none"
        chunks: list[tuple[str, list[Trial]]] = []
        for each, names in self._groups(points):
            if each is not None and each.joint:
                where = BETWEEN if stopped else ""
                chunks += [(where, [trial]) for name in names for trial in trials[name]]
                continue
            chunks += [
                (INSIDE if stopped else "", [trial for name in chunk for trial in trials[name]])
                for chunk in _even(names, self._count(len(names), of=len(points)))
            ]
        _check_keys(chunk for _, chunk in chunks)
        return Plan(
            points=tuple(point for point, _ in points),
            packs=tuple(
                Pack(name=f"pack{number:02d}", trials=tuple(chunk), stopping=where)
                for number, (where, chunk) in enumerate(chunks, packs)
            ),
        )

    def finishing(self, trials: Sequence[Trial], *, packs: int) -> tuple[Pack, ...]:
        """Trials of points that are followed up, in packs where nobody is stopped: replicates stay
        together, but for joint trials, each of which is a pack of its own."""
        joint = {each.name for each in self.study.sets if each.joint}
        points: dict[str, list[Trial]] = {}
        for trial in (each for each in trials if each.prepared not in joint):
            points.setdefault(trial.point, []).append(trial)
        stacks: dict[str, list[str]] = {}
        for name, mine in points.items():
            key = f"{mine[0].prepared} {self.stack_key(config_of(mine[0]))}"
            stacks.setdefault(key, []).append(name)
        found: list[list[Trial]] = [[each] for each in trials if each.prepared in joint]
        for names in stacks.values():
            count = _pack_count(
                len(names), len(self.study.seeds), workers=self.workers, of=len(points)
            )
            found += [
                [trial for name in chunk for trial in points[name]] for chunk in _even(names, count)
            ]
        return tuple(
            Pack(name=f"pack{number:02d}", trials=tuple(chunk))
            for number, chunk in enumerate(found, packs)
        )

    def replicates(self, point: Point, config: TrialConfig, seeds: Sequence[int]) -> list[Trial]:
        """A point with these seeds."""
        each = self.study.set_of(config)
        return [
            trial_of(config, point, seed, each=each, prints=self.prints[each.name])
            for seed in seeds
        ]

    def _groups(self, points: Sequence[Asked]) -> Iterator[tuple[PreparedSet | None, list[str]]]:
        """Points that may share packs: those of one set and one stack; with stopping all that are
        ranked against each other."""
        by_set: dict[str, list[Asked]] = {each.name: [] for each in self.study.sets}
        for point, config in points:
            by_set[self.study.set_of(config).name].append((point, config))
        frozen: list[str] = []
        for each in self.study.sets:
            stacks: dict[str, list[str]] = {}
            for point, config in by_set[each.name]:
                stacks.setdefault(self.stack_key(config), []).append(point.name)
            if self.study.stopping.method != "none" and not each.joint:
                frozen += [name for names in stacks.values() for name in names]
                continue
            for names in stacks.values():
                yield each, names
        if frozen:
            known = set(frozen)
            yield None, [point.name for point, _ in points if point.name in known]

    def _count(self, points: int, *, of: int) -> int:
        if self.study.stopping.method != "none":
            return math.ceil(points / self.study.stopping.bracket)
        return _pack_count(
            points,
            len(self.study.first_seeds),
            workers=self.workers,
            points_a_pack=self.study.pack.points,
            of=of,
        )


def _check_keys(chunks: Iterable[Sequence[Trial]]) -> None:
    """Refuses points that are one and the same: models of several names may be the same files."""
    seen: dict[str, str] = {}
    for trial in (trial for chunk in chunks for trial in chunk):
        other = seen.setdefault(trial.key, trial.point)
        if other != trial.point:
            raise InputError(
                f"points {other} and {trial.point} are the same trial: the models that they name "
                "are the same files; search one of them"
            )


def trial_of(
    config: TrialConfig, point: Point, seed: int, *, each: PreparedSet, prints: Fingerprints
) -> Trial:
    """Gives the trial of a point of a set with a seed."""
    return Trial(
        key=trial_key(config, seed, data=prints.data, experts=prints.models),
        point=point.name,
        seed=seed,
        config=json.dumps(to_tree(config), sort_keys=True),
        prepared=each.name,
    )


def _pack_count(
    points: int, seeds: int, *, workers: int, points_a_pack: int = 0, of: int = 0
) -> int:
    """How many packs: two a worker, more where a pack would pass `_LANES_A_PACK` lanes.

    Where the points are some `of` so many, they get their share of the workers' packs.
    `points_a_pack` above 0 decides instead. Never more packs than points.
    """
    if points_a_pack:
        return math.ceil(points / points_a_pack)
    most = max(1, _LANES_A_PACK // seeds)
    share = round(_PACKS_A_WORKER * workers * points / max(points, of))
    return min(points, max(1, share, math.ceil(points / most)))


def remaining(
    packs: Iterable[Pack],
    unended: Iterable[Trial],
    attempts: Mapping[str, int],
    pack_of: Mapping[str, str],
) -> tuple[Pack, ...]:
    """Packs of the trials that have yet to end, each at its next attempt.

    A bracket begins anew with all of its trials: those that failed or stopped were ranked too.
    `pack_of` names the pack of a key: of a trial that is being finished it is the later one.
    """
    keys = {trial.key for trial in unended}
    left = []
    for pack in packs:
        trials = tuple(
            trial for trial in pack.trials if trial.key in keys and pack_of[trial.key] == pack.name
        )
        if trials and pack.stopping == INSIDE:
            trials = pack.trials
        if trials:
            attempt = attempts.get(pack.name, 0) + 1
            left.append(dataclasses.replace(pack, trials=trials, attempt=attempt))
    return tuple(left)


def estimate(
    packs: Sequence[Pack], *, workers: int, epoch_seconds: Callable[[Trial], float]
) -> float:
    """Seconds of all packs on the workers, each taking the next pack when it is free.

    `epoch_seconds` is one epoch of a trial, its share of a stack's, as measured.
    """
    busy = [0.0] * workers
    for pack in packs:
        seconds = sum(
            config_of(trial).training.epochs * epoch_seconds(trial) for trial in pack.trials
        )
        busy[busy.index(min(busy))] += seconds
    return max(busy)


def _even(points: Sequence[str], count: int) -> list[Sequence[str]]:
    """Consecutive chunks whose sizes differ by one at most, the larger first."""
    size, extra = divmod(len(points), count)
    chunks, start = [], 0
    for number in range(count):
        end = start + size + (number < extra)
        chunks.append(points[start:end])
        start = end
    return chunks
