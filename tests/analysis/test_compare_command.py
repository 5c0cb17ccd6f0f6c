from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from analysis.compare import _print_comparison, main
from analysis.fronts.comparison import compare_runs
from analysis.runs.load import load_run
from tests.analysis.conftest import WriteRun


@pytest.fixture
def two(run_folder: Path, written: WriteRun) -> list[str]:
    return [str(run_folder), str(written("cmd_blind", run="blind", skill=0.0))]


def test_the_command_prints_runs_differences_and_the_front_of_all(
    two: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(two) == 0
    text = capsys.readouterr().out
    for word in ("Hypervolume on validation", "fixture \N{MINUS SIGN} blind", "alpha 0.01"):
        assert word in text
    assert "paired over examples and seeds" in text
    assert "\x1b" not in text
    assert "\N{HORIZONTAL ELLIPSIS}" not in text


def test_a_terminal_of_eighty_columns_keeps_its_numbers_whole(two: list[str]) -> None:
    stream = io.StringIO()
    found = compare_runs([load_run(folder) for folder in two])
    _print_comparison(found, Console(file=stream, width=80, force_terminal=True))
    text = stream.getvalue()
    side = found.sides[0]
    assert f"{side.low:.3g} to {side.high:.3g}" in text
    assert "\N{HORIZONTAL ELLIPSIS}" not in text


def test_names_in_square_brackets_are_no_markup(
    run_folder: Path, written: WriteRun, capsys: pytest.CaptureFixture[str]
) -> None:
    other = written("cmd_brackets", run="[red]not red[/red]")
    assert main([str(run_folder), str(other)]) == 0
    assert "[red]not red[/red]" in capsys.readouterr().out


def test_one_seed_is_said_where_a_p_would_stand(
    written: WriteRun, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [written(f"cmd_once_{name}", seeds=(0,), run=name) for name in ("a", "b")]
    assert main(list(map(str, folders))) == 0
    text = capsys.readouterr().out
    assert "one seed" in text
    assert "nan" not in text


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["svg", "html"])
def test_the_picture_is_written_where_it_is_named(
    ending: str, two: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / f"fronts.{ending}"
    assert main([*two, "--figure", str(target)]) == 0
    assert str(target) in capsys.readouterr().out
    text = target.read_text()
    for word in ("fixture", "blind", "random mix"):
        assert word in text


def _refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    return text


def test_one_run_is_refused_in_one_line(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "name two or more" in _refused([str(run_folder)], capsys)


def test_a_folder_that_is_no_run_is_refused_in_one_line(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "nothing there" in _refused([str(run_folder), str(tmp_path / "none")], capsys)


def test_a_picture_of_no_known_kind_is_refused_in_one_line(
    two: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert ".svg, .png, .pdf or .html" in _refused([*two, "--figure", "fronts.gif"], capsys)


def test_other_data_pass_with_a_note_where_they_are_forced(
    two: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(two[1], tmp_path / "other")
    path = other / "provenance.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "fingerprints": {"data": "zz"}}))
    assert "--force" in _refused([two[0], str(other)], capsys)
    assert main([two[0], str(other), "--force"]) == 0
    text = capsys.readouterr().out
    assert "nothing is paired" in text
    assert "not paired: other data" in text


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "examples: mpc-router-compare" in text
