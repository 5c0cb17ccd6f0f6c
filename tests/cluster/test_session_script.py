"""The batch script runs a whole session; all commands but the shell's own are fakes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.slurm_script import Job, batch_script
from sweeps.terminal.signals import SESSION_OVER

FAKE = """#!/bin/bash
echo "${0##*/} $*" >>"$CALLS"
case "${0##*/} $*" in
    *ray.util*) echo 127.0.0.1 ;;
    *"show hostnames"*) echo n1 ;;
    *cluster.probe*) ls "$BESIDE" ;;
    *sweeps.run*) eval "$DEED" ;;
    squeue*) echo RUNNING ;;
esac
"""
"""Notes its call; the probe lists the folder beside the run, the sweep is a deed of the test."""

PORT = 10014
"""The head of job 7."""


@dataclasses.dataclass(frozen=True)
class Session:
    """What a session did."""

    code: int
    calls: list[str]

    def called(self, words: str) -> bool:
        return any(words in call for call in self.calls)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run that an earlier session has begun."""
    folder = tmp_path / "runs" / "grid"
    folder.mkdir(parents=True)
    (folder / "journal.jsonl").write_text("{}\n")
    folder.with_name("grid.slurm").mkdir(mode=0o700)
    return folder


@pytest.fixture
def session(run: Path, tmp_path: Path) -> Callable[..., Session]:
    """Runs the script on fakes: a session of job 7, in which the sweep does a deed."""
    commands = tmp_path / "commands"
    commands.mkdir()
    for name in ("srun", "scontrol", "squeue", "scancel", "sleep", "python"):
        (commands / name).write_text(FAKE)
        (commands / name).chmod(0o755)
    job = Job(run=run, words=("mrpc_grid",), python=str(commands / "python"), folder=tmp_path)

    def call(deed: str, *, restarts: int = 0) -> Session:
        calls = tmp_path / "calls"
        calls.unlink(missing_ok=True)
        environ = {
            **os.environ,
            "PATH": f"{commands}:{os.environ['PATH']}",
            "CALLS": str(calls),
            "BESIDE": str(job.beside),
            "DEED": f"run={run}; {deed}",
            "SLURM_JOB_ID": "7",
            "SLURM_JOB_NODELIST": "n1",
            "SLURMD_NODENAME": "n1",
            "SLURM_JOB_END_TIME": "9999999999",
            "SLURM_RESTART_COUNT": str(restarts),
        }
        words = ["bash", "-c", batch_script(job)]
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # another program is there, and answers too
                stack.enter_context(socket.create_server(("127.0.0.1", PORT)))
            done = subprocess.run(words, env=environ, capture_output=True, check=False)
        return Session(done.returncode, calls.read_text().splitlines())

    return call


def test_a_session_with_work_left_is_queued_again(session: Callable[..., Session]) -> None:
    ended = session(f"exit {SESSION_OVER}")
    assert ended.code == SESSION_OVER
    assert ended.called("scontrol requeue 7")


def test_a_stop_after_the_sweep_s_last_look_ends_the_job(
    session: Callable[..., Session],
) -> None:
    ended = session(f'touch "$run/stop"; exit {SESSION_OVER}')
    assert ended.code == 143
    assert not ended.called("requeue")


def test_a_stop_while_the_job_waits_ends_it_before_the_sweep(
    session: Callable[..., Session], run: Path
) -> None:
    (run / "stop").touch()
    ended = session("exit 0", restarts=1)
    assert ended.code == 143
    assert not ended.called("sweeps.run")
    assert not ended.called("requeue")


def test_a_stop_of_an_earlier_job_stops_no_new_one(
    session: Callable[..., Session], run: Path
) -> None:
    (run / "stop").touch()
    assert session("exit 0").code == 0


def test_what_a_killed_session_left_is_gone_before_the_next_one_has_its_nodes(
    session: Callable[..., Session], run: Path
) -> None:
    beside = run.with_name("grid.slurm")
    for name in ("address", "7.0.token", "8.0.token"):
        (beside / name).write_text("old")
    assert session("exit 0", restarts=1).code == 0
    names = (run / "slurm" / "7.1" / "probe.log").read_text().split()
    assert {"7.1.token", "8.0.token"} <= set(names)  # job 8 is another one
    assert not {"address", "7.0.token"} & set(names)
    assert sorted(path.name for path in beside.iterdir()) == ["8.0.token"]


def test_logs_are_moved_through_no_link(session: Callable[..., Session], run: Path) -> None:
    elsewhere = run.parent / "elsewhere"
    elsewhere.mkdir()
    (run / "slurm").symlink_to(elsewhere)
    assert session("exit 0").code == 0
    assert list(elsewhere.iterdir()) == []
    assert (run.with_name("grid.slurm") / "7.0" / "probe.log").exists()
