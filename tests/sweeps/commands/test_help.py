"""The examples that the commands' help shows, run as they are printed wherever nothing is long."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis import compare, export, front
from analysis.report import __main__ as report
from cluster import __main__ as cluster
from sweeps import run, tune
from sweeps.commands import runs
from tests.command_lines import examples
from tests.sweeps.conftest import FIX, in_process

Made = Callable[..., Path]

SHORT = ("mrpc_grid", *FIX, "seeds=[0,1]", "start=[]", "beta=0.01")


@pytest.fixture
def home(
    made_run: Made, prepared_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A folder as the examples take it to be: with the configurations, and the runs they name."""
    root = Path(__file__).parents[3]
    (tmp_path / "configs").symlink_to(root / "configs")
    for line in (*examples("mpc-router-front"), *examples("mpc-router-compare")):
        for word in shlex.split(line):
            if word.startswith("runs/") and not (tmp_path / word).exists():
                made_run(tmp_path / word, *SHORT)
    made_run(tmp_path / "runs/NAME", *SHORT)
    monkeypatch.chdir(tmp_path)
    in_process(monkeypatch, prepared_folder)
    return tmp_path


def words_of(line: str) -> list[str]:
    """The words behind the command's name."""
    return shlex.split(line, comments=True)[1:]


@pytest.mark.slow
@pytest.mark.usefixtures("home", "quick_reports")
def test_examples_that_read_runs_run_as_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for line in examples("mpc-router-front"):
        assert front.main(words_of(line)) == 0, line
    for line in examples("mpc-router-compare"):
        assert compare.main(words_of(line)) == 0, line
    (line,) = examples("mpc-router-report")
    assert report.main(words_of(line)) == 0
    (line,) = examples("python -m analysis.export")
    assert export.main(shlex.split(line)[3:]) == 0
    for line in examples("mpc-router-runs"):
        if " remove " not in line:
            assert runs.main([*words_of(line), *cache_of(line)]) == 0, line
    assert capsys.readouterr().err == ""


def cache_of(line: str) -> list[str]:
    """Keeps an example that prunes the cache to this test's own."""
    return ["--cache", "cache"] if " cache" in line else []


@pytest.mark.usefixtures("home")
def test_examples_that_train_are_planned_as_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--cache", str(tmp_path / "cache"), "--dry-run"]
    for line in examples("mpc-router-sweep"):
        if " DIR " in line or "--resume" in line or line.endswith(("--settings", "--schema")):
            continue  # data that is not here, a run that is over, and what no run is made of
        more = [word for word in ("--sample", "pool=sample") if word not in line]
        assert run.main([*words_of(line), *more, *places]) == 0, line
    line, *_ = examples("mpc-router-tune")
    assert tune.main([*words_of(line), "experts=frozen", *places]) == 0
    assert "the plan" not in capsys.readouterr().err


@pytest.mark.usefixtures("home")
def test_examples_of_clusters_that_start_nothing_run_as_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (render,) = [line for line in examples("mpc-router-cluster slurm") if " render " in line]
    assert cluster.main(words_of(render)) == 0
    assert capsys.readouterr().out.startswith("#!/bin/bash\n")
