"""Curves of routers with a knob, and what questions say of runs of paths."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from analysis import schema
from analysis.baselines.bias_curves import _turning_biases, route
from analysis.choices.choice import choose
from analysis.choices.curves import curves_table
from analysis.choices.operating_points import bias_curves
from analysis.fronts.survey import survey
from analysis.questions._calibration import calibration
from analysis.questions.agreement import moving_examples, seed_agreement
from analysis.questions.answers import answers
from analysis.questions.headroom import against_cascades
from analysis.questions.information import route_information
from analysis.questions.leakage import leakage
from analysis.runs.load import Run, load_run
from mpc_router.costs import CostVector
from mpc_router.routes import Decisions, prefix_paths, rising_paths
from tests.analysis.path_runs import ROUTERS, VECTORS, World, world, write


@pytest.fixture(scope="module")
def made() -> World:
    return world(seeds=(0, 1, 2))


@pytest.fixture(scope="module")
def run(made: World, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return load_run(write(tmp_path_factory.mktemp("curves") / "r", made))


def test_every_router_with_a_knob_has_a_row_for_each_vector_and_bias(made: World, run: Run) -> None:
    table = curves_table(run)
    assert table is not None
    assert table.schema.equals(schema.curves(made.task.quoted))
    rows = table.to_pandas()
    assert set(rows["key"]) == {trial.key for trial in made.trials} - {"p0s0", "p0s1", "p0s2"}
    assert set(rows["cost_vector"]) == set(VECTORS)
    for trial in made.trials[3:]:
        for name, vector in VECTORS.items():
            of_trial = rows[(rows["key"] == trial.key) & (rows["cost_vector"] == name)]
            assert of_trial["bias"].is_monotonic_increasing
            (trained,) = of_trial[of_trial["bias"] == 0].to_dict("records")
            for split in ("selection", "validation"):
                assert trained[f"{split}_score"] == made.score(trial, split)
                cost = made.cost(trial, split, vector)
                assert trained[f"{split}_cost"] == pytest.approx(cost, rel=1e-12)


def test_curves_are_the_points_that_a_choice_is_made_among(run: Run) -> None:
    table = curves_table(run)
    assert table is not None
    rows = table.to_pandas()
    chosen = choose(run, at_most=12.0)
    (same,) = rows[
        (rows["key"] == chosen.key)
        & (rows["cost_vector"] == "constants")
        & (rows["bias"] == chosen.bias)
    ].to_dict("records") or [None]
    assert same is None or same["validation_score"] == chosen.score
    curves = bias_curves(run)
    curve = curves.trials["p4s0"]
    of_trial = rows[(rows["key"] == "p4s0") & (rows["cost_vector"] == "constants")]
    assert of_trial["selection_score"].tolist() == curve[0].scores.tolist()
    assert of_trial["validation_cost"].tolist() == curve[1].costs.tolist()


def test_a_run_of_gates_alone_has_no_curves(tmp_path: Path) -> None:
    run = load_run(write(tmp_path / "r", world(routers=ROUTERS[:1])))
    assert curves_table(run) is None


@pytest.mark.parametrize("paths", [prefix_paths(3), rising_paths(3)])
def test_routes_decided_in_steps_change_at_turning_biases_alone(
    paths: tuple[tuple[int, ...], ...],
) -> None:
    decisions = Decisions(paths)
    logits = np.random.default_rng(1).normal(size=(1, decisions.width))
    vector = CostVector(name="c", unit="u", router=1.0, experts=(1.0, 3.0, 9.0)).on(paths)
    turns = np.unique(_turning_biases(logits, vector, decisions))
    inside = np.concatenate([[turns[0] - 1], (turns[1:] + turns[:-1]) / 2, [turns[-1] + 1]])
    edges = np.concatenate([[turns[0] - 2], turns, [turns[-1] + 2]])
    for place, (low, high) in enumerate(itertools.pairwise(edges)):
        between = low + (high - low) * np.linspace(0.01, 0.99, 7)
        routes = route(logits, vector, between, decisions)
        assert (routes == route(logits, vector, inside[[place]], decisions)).all()
    ends = route(logits, vector, inside[[0, -1]], decisions)[:, 0]
    price = np.asarray(vector.routed)
    assert price[ends].tolist() == [price.max(), price.min()]


def test_every_question_is_answered_of_a_run_of_paths(run: Run) -> None:
    taken = survey(run, resamples=50)
    answered = answers(run, taken)
    assert answered.operating
    assert answered.offers
    assert set(answered.unanswered) <= {
        "from which epoch ranks can be trusted",
        "which setting mattered",
    }


def test_questions_of_routes_take_paths_for_routes(run: Run) -> None:
    taken = survey(run, resamples=50)
    agreed = seed_agreement(run, taken).set_index("point")
    assert set(agreed.index) == {router.point for router in ROUTERS}
    told = leakage(run, taken, permutations=5)
    assert (told["padded_cost"] + 1e-9 >= told["cost"]).all()
    assert (route_information(run, taken, permutations=5)["information"] >= 0).all()
    if len(taken.front) > 1:
        moved = moving_examples(run, taken)
        assert moved[["up", "down", "stay"]].sum(axis=1).to_numpy() == pytest.approx(1)
    assert all(rival.gate_cost > 0 for rival in against_cascades(run, taken))


def test_how_sure_a_path_is_is_judged_by_its_answer(made: World, run: Run) -> None:
    taken = survey(run, resamples=50)
    points = calibration(run, taken)
    points = points[points["kind"] == "point"].reset_index()
    for place, (_, row) in enumerate(taken.front.iterrows()):
        assert points.loc[place, "accuracy"] == pytest.approx(row["score"])


def test_a_choice_is_quoted_with_its_own_paths(run: Run) -> None:
    chosen = choose(run, point="p3", seed=1)
    assert len(chosen.share) == 3
    assert chosen.vector == VECTORS["constants"]  # of experts; the paths are the router's own
    assert chosen.score_low <= chosen.score <= chosen.score_high
    staged = choose(run, point="p4", seed=0)
    assert len(staged.share) == 4
    assert staged.cost_low <= staged.cost <= staged.cost_high


def test_dead_experts_are_those_that_run_for_none_not_paths(tmp_path: Path) -> None:
    bounds = {"dead_experts": {"max": 0}}
    run = load_run(write(tmp_path / "r", world(routers=ROUTERS[4:5]), constraints=bounds))
    taken = survey(run, resamples=0)
    assert taken.points["feasible"].all()
    curves = bias_curves(run)
    assert curves.breaks[0][-1] == "dead_experts"  # all on the cheapest alone
    assert curves.breaks[0][0] == ""  # all on the path of all experts
