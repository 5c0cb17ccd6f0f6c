"""Points x seeds -> trials -> packs, and how long they will take."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mpc_router.config import TrialConfig, to_tree, trial_config, trial_key
from sweeps.records import Pack, Point, Trial
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


def plan(
    study: Study,
    *,
    data: str,
    experts: str,
    workers: int,
    stack_key: Callable[[TrialConfig], str],
) -> Plan:
    """The study's points in packs: as even as can be, stacks together, replicates never apart.

    `data` and `experts` are the fingerprints that trials' keys hold.
    """
    configs = study.configs()
    stacks = {name: stack_key(config) for name, config in configs.items()}
    order = list(dict.fromkeys(stacks.values()))
    points = sorted(study.points(), key=lambda point: order.index(stacks[point.name]))
    count = pack_count(
        len(points), len(study.seeds), workers=workers, points_a_pack=study.pack.points
    )
    packs = []
    for number, chunk in enumerate(_even(points, count)):
        trials = [
            Trial(
                key=trial_key(configs[point.name], seed, data=data, experts=experts),
                point=point.name,
                seed=seed,
                config=json.dumps(to_tree(configs[point.name]), sort_keys=True),
            )
            for point in chunk
            for seed in study.seeds
        ]
        packs.append(Pack(name=f"pack{number:02d}", trials=tuple(trials)))
    return Plan(points=study.points(), packs=tuple(packs))


def pack_count(points: int, seeds: int, *, workers: int, points_a_pack: int = 0) -> int:
    """How many packs: two a worker, more where a pack would pass `LANES_A_PACK` lanes.

    `points_a_pack` above 0 decides instead. Never more packs than points.
    """
    if points_a_pack:
        return math.ceil(points / points_a_pack)
    most = max(1, LANES_A_PACK // seeds)
    return min(points, max(PACKS_A_WORKER * workers, math.ceil(points / most)))


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


def estimate(packs: Sequence[Pack], *, workers: int, lane_epoch_seconds: float) -> float:
    """Seconds of all packs on the workers, each taking the next pack when it is free.

    `lane_epoch_seconds` is one epoch of one lane in a stack, as measured.
    """
    busy = [0.0] * workers
    for pack in packs:
        epochs = sum(config_of(trial).training.epochs for trial in pack.trials)
        busy[busy.index(min(busy))] += epochs * lane_epoch_seconds
    return max(busy)


def _even(points: Sequence[Point], count: int) -> list[Sequence[Point]]:
    """Consecutive chunks whose sizes differ by one at most, the larger first."""
    size, extra = divmod(len(points), count)
    chunks, start = [], 0
    for number in range(count):
        end = start + size + (number < extra)
        chunks.append(points[start:end])
        start = end
    return chunks


def steps_an_epoch(config: TrialConfig, rows: int) -> int:
    """Steps of one epoch over so many rows of train."""
    return math.ceil(rows / config.training.batch_size)
