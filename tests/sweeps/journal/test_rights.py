"""Who may read a run: its folder says so, for everything in it."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mpc_router.joint import _history
from mpc_router.storage.files import atomic, make_folder
from tests.sweeps.conftest import FIX
from tests.sweeps.search.test_searches import FINISHED
from tests.sweeps.worker.test_joint import BOTH

Command = Callable[..., int]
GRID = ("mrpc_grid", *FIX, "seeds=[0]", "start=[]", "pack.points=3", "--quiet", "--name", "r")
ONE = (*GRID, "alpha=0.05", "beta=0.1")
"""A single trial."""


@contextlib.contextmanager
def process_umask(mask: int) -> Iterator[None]:
    """The user's own, which decides nothing."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def of_all(run: Path) -> tuple[set[int], set[int]]:
    """Of its folders, itself included, and of its files."""
    found = [run, *run.rglob("*")]
    return (
        {rights(path) for path in found if path.is_dir()},
        {rights(path) for path in found if path.is_file()},
    )


@pytest.mark.slow
@pytest.mark.usefixtures("quick_reports")
@pytest.mark.parametrize(
    ("umask", "folders", "files", "own"),
    [
        ((), 0o700, 0o600, 0o000),
        (("--umask", "027"), 0o750, 0o640, 0o077),
        (("--umask", "022"), 0o755, 0o644, 0o077),
    ],
)
def test_a_run_is_as_open_as_its_umask_says(
    command: Command, tmp_path: Path, umask: tuple[str, ...], folders: int, files: int, own: int
) -> None:
    with process_umask(own):
        assert command(*ONE, *umask) == 0
    run = tmp_path / "runs" / "r"
    assert {"report.html", "journal.jsonl", "trials.parquet"} < {
        each.name for each in run.iterdir()
    }
    assert next(run.glob("checkpoints/*.safetensors")).is_file()
    assert of_all(run) == ({folders}, {files})


@pytest.mark.usefixtures("no_front")
def test_a_searchs_view_and_a_damaged_journal_are_no_more_open(
    command: Command, tmp_path: Path
) -> None:
    quiet, short = ("--no-report", "--quiet"), ("search.points=6", "seeds=[0]", "epochs=2")
    assert command(*FINISHED, *short, "--name", "r", "--umask", "007", *quiet) == 0
    run = tmp_path / "runs" / "r"
    with (run / "journal.jsonl").open("ab") as journal:
        journal.write(b"no line\n")
    assert command("--resume", str(run), "--repair", *quiet) == 0
    assert next(run.glob("journal.jsonl.damaged-*")).is_file()
    assert (run / "optuna.journal").is_file()
    assert of_all(run) == ({0o770}, {0o640})


@pytest.mark.usefixtures("no_front")
def test_a_resume_goes_by_the_folders_rights_also_after_a_chmod(
    command: Command, tmp_path: Path
) -> None:
    assert command(*GRID, "budget.epochs=6", "--no-report") == 5
    run = tmp_path / "runs" / "r"
    for folder in (run, run / "parts", run / "checkpoints"):
        folder.chmod(0o755)
    assert command("--resume", str(run), "budget.epochs=9999", "--quiet", "--no-report") == 0
    assert {rights(path) for path in run.iterdir() if path.is_file()} == {0o644}
    assert rights(run / "parts" / "pack00.parquet") == 0o600  # as it was written
    assert rights(run / "parts" / "pack02.parquet") == 0o644
    assert {rights(path) for path in (run / "checkpoints").iterdir()} == {0o600, 0o644}


def test_epochs_of_a_joint_trial_are_as_private_as_the_run(
    monkeypatch: pytest.MonkeyPatch, sample: Callable[..., int], tmp_path: Path
) -> None:
    seen: set[int] = set()
    real = _history.History.keep

    def keep(self: _history.History, *arguments: object) -> None:
        real(self, *arguments)  # type: ignore[arg-type]
        found, files = of_all(self.folder)
        seen.update(found)
        assert files == {0o640}

    monkeypatch.setattr(_history.History, "keep", keep)
    assert sample(*BOTH, "--name", "r", "--umask", "027", "--quiet") == 0
    assert seen == {0o750}
    assert of_all(tmp_path / "runs" / "r") == ({0o750}, {0o640})


def test_a_folder_that_is_there_keeps_its_rights(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    make_folder(tmp_path / "a")
    make_folder(tmp_path / "a" / "b")
    (tmp_path / "a" / "b").chmod(0o700)
    make_folder(tmp_path / "a" / "b")
    assert [rights(tmp_path / "a"), rights(tmp_path / "a" / "b")] == [0o750, 0o700]
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")


def test_only_the_owner_writes_a_durable_file_and_no_user_runs_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with atomic(tmp_path / "x") as temporary:
        temporary.chmod(0o777)
    assert rights(tmp_path / "x") == 0o644
