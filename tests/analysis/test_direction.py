"""A run whose low scores are the better ones is the mirror image of one with their negatives."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.fronts.comparison import compare_runs
from analysis.fronts.objectives import objective_front, own_objectives
from analysis.fronts.survey import survey
from analysis.questions.answers import answers
from analysis.questions.importance import importance
from analysis.questions.progress import worth
from analysis.report import abstract
from analysis.report.page import write_report
from analysis.runs.load import Run, load_run
from analysis.worth.worth import Estimate
from mpc_router.tasks import Counts, Metric, metrics, task_of
from mpc_router.tasks import _values as of_values
from tests.analysis.conftest import Recipe, write_run

SCORES = ("score", "mix", "selection_score", "error", "neg_error", "mae", "neg_mae")
"""Columns and fields that are scores, so that they change their sign."""


def _negative(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments: 0.0 - function(*arguments)


def _error(counts: Counts) -> Any:
    return 1 - counts.hits.sum(-1) / (counts.hits + counts.missed).sum(-1)


TWINS = [
    Metric(name="error", of_counts=_error, low_is_better=True, range=(0, 1)),
    Metric(name="neg_error", of_counts=_negative(_error), range=(-1, 0)),
    Metric(
        name="mae",
        of_values=of_values.mean_absolute_error,
        of_weighted_values=of_values.weighted_absolute_error,
        low_is_better=True,
        range=(0, np.inf),
    ),
    Metric(
        name="neg_mae",
        of_values=_negative(of_values.mean_absolute_error),
        of_weighted_values=_negative(of_values.weighted_absolute_error),
        range=(-np.inf, 0),
    ),
]
POINTS = tuple((alpha, beta) for alpha in (0.0, 0.01, 0.1, 1.0) for beta in (0.001, 0.1))


@dataclass(frozen=True)
class Pair:
    """The same run twice: with a low-is-better score, and with its negative."""

    low: Run
    high: Run


def _write(folder: Path, name: str, kind: str) -> Run:
    form = {"labels": ["no", "yes"]} if kind == "error" else {"range": [0, 5]}
    task = task_of({"name": "own", "text": "t", "metrics": [name]} | form)
    recipe = Recipe(definition=task, points=POINTS, examples=80, run="twin")
    return load_run(write_run(folder, recipe))


@pytest.fixture(scope="module")
def twins() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for metric in TWINS:
            patch.setitem(metrics._METRICS, metric.name, metric)
        yield


def _pair(folder: Path, kind: str) -> Pair:
    low = _write(folder / kind / "low", kind, kind)
    return Pair(low=low, high=_write(folder / kind / "high", f"neg_{kind}", kind))


@pytest.fixture(scope="module")
def mae(twins: None, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return _pair(tmp_path_factory.mktemp("twins"), "mae")


@pytest.fixture(scope="module")
def error(twins: None, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return _pair(tmp_path_factory.mktemp("twins"), "error")


@pytest.fixture(params=["error", "mae"])
def pair(request: pytest.FixtureRequest) -> Pair:
    made: Pair = request.getfixturevalue(request.param)
    return made


def _ends(name: str) -> tuple[str, str]:
    """Gives the column that a mirrored column is the negative of, and the score it is of."""
    for end, other in (("_low", "_high"), ("_high", "_low")):
        if name.endswith(end):
            return f"{name.removesuffix(end)}{other}", name.removesuffix(end)
    return name, name


def _score_ends(name: str) -> tuple[str, str]:
    """Gives the same of a field where it is of a score; else the name alone."""
    other, base = _ends(name)
    return (other, base) if _is_score(base) else (name, name)


def _value(holder: Any, name: str) -> Any:
    """Gives a field's value; of one that measures when it is first asked for, what it measures."""
    value = getattr(holder, name)
    return value() if callable(value) else value


def mirrored(low: Any, high: Any, name: str = "") -> None:
    """Fails unless all is equal but scores, which are negatives with their ends exchanged."""
    if isinstance(low, pd.DataFrame):
        _mirrored_table(low, high)
    elif isinstance(low, Estimate):
        _mirrored_estimate(low, high, name)
    elif dataclasses.is_dataclass(low):
        for field in dataclasses.fields(low):
            if field.name not in ("task", "judged"):
                other, base = _score_ends(field.name)
                mirrored(_value(low, field.name), _value(high, other), base)
    elif isinstance(low, dict):
        mirrored(list(low.values()), list(high.values()), "score")
    elif isinstance(low, list | tuple):
        assert len(low) == len(high), name
        names = ("score", "cost") if name in ("oracle", "reference") else [name] * len(low)
        for one, two, inner in zip(low, high, names, strict=True):
            mirrored(one, two, inner)
    elif isinstance(low, float | np.ndarray):
        turned = np.asarray(high) * (-1 if _is_score(name) else 1)
        np.testing.assert_allclose(low, turned, rtol=1e-9, atol=1e-12, err_msg=name)
    else:
        assert low == high, name


