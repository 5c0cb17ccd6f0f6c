"""One node of a cluster of machines: what its processes are told, and what it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import node
from cluster.processes import processes

WORDS = ["worker", "--head", "10.0.0.1:9000", "--cpus", "1", "--gpus", "0", "--name", "n1"]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The signals of the tests' own process stay what they were."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_the_processes_of_a_node_ask_for_a_token_and_have_no_secrets() -> None:
    caller = {"PATH": "/bin", "HF_TOKEN": "planted", "RAY_AUTH_TOKEN_PATH": "/token"}
    told = node._environment({**caller, "RAY_AUTH_MODE": "disabled"})
    assert told["RAY_AUTH_MODE"] == "token"
    assert told["RAY_AUTH_TOKEN_PATH"] == "/token"
    assert told["PATH"] == "/bin"
    assert "planted" not in told.values()
    assert node._LOOPBACK not in told  # other machines have to reach it


def run(monkeypatch: pytest.MonkeyPatch, script: str) -> tuple[int, list[int]]:
    """A node whose Ray is a script; gives its exit code and the script's processes."""
    started: list[int] = []

    def start(words: list[str], folder: Path) -> subprocess.Popen[bytes]:
        (folder / "socket").touch()
        process = subprocess.Popen(["bash", "-c", script], start_new_session=True)
        started.append(process.pid)
        return process

    monkeypatch.setattr(node, "_start", start)
    code = node.main([*WORDS, "--folders", f"mpcr-test-{os.getpid()}."])
    assert not list(Path("/tmp").glob(f"mpcr-test-{os.getpid()}.*"))
    return code, started


def test_sigterm_ends_the_node_and_all_its_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    code, (leader,) = run(monkeypatch, "sleep 600 & sleep 600 & wait")
    timer.join()
    assert code == 0
    assert not [process for process in processes().values() if process.session == leader]


def test_a_ray_that_ends_by_itself_is_exit_3_and_what_it_left_is_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, (leader,) = run(monkeypatch, "sleep 600 & exit 1")
    assert code == 3
    assert capsys.readouterr().err == "error: Ray on n1 has ended by itself\n"
    assert not [process for process in processes().values() if process.session == leader]
