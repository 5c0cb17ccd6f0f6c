"""Fronts over the seeds that are there, and when `--resume` would do something."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from rich.console import Console

from analysis.export import to_csv
from analysis.front import print_front
from analysis.fronts.comparison import compare_runs
from analysis.fronts.survey import survey
from analysis.questions.answers import answers
from analysis.report._unfinished import unfinished
from analysis.report.notices import notices
from analysis.report.page import write_report
from analysis.runs.load import Run, load_run
from analysis.runs.outcomes import roster
from tests.analysis.conftest import WriteRun
from tests.analysis.simulated import Kind, Simulated, simulate

pytestmark = pytest.mark.usefixtures("quick_reports")

EVERY = [(point, seed) for point in range(4) for seed in range(3)]


@pytest.fixture(scope="session")
def one_failed(written: WriteRun) -> Run:
    """A run in which one seed of every point failed."""
    status = {(point, point % 3): "FAILED" for point in range(4)}
    return load_run(written("part_failed", status=status, reasons={"FAILED": "NaN"}, run="failed"))


@pytest.fixture(scope="session")
def first_seeds(written: WriteRun) -> Run:
    """A run whose budget ended after the first seed of all points, and the second of two."""
    status = {(p, s): "INTERRUPTED" for p, s in EVERY if s == 2 or (s == 1 and p > 1)}
    return load_run(written("part_budget", status=status, run="budget"))


def _printed(run: Run) -> str:
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    print_front(run, console)
    return console.export_text()


def _texts(run: Run) -> str:
    return " ".join(each.text for each in notices(run, survey(run)))


def test_where_one_seed_of_every_point_failed_there_is_a_front_and_it_is_named(
    one_failed: Run,
) -> None:
    taken = survey(one_failed, resamples=40)
    assert len(taken.points) == 4
    assert taken.points["n"].eq(2).all()
    assert "Front over the 2 of 3 seeds that are there" in _printed(one_failed)
    assert "Partial front" in _texts(one_failed)


def test_where_a_budget_ended_after_the_first_seeds_points_have_the_seeds_that_they_have(
    first_seeds: Run,
) -> None:
    taken = survey(first_seeds, resamples=40)
    assert sorted(taken.points["n"]) == [1, 1, 2, 2]
    assert taken.partial == "1 to 2 of 3 seeds"
    assert "2 of 4 points have one seed" in _texts(first_seeds)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["one_failed", "first_seeds"])
def test_every_question_and_command_lives_with_a_partial_front(
    which: str, request: pytest.FixtureRequest, run: Run, tmp_path: Path
) -> None:
    partial: Run = request.getfixturevalue(which)
    page = write_report(partial, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Partial front" in page
    taken = survey(partial)
    whole = answers(run, survey(run), deep=False)
    found = answers(partial, taken, deep=False)
    fewer = {"what seeds attain"}  # quartiles want three seeds, and that is said
    assert found.unanswered.keys() <= whole.unanswered.keys() | fewer
    compared = compare_runs([partial, run])
    assert any("seeds" in note for note in compared.notes)
    assert {path.name for path in to_csv(partial, tmp_path / "csv")} >= {"points.csv"}


def test_whole_points_alone_make_the_front_where_they_are_half_or_more(written: WriteRun) -> None:
    run = load_run(written("part_half", status={(0, 0): "FAILED", (1, 1): "INTERRUPTED"}))
    taken = roster(run)
    assert [point.point for point in taken.points] == ["p2", "p3"]
    assert taken.partial == ""
    assert len(taken.left_out) == 2


def test_where_every_trial_was_stopped_early_the_front_is_over_those(written: WriteRun) -> None:
    run = load_run(written("part_stopped"))
    stopped = run.trials.assign(status="STOPPED")
    run.__dict__["trials"] = stopped
    taken = survey(run, resamples=20)
    assert taken.partial == "trials that were stopped early"
    assert "Front over the trials that were stopped early" in _printed(run)


def _lacking(run: Simulated, lacking: set[str]) -> Simulated:
    trials = run.tables["trials"].to_pandas()
    trials.loc[trials["key"].isin(lacking), "status"] = "FAILED"
    tables = {**run.tables, "trials": pa.Table.from_pandas(trials)}
    return Simulated(run.path, run.provenance, {"seeds": [0, 1, 2, 3]}, tables)


def test_fewer_seeds_make_wider_intervals_where_seeds_differ() -> None:
    kinds = [Kind(name=name, seeds=4, spread=0.2) for name in "abcdef"]
    wider = []
    for number in range(6):
        whole = simulate(kinds, np.random.default_rng(number))
        part = _lacking(whole, {f"{kind.name}-{s}" for kind in kinds for s in (2, 3)})
        widths = [
            (points["cost_high"] - points["cost_low"]).median()
            for points in (survey(whole, resamples=200).points, survey(part, resamples=200).points)
        ]
        wider.append(widths[1] > widths[0])
    assert all(wider)


def test_a_point_with_one_seed_takes_the_spread_of_the_others() -> None:
    kinds = [Kind(name=name, seeds=4, spread=0.2) for name in "abcdef"]
    whole = simulate(kinds, np.random.default_rng(3))
    alone = {f"{name}-{s}" for name in "abc" for s in (1, 2, 3)}
    some = {f"{name}-3" for name in "def"}
    points = survey(_lacking(whole, alone | some), resamples=400).points
    width = points["cost_high"] - points["cost_low"]
    one, three = width[points["n"] == 1], width[points["n"] == 3]
    assert one.median() > three.median()
    everyone = {f"{kind.name}-{s}" for kind in kinds for s in (1, 2, 3)}
    bare = survey(_lacking(whole, everyone), resamples=400).points
    assert (bare["cost_high"] - bare["cost_low"]).max() < one.min()


JOURNAL = "journal.jsonl"


def _closed(folder: Path, outcome: str | None, study: dict[str, Any] | None = None) -> Run:
    event = {"event": "told"} if outcome is None else {"event": "closed", "outcome": outcome}
    (folder / JOURNAL).write_text('{"event": "opened"}\n' + json.dumps(event) + "\n")
    run = load_run(folder)
    run.study.update(study or {})
    return run


def test_a_run_that_is_done_is_never_partial_whatever_its_study_multiplies_to(
    written: WriteRun,
) -> None:
    """Points of equal trials are one, and a race leaves seeds on purpose."""
    folder = written("left_done", points=((0.01, 0.001), (0.01, 0.1)))
    assert unfinished(_closed(folder, "done")) == ""
    raced = {"seeds": [0, 1, 2, 3, 4], "racing": 3}
    assert unfinished(_closed(folder, "done", raced)) == ""


def test_of_a_spent_budget_it_says_what_is_left_and_that_more_is_needed(
    written: WriteRun,
) -> None:
    folder = written("left_budget", status={(0, 2): "INTERRUPTED", (1, 2): "INTERRUPTED"})
    said = unfinished(_closed(folder, "budget", {"budget": {"epochs": 9}}))
    assert said.startswith("Partial: 2 trials interrupted, for its budget is used up.")
    assert said.endswith(f"--resume {folder} budget.epochs=...")


def test_of_a_search_it_says_how_many_points_were_tried(written: WriteRun) -> None:
    folder = written("left_search")
    search = {"search": {"method": "tpe", "points": 12}, "budget": {"time": 60}}
    assert "4 of 12 points of the search tried" in unfinished(_closed(folder, "budget", search))
    assert "not followed up" in unfinished(_closed(folder, "budget", {"search": {"points": 4}}))


def test_a_run_without_its_journal_is_not_told_to_resume(written: WriteRun) -> None:
    run = load_run(written("left_copy", status={(0, 0): "INTERRUPTED"}))
    assert unfinished(run) == "Partial: 1 trial interrupted."


@pytest.mark.parametrize("text", ["", "\n", "[]\n", "{\n", "\x00\n", "[" * 9999 + "\n"], ids=repr)
def test_a_journal_that_says_nothing_is_as_none(text: str, written: WriteRun) -> None:
    folder = written("left_odd")
    (folder / JOURNAL).write_text(text)
    assert unfinished(load_run(folder)) == ""


def test_a_journal_that_is_not_closed_is_of_a_run_that_may_still_run(written: WriteRun) -> None:
    folder = written("left_open", status={(0, 0): "INTERRUPTED"})
    said = unfinished(_closed(folder, None))
    assert said.startswith("This run is not over: 11 of 12 trials have ended, and its journal is")
    assert f"--resume {folder}" in said


def test_that_a_run_is_not_over_stands_on_the_report_beside_a_warning_and_not_under_it(
    written: WriteRun, tmp_path: Path
) -> None:
    folder = written("left_going", status={(0, 0): "INTERRUPTED"})
    said = unfinished(_closed(folder, None))
    page = write_report(folder, tmp_path / "report.html").read_text(encoding="utf-8")
    shown = page.split('<details class="warning"')[0]
    assert f'<p class="warning" role="note">{said}</p>' in shown
    assert notices(load_run(folder), survey(load_run(folder)))[0].text == said


def test_the_points_table_names_seeds_and_bounds(one_failed: Run, tmp_path: Path) -> None:
    to_csv(one_failed, tmp_path / "t")
    table = pd.read_csv(tmp_path / "t" / "points.csv")
    assert table["n"].eq(2).all()
    assert table["feasible"].all()
    assert yaml.safe_load(table["seeds"][0]) == [1, 2]
