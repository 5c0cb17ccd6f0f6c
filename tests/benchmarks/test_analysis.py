"""The run that the analysis is measured on is a run, and the contenders find the same fronts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.fronts.survey import survey
from analysis.runs.load import Run, load_run
from analysis.stats.dominance import nondominated
from benchmarks.analysis import by_optuna, clouds, fronts, plain_loop, tables
from benchmarks.big_run import write_big_run
from benchmarks.big_search import Size

SMALL = Size(points=40, seeds=2, epochs=3, ended=20)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return load_run(write_big_run(tmp_path_factory.mktemp("big") / "run", SMALL))


def test_the_generated_run_has_the_trials_epochs_and_routes_it_was_asked_for(big: Run) -> None:
    assert len(big.trials) == 80
    assert (big.trials["status"] == "COMPLETED").sum() == 20
    selection = big.reports[big.reports["split"] == "selection"]
    assert (selection.groupby("key")["epoch"].max() == 3).all()
    assert len(selection) == 80 * 3
    assert big.routing["key"].nunique() == 20
    assert big.routing.groupby(["key", "split"]).size().unique().tolist() == [367, 408]


def test_what_its_trials_recorded_is_what_their_routes_give(big: Run) -> None:
    found = survey(big, resamples=0).points
    means = big.trials.groupby("point")[["validation_score", "validation_cost"]].mean()
    mine = means.loc[found["point"]]
    assert found["score"].tolist() == pytest.approx(mine["validation_score"].tolist())
    assert found["cost"].tolist() == pytest.approx(mine["validation_cost"].tolist())


def test_its_courses_end_where_its_trials_ended(big: Run) -> None:
    reports = big.reports[(big.reports["split"] == "selection") & (big.reports["epoch"] == 3)]
    ended = big.trials[big.trials["status"] == "COMPLETED"].set_index("key")
    last = reports.set_index("key").loc[ended.index]
    assert last["score"].tolist() == pytest.approx(ended["selection_score"].tolist())


def test_every_part_of_the_analysis_is_measured(big: Run) -> None:
    found = tables(big.path)
    assert found["all of these"] == pytest.approx(sum(found.values()) / 2)
    assert all(seconds > 0 for seconds in found.values())


@pytest.mark.parametrize("cloud", ["anywhere", "near a curve"])
def test_all_contenders_find_the_same_front(cloud: str) -> None:
    scores, costs = clouds(500)[cloud]
    wanted = nondominated(scores, costs)
    assert 0 < wanted.sum() < 500
    assert np.array_equal(plain_loop(scores, costs), wanted)
    assert np.array_equal(by_optuna(scores, costs), wanted)


def test_a_contender_that_finds_another_front_stops_the_benchmark() -> None:
    everything = {"this program": nondominated, "wrong": lambda s, c: np.ones(len(s), np.bool_)}
    with pytest.raises(RuntimeError, match="wrong finds another front"):
        fronts(50, everything, rounds=1)


def test_a_size_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="ended is 21, but must be a multiple of the 2 seeds"):
        Size(points=40, seeds=2, ended=21)


def test_nothing_is_written_over_another_run(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError):
        write_big_run(tmp_path / "there", SMALL)
