from __future__ import annotations

import dataclasses
import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from analysis import choose, schema
from analysis._front_tables import front_tables
from analysis.front import main, print_front
from analysis.fronts.survey import survey
from analysis.report.abstract import _best_trade
from analysis.runs.load import load_run
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


def test_the_export_of_the_current_folder_is_named_like_it(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run_folder)
    assert f" exported/{run_folder.name}\n" in _printed(Path())


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


@pytest.mark.parametrize(("width", "terminal"), [(120, False), (80, True)])
def test_every_row_of_the_front_bears_its_whole_key(
    run_folder: Path, width: int, terminal: bool
) -> None:
    text = _printed(run_folder, width=width, terminal=terminal)
    for row in survey(load_run(run_folder)).front.to_dict("records"):
        assert any(row["point"] in line and row["key"] in line for line in text.splitlines())


@pytest.mark.parametrize("width", [40, 200])
def test_the_line_that_exports_the_best_trade_is_never_cut(run_folder: Path, width: int) -> None:
    text = _printed(run_folder, width=width, terminal=True)
    row = _best_trade(survey(load_run(run_folder)))
    assert row is not None
    line = f"mpc-router-export --run {run_folder} --point {row['point']} exported/{run_folder.name}"
    assert line in (each.strip() for each in text.splitlines())


@pytest.mark.parametrize("flags", [("--at-most", "8"), ("--reach", "0.8"), ("--knee",)])
def test_the_command_says_what_to_run_for_a_demand(
    run_folder: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...]
) -> None:
    vector = ("--vector", "constants")
    assert main([str(run_folder), *flags, *vector]) == 0
    name = flags[0].strip("-").replace("-", "_")
    choice = choose(load_run(run_folder), **{name: float(flags[-1]) if flags[1:] else True})
    told = capsys.readouterr().out
    assert f"point {choice.point} " in told
    assert f"seed {choice.seed}, bias {choice.bias:.3g} in constants, key {choice.key}" in told
    words = " ".join((*flags, *vector))
    assert f"mpc-router-export --run {run_folder} {words} exported/{run_folder.name}" in told


def test_a_cost_that_no_router_keeps_is_one_line_and_exit_2(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run_folder), "--at-most", "2"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: fixture: no router costs at most 2 in constants")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("width", [80, 100, 200])
def test_keys_and_many_settings_are_whole_in_a_terminal_of_any_width(
    run_folder: Path, width: int
) -> None:
    run = load_run(run_folder)
    taken = survey(run, resamples=5)
    names = [f"a_setting_of_number_{number}" for number in range(7)]
    front = taken.front.assign(**dict.fromkeys(names, 0.000123))
    many: Any = SimpleNamespace(settings=names)
    tables = front_tables(many, dataclasses.replace(taken, front=front), width)
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(*tables)
    text = console.export_text()
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    for word in (*names, *taken.front["key"]):
        assert word in text
