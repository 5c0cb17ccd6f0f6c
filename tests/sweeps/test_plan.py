"""Points x seeds -> trials -> packs."""

from __future__ import annotations

import pytest

from sweeps.plan import Plan, config_of, estimate, pack_count, plan, remaining
from sweeps.study import load


def planned(*overrides: str, workers: int = 2, data: str = "d") -> Plan:
    return plan(
        load("mrpc_grid", overrides),
        data=data,
        experts="e",
        workers=workers,
        stack_key=lambda config: str(config.model.router_hidden_size),
    )


def test_the_grid_is_thirty_trials_in_two_packs_a_worker() -> None:
    made = planned()
    assert [len(pack.trials) for pack in made.packs] == [9, 9, 6, 6]
    assert len({trial.key for trial in made.trials}) == 30


@pytest.mark.parametrize("workers", [1, 2, 3, 8, 100])
def test_replicates_are_never_apart_and_nothing_is_lost(workers: int) -> None:
    made = planned(workers=workers)
    homes: dict[str, set[str]] = {}
    for pack in made.packs:
        for trial in pack.trials:
            homes.setdefault(trial.point, set()).add(pack.name)
    assert all(len(packs) == 1 for packs in homes.values())
    assert {(trial.point, trial.seed) for trial in made.trials} == {
        (point.name, seed) for point in made.points for seed in (0, 1, 2)
    }


@pytest.mark.parametrize(
    ("points", "seeds", "workers", "points_a_pack", "count"),
    [
        (10, 3, 2, 0, 4),
        (10, 3, 8, 0, 10),
        (1, 3, 2, 0, 1),
        (1000, 1, 2, 0, 16),
        (10, 200, 1, 0, 10),
        (10, 3, 2, 5, 2),
        (10, 3, 2, 100, 1),
    ],
)
def test_packs_keep_workers_busy_and_stacks_in_the_cache(
    points: int, seeds: int, workers: int, points_a_pack: int, count: int
) -> None:
    assert pack_count(points, seeds, workers=workers, points_a_pack=points_a_pack) == count


def test_points_of_one_stack_lie_together() -> None:
    made = planned("router_hidden_size={grid: [8, 16]}", "beta=0", "start=[]", "pack.points=3")
    sizes = [
        {config_of(trial).model.router_hidden_size for trial in pack.trials} for pack in made.packs
    ]
    assert sizes == [{8}, {16}]


def test_keys_do_not_depend_on_packs_but_on_data() -> None:
    keys = {trial.key for trial in planned().trials}
    assert keys == {trial.key for trial in planned(workers=7).trials}
    assert not keys & {trial.key for trial in planned(data="other").trials}


def test_what_remains_is_the_open_trials_at_the_next_attempt() -> None:
    made = planned()
    first, second, *_ = made.packs
    left = remaining(made.packs, (second.trials[1], first.trials[0]), {first.name: 2})
    assert [(pack.name, pack.attempt) for pack in left] == [(first.name, 3), (second.name, 1)]
    assert [pack.trials for pack in left] == [(first.trials[0],), (second.trials[1],)]
    assert left[0].file == "pack00.3.parquet"


def test_the_estimate_is_the_busiest_workers_time() -> None:
    made = planned("epochs=2")
    assert estimate(made.packs, workers=1, lane_epoch_seconds=0.5) == 30 * 2 * 0.5
    assert estimate(made.packs, workers=2, lane_epoch_seconds=0.5) == 15 * 2 * 0.5
