"""Studies: what ships, overrides, and everything that is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from mpc_router.config import _pool_defaults
from mpc_router.config.keys import trial_key
from mpc_router.config.router_kinds import FITTED_KINDS
from mpc_router.config.trial import ConfigError, read_yaml
from mpc_router.tasks import TASKS
from sweeps.study import shipped
from sweeps.study.prepared_sets import set_key
from sweeps.study.read import from_tree, load
from sweeps.study.shipped import shipped_studies

GRID = {(a, b) for a in (0.01, 0.1, 1.0) for b in (0.001, 0.01, 0.1)}


def weights(*overrides: str) -> list[tuple[Any, Any]]:
    points = load("mrpc_grid", overrides).points()
    return [(point.settings.get("alpha"), point.settings.get("beta")) for point in points]


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_its_grid_the_published_one_and_the_baseline(task: str) -> None:
    study = load(f"{task}_grid")
    found = [(point.settings["alpha"], point.settings["beta"]) for point in study.points()]
    assert found[0] == (0.0, 0.0)
    assert set(found[1:]) == GRID
    assert len(found) == 10
    assert study.seeds == (0, 1, 2)
    assert study.task.name == task


def test_a_thousand_points_fill_in_their_pool_once() -> None:
    values = [round(0.001 * (1 + number), 3) for number in range(40)]
    before = _pool_defaults._filled.cache_info(), _pool_defaults._trained.cache_info()
    keys = set_key.cache_info()
    study = load("mrpc_grid", [f"alpha={{grid: {values}}}", f"beta={{grid: {values[:25]}}}"])
    assert len(study.points()) == 1000 + 1
    after = _pool_defaults._filled.cache_info(), _pool_defaults._trained.cache_info()
    # as given and as it is once filled in: of the study's points, and of its defaults
    assert all(new.misses - old.misses <= 4 for new, old in zip(after, before, strict=True))
    for config in study.configs().values():
        study.set_of(config)
    assert set_key.cache_info().misses - keys.misses <= 1001


def test_the_file_of_a_template_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shipped._read.cache_clear()
    read: list[Path] = []

    def reading(path: Path) -> dict[str, Any]:
        read.append(path)
        return read_yaml(path)

    monkeypatch.setattr(shipped, "read_yaml", reading)
    names = [load(name).study for name in shipped_studies()]
    assert names == list(shipped_studies())
    assert len(read) == len(set(read)) < len(names)


def test_a_grid_and_a_search_for_every_task_and_the_two_published_ablations_ship() -> None:
    studies = [f"{task}_{kind}" for task in TASKS for kind in ("grid", "pareto", "routers")]
    assert sorted(shipped_studies()) == sorted([*studies, "mrpc_pool_size", "mrpc_cost_profiles"])


def test_the_studies_that_ship_and_their_trials_keys_stay_as_they_were() -> None:
    """The hash was recorded when each of them was a file of its own."""
    resolved = {}
    for name in shipped_studies():
        if name.endswith("_routers"):
            continue
        for sample in (False, True):
            study = load(name, sample=sample)
            keys = [
                trial_key(study.base, seed, data="data", experts="models") for seed in study.seeds
            ]
            resolved[f"{name} {sample}"] = [study.to_tree(), keys]
    text = json.dumps(resolved)  # in the order of the list, and of every tree
    assert (
        hashlib.sha256(text.encode()).hexdigest()
        == "f1ed0941de2e115df582f91cb2bba590c0dcf3591d63b42b6f7d37d9f2224a1e"
    )


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_study_of_all_kinds_of_routers(task: str) -> None:
    study = load(f"{task}_routers")
    kinds = {config.model.router_kind for _, config in study.resolved}
    expected = {"gated", *FITTED_KINDS} - ({"cascade"} if TASKS[task].regression else set())
    assert kinds == expected
    assert study.base.data.router_data == "cross_fitted"
    assert len(study.seeds) == 5


@pytest.mark.parametrize("pool", ["bert", "minilm", "sample"])
def test_the_cost_profiles_are_the_published_ones_and_are_reported_alike(pool: str) -> None:
    study = load("mrpc_cost_profiles", [f"pool={pool}"])
    profiles = [point.settings["expert_costs"] for point in study.points()]
    given = (2, 7, 13)
    assert profiles[0] == given
    assert profiles[1] == pytest.approx([0.7 * cost for cost in given])
    assert profiles[2] == pytest.approx([1.5 * cost for cost in given])
    assert profiles[3:] == [(5.1, 7.3, 9.5), (1, 7, 19.5), given[::-1]]
    (only,) = study.sets
    assert study.cost_vector in only.config.vectors()
    for config in study.configs().values():
        assert (config.loss_weights.alpha, config.loss_weights.beta) == (0.05, 0.08)
    assert len(study.seeds) == 5


def test_points_that_differ_in_nothing_that_applies_collapse() -> None:
    idle = "label_cost={grid: [0, 1]}"
    assert len(load("mrpc_grid", ["alpha=0", "beta=0", idle]).points()) == 1
    labels = ("router_labels=loss_cost", "router={grid: [gated, supervised]}")
    assert len(load("mrpc_grid", ["alpha=0", "beta=0", idle, *labels]).points()) == 3


def test_the_resolved_study_says_the_same_again() -> None:
    study = load("mrpc_grid", ["pool=minilm", "alpha=0.5", "pack.points=2"])
    again = from_tree(study.to_tree())
    assert again.points() == study.points()
    assert again.configs() == study.configs()
    assert again.to_tree() == study.to_tree()


def test_a_fixed_setting_leaves_the_space_and_replaces_its_value_in_start() -> None:
    study = load("mrpc_grid", ["alpha=0.5"])
    assert study.searched == ("beta",)
    assert {config.loss_weights.alpha for config in study.configs().values()} == {0.5}
    assert [point.settings["beta"] for point in study.points()] == [0.0, 0.001, 0.01, 0.1]


def test_points_that_are_equal_collapse() -> None:
    assert weights("start=[{alpha: 0.1, beta: 0.01}, {alpha: 0.10, beta: 1e-2}]") == [
        (0.1, 0.01),
        *[pair for pair in weights()[1:] if pair != (0.1, 0.01)],
    ]


def test_everything_fixed_is_one_point() -> None:
    assert len(load("mrpc_grid", ["alpha=0.5", "beta=0.25"]).points()) == 1


def test_a_setting_becomes_searched_by_an_axis() -> None:
    study = load("mrpc_grid", ["alpha=0.1", "beta=0", "learning_rate={grid: [1e-3, 1e-2]}"])
    assert study.searched == ("learning_rate",)
    assert [point.settings["learning_rate"] for point in study.points()] == [1e-3, 1e-2]


@pytest.mark.parametrize(
    ("override", "name", "value"),
    [
        ("seeds=[5]", "seeds", (5,)),
        ("objectives={accuracy: max}", "objectives", {"accuracy": "max"}),
        ("cost_vector=mpc_seconds", "cost_vector", "mpc_seconds"),
        (
            "objectives.cost_mpc_gb=min",
            "objectives",
            {"score": "max", "cost": "min", "cost_mpc_gb": "min"},
        ),
    ],
)
def test_study_settings_can_be_overridden(override: str, name: str, value: Any) -> None:
    assert getattr(load("mrpc_grid", [override]), name) == value


def test_sample_sets_the_pool_unless_it_is_given() -> None:
    assert load("mrpc_grid", sample=True).base.model.pool == "sample"
    assert load("mrpc_grid", ["pool=minilm"], sample=True).base.model.pool == "minilm"
    assert load("mrpc_grid", ["model.pool=minilm"], sample=True).base.model.pool == "minilm"


def test_ones_own_file_may_nest_its_settings(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("trial: {model: {pool: minilm}, data.task: sst2}\nspace: {alpha: {grid: [0]}}")
    study = load(str(path))
    assert (study.study, study.task.name, study.base.model.pool) == ("mine", "sst2", "minilm")


BAD = {
    "alpha=-1": "alpha",
    "epochs=0": "epochs is 0",
    "seeds=[]": "seeds is empty",
    "seeds=[1, 1]": "each seed once",
    "seeds=[a]": "a seed is an integer",
    "seeds=3": "must be a list",
    "alhpa=1": "did you mean alpha",
    "sedes=[1]": "did you mean seeds",
    "alpha=high": "alpha",
    "learning_rate": "not key=value",
    "expert_costs=[1, 2]": "expert_costs has 2 values",
    "task=imdb": "task is 'imdb'",
    "pool={grid: [bert, minilm]}": "the points differ in expert_fine_tuned (false and true)",
    "task={grid: [mrpc, rte]}": "a run has one set of examples",
    "train_rows={grid: [8, 9]}": "fix it (train_rows=VALUE)",
    "device={grid: [cpu]}": "one kind of device",
    "alpha={grid: all}": "must be a list of values",
    "pool_size={grid: [2, 6]}": "comes with 2, 3, 4, 5 experts",
    "router_cost={grid: [0, 1]}": "fix expert_costs and router_cost",
    "cost_vector=file:none.json": "none.json: No such file",
    "alpha={grid: []}": "must be a list of values",
    "alpha={uniform: [0, 1]}": "needs a list of values; write {grid",
    "alpha={gird: [0, 1]}": "write one of {grid",
    "search.method=tpe": "needs search.points",
    "search.method=bohb": "allowed are grid, random",
    "search.points=4": "no setting 'points'",
    "search.seed=-1": "search.seed is -1",
    "search={methd: tpe}": "did you mean method",
    "search=tpe": "must be a mapping",
    "stopping.method=asha": "ranks by one objective",
    "stopping.method=hyperband": "allowed are none, asha, mo_asha",
    "stopping.eta=4": "has no setting 'eta'",
    "stopping.gracee=4": "did you mean grace",
    "budget.time=0": "above 0",
    "budget.time=soon": "such as 2h",
    "budget.money=60": "unknown key of budget",
    "constraints.cost=8": "write {max: number}",
    "cost_vector=euros": "unknown cost_vector 'euros'",
    "objectives={acurracy: max}": "did you mean accuracy",
    "objectives={score: most}": "allowed are max and min",
    "objectives={}": "objectives is empty",
    "pack.points=-1": "pack.points is -1",
    "pack.cpus=0": "must be a finite number above 0",
    "pack.cores=1": "unknown key of pack",
    "study=../up": "first a letter or a digit",
}


@pytest.mark.parametrize(("override", "message"), BAD.items(), ids=BAD)
def test_a_bad_setting_is_refused_in_a_sentence(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load("mrpc_grid", [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_study_is_answered_with_near_names() -> None:
    with pytest.raises(ConfigError, match="did you mean mrpc_grid"):
        load("mrpc_gird")


@pytest.mark.parametrize("text", ["[1, 2]", "study: [", "trial: 3", "space: 1", "studdy: a"])
def test_a_file_that_is_no_study_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load(str(path))
