"""Verdicts by the experts alone: closed forms, how often chance alone says them, and in words."""

from __future__ import annotations

import io
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from rich.console import Console

from analysis.front import print_front
from analysis.fronts.survey import survey
from analysis.questions.verdicts import LEVEL, Verdicts, _alike, _as_good, _none_beats, verdicts
from analysis.report.notices import _VERDICT, notices
from analysis.runs.load import Run, load_run
from analysis.stats.resampling import example_weights
from tests.analysis.conftest import WriteRun

Values = NDArray[np.float64]


def _draws(right: NDArray[np.bool_], seed: int, resamples: int = 400) -> Values:
    """Accuracies (K, B) of experts that are right where (K, N) says so."""
    weights = example_weights(right.shape[1], resamples, np.random.default_rng(seed))
    return np.asarray(right @ weights.T / right.shape[1], np.float64)


def test_of_accuracies_it_is_the_test_of_two_proportions() -> None:
    first = np.arange(900)[None] < 720
    second = np.arange(400)[None] < 288
    p = _alike(_draws(first, 1, 4000), _draws(second, 2, 4000))
    z = (0.8 - 0.72) / math.sqrt(0.8 * 0.2 / 900 + 0.72 * 0.28 / 400)
    assert p[0] == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.15)


def test_p_of_many_experts_is_that_of_one_times_their_number() -> None:
    first, second = np.arange(300)[None] < 240, np.arange(300)[None] < 210
    draws = _draws(first, 1), _draws(second, 2)
    alone = _alike(*draws)
    three = _alike(*(np.repeat(each, 3, axis=0) for each in draws))
    assert three == pytest.approx(np.repeat(np.minimum(1, 3 * alone), 3))


def test_equal_scores_and_scores_without_draws_are_alike() -> None:
    certain = np.ones((2, 50))
    assert _alike(certain, certain).tolist() == [1, 1]
    assert _alike(certain[:, :1], 0 * certain[:, :1]).tolist() == [1, 1]


def test_two_splits_of_one_population_are_called_unlike_no_more_often_than_the_level() -> None:
    rng = np.random.default_rng(5)
    needed = np.array([[0.72], [0.8], [0.88]])
    tries, alarms = 400, 0
    for _ in range(tries):
        # one draw for all experts: they are right about the same easy examples
        first, second = (rng.random((1, size)) < needed for size in (300, 250))
        alarms += bool((_alike(_draws(first, 1, 100), _draws(second, 2, 100)) < LEVEL).any())
    assert alarms / tries <= LEVEL + 3 * math.sqrt(LEVEL * (1 - LEVEL) / tries)


def test_splits_of_two_populations_are_found() -> None:
    rng = np.random.default_rng(6)
    found = [
        _alike(
            _draws(rng.random((1, 800)) < 0.9, 1, 100), _draws(rng.random((1, 800)) < 0.8, 2, 100)
        )[0]
        < LEVEL
        for _ in range(50)
    ]
    assert np.mean(found) > 0.95


def test_experts_that_know_nothing_beat_no_constant_but_by_chance() -> None:
    """An expert that answers by chance: its interval lies above the majority in 2.5 of 100."""
    rng = np.random.default_rng(7)
    tries, silent = 300, 0
    for _ in range(tries):
        label = rng.random((1, 300)) < 0.5
        draws = _draws(np.concatenate([rng.random((1, 300)) < 0.5, label]), 1, 200)
        silent += _none_beats(draws[:1], draws[1])
    assert silent / tries > 0.975 - 3 * math.sqrt(0.025 * 0.975 / tries)


def test_one_expert_that_learned_is_enough_to_route() -> None:
    right = np.stack([np.arange(400) < 200, np.arange(400) < 320])
    draws = _draws(right, 1)
    assert _none_beats(draws[:1], draws[0])
    assert not _none_beats(draws, draws[0])


def test_the_oracle_of_experts_that_err_alike_is_no_better_than_the_cheapest() -> None:
    right = np.repeat(np.arange(400)[None] < 300, 3, axis=0)
    draws = _draws(right, 1)
    assert _as_good(draws, (7.0, 2.0, 13.0), draws[0], 2.3) == 1


def test_an_oracle_that_is_as_good_and_cheaper_is_better() -> None:
    """The dear expert is right wherever the cheap one is: all that is won is the cost."""
    right = np.stack([np.arange(400) < 200, np.arange(400) < 300])
    draws = _draws(right, 1)
    assert _as_good(draws, (2.0, 10.0), draws[1], 6.3) is None
    assert _as_good(draws, (2.0, 6.0), draws[1], 6.3) == 1


