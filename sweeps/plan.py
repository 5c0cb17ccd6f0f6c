"""Points x seeds -> trials -> packs, and how long they will take."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mpc_router.config import TrialConfig, to_tree, trial_config, trial_key
from sweeps.records import InputError, Pack, Point, Trial
from sweeps.sets import PreparedSet
from sweeps.study import Study

PACKS_A_WORKER: Final = 2
"""At least so many, where there are points enough: the last worker idles half a pack at most."""

LANES_A_PACK: Final = 64
"""At most so many (a single point's replicates excepted): larger stacks leave the cache."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A batch of points with their trials, cut into packs."""

    points: tuple[Point, ...]
    packs: tuple[Pack, ...]

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All of them, pack after pack."""
        return tuple(trial for pack in self.packs for trial in pack.trials)


def config_of(trial: Trial) -> TrialConfig:
    """The trial's complete configuration."""
    return trial_config(json.loads(trial.config))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprints:
    """Of a prepared set: what its trials' keys hold besides their settings."""

    data: str
    models: str


def plan(
    study: Study,
    prints: Mapping[str, Fingerprints],
    *,
    workers: int,
    stack_key: Callable[[TrialConfig], str],
) -> Plan:
    """The study's points in packs: as even as can be, one stack each, replicates never apart.

    `prints` are the fingerprints of the study's sets by name. A trial whose experts train too is a
    pack of its own.

    Raises:
        InputError: two points are the same trials.
    """
    configs = study.configs()
    points = {point.name: point for point in study.points()}
    chunks: list[list[Trial]] = []
    for each, together in _groups(study, stack_key):
        trials = {
            name: [
                trial_of(configs[name], points[name], seed, each=each, prints=prints[each.name])
                for seed in study.seeds
            ]
            for name in together
        }
        if each.joint:
            chunks += [[trial] for replicates in trials.values() for trial in replicates]
            continue
        count = pack_count(
            len(together),
            len(study.seeds),
            workers=workers,
            points_a_pack=study.pack.points,
            of=len(points),
        )
        chunks += [
            [trial for name in chunk for trial in trials[name]] for chunk in _even(together, count)
        ]
    _check_keys(chunks)
    packs = (
        Pack(name=f"pack{number:02d}", trials=tuple(trials)) for number, trials in enumerate(chunks)
    )
    return Plan(points=study.points(), packs=tuple(packs))


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
    """A point of a set with a seed."""
    return Trial(
        key=trial_key(config, seed, data=prints.data, experts=prints.models),
        point=point.name,
        seed=seed,
        config=json.dumps(to_tree(config), sort_keys=True),
        prepared=each.name,
    )


def _groups(
    study: Study, stack_key: Callable[[TrialConfig], str]
) -> Iterator[tuple[PreparedSet, list[str]]]:
    """Points that may share packs: those of one set and one stack."""
    configs = study.configs()
    for each in study.sets:
        stacks: dict[str, list[str]] = {}
        for name in each.points:
            stacks.setdefault(stack_key(configs[name]), []).append(name)
        for together in stacks.values():
            yield each, together


def pack_count(
    points: int, seeds: int, *, workers: int, points_a_pack: int = 0, of: int = 0
) -> int:
    """How many packs: two a worker, more where a pack would pass `LANES_A_PACK` lanes.

    Where the points are some `of` so many, they get their share of the workers' packs.
    `points_a_pack` above 0 decides instead. Never more packs than points.
    """
    if points_a_pack:
        return math.ceil(points / points_a_pack)
    most = max(1, LANES_A_PACK // seeds)
    share = round(PACKS_A_WORKER * workers * points / max(points, of))
    return min(points, max(1, share, math.ceil(points / most)))


def remaining(
    packs: Iterable[Pack], unended: Iterable[Trial], attempts: Mapping[str, int]
) -> tuple[Pack, ...]:
    """Packs of the trials that have yet to end, each at its next attempt."""
    keys = {trial.key for trial in unended}
    left = []
    for pack in packs:
        trials = tuple(trial for trial in pack.trials if trial.key in keys)
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
