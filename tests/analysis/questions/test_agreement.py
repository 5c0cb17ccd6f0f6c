"""Agreement of epochs, seeds and neighbours on the front, on made tables and a made run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from analysis.fronts.survey import survey
from analysis.questions.agreement import (
    epoch_agreement,
    moving_examples,
    seed_agreement,
    spearman,
    trusted_epoch,
)
from analysis.runs.load import Run, RunError, load_run
from tests.analysis.conftest import WriteRun


def test_rank_correlation_is_scipys_with_ties_too() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        one, other = rng.integers(0, 6, (2, 12)).astype(float)
        assert spearman(one, other) == pytest.approx(float(spearmanr(one, other).statistic))


def test_what_never_varies_has_no_rank_correlation() -> None:
    assert np.isnan(spearman(np.ones(5), np.arange(5.0)))


def test_curves_that_are_parallel_agree_from_the_first_epoch(run: Run) -> None:
    table = epoch_agreement(run)
    assert set(table["epoch"]) == {1, 2}
    assert set(table["objective"]) == {"score", "cost"}
    assert table["rho"].min() == pytest.approx(1.0)
    assert (table["low"] <= table["rho"] + 1e-12).all()
    assert (table["points"] == 4).all()
    assert trusted_epoch(table) == 1


def made(rows: list[tuple[int, str, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["epoch", "objective", "rho"])


def test_an_epoch_is_trusted_if_all_later_ones_are_too() -> None:
    rows = [(1, "score", 0.95), (2, "score", 0.5), (3, "score", 0.92), (4, "score", 0.99)]
    cost = [(epoch, "cost", 1.0) for epoch in range(1, 5)]
    assert trusted_epoch(made([*rows, *cost])) == 3
    assert trusted_epoch(made(rows), floor=0.97) == 4
    assert trusted_epoch(made([(1, "score", 0.2)])) is None
    assert trusted_epoch(made([(1, "score", float("nan")), (2, "score", 1.0)])) == 2


def test_an_objective_without_an_order_is_not_covered_up_by_the_other() -> None:
    rows = [(1, "score", float("nan")), (1, "cost", 0.99), (2, "score", 1.0), (2, "cost", 1.0)]
    assert trusted_epoch(made(rows)) == 2


def test_one_epoch_and_few_points_are_refused_in_a_sentence(written: WriteRun) -> None:
    with pytest.raises(RunError, match="1 epoch"):
        epoch_agreement(load_run(written("short", epochs=1)))
    with pytest.raises(RunError, match=r"2 points trained to the end; .* needs 4"):
        epoch_agreement(load_run(written("few", points=((0.0, 0.0), (0.01, 0.1)))))


def test_kappa_is_agreement_beyond_what_shares_explain(run: Run) -> None:
    table = seed_agreement(run, survey(run, resamples=20))
    again = (table["agreement"] - table["chance"]) / (1 - table["chance"])
    assert table["kappa"].to_numpy() == pytest.approx(again.to_numpy())
    by_point = table.set_index("point")["kappa"]
    assert abs(by_point["p2"]) < 0.2  # this point's routers draw lots
    assert by_point.drop("p2").max() > 0.1


def test_one_seed_has_nobody_to_agree_with(written: WriteRun) -> None:
    run = load_run(written("one", seeds=(0,)))
    with pytest.raises(RunError, match="one seed"):
        seed_agreement(run, survey(run, resamples=20))


def test_all_examples_go_up_down_or_nowhere_along_the_front(run: Run) -> None:
    taken = survey(run, resamples=20)
    table = moving_examples(run, taken)
    assert len(table) == len(taken.front) - 1
    assert (table[["up", "down", "stay"]].sum(axis=1) - 1).abs().max() < 1e-12
    names = taken.front["point"].tolist()
    assert table["from_point"].tolist() == names[:-1]
    assert table["to_point"].tolist() == names[1:]
    assert (table["up"] > table["down"]).all()
