"""Makes trials of points and seeds, cuts them into packs, and estimates how long they take."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mpc_router.config.keys import trial_key
from mpc_router.config.trial import ConfigError, TrialConfig, to_tree
from sweeps.records import BETWEEN, INSIDE, InputError, Pack, Point, Trial, config_of
from sweeps.study.prepared_sets import PreparedSet
from sweeps.study.study import Study

_PACKS_A_WORKER: Final = 2
"""Counts the packs at least into which a worker's share of what is left is cut."""

_MOST_SAMPLES: Final = 8
"""Limits the kinds of stacks whose steps are measured before a sweep; each takes some seconds."""

_LANES_A_PACK: Final = 128
"""Limits the lanes of a pack of several points: larger stacks are no faster
(`benchmarks/README.md`), and what a lost worker has trained since it was kept grows with them."""

_SMALLEST: Final = 4
"""Packs have at least this part of that limit where there are enough trials: fewer lanes cost more
a lane."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Holds a batch of points with their trials, cut into packs."""

    points: tuple[Point, ...]
    packs: tuple[Pack, ...]

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Gives all trials, pack after pack."""
        return tuple(trial for pack in self.packs for trial in pack.trials)


Asked = tuple[Point, TrialConfig]
"""Pairs a point with its complete configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprints:
    """Holds what the keys of a set's trials contain besides their settings."""

    data: str
    models: str


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Cuts a study's points into packs."""

    study: Study
    prints: Mapping[str, Fingerprints]
    """Gives the fingerprints by name of a set."""

    workers: int
    stack_key: Callable[[TrialConfig], str]
    """Gives what configurations that may train in one stack have in common."""

    def config(self, proposed: Mapping[str, Any]) -> TrialConfig:
        """Gives the complete configuration of a proposed point.

        Raises:
            InputError: it is not valid, though the ends and the middle of the space are.
        """
        try:
            return self.study.config(proposed)
        except ConfigError as error:
            raise InputError(
                f"space has points that are not valid, such as {dict(proposed)}: {error}; "
                "search a narrower space"
            ) from error

    def key(self, config: TrialConfig) -> str:
        """Gives the key of a point's first trial, equal for points that are the same trials."""
        prints = self.prints[self.study.set_of(config).name]
        return trial_key(config, self.study.seeds[0], data=prints.data, experts=prints.models)

    def plan(self, points: Sequence[Asked], *, packs: int = 0) -> Plan:
        """Cuts points into packs, the replicates of a point together; see `_pack_sizes`.

        Without stopping, a pack is one stack. With stopping, it is a bracket of all points with
        frozen experts, in the order given. A trial whose experts train too is a separate pack.
        Packs are numbered from `packs`.

        Raises:
            InputError: two points are the same trials.
        """
        seeds = self.study.first_seeds
        trials = {point.name: self.replicates(point, config, seeds) for point, config in points}
        stopped = self.study.stopping.method != "none"
        chunks: list[tuple[str, list[Trial]]] = []
        later = len(points)
        for prepared_set, names in self._groups(points):
            later -= len(names)
            if prepared_set is not None and prepared_set.joint:
                stopping = BETWEEN if stopped else ""
                chunks += [(stopping, [trial]) for name in names for trial in trials[name]]
                continue
            chunks += [
                (INSIDE if stopped else "", [trial for name in chunk for trial in trials[name]])
                for chunk in _chunks(names, self._sizes(len(names), later=later, total=len(points)))
            ]
        _check_keys(chunk for _, chunk in chunks)
        return Plan(
            points=tuple(point for point, _ in points),
            packs=tuple(
                Pack(name=f"pack{number:02d}", trials=tuple(chunk), stopping=stopping)
                for number, (stopping, chunk) in enumerate(chunks, packs)
            ),
        )

    def sample_packs(self) -> tuple[Pack, ...]:
        """Gives packs as large as a pack may be, one for every kind of stack of the study.

        Of more than `_MOST_SAMPLES` kinds it gives those with the most activations: the widest
        routers and the largest batches.
        """
        kinds: dict[str, tuple[Point, TrialConfig]] = {}
        for point, config in self.study.resolved:
            kind = f"{self.study.set_of(config).name} {self.stack_key(config)}"
            kinds.setdefault(kind, (point, config))
        largest = sorted(kinds.values(), key=lambda kind: -_activations(kind[1]))[:_MOST_SAMPLES]
        return tuple(self._sample_pack(*kind) for kind in largest)

    def _sample_pack(self, point: Point, config: TrialConfig) -> Pack:
        """Gives a pack of one configuration, as large as a pack may be."""
        points = self.study.pack.points
        if self.study.stopping.method != "none":
            points = self.study.stopping.bracket
        lanes = points * len(self.study.first_seeds) if points else _LANES_A_PACK
        seeds = range(1 if self.study.set_of(config).joint else max(1, lanes))
        return Pack(name="sample", trials=tuple(self.replicates(point, config, seeds)))

    def finishing(self, trials: Sequence[Trial], *, packs: int) -> tuple[Pack, ...]:
        """Cuts trials of points that are followed up into packs in which no trial is stopped.

        The replicates of a point stay together. Each joint trial is a separate pack.
        """
        joint_sets = {item.name for item in self.study.sets if item.joint}
        trials_by_point: dict[str, list[Trial]] = {}
        for trial in trials:
            if trial.prepared not in joint_sets:
                trials_by_point.setdefault(trial.point, []).append(trial)
        stacks: dict[str, list[str]] = {}
        for name, (first, *_) in trials_by_point.items():
            key = f"{first.prepared} {self.stack_key(config_of(first))}"
            stacks.setdefault(key, []).append(name)
        chunks: list[list[Trial]] = [[trial] for trial in trials if trial.prepared in joint_sets]
        later = len(trials_by_point)
        for names in stacks.values():
            later -= len(names)
            sizes = _pack_sizes(
                len(names),
                len(self.study.seeds),
                workers=self.workers,
                later=later,
                total=len(trials_by_point),
            )
            chunks += [
                [trial for name in chunk for trial in trials_by_point[name]]
                for chunk in _chunks(names, sizes)
            ]
        return tuple(
            Pack(name=f"pack{number:02d}", trials=tuple(chunk))
            for number, chunk in enumerate(chunks, packs)
        )

    def replicates(self, point: Point, config: TrialConfig, seeds: Sequence[int]) -> list[Trial]:
        """Gives the trials of a point with these seeds."""
        prepared_set = self.study.set_of(config)
        prints = self.prints[prepared_set.name]
        return trials_of(config, point, seeds, prepared_set=prepared_set, prints=prints)

    def _groups(self, points: Sequence[Asked]) -> Iterator[tuple[PreparedSet | None, list[str]]]:
        """Gives the names of points that may share packs, with their set.

        They are those of one set and one stack. With stopping, all points with frozen experts are
        one group without a set, because they are ranked against each other.
        """
        by_set: dict[str, list[Asked]] = {item.name: [] for item in self.study.sets}
        for point, config in points:
            by_set[self.study.set_of(config).name].append((point, config))
        ranked: set[str] = set()
        for prepared_set in self.study.sets:
            stacks: dict[str, list[str]] = {}
            for point, config in by_set[prepared_set.name]:
                stacks.setdefault(self.stack_key(config), []).append(point.name)
            if self.study.stopping.method != "none" and not prepared_set.joint:
                ranked.update(point.name for point, _ in by_set[prepared_set.name])
                continue
            for names in stacks.values():
                yield prepared_set, names
        if ranked:
            yield None, [point.name for point, _ in points if point.name in ranked]

    def _sizes(self, points: int, *, later: int, total: int) -> list[int]:
        """Gives how many points each pack of a group has."""
        if self.study.stopping.method != "none":
            return _even(points, math.ceil(points / self.study.stopping.bracket))
        return _pack_sizes(
            points,
            len(self.study.first_seeds),
            workers=self.workers,
            points_a_pack=self.study.pack.points,
            later=later,
            total=total,
        )


