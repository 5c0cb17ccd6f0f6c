from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from analysis import schema
from analysis.front import main, print_front
from tests.analysis.conftest import WriteRun


def _printed(folder: Path, *, width: int = 120, terminal: bool = False) -> str:
    stream = io.StringIO()
    print_front(folder, Console(file=stream, width=width, force_terminal=terminal))
    return stream.getvalue()


def test_the_front_comes_with_its_yardsticks(run_folder: Path) -> None:
    text = _printed(run_folder)
    for word in ("over mix", "oracle", "majority class", "hypervolume", "tiny", "base", "large"):
        assert word in text
    assert "12 trials, 12 completed" in text


def test_what_is_no_terminal_gets_plain_text_and_whole_columns(run_folder: Path) -> None:
    text = _printed(run_folder, width=40)
    assert "\x1b" not in text
    assert "\N{HORIZONTAL ELLIPSIS}" not in text


def test_a_terminal_of_eighty_columns_has_room_for_the_table(run_folder: Path) -> None:
    text = _printed(run_folder, width=80, terminal=True)
    assert "\N{HORIZONTAL ELLIPSIS}" not in text


def test_names_in_square_brackets_are_no_markup(written: WriteRun) -> None:
    folder = written("brackets", run="[red]not red[/red]", names=("a/[bold]x", "a/y", "a/z"))
    text = _printed(folder)
    assert "[red]not red[/red]" in text
    assert "[bold]x" in text


def test_the_console_keeps_its_own_width(run_folder: Path) -> None:
    console = Console(file=io.StringIO(), width=50)
    print_front(run_folder, console)
    assert console.width == 50


def test_the_command_answers_with_zero(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run_folder), "--costs", "mpc_seconds_as_if"]) == 0
    assert "Costs are as if" in capsys.readouterr().out


def test_a_folder_that_is_no_run_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1


def test_one_seed_is_said_to_cover_no_chance_in_training(
    written: WriteRun, run_folder: Path
) -> None:
    assert "One seed" in _printed(written("one", seeds=(0,)))
    assert "One seed" not in _printed(run_folder)


def test_other_objectives_than_the_front_shows_are_said(tmp_path: Path, run_folder: Path) -> None:
    folder = Path(shutil.copytree(run_folder, tmp_path / "other"))
    path = folder / schema.PROVENANCE_FILE
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "objectives": {"accuracy": "max"}}))
    assert "objectives are accuracy (max)" in " ".join(_printed(folder).split())
    assert "objectives are" not in _printed(run_folder)


def test_a_run_that_was_killed_before_its_tables_is_told_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / schema.JOURNAL_FILE).write_text("")
    assert main([str(tmp_path)]) == 2
    assert f"--resume {tmp_path}" in capsys.readouterr().err
