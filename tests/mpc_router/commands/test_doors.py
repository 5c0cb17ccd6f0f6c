"""Installed commands find this project's packages, whatever stands first on Python's path."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
import types
from pathlib import Path
from typing import Any

import pytest

from mpc_router import packages, plugins
from mpc_router.commands import doors
from mpc_router.packages import BESIDE, ForeignPackageError, load_beside
from sweeps.study import shipped

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FOREIGN = "import sys\nprint('foreign', __name__)\nsys.exit(0)\n"


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder that has a module of another project for each package beside `mpc_router`."""
    for name in BESIDE:
        (tmp_path / f"{name}.py").write_text(FOREIGN)
    return tmp_path


def called(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", PROJECT["scripts"])
def test_every_console_script_leads_to_a_function(name: str) -> None:
    module, _, function = PROJECT["scripts"][name].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    assert module.startswith("mpc_router.")  # a name that no other project has


def test_an_installed_command_finds_our_packages_where_foreign_ones_stand_first(
    foreign: Path,
) -> None:
    code = (
        "import sys; from mpc_router.commands.doors import *; "
        "sys.exit(sweep(['--list']) or front(['gone']))"
    )
    answer = called(foreign, "-c", code)
    assert answer.stdout.splitlines()[0].startswith("cola_grid: ")
    assert answer.stderr.startswith("error: gone: nothing there")
    assert (answer.returncode, "foreign" in answer.stdout) == (2, False)


def test_the_module_spelling_works_beside_foreign_files_of_its_neighbours(foreign: Path) -> None:
    (foreign / "sweeps.py").unlink()  # its own name Python looks up before any code of ours runs
    answer = called(foreign, "-m", "sweeps.run", "--list")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert len(answer.stdout.splitlines()) == len(shipped.shipped_studies())


def test_a_foreign_package_that_is_imported_already_is_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    taken: Any = types.ModuleType("analysis")
    taken.__file__ = "/elsewhere/analysis.py"
    monkeypatch.setitem(sys.modules, "analysis", taken)
    with pytest.raises(ForeignPackageError, match=r"/elsewhere/analysis\.py"):
        load_beside()
    for door in (doors.front, doors.sweep):
        assert door(["runs/x"]) == 2
        stderr = capsys.readouterr().err
        assert "the package 'analysis' that Python has imported is another project's" in stderr
        assert stderr.count("\n") == 1


def test_a_package_that_is_not_beside_ours_is_one_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "cluster"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("mpc_router.packages._ROOT", tmp_path)
    with pytest.raises(ForeignPackageError, match="install mpc-router again"):
        packages._load("cluster")
    assert "cluster" not in sys.modules


def test_another_projects_file_in_the_place_of_ours_is_one_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert doors._door("mpc_router.costs", "")(["x"]) == 2
    stderr = capsys.readouterr().err
    assert "costs.py is another project's file in the place of this one's; uninstall" in stderr


def test_a_part_of_ones_own_is_found_in_the_current_folder_and_hides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_part_here.py").write_text("thing = 7\n")
    (tmp_path / "json.py").write_text("raise SystemExit\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(tmp_path))])
    with plugins.words_of_user():
        found_part = plugins.part(plugins.METRICS, "own_part_here:thing")
    assert found_part is not None
    assert found_part.thing == 7
    assert sys.path[-1] == str(tmp_path)
    del sys.modules["own_part_here"]
