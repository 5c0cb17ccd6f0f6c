"""Ray Tune drives: one embedded run that several tests look at, a stop, and a joined cluster."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sweeps.environment import LOOPBACK
from tests.sweeps.conftest import FIX

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import json, os, sys
from pathlib import Path
from mpc_router import outputs
from sweeps import ledger, run
folder, sockets = Path(sys.argv[1]), Path(sys.argv[2])
outputs.prepare = lambda *_: outputs.open_prepared(folder)
outputs.check_inputs = lambda *_: None
heard = ledger.Ledger.heard
def look(self, pack, message):
    heard(self, pack, message)
    if not sockets.exists():
        import psutil
        me = psutil.Process()
        found = [
            (process.name(), connection.laddr.ip)
            for process in [me, *me.children(recursive=True)]
            for connection in process.net_connections()
            if connection.status == psutil.CONN_LISTEN
        ]
        names = [process.name() for process in me.children(recursive=True)]
        sockets.write_text(json.dumps([found, names]))
ledger.Ledger.heard = look
sys.exit(run.main(sys.argv[3:]))
"""


def command(prepared: Path, folder: Path, *arguments: str) -> list[str]:
    return [
        *(sys.executable, "-c", SCRIPT, str(prepared), str(folder / "sockets.json")),
        *(*arguments, "--sample", "--no-report", "--cache", str(folder / "cache")),
    ]


def statuses(run: Path) -> list[str]:
    found: list[str] = pq.read_table(run / "trials.parquet").column("status").to_pylist()
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("driver")


@pytest.fixture(scope="module")
def embedded(prepared_folder: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """A whole grid on an embedded Ray, one of its points failing."""
    pytest.importorskip("psutil", reason="psutil sees which processes listen where")
    arguments = ["mrpc_grid", *FIX, "seeds=[0, 1]", "beta=0.01", "alpha={grid: [0.01, 1]}"]
    arguments += ["learning_rate={grid: [1e-3, 1e30]}", "start=[]", "pack.points=2"]
    return subprocess.run(
        command(prepared_folder, folder, *arguments, "--out", str(folder), "--name", "whole"),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        check=False,
        timeout=120,
    )


def test_a_run_on_ray_ends_with_every_trial_and_exit_4_for_the_failed(
    embedded: subprocess.CompletedProcess[str], folder: Path
) -> None:
    assert embedded.returncode == 4, embedded.stderr
    assert sorted(statuses(folder / "whole")) == ["COMPLETED"] * 4 + ["FAILED"] * 4


def test_ray_says_nothing_and_failures_are_a_line_each(
    embedded: subprocess.CompletedProcess[str],
) -> None:
    lines = embedded.stderr.splitlines()
    assert len([line for line in lines if line.startswith("FAILED")]) == 4
    assert len([line for line in lines if line.startswith("pack0")]) == 2
    assert len(lines) == 4 + 2 + 1
    assert "Traceback" not in embedded.stdout


def test_nothing_of_ours_listens_outside_this_machine(
    embedded: subprocess.CompletedProcess[str], folder: Path
) -> None:
    listening, names = json.loads((folder / "sockets.json").read_text())
    assert "raylet" in names
    assert listening
    assert {address.removeprefix("::ffff:") for _, address in listening} <= {"127.0.0.1", "::1"}


def test_ray_leaves_no_session_behind(
    embedded: subprocess.CompletedProcess[str], folder: Path
) -> None:
    assert not list(folder.glob("mpc-*"))
    assert "session" not in "".join(path.name for path in folder.rglob("*"))


def test_ctrl_c_stops_cleanly_and_resume_ends_every_trial_once(
    prepared_folder: Path, tmp_path: Path
) -> None:
    arguments = ["mrpc_grid", *FIX, "epochs=40", "seeds=[0]", "--out", str(tmp_path)]
    running = subprocess.Popen(
        command(prepared_folder, tmp_path, *arguments, "--name", "cut"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    run = tmp_path / "cut"
    deadline = time.monotonic() + 120
    while not (run / "journal.jsonl").exists() or (
        b'"reported"' not in (run / "journal.jsonl").read_bytes()
    ):
        assert running.poll() is None, running.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=120)
    assert running.returncode == 130, said
    assert f"python -m sweeps.run --resume {run}" in said
    assert "INTERRUPTED" in statuses(run)
    resumed = subprocess.run(
        command(prepared_folder, tmp_path, "--resume", str(run)),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=120,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert statuses(run) == ["COMPLETED"] * 10
    reports = pq.read_table(run / "reports.parquet").select(["key", "epoch", "split"]).to_pylist()
    assert len(reports) == 10 * (40 + 1)
    assert len({tuple(row.values()) for row in reports}) == len(reports)


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Ray cluster of this machine, started and ended as one process of ours."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    environment[LOOPBACK] = "0"
    head = subprocess.Popen(
        [
            *(str(Path(sys.executable).with_name("ray")), "start", "--head", "--block"),
            *(f"--port={port}", "--num-cpus=2", "--include-dashboard=false"),
            *("--disable-usage-stats", "--object-store-memory=100000000"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd=tmp_path_factory.mktemp("cluster"),
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.2)
    yield f"127.0.0.1:{port}"
    head.send_signal(signal.SIGTERM)
    head.wait(timeout=60)


def test_a_running_cluster_is_joined_and_left_running(
    cluster: str, prepared_folder: Path, tmp_path: Path
) -> None:
    arguments = ["mrpc_grid", *FIX, "alpha=0.1", "seeds=[0]", "--out", str(tmp_path)]
    done = subprocess.run(
        command(prepared_folder, tmp_path, *arguments, "--name", "r", "--address", cluster),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert statuses(tmp_path / "r") == ["COMPLETED"] * 4
    host, _, port = cluster.partition(":")
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) == 0


def test_a_cluster_that_is_not_there_is_exit_3_in_a_line(
    prepared_folder: Path, tmp_path: Path
) -> None:
    arguments = ["mrpc_grid", *FIX, "--out", str(tmp_path), "--address", "127.0.0.1:1"]
    done = subprocess.run(
        command(prepared_folder, tmp_path, *arguments),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=120,
    )
    assert done.returncode == 3, done.stderr
    assert list(tmp_path.iterdir()) == []
    assert "nothing answers at 127.0.0.1:1" in done.stderr
