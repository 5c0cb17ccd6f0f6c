from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.study import StudyDirection

from analysis.figures.settings import importance_figure
from analysis.questions import importance as parameters
from analysis.questions.importance import fidelity, importance, settings_table
from analysis.runs.load import Run, RunError, load_run
from analysis.stats.ped_anova import Cells, best, divergence
from tests.analysis.conftest import WriteRun

Values = NDArray[np.float64]


def _trials(
    table: pd.DataFrame, names: list[str], objectives: list[str]
) -> list[optuna.trial.FrozenTrial]:
    """Points as Optuna's trials, with the distributions that importance takes settings to have."""
    kinds = {name: parameters._distribution(table[name].tolist()) for name in names}
    return [
        optuna.trial.create_trial(
            params={name: parameters._value(row[name], kinds[name]) for name in names},
            distributions=kinds,
            values=[float(row[objective]) for objective in objectives],
        )
        for row in table.to_dict("records")
    ]


def _run(
    folder: Path, settings: dict[str, list[Any]], score: Values, cost: Values, **columns: Any
) -> Run:
    """A run of one trial a point with these settings and reports; its tables are in memory only."""
    count = len(score)
    keys = [f"k{number}" for number in range(count)]
    facts = {"key": keys, "point": [f"p{n:05d}" for n in range(count)], "seed": 0}
    facts |= {"status": "COMPLETED", "experts_id": "e0", **settings, "config": "{}"}
    reports = {"key": keys, "epoch": 1, "split": "selection", "score": score, "cost": cost}
    run = load_run(folder)
    run.__dict__["trials"] = pd.DataFrame(facts | columns)
    run.__dict__["reports"] = pd.DataFrame(reports)
    return run


def _noise(count: int, seed: int) -> tuple[dict[str, list[Any]], np.random.Generator]:
    rng = np.random.default_rng(seed)
    return {
        "rate": np.exp(rng.uniform(-9, -5, count)).tolist(),
        "width": rng.choice([64, 128, 256], count).tolist(),
        "dropout": rng.uniform(0, 0.5, count).tolist(),
        "costs": [[2, 7, 13] if flag else [1, 7, 19] for flag in rng.random(count) < 0.5],
    }, rng


@pytest.fixture
def _quiet() -> Iterator[None]:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(level)


