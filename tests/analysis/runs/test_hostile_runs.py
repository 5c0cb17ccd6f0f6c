"""A run folder that somebody sent, given to the commands that read it: one message, or what it
holds shown as text."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis import compare, export, front, schema
from analysis.report import __main__ as report
from tests.analysis.runs.test_bad_runs import changed, filled
from tests.fuzz.harness import ESCAPES, contents

pytestmark = pytest.mark.usefixtures("quick_reports")

MARKUP = "[/x][bold]loud\x1b[31mred\x1b[0m<script>alert(1)</script>\x07\u202e"


@pytest.fixture
def copy(run_folder: Path, tmp_path: Path) -> Path:
    """The plain run, to be spoilt."""
    return Path(shutil.copytree(run_folder, tmp_path / "copy"))


def all_of_them(
    folder: Path, other: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> list[tuple[str, int, str, str]]:
    """What each command says of the run: its name, exit code, stdout and stderr."""
    calls: dict[str, tuple[Callable[[list[str]], int], list[str]]] = {
        "front": (front.main, [str(folder)]),
        "compare": (compare.main, [str(other), str(folder)]),
        "export": (export.main, [str(folder), "--to", "csv", str(out)]),
        "report": (report.main, [str(folder)]),
    }
    found = []
    for name, (main, arguments) in calls.items():
        code = main(arguments)
        said = capsys.readouterr()
        found.append((name, code, said.out, said.err))
    return found


def one_message(code: int, err: str) -> None:
    assert code == 2, err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert len(err) < 1010
    assert not ESCAPES.search(err.rstrip("\n"))


@pytest.mark.slow
def test_markup_and_escapes_in_any_cell_are_text(
    copy: Path, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = MARKUP
    settings = pq.read_table(copy / "trials.parquet").column_names
    name = settings[settings.index("experts_id") + 1]

    def respelt(table: pa.Table) -> pa.Table:
        values = pa.array([f"{text}{value}" for value in table[name].to_pylist()])
        return table.set_column(table.schema.get_field_index(name), name, values)

    changed(copy, "trials", respelt)
    path = copy / "trials.parquet"
    table = pq.read_table(path)
    said = {k: v for k, v in table.schema.metadata.items() if k != schema.COLUMNS_KEY}
    pq.write_table(table.replace_schema_metadata(said), path)
    facts = json.loads((copy / "provenance.json").read_text())
    for each in facts["experts"]:
        each["name"] = f"{text}{each['name']}"
    facts |= {"study": text, "pool": text, "notes": [text], "machine": {text: text}}
    (copy / "provenance.json").write_text(json.dumps(facts))
    for _name, code, out, err in all_of_them(copy, run_folder, tmp_path / "csv", capsys):
        assert code == 0, err
        assert not ESCAPES.search(out)
    assert "<script>alert" not in (copy / "report.html").read_text()


PROVENANCES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a list": (lambda _: [1], "mapping"),
    "null": (lambda _: None, "mapping"),
    "notes that are a number": (lambda f: f | {"notes": 3}, "notes"),
    "a stem that is text": (lambda f: f | {"stem": "x"}, "stem"),
    "splits that are a list": (lambda f: f | {"splits": [1]}, "splits"),
    "experts that are text": (lambda f: f | {"experts": "abc"}, "experts"),
    "experts without names": (lambda f: f | {"experts": [{}]}, "experts"),
    "a cost vector that is none": (lambda f: f | {"cost_vector": [1]}, "cost_vector"),
    "vectors that are numbers": (lambda f: f | {"cost_vectors": {"a": 1}}, "cost_vectors"),
    "sets that are text": (lambda f: f | {"sets": "abc"}, "sets"),
    "a task that is a list": (lambda f: f | {"task": ["mrpc"]}, "task"),
    "objectives that are a list": (lambda f: f | {"objectives": [1]}, "objectives"),
}


@pytest.mark.parametrize("kind", PROVENANCES)
def test_provenance_of_any_shape_is_one_message(
    copy: Path, run_folder: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change, says = PROVENANCES[kind]
    path = copy / "provenance.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    for _name, code, _out, err in all_of_them(copy, run_folder, tmp_path / "csv", capsys):
        one_message(code, err)
        assert str(path) in err
        assert says in err


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 5000, "", "{", "\ud800"])
def test_provenance_that_is_no_json_is_one_message(
    copy: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / "provenance.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    code = front.main([str(copy)])
    one_message(code, capsys.readouterr().err)


STUDIES = (
    *("[]", "a: !!int abc", "a: 2001-99-99", "[" * 600, "a: &a [*a]", "\x00", "seeds: 3"),
    *("space: [1]", "search: x", "racing: [1]", "start: {a: 1}", "stopping: 1", "seeds: [a]"),
)


@pytest.mark.parametrize("text", STUDIES)
def test_a_study_file_of_any_shape_is_one_message(
    copy: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / "study.yaml").write_text(text)
    code = front.main([str(copy)])
    err = capsys.readouterr().err
    if code != 0:  # an alias to itself that nobody reads is no harm
        one_message(code, err)
        assert str(copy / "study.yaml") in err


def test_a_space_of_more_points_than_can_be_counted_takes_no_time(copy: Path) -> None:
    axes = {f"a{number}": {"grid": list(range(100))} for number in range(12)}
    text = json.dumps({"seeds": [0, 1], "space": axes})
    (copy / "study.yaml").write_text(text)
    assert front.main([str(copy)]) == 0


@pytest.mark.parametrize("name", ["trials.parquet", "provenance.json", "study.yaml"])
def test_a_pipe_where_a_file_belongs_is_not_waited_for(
    copy: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / name).unlink()
    os.mkfifo(copy / name)
    code = front.main([str(copy)])
    err = capsys.readouterr().err
    one_message(code, err)
    assert name in err


@pytest.mark.parametrize(
    ("column", "value"),
    [("key", "../../x"), ("point", "[/x]"), ("status", "WONDERFUL"), ("pack", "a/b")],
)
def test_names_and_statuses_that_no_run_gives_are_named(
    copy: Path, column: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changed(copy, "trials", filled(column, lambda count: [value] * count))
    code = front.main([str(copy)])
    err = capsys.readouterr().err
    one_message(code, err)
    assert column in err
    assert value in err


@pytest.mark.parametrize("table", schema.TABLES)
def test_a_column_of_another_type_is_named(
    copy: Path, table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy / schema.table_file(table)
    before = pq.read_table(path)
    name = {"trials": "seed", "reports": "epoch"}.get(table, "example")
    place = before.schema.get_field_index(name)
    after = before.set_column(place, name, pa.array(["x"] * len(before)))
    said = {k: v for k, v in before.schema.metadata.items() if k != schema.COLUMNS_KEY}
    pq.write_table(after.replace_schema_metadata(said), path)
    code = front.main([str(copy)])
    err = capsys.readouterr().err
    one_message(code, err)
    assert f"{path}: column {name}" in err


def test_a_report_follows_no_link(copy: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("kept")
    for name in ("report.html", f".report.html.{os.getpid()}"):
        (copy / name).symlink_to(victim)
    before = contents(victim)
    assert report.main([str(copy)]) == 0
    assert contents(victim) == before
    assert not (copy / "report.html").is_symlink()
