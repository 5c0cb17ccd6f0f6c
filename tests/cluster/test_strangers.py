"""A node of several machines, on an address of its own: who comes from another network, and in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.cluster import networks

ROOT = Path(__file__).resolve().parents[2]
PORT = 9001

pytestmark = [pytest.mark.long, pytest.mark.slow]

ASK = """
import sys
from ray._raylet import GcsClient
try:
    GcsClient(address=sys.argv[1]).internal_kv_put(b"was here", b"1", True, b"test")
    nodes = GcsClient(address=sys.argv[1]).get_all_node_info()
except Exception as error:
    sys.exit(f"refused: {error}")
print(len(nodes))
"""
"""It writes to the head's memory, and lists its nodes."""

CALL = """
import sys, ray
try:
    ray.init(address="ray://" + sys.argv[1])
    print(ray.get(ray.remote(max).remote(1, 2)))
except Exception as error:
    sys.exit(f"refused: {error}")
"""
"""It runs a task through Ray's client server."""


@dataclass(frozen=True)
class Head:
    """A node in a network, and the way into its neighbour's."""

    process: subprocess.Popen[str]
    outside: tuple[str, ...]
    token: Path
    folders: str

    def from_outside(
        self, program: str, port: int, **more: str
    ) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        few = {"RAY_NUM_REDIS_GET_RETRIES": "1", "HOME": str(self.token.parent)}
        return subprocess.run(
            [*self.outside, sys.executable, "-c", program, f"{networks.ADDRESS}:{port}"],
            env={**kept, **few, **more},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """The head of a session on Slurm, as its batch script starts it."""
    if reason := networks.missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("head")
    (folder / "token").write_text("5" * 64)
    (folder / "wrong").write_text("6" * 64)
    prefix = f"mpcr-test-{os.getpid()}."
    words = ["head", "--port", str(PORT), "--cpus", "1", "--gpus", "0", "--name", "n1"]
    environ = {**os.environ, "RAY_AUTH_TOKEN_PATH": str(folder / "token"), "HF_TOKEN": "planted"}
    names = (f"mpcr-a{os.getpid()}", f"mpcr-b{os.getpid()}")
    with (
        networks.network(names[0]) as inside,
        networks.neighbour(names[1], of=names[0]) as outside,
        (folder / "log").open("w") as log,
    ):
        process = subprocess.Popen(
            [*inside, sys.executable, "-m", "cluster.node", *words, "--folders", prefix],
            env=environ,
            cwd=ROOT,
            stdout=log,
            stderr=log,
            text=True,
        )
        made = Head(process, outside, folder / "token", prefix)
        own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(made.token)}
        end = time.monotonic() + 300
        try:
            while made.from_outside(ASK, PORT, **own).stdout != "1\n":
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < end, (folder / "log").read_text()
            yield made
        finally:
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0, (folder / "log").read_text()
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive
        assert not list(Path("/tmp").glob(f"{prefix}*"))


STRANGERS = [
    {},
    {"RAY_AUTH_MODE": "disabled"},
    {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "6" * 64},
    {"RAY_AUTH_MODE": "token"},
]


@pytest.mark.parametrize("stranger", STRANGERS, ids=["default", "disabled", "wrong", "none"])
def test_a_client_without_the_token_is_refused_on_the_second_address(
    head: Head, stranger: dict[str, str]
) -> None:
    done = head.from_outside(ASK, PORT, **stranger)
    assert done.returncode != 0, done.stdout  # without any token Ray aborts the client itself
    assert done.stdout == ""


@pytest.mark.parametrize("stranger", STRANGERS, ids=["default", "disabled", "wrong", "none"])
def test_ray_s_client_runs_nothing_for_a_stranger(head: Head, stranger: dict[str, str]) -> None:
    done = head.from_outside(CALL, PORT + 1, **stranger)
    assert done.returncode != 0, done.stdout
    assert done.stdout == ""


def test_the_token_s_holder_is_let_in(head: Head) -> None:
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(head.token)}
    done = head.from_outside(ASK, PORT, **own)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_the_node_s_processes_have_no_secrets_and_show_no_token(head: Head) -> None:
    children = psutil.Process(head.process.pid).children(recursive=True)
    assert len(children) > 3
    for process in children:
        try:
            assert "planted" not in process.environ().values()
            assert "5" * 64 not in " ".join([*process.cmdline(), *process.environ().values()])
        except psutil.NoSuchProcess:
            continue
