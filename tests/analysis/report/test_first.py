"""The first screen: what to run and what it is worth, in three sentences and four figures."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis import choose
from analysis.bounds import Constraint
from analysis.fronts.survey import Survey, survey
from analysis.questions.answers import Answers, answers
from analysis.questions.verdicts import verdicts
from analysis.report import _tables
from analysis.report._first import first_screen
from analysis.report._verdicts import verdict_texts
from analysis.report.abstract import export_line, recommended
from analysis.runs.load import Run
from analysis.words import amount, number, percent, signed


@pytest.fixture(scope="module")
def answered(run: Run) -> Answers:
    return answers(run, survey(run), deep=False)


def test_it_says_what_the_recommended_router_reaches(run: Run, answered: Answers) -> None:
    taken = survey(run)
    row = recommended(run, taken)
    assert row is not None
    first = first_screen(run, taken, answered)
    assert len(first.sentences) == 3
    assert first.sentences[0].startswith(f"Recommended: router {row['point']} (alpha ")
    values = [figure.value for figure in first.big_numbers]
    assert values[:3] == [number(row["score"]), amount(row["cost"]), signed(row["over_mix"])]
    assert answered.worth is not None
    assert values[3] == f"{percent(answered.worth.blind_share.value)} %"
    assert first.big_numbers[2].verdict == "above"
    assert first.command == export_line(run, taken)


def _as(taken: Survey, verdict: str) -> Survey:
    points = taken.points.assign(verdict=verdict)
    return replace(
        taken,
        front=taken.front.assign(verdict=verdict),
        all_points=lambda: (points, taken.optimism),
    )


def test_what_is_no_better_than_a_coin_is_not_called_recommended(
    run: Run, answered: Answers
) -> None:
    first = first_screen(run, _as(survey(run), "not distinguishable"), answered)
    assert first.sentences[0].startswith("The best trade: router ")
    assert first.sentences[1].endswith(": not distinguishable from a coin.")


def test_where_all_points_break_a_constraint_none_is_recommended(
    run: Run, answered: Answers
) -> None:
    taken = survey(run)
    capped = (Constraint(name="cost", high=0.5),)
    broken = np.ones((len(taken.points), 1))
    barred = replace(taken, judged=replace(taken.judged, constraints=capped, violation=broken))
    assert barred.judged.none_feasible
    first = first_screen(run, barred, answered)
    assert first.sentences[0].startswith("There is no best trade")
    assert (len(first.sentences), len(first.big_numbers), first.command) == (3, 4, "")
    assert first.big_numbers[0].label == "best expert: large"


def test_where_there_is_nothing_to_route_no_offer_is_made(run: Run, answered: Answers) -> None:
    judged = replace(verdicts(run, survey(run)), unlearned=True)
    assert _tables.offer_table(run, survey(run), answered).rows
    nothing = replace(answered, verdicts=judged)
    assert not _tables.offer_table(run, survey(run), nothing).rows


def test_the_command_of_an_offer_chooses_that_seed_and_bias(run: Run, answered: Answers) -> None:
    table = _tables.offer_table(run, survey(run), answered)
    headings = [column.heading for column in table.columns]
    for row, offer in zip(table.rows, answered.offers or (), strict=True):
        words = shlex.split(row[headings.index("command")].text)
        assert words[:3] == ["mpc-router-export", "--run", str(run.path)]
        chosen = choose(run, at_most=float(words[words.index("--at-most") + 1]))
        assert (chosen.key, chosen.bias) == (offer.key, offer.bias)
        assert row[headings.index("seed")].text == str(chosen.seed)
        assert row[headings.index("at most")].text in (words[4], f"{offer.cap:.2f}")


def test_an_offer_under_another_vector_of_the_run_names_it_and_foreign_prices_have_no_command(
    run: Run, answered: Answers
) -> None:
    taken = survey(run, vector="mpc_seconds_as_if", resamples=20)
    texts = [row[-1].text for row in _tables.offer_table(run, taken, answered).rows]
    assert texts
    assert all("--vector mpc_seconds_as_if" in text for text in texts)
    given = {**run.provenance, "cost_vectors_given": ["mpc_seconds_as_if"]}
    foreign = _tables.offer_table(replace(run, provenance=given), taken, answered)
    assert [column.heading for column in foreign.columns][-1] == "cost"


def test_a_plain_run_has_no_verdict_against_it(run: Run, run_folder: Path) -> None:
    assert verdict_texts(run, survey(run)) == []
