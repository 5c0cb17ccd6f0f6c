"""`analysis.choose`: a point, one of its seeds and a bias, against enumeration by hand."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from analysis import choose, schema, survey
from analysis.choices.choice import Choice
from analysis.choices.operating_points import bias_curves
from analysis.runs.load import Run, RunError, load_run
from mpc_router.tasks import merit
from tests.analysis.conftest import VECTORS, WriteRun
from tests.analysis.several_sets import two_sets

COSTS = np.asarray(VECTORS["constants"].experts)
ROUTER = VECTORS["constants"].router
EXAMPLES = 40


def _leanings(seed: int) -> NDArray[np.float64]:
    """How much each example likes dear experts, in nats per unit of cost: all differ.

    They are binary fractions, so that no logit is rounded.
    """
    return (np.random.default_rng(seed).permutation(EXAMPLES) + 0.5) / 64


@pytest.fixture(scope="module")
def leaning(written: WriteRun, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One point, two seeds; logits are t c with a leaning t by example: under a bias b the route
    is the dearest expert where t is above b, and else the cheapest."""
    plain = written("leaning", points=((1.0, 0.1),), seeds=(0, 1), examples=EXAMPLES)
    folder = Path(shutil.copytree(plain, tmp_path_factory.mktemp("leaning") / "run"))
    path = folder / schema.table_file("routing")
    table = pq.read_table(path)
    rows: list[dict[str, Any]] = table.to_pylist()
    for row in rows:
        leaning = _leanings(int(row["key"][-1]))[row["example"] // 7]
        row["logits"] = (leaning * COSTS).tolist()
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    return load_run(folder)


def _right(run: Run, split: str) -> NDArray[np.bool_]:
    """(K, N): which expert is right."""
    rows = run.experts[run.experts["split"] == split].sort_values(["expert", "example"])
    return rows["right"].to_numpy().reshape(3, EXAMPLES)


def _score(run: Run, split: str, seed: int, dear: int) -> float:
    """The accuracy where the `dear` examples that lean most go to the dearest expert."""
    right = _right(run, split)
    is_dear = _leanings(seed) > (EXAMPLES - dear) / 64
    return float(np.where(is_dear, right[2], right[0]).mean())


def _cost(dear: int) -> float:
    return ROUTER + 2 + 11 * dear / EXAMPLES


@pytest.mark.parametrize("cap", [2.3, 4.0, 7.5, 12.0, 13.3])
def test_the_best_for_a_cost_is_that_of_all_splits_of_the_examples(
    leaning: Run, cap: float
) -> None:
    able = [dear for dear in range(EXAMPLES + 1) if _cost(dear) <= cap + 1e-9]
    means = [
        np.mean([_score(leaning, "selection", seed, dear) for seed in (0, 1)]) for dear in able
    ]
    best = max(means)
    dear = able[int(np.flatnonzero(np.isclose(means, best))[0])]
    choice = choose(leaning, at_most=cap)
    assert choice.selection_cost == pytest.approx(_cost(dear))
    # an example goes to the dearest expert where its leaning is above the bias
    assert abs(choice.bias - (EXAMPLES - dear) / 64) < 0.5 / 64
    by_seed = [_score(leaning, "selection", seed, dear) for seed in (0, 1)]
    assert choice.seed == int(np.argmax(by_seed))
    assert choice.key == f"k0s{choice.seed}"
    assert choice.selection_score == pytest.approx(max(by_seed))
    assert choice.score == pytest.approx(_score(leaning, "validation", choice.seed, dear))
    assert choice.cost == pytest.approx(_cost(dear))
    assert choice.share == pytest.approx((1 - dear / EXAMPLES, 0, dear / EXAMPLES))
    assert choice.cap == cap


def test_the_cheapest_of_a_score_is_that_of_all_splits_of_the_examples(leaning: Run) -> None:
    means = [
        np.mean([_score(leaning, "selection", seed, dear) for seed in (0, 1)])
        for dear in range(EXAMPLES + 1)
    ]
    wanted = float(np.quantile(means, 0.7))
    dear = int(np.flatnonzero(np.asarray(means) >= wanted - 1e-12)[0])
    choice = choose(leaning, reach=wanted)
    assert choice.selection_cost == pytest.approx(_cost(dear))
    assert choice.selection_score >= wanted - 1e-9


def test_a_demand_in_another_vector_is_met_there(leaning: Run) -> None:
    name = "mpc_seconds_as_if"
    seconds = VECTORS[name]
    low, high = seconds.router + seconds.experts[0], seconds.router + seconds.experts[2]
    choice = choose(leaning, at_most=(low + high) / 2, vector=name)
    assert choice.vector.name == name
    assert low <= choice.selection_cost <= (low + high) / 2
    assert choice.cost == pytest.approx(float(seconds.mean(np.asarray(choice.share))))


def test_intervals_hold_what_they_are_of(run: Run) -> None:
    choice = choose(run, at_most=8)
    assert choice.score_low < choice.score < choice.score_high
    assert choice.cost_low < choice.cost < choice.cost_high
    # the standard error of an accuracy over 120 examples: the interval is about four of them
    error = math.sqrt(choice.score * (1 - choice.score) / 120)
    assert choice.score_high - choice.score_low == pytest.approx(3.92 * error, rel=0.15)


def test_the_knee_lies_on_the_front_of_all_biases(run: Run) -> None:
    choice = choose(run, knee=True)
    on_front = {
        (curves.points[each.curve].point, each.bias)
        for curves in [bias_curves(run)]
        for each in curves.front()
    }
    assert (choice.point, choice.bias) in on_front


def test_a_named_point_runs_without_a_bias_with_its_best_seed(run: Run) -> None:
    rows = run.trials.set_index("key")
    keys = dict(zip(survey(run).points["point"], survey(run).points["key"], strict=True))
    for point in ("p0", "p1", "p2", "p3"):
        choice = choose(run, point=point)
        seeds = run.trials[run.trials["point"] == point]
        assert choice.bias == 0
        assert choice.selection_score == seeds["selection_score"].max()
        assert choice.key == keys[point]
        assert choice.score == pytest.approx(rows.loc[choice.key, "validation_score"])
        assert choice.cost == pytest.approx(rows.loc[choice.key, "validation_cost"])
        assert choose(run, point=point, seed=1).key == f"k{point[1]}s1"


def test_keys_stand_on_every_row_of_points(run: Run) -> None:
    points = survey(run).points
    for row in points.to_dict("records"):
        assert row["keys"] == tuple(f"k{row['point'][1]}s{seed}" for seed in row["seeds"])
        assert row["key"] in row["keys"]


def _bounded(written: WriteRun, name: str, constraints: dict[str, Any]) -> Run:
    folder = written(f"choice_{name}", run=f"choice_{name}", study={"constraints": constraints})
    return load_run(folder)


@pytest.mark.parametrize(
    ("name", "constraints"),
    [
        ("cost", {"cost": {"max": 6}}),
        ("seconds", {"cost_mpc_seconds_as_if": {"max": 60}}),
        ("score", {"score": {"min": 0.85}}),
        ("alive", {"dead_experts": {"max": 0}}),
    ],
)
def test_what_is_chosen_keeps_the_constraints_by_itself(
    written: WriteRun, name: str, constraints: dict[str, Any]
) -> None:
    run = _bounded(written, name, constraints)
    for demand in ({"at_most": 13.3}, {"reach": 0.76}):
        choice = choose(run, **demand)
        share = np.asarray(choice.selection_share)
        seconds = VECTORS["mpc_seconds_as_if"]
        kept = {
            "cost": choice.selection_cost <= 6,
            "seconds": float(seconds.mean(share)) <= 60,
            "score": choice.selection_score >= 0.85,
            "alive": bool((share >= 0.01).all()),
        }
        assert kept[name]
        assert choice.breaks == ""


def test_constraints_that_none_keeps_are_said_and_a_named_point_says_what_it_breaks(
    written: WriteRun,
) -> None:
    run = _bounded(written, "none", {"cost": {"max": 0.5}})
    with pytest.raises(RunError, match=r"no router keeps the study's constraints.*cost at most"):
        choose(run, at_most=8)
    assert choose(run, point="p0").breaks == "cost"


def test_a_run_without_routes_chooses_among_its_points(run_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run_folder, tmp_path / "unrouted"))
    (folder / schema.table_file("routing")).unlink()
    unrouted, routed = load_run(folder), load_run(run_folder)
    choice = choose(unrouted, at_most=9)
    assert choice.bias == 0
    assert math.isnan(choice.score_low)
    assert choice.selection_cost <= 9
    same = choose(routed, point=choice.point, seed=choice.seed)
    assert same.key == choice.key
    assert (same.score, same.cost) == pytest.approx((choice.score, choice.cost))