def _mirrored_table(low: pd.DataFrame, high: pd.DataFrame) -> None:
    assert list(low) == list(high)
    for column in low:
        other, base = _ends(str(column))
        of_score = base in SCORES or base.removeprefix("selection_") in SCORES
        mirrored(low[column].tolist(), high[other if of_score else column].tolist(), base)


def _mirrored_estimate(low: Estimate, high: Estimate, name: str) -> None:
    ends = (high.high, high.low) if _is_score(name) else (high.low, high.high)
    for one, two in zip((low.value, low.low, low.high), (high.value, *ends), strict=True):
        mirrored(one, two, name)


def _is_score(name: str) -> bool:
    base = re.sub(r"^(selection|chosen|gate|cascade|front)_", "", name)
    return base in (*SCORES, "scores", "aiq", "aiq_coin")


def test_the_survey_is_the_mirror_image(pair: Pair) -> None:
    low, high = survey(pair.low), survey(pair.high)
    assert (low.points["score"] >= 0).all()
    assert low.points["on_front"].any()
    mirrored(low, high)
    mirrored(low.front, high.front)
    mirrored(low.barred, high.barred)
    np.testing.assert_allclose(worth(low), worth(high), atol=1e-12)


def test_the_coin_gets_better_with_cost_and_the_oracle_is_better_still(pair: Pair) -> None:
    low = survey(pair.low)
    assert (np.diff(low.mix.scores, axis=0) <= 1e-12).all()
    assert (np.diff(low.oracle_curve.scores) <= 1e-12).all()
    assert low.oracle[0] <= low.singles["score"].min()
    assert low.reference[0] > low.singles["score"].max()
    assert (low.points["regret"] >= -1e-12).all()


def test_every_question_has_the_mirrored_answer(pair: Pair) -> None:
    low, high = (answers(run, survey(run), deep=False) for run in (pair.low, pair.high))
    assert low.operating
    assert low.offers
    if pair.low.task.regression:
        assert "cascades" in low.unanswered
    else:
        assert low.rivals
    mirrored(low, high)


def test_settings_matter_for_the_best_points_whatever_the_direction(mae: Pair) -> None:
    mirrored(importance(mae.low), importance(mae.high))


def test_the_best_trade_and_its_standing_are_the_same(pair: Pair) -> None:
    low, high = survey(pair.low), survey(pair.high)
    rows = abstract._best_trade(low), abstract._best_trade(high)
    assert rows[0] is not None
    assert rows[1] is not None
    assert rows[0]["label"] == rows[1]["label"]
    last = [abstract.sentences(run, survey(run))[4] for run in (pair.low, pair.high)]
    assert last[0] == last[1]
    assert "(low is better)" in abstract.sentences(pair.low, low)[0]


def test_a_comparison_is_the_mirror_image(pair: Pair, tmp_path: Path) -> None:
    def compared(run: Run) -> Any:
        recipe = Recipe(definition=run.task, points=POINTS[:4], examples=80, run="part")
        return compare_runs([run, load_run(write_run(tmp_path / run.task.score, recipe))])

    low, high = compared(pair.low), compared(pair.high)
    mirrored(low.merged, high.merged)
    assert low.reference[0] == pytest.approx(-high.reference[0])
    for name in ("sides", "pairs"):
        mirrored(getattr(low, name), getattr(high, name))


def test_objectives_are_the_usual_ones_and_fronts_by_them_the_same(pair: Pair) -> None:
    assert own_objectives(pair.low) == own_objectives(pair.high) == {}
    tables = [
        objective_front(run, objectives={"score": run.task.direction, "cost": "min"}, resamples=20)
        for run in (pair.low, pair.high)
    ]
    mirrored(tables[0], tables[1])
    names = survey(pair.low).points.set_index("point")["on_front"]
    assert tables[0].set_index("point")["on_front"].equals(names)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_reports")
def test_reports_say_the_direction(mae: Pair, tmp_path: Path) -> None:
    text = write_report(mae.low, tmp_path / "report.html").read_text("utf-8")
    assert "how much better (lower) the score is" in text
    assert '"reverse":true' in text
