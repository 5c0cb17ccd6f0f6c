from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.export import main, to_csv
from analysis.runs.load import Run, RunError
from tests.analysis.conftest import WriteRun


def test_every_csv_file_holds_its_table_whole(run: Run, tmp_path: Path) -> None:
    files = to_csv(run, tmp_path / "tables")
    assert {path.name for path in files} == {
        "trials.csv",
        "reports.csv",
        "examples.csv",
        "points.csv",
    }
    back = pd.read_csv(tmp_path / "tables" / "trials.csv")
    assert list(back.columns) == list(run.trials.columns)
    assert len(back) == len(run.trials)
    assert back["validation_score"].to_numpy() == pytest.approx(
        run.trials["validation_score"].to_numpy()
    )
    assert json.loads(back["config"][0]) == json.loads(run.trials["config"][0])


def test_lists_are_json_in_a_csv_file(run: Run, tmp_path: Path) -> None:
    to_csv(run, tmp_path)
    shares = pd.read_csv(tmp_path / "reports.csv")["share"].map(json.loads)
    assert np.array(shares.tolist()) == pytest.approx(np.stack(run.reports["share"].tolist()))
    assert json.loads(pd.read_csv(tmp_path / "points.csv")["seeds"][0]) == [0, 1, 2]


def test_a_run_without_a_whole_point_exports_the_rest_and_says_what_lacks(
    written: WriteRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = {(point, seed): "FAILED" for point in range(4) for seed in range(3)}
    folder = written("exp_failed", status=status, reasons={"FAILED": "NaN in task"})
    assert main([str(folder), "--to", "csv", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "trials.csv",
        "reports.csv",
        "examples.csv",
    }
    assert "no points.csv" in capsys.readouterr().err


def test_no_csv_file_is_written_over_another(run: Run, tmp_path: Path) -> None:
    (tmp_path / "reports.csv").write_text("mine")
    with pytest.raises(RunError, match=r"reports\.csv exists"):
        to_csv(run, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["reports.csv"]
    assert (tmp_path / "reports.csv").read_text() == "mine"


def _refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    return text


def test_a_folder_that_is_no_run_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tmp_path / "none"), "--to", "csv", str(tmp_path / "out")]
    assert "nothing there" in _refused(arguments, capsys)
    assert not (tmp_path / "out").exists()


def test_what_can_be_written_is_named_where_something_else_is_asked(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(run_folder), "--to", "excel", "x"])
    assert stopped.value.code == 2
    text = capsys.readouterr().err
    assert "csv" in text


def test_the_command_says_where_it_wrote(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run_folder), "--to", "csv", str(tmp_path / "out")]) == 0
    files = capsys.readouterr().out.split()
    assert [Path(name) for name in files] == [tmp_path / "out" / Path(name).name for name in files]
    assert all(Path(name).is_file() for name in files)


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "examples: python -m analysis.export" in text
