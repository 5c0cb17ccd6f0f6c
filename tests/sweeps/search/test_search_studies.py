"""Studies that search and stop: what ships, what is resolved, and everything that is refused."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest

from mpc_router.config.trial import ConfigError
from mpc_router.tasks import TASKS
from sweeps.search.ask import ask
from sweeps.search.samplers import SAMPLERS
from sweeps.study.read import from_tree, load
from sweeps.study.study import Study

LISTED = ("alpha={choice: [0.1, 0.2]}", "beta={choice: [0.1]}", "start=[]", "search.points=9")


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_its_search_for_the_front(task: str) -> None:
    study = load(f"{task}_pareto")
    assert study.task.name == task
    assert study.proposes
    assert (study.search.points, study.search.batch, study.seeds) == (216, 27, (0, 1, 2))
    assert study.stopping.rungs(study.base.training.epochs) == (1, 3)
    assert {leaf: axis.kind for leaf, axis in study.space.items()} == {
        "alpha": "loguniform",
        "beta": "loguniform",
        "learning_rate": "loguniform",
        "temperature": "loguniform",
        "router_hidden_size": "choice",
    }


@pytest.mark.parametrize("pool", ["bert", "minilm", "sample"])
def test_a_search_can_be_over_any_pool(pool: str) -> None:
    assert load("mrpc_pareto", [f"pool={pool}"]).base.model.pool == pool


VARIANTS = {
    "as it ships": [],
    "other rules": [
        "search={method: nsga2, points: 40, batch: 30, parallel: 3, fidelity: complete, seed: 7}",
        "stopping={method: mo_asha, eta: 2, grace: 2, bracket: 8, ties: epsilon_net}",
        "budget={time: 2h, epochs: 500, gpu_hours: 1.5}",
        "pack.gpus=1",
    ],
    "constraints": ["search.method=tpe", "constraints={cost: {max: 8}, dead_experts: {max: 0}}"],
    "started": ["start=[{alpha: 0.01}, {alpha: 0.1, beta: 0.1, router_hidden_size: 64}]"],
    "sizes of a pool": ["pool=minilm", "pool_size={choice: all}", "batch_size={int: [8, 64]}"],
    "stopped grid": [*LISTED[:3], "learning_rate=1e-3", "temperature=1", "search.method=grid"],
    "profiles": ["expert_costs={choice: [[2, 7, 13], [1.4, 4.9, 9.1]]}"],
    "not stopped": ["stopping.method=none", "epochs={int: [1, 9]}"],
    "joint": ["experts=joint", "stopping.brackets=3", "pool=sample"],
    "frozen and joint": [
        *("experts={choice: [frozen, joint]}", "router={choice: [gated, supervised]}"),
        *("expert_start=fine_tuned", "pool=sample"),
    ],
}


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS)
def test_the_resolved_study_says_the_same_again(overrides: list[str]) -> None:
    study = load("mrpc_pareto", overrides)
    again = from_tree(json.loads(json.dumps(study.to_tree())))
    for name in ("search", "seed", "stopping", "budget", "constraints", "space", "start_points"):
        assert getattr(again, name) == getattr(study, name), name
    assert again.points() == study.points()
    assert again.first == study.first
    assert again.sets == study.sets
    assert again.to_tree() == study.to_tree()
    assert again.facts() == study.facts()


def proposed(study: Study, count: int) -> list[dict[str, object]]:
    pytest.importorskip("optuna")
    rule = dataclasses.replace(study.search, method="random", batch=count, points=count)
    batch = ask(study.space, list(study.objectives.values()), rule, [], seed=study.seed)
    return [dict(each.settings) for each in batch.proposals]


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS)
def test_every_point_that_may_be_proposed_has_its_set_prepared(overrides: list[str]) -> None:
    study = load("mrpc_pareto", overrides)
    names = {each.name for each in study.sets}
    for given in proposed(study, 30) if study.proposes else []:
        config = study.config(given)
        each = study.set_of(config)
        assert each.name in names
        assert each.points == ()
        assert each.config.experts == config.experts
        assert each.config.model.router_hidden_size == config.model.router_hidden_size
        point = study.point("p00", config)
        assert list(point.settings) == list(study.searched)
        assert all(study.space[leaf].holds(value) for leaf, value in point.settings.items())


def test_a_resumed_search_prepares_and_proposes_the_same() -> None:
    study = load("mrpc_pareto", ["pool=minilm", "pool_size={choice: [2, 4]}"])
    again = from_tree(json.loads(json.dumps(study.to_tree())))
    assert proposed(again, 8) == proposed(study, 8)
    for given in proposed(study, 8):
        assert again.config(given) == study.config(given)
        assert again.set_of(again.config(given)).name == study.set_of(study.config(given)).name


def test_sets_are_all_combinations_of_what_is_prepared() -> None:
    study = load(
        "mrpc_pareto",
        ["pool=minilm", "pool_size={choice: [2, 3]}", "router_hidden_size={choice: [8, 16]}"],
    )
    assert {(each.config.experts, each.config.model.router_hidden_size) for each in study.sets} == {
        (size, hidden) for size in (2, 3) for hidden in (8, 16)
    }
    assert len({each.label for each in study.sets}) == 4


def test_start_points_are_complete_and_the_rest_is_at_its_default() -> None:
    study = load("mrpc_pareto", ["start=[{alpha: 1, router_hidden_size: 64}]"])
    (only,) = study.start_points
    assert only == {
        "alpha": 1.0,
        "beta": 0.03,
        "learning_rate": 1e-3,
        "temperature": 1.0,
        "router_hidden_size": 64,
    }
    assert study.first[0].settings == only


def test_start_points_are_said_the_way_the_sampler_has_them() -> None:
    profiles = "expert_costs={choice: [[2, 7, 13], [1, 7, 19.5]]}"
    (only,) = load("mrpc_pareto", [profiles, "start=[{expert_costs: [2, 7, 13]}]"]).start_points
    assert json.dumps(only["expert_costs"]) == "[2, 7, 13]"


def test_a_batch_is_a_bracket_unless_it_is_said() -> None:
    assert load("mrpc_pareto", ["stopping.bracket=9"]).search.batch == 9
    assert load("mrpc_pareto", ["search.batch=54"]).search.batch == 54
    assert load("mrpc_pareto", ["stopping.method=none"]).search.batch == 16


def test_a_fixed_setting_leaves_the_space_of_a_search() -> None:
    study = load("mrpc_pareto", ["alpha=0.5", "router_hidden_size=64"])
    assert study.searched == ("beta", "learning_rate", "temperature")
    assert study.base.loss_weights.alpha == 0.5
    assert len(study.sets) == 1


def test_bounds_are_overridden_one_by_one() -> None:
    bounds = ["constraints.score.min=0.8", "constraints.score.max=0.9"]
    study = load("mrpc_pareto", ["search.method=tpe", *bounds])
    (only,) = study.constraints
    assert (only.name, only.low, only.high) == ("score", 0.8, 0.9)


def test_a_method_without_settings_lets_go_of_those_the_study_had() -> None:
    study = load("mrpc_pareto", ["stopping.method=none"])
    assert study.to_tree()["stopping"] == {"method": "none"}
    with pytest.raises(ConfigError, match="has no setting 'eta'"):
        load("mrpc_pareto", ["stopping.method=none", "stopping.eta=4"])


REFUSED = {
    "objectives={acurracy: max}": "did you mean accuracy",
    "objectives={cost_dollars: min}": "unknown objectives",
    "stopping.method=asha": "set stopping.method=mo_asha, or keep one objective",
    "stopping.grace=9": "stopping.grace is 9, but a trial has 9 epochs",
    "epochs=1": "a trial has 1 epoch and cannot be stopped",
    "epochs={int: [3, 9]}": "epochs is searched, but stopping compares",
    "stopping.eta=1": "stopping.eta is 1",
    "stopping.brackets=2": "set stopping.brackets=1",
    "stopping.brackets=4": "so 3 is the most",
    "stopping.ties=coin": "allowed are crowding",
    "search.batch=9": "set stopping.bracket=9",
    "search.points=0": "needs search.points",
    "search.points=20000": "10000 is the most",
    "search.points=2.5": "must be an integer",
    "search.parallel=0": "search.parallel is 0",
    "search.fidelity=guess": "search.fidelity is 'guess'",
    "search.population=3": "unknown key of search",
    "search.method=grid": "needs a list of values",
    "seeds=[]": "seeds is empty",
    "seeds=0": "must be a list",
    "pack.points=4": "set pack.points=0",
    "constraints={euros: {max: 8}}": "unknown constraints 'euros'",
    "constraints={dead_expert: {max: 0}}": "did you mean dead_experts",
    "start=[{alpha: 0}]": "lies outside of space: alpha is 0.0",
    "start=[{batch_size: 8}]": "sets batch_size, which is not in space",
    "start=[{router_hidden_size: 65}]": "lies outside of space: router_hidden_size is 65",
    "router_hidden_size={choice: [64, 0]}": "router_hidden_size is 0",
    "router_hidden_size={int: [64, 512]}": "decides what is prepared",
    "router_hidden_size={uniform: [64, 512]}": "is a whole number",
    "gate={uniform: [0, 1]}": "gate is no number",
    "straight_through={int: [0, 1]}": "straight_through is no number",
    "alpha={uniform: [-1, 1]}": "alpha is -1.0",
    "router_dropout={uniform: [0, 1]}": "router_dropout is 1.0, but must be",
    "task={choice: [mrpc, rte]}": "a run has one set of examples",
    f"expert_seed={{choice: {list(range(101))}}}": "100 is the most",
}


@pytest.mark.parametrize(("override", "message"), REFUSED.items(), ids=[k[:50] for k in REFUSED])
def test_what_cannot_be_searched_is_refused_in_a_sentence(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load("mrpc_pareto", [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["random", "qmc", "tpe", "nsga2", "nsga3", "gp"])
def test_every_search_takes_constraints(method: str) -> None:
    assert load("mrpc_pareto", [f"search.method={method}", "constraints.cost.max=8"]).constraints


def test_fewer_points_than_start_points_are_refused() -> None:
    start = "start=[{alpha: 0.1}, {alpha: 0.2}]"
    with pytest.raises(ConfigError, match="start has 2 points already"):
        load("mrpc_pareto", ["search.points=1", start])
    enough = ["search.points=2", "stopping.method=none", start]
    assert len(load("mrpc_pareto", enough).start_points) == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["search.points=28"], "so the last batch has 1, too few to stop one of them"),
        (["search.points=1"], "set search.points=3 or more, or stopping.method=none"),
        (
            ["search.parallel=2"],
            "`qmc` does not learn from results, so search.parallel=2 has no effect; remove",
        ),
        (
            ["search.method=random", "search.fidelity=complete"],
            "so search.fidelity=complete has no effect",
        ),
        (["objectives={cost: min, cost_constants: min}"], "which are the same"),
        (["expert_costs={choice: [[2,7,13],[1,.nan,20]]}"], "numbers must be finite"),
    ],
)
def test_what_would_do_nothing_is_refused(given: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        load("mrpc_pareto", ["pool=sample", *given])


def test_a_sampler_without_constraints_is_not_told_of_stopped_points_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = {**SAMPLERS, "tpe": dataclasses.replace(SAMPLERS["tpe"], heeds_constraints=False)}
    monkeypatch.setattr("sweeps.search.samplers.SAMPLERS", table)
    with pytest.raises(ConfigError, match="`tpe` does not heed constraints"):
        load("mrpc_pareto", ["search.method=tpe"])
    assert load("mrpc_pareto", ["search.method=tpe", "search.fidelity=left_out"]).proposes


def test_many_listed_values_are_tried_in_a_moment() -> None:
    values = [f"{leaf}={{choice: {list(range(1, 101))}}}" for leaf in ("batch_size", "epochs")]
    study = load("mrpc_pareto", ["pool=sample", "stopping.method=none", *values])
    assert len(study.resolved) < 500


def test_a_start_point_whose_default_is_not_searched_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"does not set .*, whose default is 256"):
        load("mrpc_pareto", ["router_hidden_size={choice: [8]}", "start=[{alpha: 0.1}]"])


def test_two_values_that_cannot_be_together_are_found_before_the_first_trial() -> None:
    with pytest.raises(ConfigError, match=r"straight_through=true needs gate=gumbel.*\(in space"):
        load(
            "mrpc_pareto",
            ["gate={choice: [gumbel, softmax]}", "straight_through={choice: [false, true]}"],
        )


def test_a_search_of_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    path.write_text("search: {method: tpe, points: 3}")
    with pytest.raises(ConfigError, match="space is empty"):
        load(str(path))


def test_one_objective_may_be_ranked_by_asha() -> None:
    study = load("mrpc_pareto", ["objectives={score: max}", "stopping.method=asha"])
    assert study.stopping.method == "asha"


def test_joint_trials_have_brackets_and_packs_of_their_own() -> None:
    study = load("mrpc_pareto", ["experts=joint", "pool=sample", "stopping.brackets=3"])
    assert (study.stopping.brackets, all(each.joint for each in study.sets)) == (3, True)
    assert load("mrpc_pareto", ["experts=joint", "pool=sample", "search.batch=4"]).search.batch == 4


def test_a_grid_takes_constraints() -> None:
    assert load("mrpc_grid", ["constraints.cost.max=8"]).constraints[0].high == 8.0


def test_promoting_is_for_joint_trials() -> None:
    with pytest.raises(ConfigError, match="variant is 'promote', but with experts=frozen"):
        load("mrpc_pareto", ["pool=sample", "stopping.variant=promote"])
    with pytest.raises(ConfigError, match="allowed are stop, promote"):
        load("mrpc_pareto", ["pool=sample", "stopping.variant=wait"])
