"""Runs that cannot answer everything: one sentence why, and all that can be is answered."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from analysis import compare, export, front, schema
from analysis.fronts.survey import survey
from analysis.questions.answers import answers
from analysis.questions.utilization import utilization
from analysis.report import __main__ as report
from analysis.runs.load import RunError, load_run
from tests.analysis.conftest import WriteRun

pytestmark = pytest.mark.usefixtures("quick_reports")

Change = Callable[[pa.Table], pa.Table]
Spoil = Callable[[Path], None]


@pytest.fixture
def copy(run_folder: Path, tmp_path: Path) -> Path:
    """The plain run, to be spoilt."""
    return Path(shutil.copytree(run_folder, tmp_path / "copy"))


def changed(folder: Path, table: str, change: Change) -> None:
    """A table of a run, changed in place; its version stays."""
    path = folder / schema.table_file(table)
    before = pq.read_table(path)
    pq.write_table(change(before).replace_schema_metadata(before.schema.metadata), path)


def filled(name: str, values: Callable[[int], list[Any]]) -> Change:
    """Replaces a column; `values` gives so many."""

    def change(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index(name)
        column = pa.array(values(len(table)), table.schema.field(name).type)
        return table.set_column(place, table.schema.field(name), column)

    return change


def both(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """What front and report show of a run that they can read: the terminal's text, and the page."""
    assert front.main([str(folder)]) == 0
    assert report.main([str(folder)]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    return shown.out, (folder / schema.REPORT_FILE).read_text(encoding="utf-8")


def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line with which front and report refuse a run, the same of both."""
    assert front.main([str(folder)]) == 2
    assert report.main([str(folder)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0] == lines[1]
    assert not (folder / schema.REPORT_FILE).exists()
    return lines[0]


def _without_routes(folder: Path, how: str) -> Path:
    path = folder / schema.table_file("routing")
    if how == "missing":
        path.unlink()
    else:
        changed(folder, "routing", lambda table: table.slice(0, 0))
    return folder


@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_run_without_routes_has_the_front_that_its_trials_recorded(
    how: str, copy: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, page = both(_without_routes(copy, how), capsys)
    assert "No routing table" in text
    assert "No routing table" in page
    sound, bare = survey(load_run(run_folder)), survey(load_run(copy))
    for name in ("score", "cost", "over_mix", "selection_score", "selection_cost"):
        assert bare.points[name].tolist() == pytest.approx(sound.points[name].tolist())
    assert bare.points["on_front"].tolist() == sound.points["on_front"].tolist()
    assert bare.hypervolume == pytest.approx(sound.hypervolume)


def test_without_routes_nothing_is_called_better_than_the_mix(copy: Path) -> None:
    found = survey(load_run(_without_routes(copy, "missing")))
    assert (found.points["over_mix_low"] > 0).any()
    assert set(found.points["verdict"]) == {"not distinguishable"}


def test_without_routes_utilization_is_what_was_reported(copy: Path, run_folder: Path) -> None:
    sound = utilization(load_run(run_folder))
    bare = utilization(load_run(_without_routes(copy, "missing")))
    assert bare["load_cv2"].tolist() == pytest.approx(sound["load_cv2"].tolist())
    assert bare["dead"].tolist() == sound["dead"].tolist()


def test_without_routes_every_question_about_examples_says_why_it_is_open(copy: Path) -> None:
    run = load_run(_without_routes(copy, "missing"))
    found = answers(run, survey(run))
    assert found.history is not None
    assert found.epochs is not None
    assert found.headroom is not None
    for question in ("what routes depend on", "what times leak", "agreement of seeds"):
        assert "no routing table" in found.unanswered[question]
    assert "routing.parquet: this table is missing" in found.unanswered["cost-bias curves"]


@pytest.mark.parametrize(
    ("table", "column", "said"),
    [("trials", "validation_score", "has no score"), ("reports", "share", "has no share")],
)
def test_without_routes_and_without_records_nothing_can_be_said(
    table: str, column: str, said: str, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(_without_routes(copy, "missing"), table, filled(column, lambda rows: [None] * rows))
    assert said in refused(copy, capsys)


def test_one_trial_has_a_front_and_says_what_one_point_cannot(
    written: WriteRun, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = written("one-trial", points=((0.01, 0.1),), seeds=(0,))
    text, page = both(folder, capsys)
    assert "Front: 1 of 1 points" in text
    assert "One seed" in text
    assert "settings differ" in page
    run = load_run(folder)
    found = answers(run, survey(run))
    assert found.headroom is not None
    assert "seeds" in found.unanswered["what seeds attain"]
    assert "settings differ" in found.unanswered["which setting mattered"]


def test_failed_trials_only_are_refused_with_what_one_of_them_said(
    written: WriteRun, capsys: pytest.CaptureFixture[str]
) -> None:
    status = {(point, seed): schema.FAILED for point in range(4) for seed in range(3)}
    folder = written("only-failed", status=status, reasons={schema.FAILED: "out of memory"})
    line = refused(folder, capsys)
    assert "12 FAILED" in line
    assert "out of memory" in line


def test_failed_trials_only_still_leave_their_tables_as_csv(
    written: WriteRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = {(point, seed): schema.FAILED for point in range(4) for seed in range(3)}
    folder = written("only-failed-csv", status=status)
    assert export.main([str(folder), "--to", "csv", str(tmp_path / "csv")]) == 0
    assert (tmp_path / "csv" / "trials.csv").is_file()
    assert "no points.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    "columns", [("selection_score", "validation_cost"), ("validation_score",)], ids="-".join
)
def test_a_trial_whose_recorded_objective_is_nan_is_measured_by_its_routes(
    columns: tuple[str, ...], copy: Path, run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for column in columns:
        changed(copy, "trials", filled(column, lambda rows: [float("nan")] * rows))
    both(copy, capsys)
    sound, spoilt = survey(load_run(run_folder)), survey(load_run(copy))
    assert spoilt.points["score"].tolist() == sound.points["score"].tolist()
    assert spoilt.hypervolume == sound.hypervolume


@pytest.mark.parametrize("columns", [("score", "loss"), ("cost",)], ids="-".join)
def test_nan_in_the_reports_costs_the_courses_alone(
    columns: tuple[str, ...], copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for column in columns:
        changed(copy, "reports", filled(column, lambda rows: [float("nan")] * rows))
    _, page = both(copy, capsys)
    assert "NaN" not in page.split('id="specs">')[1].split("</script>")[0]


def test_a_run_without_reports_has_its_front_and_says_what_lacks(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(copy, "reports", lambda table: table.slice(0, 0))
    both(copy, capsys)
    run = load_run(copy)
    found = answers(run, survey(run))
    assert found.epochs is None
    assert found.importance is None
    assert found.headroom is not None


def test_nan_predictions_are_refused_by_name(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(copy, "experts", filled("prediction", lambda rows: [float("nan")] * rows))
    assert "a prediction is missing, NaN or infinite" in refused(copy, capsys)


def test_nan_logits_cost_the_curves_and_leave_the_front(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(copy, "routing", filled("logits", lambda rows: [[float("nan")] * 3] * rows))
    both(copy, capsys)
    run = load_run(copy)
    found = answers(run, survey(run))
    assert found.offers is None
    assert "not finite" in found.unanswered["cost-bias curves"]


def _one_expert(folder: Path) -> None:
    changed(folder, "experts", lambda table: table.filter(pc.equal(table["expert"], 0)))
    changed(folder, "routing", filled("route", lambda rows: [0] * rows))
    changed(folder, "routing", filled("logits", lambda rows: [[0.0]] * rows))
    for name in ("share", "gate"):
        changed(folder, "reports", filled(name, lambda rows: [[1.0]] * rows))
    path = folder / schema.PROVENANCE_FILE
    provenance = json.loads(path.read_text())
    provenance["experts"] = provenance["experts"][:1]
    for vector in provenance["cost_vectors"].values():
        vector["experts"] = vector["experts"][:1]
    path.write_text(json.dumps(provenance))


def test_one_expert_has_a_front_and_no_room_to_capture(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _one_expert(copy)
    both(copy, capsys)
    found = survey(load_run(copy))
    assert len(found.singles) == 1
    assert found.points["headroom"].isna().all()
    assert (found.points["verdict"] != "above").all()


def test_a_regression_says_which_measures_need_classes(
    written: WriteRun, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = written("regression", task="stsb")
    both(folder, capsys)
    run = load_run(folder)
    found = answers(run, survey(run))
    assert found.rivals is None
    assert found.headroom is not None
    assert set(found.headroom["kind"]) == {"gate"}
    for question in ("cascades", "calibration"):
        assert "regression" in found.unanswered[question]


def test_pools_of_several_sizes_are_judged_each_with_its_own(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _two_pool_sizes(copy)
    both(copy, capsys)
    run = load_run(copy)
    found = survey(run)
    assert found.prepared_sets == 2
    assert len(found.points) == 4
    small = dict(zip(found.points["point"], found.points["share"], strict=True))["p0"]
    assert small[2] == 0
    assert sum(small) == pytest.approx(1)


def _two_pool_sizes(folder: Path) -> None:
    """The first point routes between the two cheapest experts, the others between all three."""

    def trial(table: pa.Table) -> list[bool]:
        return [key.startswith("k0") for key in table["key"].to_pylist()]

    def routes(table: pa.Table) -> pa.Table:
        mine = trial(table)
        route = [
            min(r, 1) if m else r for r, m in zip(table["route"].to_pylist(), mine, strict=True)
        ]
        logits = [
            row[:2] if m else row for row, m in zip(table["logits"].to_pylist(), mine, strict=True)
        ]
        changed_table = filled("route", lambda _: route)(table)
        return filled("logits", lambda _: logits)(changed_table)

    def own(table: pa.Table) -> pa.Table:
        return filled("experts_id", lambda _: ["e2" if m else "e0" for m in trial(table)])(table)

    def more(table: pa.Table) -> pa.Table:
        small = table.filter(pc.less(table["expert"], 2))
        return pa.concat_tables([table, filled("experts_id", lambda rows: ["e2"] * rows)(small)])

    def shares(name: str) -> Change:
        def change(table: pa.Table) -> pa.Table:
            rows = zip(table[name].to_pylist(), trial(table), strict=True)
            return filled(name, lambda _: [[v[0], v[1] + v[2]] if m else v for v, m in rows])(table)

        return change

    changed(folder, "routing", routes)
    changed(folder, "trials", own)
    changed(folder, "experts", more)
    for name in ("share", "gate"):
        changed(folder, "reports", shares(name))
    path = folder / schema.PROVENANCE_FILE
    whole = json.loads(path.read_text())
    kept = ("experts", "cost_vectors", "stem", "fingerprints")
    full = {name: whole[name] for name in kept} | {"joint": False}
    vectors = {
        name: vector | {"experts": vector["experts"][:2]}
        for name, vector in whole["cost_vectors"].items()
    }
    small = full | {"experts": whole["experts"][:2], "cost_vectors": vectors}
    sets = [
        full | {"name": "set0", "experts_id": "e0", "points": ["p1", "p2", "p3"]},
        small | {"name": "set1", "experts_id": "e2", "points": ["p0"]},
    ]
    path.write_text(json.dumps(whole | {"sets": sets}))


@pytest.mark.parametrize("table", schema.TABLES)
def test_a_truncated_file_is_one_line_that_names_it(
    table: str, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / schema.table_file(table)
    os.truncate(path, path.stat().st_size // 2)
    line = refused(copy, capsys)
    assert f"{table}.parquet: truncated or damaged" in line
    assert "--resume" in line


def test_another_schema_version_is_one_line_with_both_versions(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / schema.table_file("trials")
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({schema.VERSION_KEY: b"3"}), path)
    assert "was written in version 3 of the tables, and this program reads 1 and 2" in refused(
        copy, capsys
    )


def test_routes_that_lack_one_trial_are_refused_with_its_name(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(copy, "routing", lambda table: table.filter(pc.not_equal(table["key"], "k1s2")))
    assert "trial k1s2 lacks 120" in refused(copy, capsys)


@pytest.mark.parametrize(
    ("table", "column"),
    [("routing", "route"), ("routing", "example"), ("experts", "prediction"), ("trials", "seed")],
)
def test_an_empty_cell_where_every_row_has_a_value_is_refused_and_never_read_as_a_number(
    table: str, column: str, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def empty(whole: pa.Table) -> pa.Table:
        place, kind = whole.schema.get_field_index(column), whole.schema.field(column).type
        cells = pa.array([None, *whole[column].to_pylist()[1:]], kind)
        return whole.set_column(place, pa.field(column, kind), cells)

    changed(copy, table, empty)
    line = refused(copy, capsys)
    assert f"{table}.parquet: column {column} has 1 empty cells" in line


@pytest.mark.parametrize("task", ["stsb", "mrpc"])
def test_runs_that_cannot_be_compared_are_one_line_and_exit_2(
    task: str, run_folder: Path, written: WriteRun, capsys: pytest.CaptureFixture[str]
) -> None:
    other = written(f"other-{task}", task=task)
    assert compare.main([str(run_folder), str(other)]) == 2
    assert task in capsys.readouterr().err


def test_what_cannot_be_answered_stands_in_the_report(
    written: WriteRun, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = written("unanswered", task="stsb", points=((0.01, 0.1),), seeds=(0,))
    _, page = both(folder, capsys)
    run = load_run(folder)
    for why in answers(run, survey(run)).unanswered.values():
        assert why.split("'")[0][:40] in page


def test_a_question_that_fails_for_another_reason_is_not_hushed_up(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a fault of ours")

    monkeypatch.setattr("analysis.questions.answers.headroom", broken)
    run = load_run(run_folder)
    with pytest.raises(KeyError, match="a fault of ours"):
        answers(run, survey(run), deep=False)


def test_a_run_of_no_trials_is_refused(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed(copy, "trials", lambda table: table.slice(0, 0))
    assert "no point whose replicates all completed (no trial)" in refused(copy, capsys)


def test_an_error_is_one_sentence_for_whoever_calls_from_python(copy: Path) -> None:
    changed(copy, "examples", lambda table: table.slice(0, 0))
    with pytest.raises(RunError, match="no row of split 'selection'") as caught:
        survey(load_run(copy))
    assert "\n" not in str(caught.value)
