"""Points x seeds -> trials -> packs."""

from __future__ import annotations

import pytest

from sweeps.driver.queue import grid
from sweeps.plan.plan import Fingerprints, Plan, Planner, _pack_sizes, estimate, remaining
from sweeps.records import InputError, config_of
from sweeps.study.read import load


def planned(*overrides: str, workers: int = 2, data: str = "d") -> Plan:
    study = load("mrpc_grid", overrides)
    return Planner(
        study=study,
        prints={each.name: Fingerprints(data=data, models=f"e{each.label}") for each in study.sets},
        workers=workers,
        stack_key=lambda config: str(config.loss_weights.balance_variance),
    ).plan(grid(study))


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
    ("points", "seeds", "workers", "points_a_pack", "sizes"),
    [
        (10, 3, 2, 0, [3, 3, 2, 2]),
        (10, 3, 8, 0, [1] * 10),
        (1, 3, 2, 0, [1]),
        (200, 1, 2, 0, [50, 38, 28, 28, 28, 28]),
        (10, 200, 1, 0, [1] * 10),
        (10, 3, 2, 5, [5, 5]),
        (10, 3, 2, 100, [10]),
        (324, 3, 2, 0, [41, 41, 41, 41, 40, 30, 23, 17, 13, 10, 9, 9, 9]),
    ],
)
def test_packs_keep_workers_busy_to_the_end(
    points: int, seeds: int, workers: int, points_a_pack: int, sizes: list[int]
) -> None:
    assert _pack_sizes(points, seeds, workers=workers, points_a_pack=points_a_pack) == sizes


@pytest.mark.parametrize(
    "groups", [(513,), (9999,), (200,) * 20, (120,) * 9, (300,) * 6, (130,) * 12, (700, 40, 3)]
)
@pytest.mark.parametrize("workers", [1, 2, 7, 16])
def test_workers_end_within_a_small_pack_of_each_other(
    groups: tuple[int, ...], workers: int
) -> None:
    """Of groups that cannot share a pack too, whoever is free takes the next pack."""
    total = later = sum(groups)
    busy = [0] * workers
    for points in groups:
        later -= points
        sizes = _pack_sizes(points, 1, workers=workers, later=later, total=total)
        assert sum(sizes) == points
        assert max(sizes) <= 128
        for size in sizes:
            busy[busy.index(min(busy))] += size
    assert max(busy) - min(busy) <= 33


def test_groups_of_a_plan_have_smaller_packs_to_the_end_of_all() -> None:
    made = planned(
        *("balance_variance={grid: [biased, unbiased]}", "beta=0", "start=[]", "seeds=[0]"),
        f"alpha={{grid: {list(range(250))}}}",
    )
    sizes = [len(pack.trials) for pack in made.packs]
    assert sum(sizes) == 500
    assert sizes[0] == 125
    assert max(sizes[-2:]) <= 33


@pytest.mark.parametrize(("workers", "points"), [(1, 0), (8, 2), (2, 100)])
def test_a_pack_holds_one_stack_of_one_set(workers: int, points: int) -> None:
    made = planned(
        *("balance_variance={grid: [biased, unbiased]}", "pool_size={grid: all}", "beta=0"),
        *("start=[]", "seeds=[0]", f"pack.points={points}"),
        workers=workers,
    )
    assert len(made.points) == 2 * 4 * 3
    for pack in made.packs:
        assert len({trial.prepared for trial in pack.trials}) == 1
        configs = [config_of(trial) for trial in pack.trials]
        assert len({(each.loss_weights.balance_variance, each.experts) for each in configs}) == 1


def test_a_trial_whose_experts_train_is_a_pack_of_its_own() -> None:
    made = planned("experts={grid: [frozen, joint]}", "beta=0", "start=[]", "seeds=[0, 1]")
    joint = [pack for pack in made.packs if config_of(pack.trials[0]).training.experts == "joint"]
    assert [len(pack.trials) for pack in joint] == [1] * 3 * 2
    assert {trial.prepared for pack in joint for trial in pack.trials} == {"set01"}
    assert sum(len(pack.trials) for pack in made.packs) == 12


def test_keys_do_not_depend_on_packs_but_on_data() -> None:
    keys = {trial.key for trial in planned().trials}
    assert keys == {trial.key for trial in planned(workers=7).trials}
    assert not keys & {trial.key for trial in planned(data="other").trials}


def test_what_remains_is_the_open_trials_at_the_next_attempt() -> None:
    made = planned()
    first, second, *_ = made.packs
    pack_of = {trial.key: pack.name for pack in made.packs for trial in pack.trials}
    left = remaining(made.packs, (second.trials[1], first.trials[0]), {first.name: 2}, pack_of)
    assert [(pack.name, pack.attempt) for pack in left] == [(first.name, 3), (second.name, 1)]
    assert [pack.trials for pack in left] == [(first.trials[0],), (second.trials[1],)]
    assert left[0].file() == "pack00.3.parquet"
    assert left[0].file(2) == "pack00.3-2.parquet"


def test_the_estimate_is_the_busiest_workers_time() -> None:
    made = planned("epochs=2")
    assert estimate(made.packs, workers=1, epoch_seconds=lambda _: 0.5) == 30 * 2 * 0.5
    assert estimate(made.packs, workers=2, epoch_seconds=lambda _: 0.5) == 15 * 2 * 0.5


def test_points_that_are_the_same_trials_are_refused() -> None:
    names = "tokenizer_model_name={grid: [here/bert, there/bert]}"
    study = load("mrpc_grid", [names, "alpha=0", "beta=0"])
    same = {each.name: Fingerprints(data="d", models="e") for each in study.sets}
    with pytest.raises(InputError, match="points p00 and p01 are the same trial"):
        Planner(study=study, prints=same, workers=1, stack_key=lambda config: "").plan(grid(study))