def _check_keys(chunks: Iterable[Sequence[Trial]]) -> None:
    """Refuses two points that are the same trial: models of several names may be the same files.

    Raises:
        InputError: there are two.
    """
    point_by_key: dict[str, str] = {}
    for trial in (trial for chunk in chunks for trial in chunk):
        first_point = point_by_key.setdefault(trial.key, trial.point)
        if first_point != trial.point:
            raise InputError(
                f"points {first_point} and {trial.point} are the same trial: the models that they "
                "name are the same files; search one of them"
            )


def trials_of(
    config: TrialConfig,
    point: Point,
    seeds: Sequence[int],
    *,
    prepared_set: PreparedSet,
    prints: Fingerprints,
) -> list[Trial]:
    """Gives the trials of a point of a set with these seeds."""
    config_json = json.dumps(to_tree(config), sort_keys=True)
    return [
        Trial(
            key=trial_key(config, seed, data=prints.data, experts=prints.models),
            point=point.name,
            seed=seed,
            config=config_json,
            prepared=prepared_set.name,
        )
        for seed in seeds
    ]


def _activations(config: TrialConfig) -> int:
    """Gives a number that grows with the memory of a stack's step, by which stacks are compared."""
    return config.training.batch_size * config.model.router_hidden_size


def _pack_sizes(
    points: int,
    seeds: int,
    *,
    workers: int,
    points_a_pack: int = 0,
    later: int = 0,
    total: int = 0,
) -> list[int]:
    """Gives how many points each pack of a group has.

    Packs become smaller, so that workers end together: each is half of a worker's share of what is
    left, of this group and the `later` points of those after it (guided self-scheduling,
    Polychronopoulos and Kuck 1987, doi:10.1109/TC.1987.5009495). None has more than
    `_LANES_A_PACK`; the least that a pack has is a part of that or, of few points, half of a
    worker's share of the `total`. `points_a_pack` above 0 decides instead.
    """
    if points_a_pack:
        return _even(points, math.ceil(points / points_a_pack))
    most, packs = max(1, _LANES_A_PACK // seeds), _PACKS_A_WORKER * workers
    least = min(math.ceil(most / _SMALLEST), math.ceil(max(points, total) / packs))
    sizes, left = [], points
    while left:
        share = min(most, max(least, math.ceil((left + later) / packs)))
        sizes.append(math.ceil(left / math.ceil(left / share)))
        left -= sizes[-1]
    return sizes


def remaining(
    packs: Iterable[Pack],
    unended: Iterable[Trial],
    attempts: Mapping[str, int],
    pack_of: Mapping[str, str],
) -> tuple[Pack, ...]:
    """Gives the packs that still have unended trials, with these alone, at their next attempt.

    A bracket begins anew with all of its trials, because those that failed or stopped were ranked
    too. `pack_of` gives the pack by key; for a trial that is being finished that is the later one.
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
    """Estimates the seconds of all packs on workers that take the next pack when they are free.

    `epoch_seconds` gives the measured time of an epoch of a trial, as its share of a stack's.
    """
    busy = [0.0] * workers
    for pack in packs:
        seconds = sum(
            config_of(trial).training.epochs * epoch_seconds(trial) for trial in pack.trials
        )
        busy[busy.index(min(busy))] += seconds
    return max(busy)


def _even(points: int, count: int) -> list[int]:
    """Divides points among packs: their numbers differ by one at most, the larger first."""
    size, extra = divmod(points, count)
    return [size + (number < extra) for number in range(count)]


def _chunks(points: Sequence[str], sizes: Sequence[int]) -> Iterator[Sequence[str]]:
    """Cuts names into consecutive chunks of these sizes."""
    start = 0
    for size in sizes:
        yield points[start : start + size]
        start += size