def test_a_point_of_a_smaller_pool_is_priced_by_its_own_experts(
    run_folder: Path, tmp_path: Path
) -> None:
    mixed = two_sets(run_folder, tmp_path / "run")
    choice = choose(mixed, point="p2")
    assert choice.vector.experts == (2.0, 7.0)
    assert len(choice.share) == 2


def test_a_regression_is_chosen_from_too(written: WriteRun) -> None:
    run = load_run(written("stsb", task="stsb"))
    choice = choose(run, at_most=8)
    assert choice.score_low < choice.score < choice.score_high


def _asked_again(run: Run, name: str, value: float) -> Choice:
    """Asks for what the message about a demand says would be met."""
    with pytest.raises(ValueError, match="ask for") as refused:
        choose(run, **{name: value})
    assert len(str(refused.value)) < 1000
    (nearest,) = re.findall(r"ask for (\S+) or", str(refused.value))
    choice: Choice = choose(run, **{name: float(nearest)})
    return choice


def test_a_demand_that_none_meets_is_refused_with_one_that_is_met(run: Run, leaning: Run) -> None:
    for each in (run, leaning):
        cheapest = min(each.cost_vector().experts)
        choice = _asked_again(each, "at_most", cheapest)
        assert choice.selection_cost <= choice.cap + 1e-9
        best = _asked_again(each, "reach", 1.0)
        assert merit(each.task, best.selection_score) < 1


@pytest.mark.parametrize(
    ("demand", "words"),
    [
        ({}, "no demand given"),
        ({"at_most": 7, "knee": True}, "at_most and knee given"),
        ({"at_most": math.nan}, "at_most is nan"),
        ({"reach": math.inf}, "reach is inf"),
        ({"point": "p17"}, r"fixture has no point 'p17'; its points are p0, p1, p2, p3"),
        ({"point": "p0", "seed": 7}, "no seed 7 that can be judged; it has 0, 1, 2"),
        ({"at_most": 7, "seed": 1}, "a seed is chosen with its point"),
        ({"at_most": 7, "vector": "gold"}, "no cost vector 'gold'"),
        ({"at_most": 7, "split": "test"}, "no split 'test'"),
    ],
)
def test_bad_demands_are_one_message(run: Run, demand: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        choose(run, **demand)


def test_a_point_that_cannot_be_judged_says_why(written: WriteRun) -> None:
    folder = written("one_failed", status={(0, 1): "FAILED"}, reasons={"FAILED": "NaN in task"})
    with pytest.raises(RunError, match=r"point p0 cannot be judged \(1 FAILED of 3\)"):
        choose(load_run(folder), point="p0")