def test_an_expert_that_no_trial_had_says_nothing() -> None:
    draws = _draws(np.arange(400)[None] < 300, 1)
    absent = np.concatenate([draws, np.full_like(draws, np.nan)])
    assert _none_beats(absent, draws[0])
    assert _as_good(absent, (7.0, 2.0), draws[0], 8.0) == 0
    assert _alike(absent, absent)[0] == 1


def test_an_oracle_that_scores_more_is_better() -> None:
    right = np.stack([np.arange(400) < 300, np.arange(400) >= 100])
    draws = _draws(right, 1)
    assert _as_good(draws, (2.0, 10.0), _draws(np.ones((1, 400), np.bool_), 1)[0], 20.0) is None


def test_a_run_with_three_experts_that_differ_has_something_to_route(run: Run) -> None:
    judged = verdicts(run, survey(run))
    assert not judged.nothing_to_route
    assert judged.unlike == ()
    singles = survey(run).singles["score"]
    assert judged.score == pytest.approx(singles.tolist())


@pytest.mark.parametrize("task", ["stsb", "cola", "mnli"])
def test_every_kind_of_task_is_judged(task: str, written: WriteRun) -> None:
    run = load_run(written(task, task=task))
    judged = verdicts(run, survey(run, resamples=50))
    assert isinstance(judged, Verdicts)
    assert not judged.unlearned


def test_a_survey_without_draws_or_of_selection_itself_compares_no_splits(run: Run) -> None:
    assert verdicts(run, survey(run, resamples=0)).unlike == ()
    assert verdicts(run, survey(run, split="selection", resamples=50)).p == (1.0, 1.0, 1.0)


def _rewritten(source: Path, target: Path, split: str | None, *, right: bool) -> Run:
    """The run, but on a split (None: all) every expert answers right, or always the commonest."""
    folder = Path(shutil.copytree(source, target))
    rows = pq.read_table(folder / "experts.parquet")
    examples = pq.read_table(folder / "examples.parquet").to_pylist()
    label = {(row["split"], row["example"]): row["label"] for row in examples}
    new = [
        row
        if split not in (None, row["split"])
        else {**row, "prediction": answer, "right": answer == truth}
        for row in rows.to_pylist()
        for truth in [label[row["split"], row["example"]]]
        for answer in [truth if right else 0.0]
    ]
    pq.write_table(pa.Table.from_pylist(new, rows.schema), folder / "experts.parquet")
    return load_run(folder)


def _said(run: Run) -> tuple[list[str], str]:
    """The verdicts of the report, and the front as the terminal prints it."""
    taken = survey(run)
    stream = io.StringIO()
    print_front(run, Console(file=stream, width=4000))
    texts = [notice.text for notice in notices(run, taken) if notice.kind == _VERDICT]
    return texts, stream.getvalue()


def test_experts_that_learned_nothing_are_said_with_the_next_step(
    run_folder: Path, tmp_path: Path
) -> None:
    run = _rewritten(run_folder, tmp_path / "unlearned", None, right=False)
    assert verdicts(run, survey(run)).unlearned
    texts, printed = _said(run)
    assert texts[0].startswith("Nothing to route: no expert beats the majority class")
    assert "Next: train the experts" in texts[0]
    assert texts[0] in printed
    assert "mpc-router-export" not in printed


def test_experts_that_are_all_right_leave_nothing_to_route(
    run_folder: Path, tmp_path: Path
) -> None:
    run = _rewritten(run_folder, tmp_path / "right", None, right=True)
    assert verdicts(run, survey(run)).enough == 0
    texts, printed = _said(run)
    assert texts[0].startswith("Nothing to route: even the oracle (1.000 at 2.30) is no better")
    assert "Next: run tiny alone" in texts[0]
    assert texts[0] in printed


def test_splits_on_which_experts_score_apart_are_named_with_the_level(
    run_folder: Path, tmp_path: Path
) -> None:
    run = _rewritten(run_folder, tmp_path / "apart", "selection", right=True)
    texts, printed = _said(run)
    assert texts == [texts[0]]
    assert texts[0].startswith("Selection does not look like validation: scores of experts differ")
    assert "tested at 1 % over all experts" in texts[0]
    assert texts[0] in printed