@pytest.fixture
def _fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that look at no interval and at no p."""
    monkeypatch.setattr(parameters, "_RESAMPLES", 20)
    monkeypatch.setattr(parameters, "_SHUFFLES", 19)


@pytest.fixture(scope="module")
def rate_moves_all(run_folder: Path) -> pd.DataFrame:
    """The importance where the rate moves the score, and nothing the cost."""
    settings, rng = _noise(80, 1)
    return importance(_run(run_folder, settings, -np.log(settings["rate"]), rng.random(80)))


@pytest.mark.usefixtures("_quiet", "_fewer_draws")
@pytest.mark.parametrize(("count", "seed"), [(9, 0), (60, 1), (300, 0)])
def test_the_importance_is_that_of_optuna_from_trials_one_by_one(
    count: int, seed: int, run_folder: Path
) -> None:
    settings, rng = _noise(count, seed)
    score = np.asarray(settings["dropout"]) + rng.normal(0, 0.2, count)
    cost = rng.integers(0, 6, count) / 6  # ties at the edge of the best
    run = _run(run_folder, settings, score, cost)
    found = importance(run).set_index(["objective", "parameter"])["importance"]
    portion = 0.1 if count >= 100 else 0.25
    for objective, direction in (
        ("score", StudyDirection.MAXIMIZE),
        ("cost", StudyDirection.MINIMIZE),
    ):
        study = optuna.create_study(direction=direction)
        study.add_trials(_trials(settings_table(run), list(settings), [objective]))
        theirs = optuna.importance.get_param_importances(
            study, evaluator=PedAnovaImportanceEvaluator(target_quantile=portion)
        )
        for name, share in theirs.items():
            assert found[objective, name] == pytest.approx(share, rel=1e-6)


def test_the_setting_that_moves_the_score_is_found_and_the_others_are_not(
    rate_moves_all: pd.DataFrame,
) -> None:
    rows = rate_moves_all.set_index(["objective", "parameter"]).loc["score"]
    low, p, share = (rows[name].to_dict() for name in ("low", "p", "importance"))
    assert share["rate"] > 0.7
    assert p["rate"] == pytest.approx(1 / 200)
    assert low["rate"] > max(value for name, value in share.items() if name != "rate")


def test_shares_sum_to_one_and_lie_in_their_intervals(run_folder: Path) -> None:
    settings, rng = _noise(60, 2)
    found = importance(_run(run_folder, settings, np.asarray(settings["dropout"]), rng.random(60)))
    for _, rows in found.groupby("objective"):
        assert rows["importance"].sum() == pytest.approx(1)
        assert (rows["low"] <= rows["high"]).all()
        assert rows["low"].between(0, 1).all()
        assert rows["p"].between(1 / 200, 1).all()
    assert set(found["method"]) == {"PED-ANOVA"}
    assert set(found["points"]) == {60}


@pytest.mark.parametrize(("count", "seed"), [(9, 0), (24, 2), (110, 0)])
def test_every_share_lies_in_its_own_interval(count: int, seed: int, run_folder: Path) -> None:
    """One setting decides all, so the shares lie at their ends, where resampling has a bias."""
    settings, rng = _noise(count, 200 + seed)
    score = np.asarray(settings["dropout"]) + rng.normal(0, 0.02, count)
    found = importance(_run(run_folder, settings, score, rng.random(count)))
    assert (found["low"] <= found["importance"]).all()
    assert (found["importance"] <= found["high"]).all()
    assert found["high"].max() <= 1
    assert found["low"].min() >= 0


@pytest.mark.slow
def test_settings_that_move_nothing_have_a_small_p_as_rarely_as_it_says(run_folder: Path) -> None:
    p = []
    for seed in range(5):
        settings, rng = _noise(40, 100 + seed)
        p += importance(_run(run_folder, settings, rng.random(40), rng.random(40)))["p"].tolist()
    assert len(p) == 5 * 2 * 4
    assert np.mean(np.array(p) <= 0.1) < 0.2


@pytest.mark.usefixtures("_fewer_draws")
def test_the_order_of_the_points_changes_no_share(run_folder: Path) -> None:
    settings, rng = _noise(50, 3)
    score, cost = rng.random(50), rng.random(50)
    order = rng.permutation(50)
    turned = {name: [values[place] for place in order] for name, values in settings.items()}
    one = importance(_run(run_folder, settings, score, cost))
    other = importance(_run(run_folder, turned, score[order], cost[order]))
    assert one["importance"].to_numpy() == pytest.approx(other["importance"].to_numpy())


def test_where_all_points_are_equally_good_no_setting_has_a_share(run_folder: Path) -> None:
    settings, rng = _noise(20, 4)
    found = importance(_run(run_folder, settings, np.full(20, 0.7), rng.random(20)))
    rows = found[found["objective"] == "score"]
    assert rows[["importance", "low", "high"]].isna().all(axis=None)
    assert (rows["p"] == 1).all()
    assert found.loc[found["objective"] == "cost", "importance"].notna().all()


@pytest.mark.usefixtures("_fewer_draws")
def test_points_without_a_finite_score_are_passed_over(run_folder: Path) -> None:
    settings, rng = _noise(20, 5)
    score = rng.random(20)
    score[3] = np.nan
    assert set(importance(_run(run_folder, settings, score, rng.random(20)))["points"]) == {19}


def test_one_setting_is_no_question_of_importance(run_folder: Path) -> None:
    rng = np.random.default_rng(0)
    settings = {"alpha": rng.random(20).tolist(), "beta": [0.1] * 20}
    with pytest.raises(RunError, match="1 settings differ between points"):
        importance(_run(run_folder, settings, rng.random(20), rng.random(20)))


def test_few_points_answer_nothing_and_the_sentence_counts_them(run: Run) -> None:
    with pytest.raises(RunError, match=r"4 points; .* needs 8"):
        importance(run)


def test_points_stopped_early_are_compared_at_the_last_epoch_that_all_reached(
    written: WriteRun,
) -> None:
    run = load_run(written("stopped_early"))
    reports = run.reports
    run.__dict__["reports"] = reports[
        ~(reports["key"].str.startswith("k1") & (reports["epoch"] > 2))
    ]
    assert fidelity(run) == 2
    table = settings_table(run).set_index("point")
    at = reports[(reports["epoch"] == 2) & (reports["split"] == "selection")]
    for point in ("p0", "p1"):
        mine = at[at["key"].str.startswith(f"k{point[1:]}s")]
        assert table.loc[point, "score"] == pytest.approx(mine["score"].mean())
        assert table.loc[point, "cost"] == pytest.approx(mine["cost"].mean())
        assert table.loc[point, "n"] == 3


def test_failed_trials_take_no_part(written: WriteRun) -> None:
    run = load_run(written("par_failed", status={(0, s): "FAILED" for s in range(3)}))
    assert "p0" not in set(settings_table(run)["point"])


def test_a_run_that_reported_nothing_says_so(run_folder: Path) -> None:
    settings, rng = _noise(9, 6)
    run = _run(run_folder, settings, rng.random(9), rng.random(9))
    run.__dict__["reports"] = run.reports.iloc[:0]
    with pytest.raises(RunError, match="no trial has reported"):
        importance(run)


def test_settings_become_ranges_or_choices_of_optuna(run_folder: Path) -> None:
    settings, rng = _noise(40, 7)
    settings["maybe"] = [None, "yes"] * 20
    run = _run(run_folder, settings, rng.random(40), rng.random(40))
    made = _trials(settings_table(run), list(settings), ["score", "cost"])
    kinds = made[0].distributions
    rate, dropout = kinds["rate"], kinds["dropout"]
    assert isinstance(rate, FloatDistribution)
    assert isinstance(dropout, FloatDistribution)
    assert rate.log
    assert rate.low == pytest.approx(min(settings["rate"]))
    for name in ("width", "costs", "maybe"):
        assert isinstance(kinds[name], CategoricalDistribution)
    assert {trial.params["costs"] for trial in made} == {"[2, 7, 13]", "[1, 7, 19]"}
    assert {trial.params["maybe"] for trial in made} == {None, "yes"}


def test_the_best_are_the_least_losses_with_all_that_tie() -> None:
    losses = np.array([3.0, 1.0, 2.0, 1.0, 5.0, 6.0, 7.0, 8.0])
    assert best(losses, 0.125).tolist() == [1, 3]
    assert best(losses, 0.375).tolist() == [1, 2, 3]
    assert len(best(losses, 1.0)) == len(losses)


@pytest.mark.parametrize("ordered", [True, False])
def test_a_density_sums_to_one_and_everyone_does_not_differ_from_everyone(ordered: bool) -> None:
    rng = np.random.default_rng(8)
    if ordered:
        cells = Cells.of_range(rng.lognormal(size=70), logarithmic=True)
    else:
        cells = Cells(rng.integers(0, 5, 70).astype(np.intp), 5, ordered=False)
    everyone = np.arange(70)
    density = cells.density(cells.histogram(everyone))
    assert math.isclose(density.sum(), 1)
    assert (density > 0).all()
    assert divergence(cells, everyone, everyone) == 0
    assert divergence(cells, everyone[cells.index <= 1], everyone) > 0


def test_the_picture_says_every_p_and_pales_what_may_be_chance(
    rate_moves_all: pd.DataFrame,
) -> None:
    chart = importance_figure(rate_moves_all).to_dict()
    (data,) = chart["datasets"].values()
    rows = {(row["objective"], row["parameter"]): row for row in data}
    assert rows["score", "rate"]["says"] == "p < .01"
    assert len(rows) == 8
    for row in rate_moves_all.to_dict("records"):
        mine = rows[row["objective"], row["parameter"]]
        assert mine["p"] == pytest.approx(row["p"], abs=1e-4)
        assert mine["says"].startswith("p ")
    pale = chart["layer"][0]["encoding"]["opacity"]
    assert pale["condition"]["test"] == "datum.p < 0.05"
    assert pale["value"] < pale["condition"]["value"]
    texts = [layer for layer in chart["layer"] if layer["mark"]["type"] == "text"]
    assert [layer["encoding"]["text"]["field"] for layer in texts] == ["says"]
