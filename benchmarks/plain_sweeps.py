"""What people write to train many routers: a loop, pools of processes, Ray Tune.

Each trains `plain_router` over points of `Work`; `benchmarks.side_by_side` times them from a new
interpreter to its end, which `python -m benchmarks.plain_sweeps WORK` is.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import plain_router

ROOT: Final = Path(__file__).resolve().parent.parent
SEEDS: Final = (0, 1, 2)
WORKERS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Says what is trained, and on what."""

    alphas: tuple[float, ...]
    betas: tuple[float, ...]
    epochs: int
    arrays: Path
    """What `plain_router.load` reads."""

    @property
    def points(self) -> list[dict[str, float]]:
        """Lists alpha, beta and seed of every router, mixed, so that a sample is like the whole."""
        every = [
            {"alpha": alpha, "beta": beta, "seed": seed}
            for alpha in self.alphas
            for beta in self.betas
            for seed in SEEDS
        ]
        order = np.random.default_rng(0).permutation(len(every))
        return [every[place] for place in order]


def grid(routers: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Gives alphas and betas, as square as they come, whose product with the seeds is `routers`.

    Raises:
        ValueError: three seeds do not divide it.
    """
    points, rest = divmod(routers, len(SEEDS))
    if rest or points < 1:
        raise ValueError(f"--routers is {routers}; give a multiple of {len(SEEDS)} from 3")
    side = max(n for n in range(1, int(points**0.5) + 1) if points % n == 0)
    spaced = (np.geomspace(1e-3, 1, side), np.geomspace(1e-4, 0.3, points // side))
    alphas, betas = (tuple(float(f"{value:.6g}") for value in values) for values in spaced)
    return alphas, betas


def one(work: Work, point: dict[str, float]) -> dict[str, float]:
    """Trains one router in a process that has read the arrays once."""
    return plain_router.train(point, _arrays(work.arrays), epochs=work.epochs)


_READ: dict[Path, plain_router.Arrays] = {}


def _arrays(file: Path) -> plain_router.Arrays:
    if file not in _READ:
        _READ[file] = plain_router.load(file)
    return _READ[file]


def plain_loop(work: Work, points: Sequence[dict[str, float]]) -> None:
    """Trains one router after another."""
    for point in points:
        one(work, point)


def _one_of_pool(task: tuple[Work, dict[str, float]]) -> dict[str, float]:
    return one(*task)


def by_multiprocessing(work: Work, points: Sequence[dict[str, float]]) -> None:
    """Trains in a pool of processes."""
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        for _ in pool.imap_unordered(_one_of_pool, [(work, point) for point in points]):
            pass


def by_joblib(work: Work, points: Sequence[dict[str, float]]) -> None:
    """Trains by joblib's processes."""
    from joblib import Parallel, delayed

    Parallel(n_jobs=WORKERS)(delayed(one)(work, point) for point in points)


def by_tuner_function(work: Work, points: Sequence[dict[str, float]]) -> None:
    """Trains by Ray Tune over a function: a process a trial."""
    from ray import tune

    def trainable(config: dict[str, Any]) -> None:
        data = plain_router.load(work.arrays)
        plain_router.train(config["point"], data, tune.report, epochs=work.epochs)

    _tune(trainable, points)


def by_tuner_class(work: Work, points: Sequence[dict[str, float]]) -> None:
    """Trains by Ray Tune over a class whose actors are used again."""
    from ray import tune

    class Router(tune.Trainable):  # type: ignore[misc]  # ray has no types
        def setup(self, config: dict[str, Any]) -> None:
            self.data = plain_router.load(work.arrays)
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.point = new_config["point"]
            return True

        def step(self) -> dict[str, Any]:
            numbers = plain_router.train(self.point, self.data, epochs=work.epochs)
            return {**numbers, "done": True}

    _tune(Router, points, reuse=True)


def _tune(trainable: Any, points: Sequence[dict[str, float]], *, reuse: bool = False) -> None:
    import ray
    from ray import tune

    ray.init(
        address="local",
        num_cpus=WORKERS,
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            tuner = tune.Tuner(
                trainable,
                param_space={"point": tune.grid_search(list(points))},
                tune_config=tune.TuneConfig(reuse_actors=reuse, max_concurrent_trials=WORKERS),
                run_config=tune.RunConfig(
                    storage_path=folder,
                    verbose=0,
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                ),
            )
            failed = tuner.fit().num_errors
            if failed:
                raise RuntimeError(f"{failed} trials of Ray Tune failed")
    finally:
        ray.shutdown()


Rival = Callable[[Work, Sequence[dict[str, float]]], None]
RIVALS: Final[dict[str, Rival]] = {
    "plain_loop": plain_loop,
    "multiprocessing": by_multiprocessing,
    "joblib": by_joblib,
    "tuner_class": by_tuner_class,
    "tuner_function": by_tuner_function,
}


def rival_seconds(name: str, work: Work, count: int, routers: int) -> dict[str, float]:
    """Times few and `count` routers, each in a process of its own; scales to `routers`."""
    few = WORKERS * 2
    walls = {number: _in_own_process(name, work, number) for number in (few, count)}
    a_router = (walls[count] - walls[few]) / (count - few)
    seconds = walls[count] if count == routers else walls[few] + a_router * (routers - few)
    return {"seconds": seconds, "a_router": a_router, "few": walls[few], "sampled": count}


def _in_own_process(name: str, work: Work, count: int) -> float:
    """Times a rival from a new interpreter to its end: imports count, as for a command."""
    told = json.dumps([name, count, dataclasses.asdict(work) | {"arrays": str(work.arrays)}])
    began = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.plain_sweeps", told]
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_CHDIR_TO_TRIAL_DIR": "0"}
    done = subprocess.run(command, cwd=ROOT, env=surroundings, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr[-2000:]}")
    return time.monotonic() - began


def main() -> None:
    """Is one rival: trains the first points of the work that the argument holds as JSON."""
    name, count, told = json.loads(sys.argv[1])
    work = Work(**told | {"arrays": Path(told["arrays"])})
    RIVALS[name](work, work.points[:count])


if __name__ == "__main__":
    main()
