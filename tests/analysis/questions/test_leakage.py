"""What times give away, and padding by hand-worked examples."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from analysis.fronts.survey import survey
from analysis.questions.leakage import bucket, leakage
from analysis.runs.load import Run, load_run
from tests.analysis.conftest import WriteRun


def test_one_bucket_pays_the_dearest_and_enough_buckets_pay_nothing_more() -> None:
    paid = np.array([2.0, 2.0, 7.0, 13.0])
    assert bucket(paid, 1)[0] == 13.0
    assert bucket(paid, 3)[0] == paid.mean()
    assert bucket(paid, 9)[0] == paid.mean()


def test_two_buckets_are_the_cheapest_of_all_ways() -> None:
    paid = np.array([2.0] * 6 + [7.0] * 3 + [13.0])
    cost, shown = bucket(paid, 2)
    assert cost == (6 * 2 + 4 * 13) / 10  # the other way, 9 at 7 and one at 13, costs 7.6
    assert shown.tolist() == [0] * 6 + [1] * 4


@pytest.mark.parametrize("seed", range(10))
def test_padding_never_shows_less_than_what_was_paid(seed: int) -> None:
    rng = np.random.default_rng(seed)
    levels = np.sort(rng.uniform(1, 20, 4))
    paid = rng.choice(levels, 50)
    costs = [bucket(paid, count)[0] for count in (1, 2, 3, 4)]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == pytest.approx(paid.mean())
    there = np.unique(paid)
    best = min(
        float(np.where(paid <= low, low, there[-1]).mean())
        for (low,) in combinations(there[:-1], 1)
    )
    assert costs[1] == pytest.approx(best)


def test_padding_to_one_time_hides_all_and_costs_the_dearest(run: Run) -> None:
    taken = survey(run, resamples=20)
    table = leakage(run, taken, permutations=50)
    assert table["point"].tolist() == taken.front["point"].tolist()
    assert (table["padded_cost"] >= table["bucket_cost"] - 1e-12).all()
    assert (table["bucket_cost"] >= table["cost"] - 1e-9).all()
    assert (table["bits"] >= 0).all()
    assert (table["bucket_bits"] <= table["bits"] + 1e-9).all()
    dearest = taken.vector.router + max(taken.vector.routed)
    assert table["padded_cost"].max() <= dearest + 1e-12


def test_routes_that_do_not_look_at_the_label_leak_little(written: WriteRun) -> None:
    run = load_run(written("blind", skill=0.0))
    table = leakage(run, survey(run, resamples=20), permutations=100)
    assert (table["bits"] <= table["high"] * 1.5).all()
