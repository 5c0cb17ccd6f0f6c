from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import plain_router
from benchmarks.plain_sweeps import RIVALS, SEEDS, Work, grid, plain_loop
from benchmarks.side_by_side import table


def arrays(folder: Path, rows: int = 512) -> Path:
    """Two experts: the second is right where the first feature is above 0, the first elsewhere."""
    source = np.random.default_rng(0)
    splits = {}
    for name in ("train", "selection", "validation"):
        features = source.standard_normal((rows, 4), dtype=np.float32)
        labels = source.integers(0, 2, rows)
        right = (features[:, 0] > 0).astype(int)
        outputs = np.zeros((rows, 2, 2), np.float32)
        for expert in range(2):
            answers = np.where(right == expert, labels, 1 - labels)
            outputs[np.arange(rows), expert, answers] = 3.0
        splits[name] = {"features": features, "outputs": outputs, "labels": labels}
    file = folder / "arrays.npz"
    plain_router.save(file, splits, [1.0, 1.0])
    return file


@pytest.mark.parametrize("routers", [3, 12, 972, 3000])
def test_a_grid_has_as_many_routers_as_asked_for(routers: int) -> None:
    alphas, betas = grid(routers)
    assert len(alphas) * len(betas) * len(SEEDS) == routers


@pytest.mark.parametrize("routers", [0, -3, 1, 10])
def test_a_count_that_seeds_do_not_divide_is_refused(routers: int) -> None:
    with pytest.raises(ValueError, match="multiple of 3"):
        grid(routers)


def test_a_plain_router_finds_the_expert_that_is_right(tmp_path: Path) -> None:
    data = plain_router.load(arrays(tmp_path))
    told: list[dict[str, float]] = []
    point = {"alpha": 0.0, "beta": 0.0, "seed": 0}
    last = plain_router.train(point, data, told.append, epochs=20, hidden=32)
    assert last == told[-1]
    assert len(told) == 20
    assert last["validation_score"] > 0.85  # either expert alone has a half
    assert last["validation_cost"] == 1.0


def test_a_sample_of_the_work_mixes_the_grid_and_names_each_router_once(tmp_path: Path) -> None:
    alphas, betas = grid(108)
    work = Work(alphas=alphas, betas=betas, epochs=1, arrays=arrays(tmp_path))
    assert len({tuple(point.items()) for point in work.points}) == 108
    assert len({point["alpha"] for point in work.points[:24]}) == len(alphas)
    plain_loop(work, work.points[:2])


def test_the_table_quotes_ratios_within_rounds() -> None:
    rounds = []
    for busy in (1.0, 3.0):  # the second round met other work: seconds rise, ratios stay
        entry: dict[str, object] = {"step_ms": 0.1, "limit_ms": 0.05}
        entry["product"] = {"seconds": 10 * busy, "training": 6 * busy, "routers": 100}
        entry["joblib"] = {"seconds": 25 * busy, "sampled": 24}
        rounds.append(entry)
    lines = table({"routers": 100, "steps": 1000, "rounds": rounds}).splitlines()
    assert next(line for line in lines if line.startswith("joblib")).split()[2] == "2.50x"
    assert next(line for line in lines if line.startswith("product")).split()[3] == "3.00"


def test_every_rival_has_a_name_of_the_tables() -> None:
    assert set(RIVALS) == {
        *("plain_loop", "multiprocessing", "joblib", "tuner_class", "tuner_function")
    }
