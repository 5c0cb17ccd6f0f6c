"""A tracker that fails, hangs, crashes or is missing neither ends a sweep nor slows it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.tracking import process
from sweeps.tracking._follow import follow
from sweeps.tracking.process import track_afterwards, tracking
from tests.sweeps.tracking.conftest import Memory

SECRET = "s3cr3t-0123456789"
GRID = ("mrpc_grid", "pool=sample", "router_hidden_size=8", "epochs=2", "seeds=[0]", "beta=0.1")


class Said:
    """Keeps the lines that are shown."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, text: str, *, style: str = "") -> None:
        self.lines.append(text)


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a package of the name `trackio` that does this when it is imported."""

    def put(code: str) -> None:
        package = tmp_path / "packages" / "trackio"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(package.parent))
        monkeypatch.syspath_prepend(str(package.parent))

    return put


FAULTS = {
    f"raise ConnectionError('the key {SECRET} is wrong')": "ConnectionError: the key *** is wrong",
    "import sys; sys.exit('no terminal')": "SystemExit: no terminal",
    "import os; os._exit(9)": "its process ended with exit code 9",
    "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)": "signal SIGSEGV",
    "print('noise' * 100_000)": "AttributeError",
}


@pytest.mark.parametrize(("code", "reason"), FAULTS.items(), ids=range(len(FAULTS)))
def test_a_tracker_that_fails_is_one_warning_with_the_way_to_tell_it_later(
    code: str,
    reason: str,
    searched: Path,
    broken: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRACKIO_WRITE_TOKEN", SECRET)
    broken(code)
    said = Said()
    with tracking(["trackio"], searched, said):
        pass
    (line,) = said.lines
    assert reason in line
    assert f"mpc-router-sweep --run {searched} --track trackio" in line
    assert SECRET not in line


def test_a_tracker_that_hangs_is_left_and_its_process_ends(
    searched: Path, broken: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_WAIT", 1)
    broken("import time; time.sleep(600)")
    said, ended = Said(), list[subprocess.Popen[bytes]]()
    kill = subprocess.Popen.kill

    def noted(process: subprocess.Popen[bytes]) -> None:
        ended.append(process)
        kill(process)

    monkeypatch.setattr(subprocess.Popen, "kill", noted)
    with tracking(["trackio"], searched, said):
        assert not ended  # the run goes on beside it
    (process_that_hung,) = ended
    assert process_that_hung.returncode == -signal.SIGKILL
    (line,) = said.lines
    assert "1 seconds after the end of the run" in line


def test_trackers_are_told_side_by_side_and_one_that_fails_leaves_the_others(
    searched: Path, broken: Callable[[str], None]
) -> None:
    broken("raise OSError('disk full')")
    said = Said()
    assert not track_afterwards(["trackio", "tensorboard", "trackio"], searched, said)
    assert len(said.lines) == 2
    assert any("OSError: disk full" in line and "goes on" not in line for line in said.lines)
    memory = Memory()
    trials, _ = follow(searched, memory, lambda: True)
    folder = searched / "tensorboard"
    assert any(f"{trials} trials; tensorboard --logdir {folder}" in line for line in said.lines)
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {
        trial.name for trial in memory.trials.values()
    }


def test_a_sweep_tells_its_trackers_while_it_runs_and_keeps_no_secret(
    command: Callable[..., int],
    tmp_path: Path,
    broken: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TRACKIO_WRITE_TOKEN", SECRET)
    broken(f"raise PermissionError('{SECRET}')")
    flags = ("--track", "tensorboard", "--track", "trackio", "--no-report", "--name", "r")
    assert command(*GRID, *flags) == 0
    text, run = capsys.readouterr(), tmp_path / "runs" / "r"
    assert f"tensorboard: 4 trials; tensorboard --logdir {run / 'tensorboard'}" in text.err
    assert text.err.count("trackio failed (PermissionError: ***)") == 1
    assert SECRET not in text.err + text.out
    assert len(list((run / "tensorboard").iterdir())) == 4 + 1
    content = [path.read_bytes() for path in run.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in data for data in content)


def test_a_run_is_told_afterwards_and_stays_as_it_was(
    command: Callable[..., int], searched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sweeps.run import main

    before = {path: path.read_bytes() for path in searched.rglob("*") if path.is_file()}
    assert main(["--run", str(searched), "--track", "tensorboard"]) == 0
    assert "24 trials" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before
    assert main(["--run", str(searched), "--track", "tensorboard", "mrpc_grid"]) == 2
    assert "leave out mrpc_grid" in capsys.readouterr().err


def test_a_tracker_that_is_missing_is_refused_before_anything_is_made(
    command: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("wandb", "trackio", "mlflow"):
        monkeypatch.setitem(sys.modules, name, None)
        assert command(*GRID, "--track", name) == 2
        text = capsys.readouterr().err
        assert f"--track {name} needs the package {name}, which is not installed: pip" in text
    assert not (tmp_path / "runs").exists()


def test_an_unknown_tracker_is_refused_with_those_there_are(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        command(*GRID, "--track", "comet")
    assert stopped.value.code == 2
    text = capsys.readouterr().err
    assert all(name in text for name in ("comet", "wandb", "trackio", "tensorboard", "mlflow"))


@pytest.mark.parametrize("flag", ["--debug", "--dry-run"])
def test_there_is_nothing_to_track_without_a_run(
    flag: str, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*GRID, flag, "--track", "tensorboard") == 2
    assert "make none" in capsys.readouterr().err


def test_a_folder_without_a_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sweeps.run import main

    assert main(["--run", str(tmp_path), "--track", "tensorboard"]) == 2
    assert "holds no journal.jsonl" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
