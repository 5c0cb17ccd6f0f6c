"""Workers that die, hang, never start or eat the machine's memory, and a head that dies: on Ray."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweeps.journal.journal import read
from sweeps.journal.state import Event
from sweeps.run import main
from tests.sweeps.conftest import FIX, already_prepared, assert_same_tables, in_process, rows

psutil = pytest.importorskip("psutil", reason="psutil finds the processes to be killed")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 300.0
"""Seconds that Ray, and a sweep on it, may take beside other work."""

SABOTEUR = Path(__file__).parents[1] / "saboteur"

GRID = ("mrpc_grid", *FIX, "epochs=4", "seeds=[0]", "pack.points=3")
"""Ten trials in four packs."""

SCRIPT = """
import sys
from pathlib import Path
from mpc_router.prepare import frozen
from sweeps.raytune import _environment as environment
from sweeps import run
frozen.prepare = lambda *_: frozen.open_prepared(Path(sys.argv[1]))
frozen.check_inputs = lambda *_: None
environment.QUIET["RAY_gcs_rpc_server_reconnect_timeout_s"] = "5"
sys.exit(run.main(sys.argv[2:]))
"""


@pytest.fixture
def short() -> Iterator[Path]:
    """A temporary folder for Ray whose path is short enough to be taken."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        yield Path(folder)


def saboteur(short: Path, sabotage: str) -> dict[str, str]:
    """The environment of a run on an embedded Ray whose workers are sabotaged."""
    return {
        "TMPDIR": str(short),
        "SABOTAGE": sabotage,
        "PYTHONPATH": f"{SABOTEUR}{os.pathsep}{ROOT}",
    }


@pytest.fixture
def sabotaged(
    prepared_folder: Path,
    tmp_path: Path,
    short: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str]]:
    """The grid on such a Ray: exit code and what was said."""
    already_prepared(monkeypatch, prepared_folder)
    monkeypatch.setattr(tempfile, "tempdir", str(short))

    def call(sabotage: str, *more: str) -> tuple[int, str]:
        for name, value in saboteur(short, sabotage).items():
            monkeypatch.setenv(name, value)
        known = ("--sample", "--no-report", "--quiet", "--out", str(tmp_path), "--name", "r")
        code = main([*GRID, *more, *known])
        said = capsys.readouterr().err
        assert "Traceback" not in said
        return code, said

    return call


def begun(
    prepared: Path, out: Path, short: Path, sabotage: str, *more: str, **environ: str
) -> subprocess.Popen[str]:
    """The same in a process of its own, to be disturbed."""
    known = ("--sample", "--no-report", "--quiet", "--out", str(out), "--name", "r")
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(prepared), *GRID, *more, *known],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **saboteur(short, sabotage), **environ},
    )


def ended(running: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and what was said."""
    _, said = running.communicate(timeout=PATIENCE)
    assert "Traceback" not in said
    return running.returncode, said


def events(run: Path, kind: str) -> list[Event]:
    return [event for event in read(run / "journal.jsonl") if event["event"] == kind]


def test_a_pack_that_hangs_is_tried_again_and_one_given_up_can_be_resumed(
    sabotaged: Callable[..., tuple[int, str]], prepared_folder: Path, tmp_path: Path, short: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        in_process(patch, prepared_folder)  # first, for it compiles the loops, which takes seconds
        arguments = [*GRID, "--sample", "--no-report", "--out", str(tmp_path), "--name", "whole"]
        assert main(arguments) == 0
    study = ("pack.timeout=20s", "pack.retries=1")
    code, said = sabotaged("hang:pack01:1,exit:pack02:9", *study)
    run = tmp_path / "r"
    assert code == 3
    assert (
        "pack01 lost its worker (sent no message for 20 s, pack.timeout); it is tried again" in said
    )
    assert "pack02 lost its worker (its worker process has died); it is tried again" in said
    assert said.count("pack02 lost its worker") == 2
    assert "pack02: its worker process has died); go on with mpc-router-sweep --resume" in said
    attempts = Counter(event["pack"] for event in events(run, "started"))
    assert attempts == {"pack00": 1, "pack01": 2, "pack02": 2, "pack03": 1}
    assert all(event["node"] for event in events(run, "started"))
    assert list(short.iterdir()) == []
    with pytest.MonkeyPatch.context() as patch:
        in_process(patch, prepared_folder)
        assert main(["--resume", str(run), "--no-report"]) == 0
    assert_same_tables(run, tmp_path / "whole")


@pytest.mark.long
def test_workers_that_never_start_end_the_run_after_a_few(
    sabotaged: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    code, said = sabotaged("import", "pack.points=1")
    assert code == 3
    assert "3 workers in a row did not start on this machine: ImportError: this node has no" in said
    assert f"--resume {tmp_path / 'r'}" in said
    assert {row["status"] for row in rows(tmp_path / "r", "trials")} == {"INTERRUPTED"}
    assert events(tmp_path / "r", "started") == []


@pytest.mark.long
def test_a_dead_head_ends_the_run_with_the_line_to_go_on(
    prepared_folder: Path, tmp_path: Path, short: Path
) -> None:
    running = begun(prepared_folder, tmp_path, short, "hang:pack00:1,hang:pack01:1")
    journal = tmp_path / "r" / "journal.jsonl"
    deadline = time.monotonic() + PATIENCE
    while not (journal.exists() and journal.read_bytes().count(b'"reported"') >= 2):
        assert running.poll() is None, running.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    family = psutil.Process(running.pid).children(recursive=True)
    [head] = [each for each in family if each.name() == "gcs_server"]
    head.kill()
    code, said = ended(running)
    assert code == 3
    assert "its head does not answer; what was done is safe, go on with" in said
    assert len(rows(tmp_path / "r", "trials")) == 10
    _, alive = psutil.wait_procs(family, timeout=60)
    assert [each.name() for each in alive] == []
    assert list(short.iterdir()) == []


@pytest.mark.long
def test_a_worker_that_eats_the_memory_fails_by_name_and_takes_nobody_along(
    prepared_folder: Path, tmp_path: Path, short: Path
) -> None:
    memory = psutil.virtual_memory()
    if memory.available < 6 * 2**30:
        pytest.skip("some gigabytes of memory are to be eaten")
    limit = (memory.total - memory.available + 4 * 2**30) / memory.total
    running = begun(
        *(prepared_folder, tmp_path, short, "hog:pack01:9"),
        RAY_memory_usage_threshold=f"{limit:.3f}",
    )
    code, said = ended(running)
    assert code == 4, said
    found = {row["pack"]: row for row in rows(tmp_path / "r", "trials")}
    assert {pack for pack, row in found.items() if row["status"] == "FAILED"} == {"pack01"}
    assert found["pack01"]["reason"].startswith("out of memory on the host: Ray ended its worker")
    assert found["pack01"]["attempt"] == 1
