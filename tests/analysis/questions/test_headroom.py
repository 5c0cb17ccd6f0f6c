"""Captured headroom of gates and cascades, against the survey and the cascades' own functions."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.choices import operating_points
from analysis.fronts.survey import survey
from analysis.questions.headroom import against_cascades, headroom
from analysis.runs.load import Run, RunError, load_run
from tests.analysis.conftest import WriteRun


def test_gates_are_those_of_the_survey_with_their_intervals(run: Run) -> None:
    taken = survey(run, resamples=50)
    table = headroom(run, taken)
    gates = table[table["kind"] == "gate"].reset_index(drop=True)
    for name in ("score", "cost", "over_mix", "over_mix_low", "over_mix_high", "verdict"):
        assert gates[name].tolist() == taken.front[name].tolist()
    known = gates["headroom"].notna()
    assert gates.loc[known, "headroom"].to_numpy() == pytest.approx(
        taken.front.loc[known, "headroom"].to_numpy()
    )
    assert (gates.loc[known, "headroom_low"] <= gates.loc[known, "headroom"]).all()


def test_cascades_are_quoted_as_they_run_and_a_single_expert_lies_on_the_coin(run: Run) -> None:
    taken = survey(run, resamples=50)
    table = headroom(run, taken)
    mine = table[table["kind"] == "cascade"]
    (front,) = operating_points.cascades(run, split=taken.split, vector=taken.vector.name).values()
    assert sorted(mine["score"]) == pytest.approx(sorted(front.quoted.scores))
    assert sorted(mine["cost"]) == pytest.approx(sorted(front.quoted.costs))
    alone = mine[~mine["label"].str.contains("then")]
    assert alone["over_mix"].abs().max() <= max(0.0, *-alone["over_mix"]) + 1e-12
    assert (alone["over_mix"] <= 1e-12).all()  # a coin is at least as good as any one expert


def test_a_gate_is_held_against_a_cascade_that_cost_no_more_on_selection(run: Run) -> None:
    taken = survey(run, resamples=50)
    headrooms = against_cascades(run, taken)
    assert headrooms
    scores = dict(zip(taken.front["point"], taken.front["score"], strict=True))
    for each in headrooms:
        assert each.gate_score == pytest.approx(scores[each.point])
        assert each.difference == pytest.approx(each.gate_score - each.cascade_score)
        assert each.low <= each.difference + 0.05
        assert each.high >= each.difference - 0.05


def test_nothing_captures_more_than_the_oracle_leaves(run: Run) -> None:
    """Regret is never below 0: at its own cost no gate and no cascade beats the oracle."""
    taken = survey(run, resamples=20)
    table = headroom(run, taken)
    best = taken.oracle_curve.at(table["cost"].to_numpy(np.float64))
    paid = table["cost"].to_numpy() >= taken.oracle_curve.costs[0]
    gates = (table["kind"] == "gate").to_numpy() & paid
    assert (best[gates] - table["score"].to_numpy()[gates] >= -1e-9).all()


def test_a_regression_has_gates_alone(written: WriteRun) -> None:
    run = load_run(written("stsb", task="stsb"))
    taken = survey(run, resamples=20)
    assert set(headroom(run, taken)["kind"]) == {"gate"}
    with pytest.raises(RunError, match="regression"):
        against_cascades(run, taken)
