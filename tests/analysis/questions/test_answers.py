"""What a report answers beyond the front, and what it says where it cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.choices.choice import Choice, choose
from analysis.fronts.survey import Survey, survey
from analysis.questions.answers import Answers, answers
from analysis.report import _sentences, _tables
from analysis.report._findings import findings
from analysis.runs.load import Run, load_run
from tests.analysis.conftest import WriteRun


@pytest.fixture(scope="module")
def whole(run_folder: Path) -> tuple[Run, Survey, Answers]:
    """The plain run, with everything asked of it but what permutes."""
    run = load_run(run_folder)
    taken = survey(run, resamples=40)
    return run, taken, answers(run, taken, deep=False)


def _offers(whole: tuple[Run, Survey, Answers], *pairs: tuple[float, float]) -> tuple[Choice, ...]:
    """What was chosen, as if these were cap and cost of it."""
    offers = whole[2].offers
    assert offers
    return tuple(replace(offers[0], cap=cap, cost=cost) for cap, cost in pairs)


def _importance(p: float) -> pd.DataFrame:
    row = {"parameter": "alpha", "importance": 0.9, "low": 0.6, "high": 1.0, "p": p, "points": 10}
    return pd.DataFrame([{"objective": name, **row} for name in ("score", "cost")])


def test_what_permutes_is_asked_only_of_deep_answers(whole: tuple[Run, Survey, Answers]) -> None:
    found = whole[2]
    assert found.importance is None
    assert found.information is None
    assert found.leakage is None
    assert found.headroom is not None
    assert found.offers


def test_every_question_is_answered_or_has_a_reason(
    whole: tuple[Run, Survey, Answers],
) -> None:
    found = whole[2]
    assert all(reason and not reason.startswith("/") for reason in found.unanswered.values())


def test_a_regression_keeps_its_other_answers_without_cascades(written: WriteRun) -> None:
    run = load_run(written("answers_stsb", task="stsb"))
    found = answers(run, survey(run, resamples=20), deep=False)
    assert found.rivals is None
    assert "regression" in found.unanswered["cascades"]
    assert found.headroom is not None
    assert set(found.headroom["kind"]) == {"gate"}


def test_offers_are_what_is_chosen_for_their_caps(whole: tuple[Run, Survey, Answers]) -> None:
    run, _, found = whole
    assert found.offers
    for one in found.offers:
        assert one.selection_cost <= one.cap
        assert one == choose(run, at_most=one.cap)


def test_a_cap_that_is_not_kept_when_quoted_is_said_with_how_much(
    whole: tuple[Run, Survey, Answers],
) -> None:
    run, taken, answered = whole
    offering = replace(answered, offers=_offers(whole, (2.0, 1.9), (4.0, 5.0), (5.0, 5.5)))
    sentence = _sentences.cap_sentence(taken, offering)
    assert sentence.startswith(f"2 of 3 cost more on {taken.split}")
    assert "at worst 5 for 4 (25 % more)" in sentence
    costs = [row[-2] for row in _tables.offer_table(run, taken, offering).rows]
    assert [cell.below for cell in costs] == [("",), ("over the cap",), ("over the cap",)]


def test_of_caps_that_are_kept_nothing_is_said(whole: tuple[Run, Survey, Answers]) -> None:
    _, taken, found = whole
    kept = replace(found, offers=_offers(whole, (2.0, 2.0), (4.0, 3.0)))
    assert _sentences.cap_sentence(taken, kept) == ""
    assert _sentences.cap_sentence(taken, replace(found, offers=None)) == ""


def test_only_a_setting_beyond_its_shuffles_is_named(whole: tuple[Run, Survey, Answers]) -> None:
    _, taken, found = whole
    sure = " ".join(findings(taken, replace(found, importance=_importance(0.01))))
    assert "mattered most is alpha for the score (90 %, 60 to 100)" in sure
    unsure = " ".join(findings(taken, replace(found, importance=_importance(0.4))))
    assert "mattered most" not in unsure
    assert "cannot be told from 10 points" in unsure


def test_ranks_that_do_not_last_are_said_with_the_least_correlation(
    whole: tuple[Run, Survey, Answers],
) -> None:
    epochs = pd.DataFrame({"epoch": [1, 2, 1, 2], "rho": [0.98, 0.83, 0.98, 0.92], "points": 10})
    said = _sentences.trust_sentence(replace(whole[2], epochs=epochs, trusted=None))
    assert "no epoch before the last (3) has a rank correlation of .9" in said
    assert "the least is 0.83" in said
    assert "chance" not in said
    lasting = _sentences.trust_sentence(replace(whole[2], epochs=epochs, trusted=1))
    assert "after epoch 1 is that after epoch 3" in lasting
