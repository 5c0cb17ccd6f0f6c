"""Histories, attainment and the literature's numbers of a made run."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.fronts.survey import survey
from analysis.questions.progress import history, quality, surfaces, worth
from analysis.runs.load import Run, RunError, load_run
from analysis.stats.dominance import hypervolume
from tests.analysis.conftest import WriteRun


def test_the_history_never_falls_and_ends_with_all_that_was_spent(run: Run) -> None:
    taken = survey(run, resamples=20)
    table = history(run, taken)
    assert table["hypervolume"].is_monotonic_increasing
    assert table.iloc[0][["trials", "epochs", "hypervolume"]].tolist() == [0, 0, 0]
    last = table.iloc[-1]
    assert last["trials"] == len(run.trials)
    assert last["epochs"] == run.trials["epochs"].sum()
    assert last["hours"] == pytest.approx(run.trials["seconds"].max() / 3600)
    points = taken.points
    assert last["hypervolume"] == pytest.approx(
        hypervolume(
            points["selection_score"].to_numpy(),
            points["selection_cost"].to_numpy(),
            reference=taken.reference,
        )
    )


def test_what_fewer_seeds_attain_more_seeds_do_not_exceed(run: Run) -> None:
    quarter, half, most = surfaces(run, survey(run, resamples=20))
    costs = np.linspace(2, 13, 60)
    assert (np.nan_to_num(quarter.at(costs)) >= np.nan_to_num(half.at(costs)) - 1e-12).all()
    assert (np.nan_to_num(half.at(costs)) >= np.nan_to_num(most.at(costs)) - 1e-12).all()


def test_two_seeds_have_no_quartiles(written: WriteRun) -> None:
    run = load_run(written("two", seeds=(0, 1)))
    with pytest.raises(RunError, match=r"2 seeds; .* needs three or more"):
        surfaces(run, survey(run, resamples=20))


def test_the_literatures_numbers_lie_where_they_must(run: Run) -> None:
    taken = survey(run, resamples=20)
    found = quality(taken)
    low, high = taken.singles["score"].min(), taken.singles["score"].max()
    assert low <= found.aiq_coin <= high
    assert found.aiq >= low - 1e-12
    assert 0 <= found.cpt50 <= found.cpt80 or np.isnan(found.cpt80)
    assert found.igd_plus >= 0


def test_a_point_is_worth_what_the_front_loses_without_it(run: Run) -> None:
    taken = survey(run, resamples=20)
    front = taken.front
    score, cost = front["score"].to_numpy(), front["cost"].to_numpy()
    whole = hypervolume(score, cost, reference=taken.reference)
    for place, each in enumerate(worth(taken)):
        rest = np.arange(len(front)) != place
        left = hypervolume(score[rest], cost[rest], reference=taken.reference)
        assert each == pytest.approx(whole - left, abs=1e-12)
