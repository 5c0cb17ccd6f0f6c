"""A cluster of real Ray nodes on this machine: what it lets in, what runs on it, what it leaves."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from cluster import local, local_nodes, private, state
from cluster.addresses import clusters_here
from cluster.processes import Process, boot, members, processes
from cluster.state import LocalNodes, Node
from mpc_router.prepare.frozen import prepare
from sweeps.journal.journal import read
from sweeps.plan.cluster_errands import ClusterErrands
from sweeps.raytune import _environment
from sweeps.raytune.folders import PREFIX
from sweeps.run import main
from tests.mpc_router.prepare.frozen_pools import config, forbid, places_at
from tests.sweeps.conftest import FIX, already_prepared, assert_same_tables, on_disk, rows

ROOT = Path(__file__).resolve().parents[2]
NAMES = ["head", "worker1", "worker2"]

slow, long = pytest.mark.slow, pytest.mark.long


@dataclass(frozen=True, kw_only=True)
class Place:
    """A user's cache, in the default folder of which a cluster is started."""

    cache: Path

    @property
    def folder(self) -> Path:
        return self.cache / "mpc-router" / "cluster"

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        threads = {"OMP_NUM_THREADS": "1"}
        return {**kept, **threads, "XDG_CACHE_HOME": str(self.cache), **more}

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=self.environment(**more),
            check=False,
            timeout=300,
        )

    def local(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "cluster.local", *words, **more)

    def cluster(self) -> LocalNodes:
        found = state.read(self.folder)
        assert found is not None
        return found


def kept(cluster: LocalNodes) -> bool:
    """Whether anything of it is left on this machine."""
    return bool(cluster.processes()) or Path(cluster.temporary).exists()


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The error, which is a line."""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Three nodes with a GPU each that none of them has."""
    place = Place(cache=tmp_path_factory.mktemp("up"))
    done = place.local("up", "--nodes", "3", "--cpus", "2", "--gpus", "1")
    try:
        assert done.returncode == 0, done.stderr
        (place.cache / "said").write_text(done.stdout)
        yield place
        cluster = place.cluster()
    finally:
        down = place.local("down")
    assert down.returncode == 0, down.stderr
    assert not kept(cluster)
    assert list(place.folder.iterdir()) == []


@slow
def test_up_says_a_line_a_node_and_what_to_type_next(up: Place) -> None:
    lines = (up.cache / "said").read_text().splitlines()
    assert sorted(line.split()[0] for line in lines[:3]) == NAMES
    address = up.cluster().address
    assert f"  mpc-router-sweep mrpc_grid --sample --address {address}" in lines
    assert lines[-1] == "  mpc-router-cluster local down"


@slow
def test_file_token_and_ray_s_folder_are_their_owner_s_alone(up: Place) -> None:
    for path in (up.folder, Path(up.cluster().temporary)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for name in (state.TOKEN, state._STATE):
        assert stat.S_IMODE((up.folder / name).stat().st_mode) == 0o600
    token = (up.folder / state.TOKEN).read_text()
    assert len(token) == 64
    for each in up.cluster().processes():
        assert token not in " ".join(psutil.Process(each.pid).cmdline())


@slow
def test_status_says_what_each_node_has(up: Place) -> None:
    done = up.local("status")
    assert done.returncode == 0, done.stderr
    first, *rest = done.stdout.splitlines()
    assert first == f"{up.cluster().address}: 3 of 3 nodes are up"
    assert [line.strip().partition(";")[0] for line in rest] == [
        f"{name}: up, 2 CPU, 1 GPU" for name in NAMES
    ]


@slow
def test_a_second_one_in_the_same_folder_is_refused(up: Place) -> None:
    before = up.cluster()
    done = up.local("up")
    assert done.returncode == 2
    assert before.address in one_line(done)
    assert up.cluster() == before


@slow
def test_every_part_listens_on_loopback_alone(up: Place) -> None:
    found = {
        connection.laddr.ip.removeprefix("::ffff:")
        for each in up.cluster().processes()
        for connection in psutil.Process(each.pid).net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert found == {"127.0.0.1"}


JOIN = """
import sys, ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level="error")
except Exception as error:
    sys.exit(f"refused: {error}")
print(len(ray.nodes()))
"""


@slow
@pytest.mark.parametrize(
    ("mode", "token", "code"),
    [("token", "own", 0), ("token", "wrong", 1), ("token", "", 1), ("disabled", "", 1)],
)
def test_only_who_has_the_token_is_let_in(
    up: Place, tmp_path: Path, mode: str, token: str, code: int
) -> None:
    (tmp_path / "wrong").write_text("0" * 64)
    paths = {"own": str(up.folder / state.TOKEN), "wrong": str(tmp_path / "wrong")}
    more = {"RAY_AUTH_TOKEN_PATH": paths[token]} if token else {"HOME": str(tmp_path)}
    more |= {"RAY_AUTH_MODE": mode, _environment.LOOPBACK: "0", "RAY_NUM_REDIS_GET_RETRIES": "1"}
    done = up.run("-c", JOIN, up.cluster().address, **more)
    assert done.returncode == code, done.stderr
    assert done.stdout.strip() == ("3" if code == 0 else "")
    assert ("refused" in done.stderr) == bool(code)


NAMES_OTHER_VERSIONS = """
import json, sys
from ray._raylet import GcsClient
head = GcsClient(address=sys.argv[1])
earlier = head.internal_kv_get(b"CLUSTER_METADATA", b"cluster")
named = json.dumps({**json.loads(earlier), **json.loads(sys.argv[2])}).encode()
head.internal_kv_put(b"CLUSTER_METADATA", named, True, b"cluster")
print(flush=True)
sys.stdin.read()
head.internal_kv_put(b"CLUSTER_METADATA", earlier, True, b"cluster")
"""
"""It overwrites what a cluster says of its versions until its input ends."""


@pytest.fixture
def refusal(
    up: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """The message of a sweep on the cluster that is refused before anything is made."""

    def call(*words: str, **more: str) -> str:
        for name, value in {"XDG_CACHE_HOME": str(up.cache), **more}.items():
            monkeypatch.setenv(name, value)
        places = ("--out", str(tmp_path / "runs"), "--cache", str(tmp_path / "cache"))
        assert main(["mrpc_grid", "--sample", "--quiet", *words, *places]) == 2
        assert not (tmp_path / "runs").exists()
        assert not (tmp_path / "cache" / "outputs").exists()
        return capsys.readouterr().err

    return call


@slow
def test_a_sweep_with_a_wrong_token_is_refused_before_anything_is_prepared(
    up: Place, refusal: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "wrong").write_text("0" * 64)
    token = {"RAY_AUTH_TOKEN_PATH": str(tmp_path / "wrong")}
    said = refusal("--address", up.cluster().address, **token)
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert "name its token's file with RAY_AUTH_TOKEN_PATH=FILE" in said


@slow
def test_more_cpus_a_pack_than_any_node_has_are_refused_at_once(
    up: Place, refusal: Callable[..., str]
) -> None:
    said = refusal("pack.cpus=5", "pack.gpus=1", RAY_ADDRESS=up.cluster().address)
    first, second = said.splitlines()
    assert first.startswith(f"note: RAY_ADDRESS is {up.cluster().address}: the sweep joins")
    assert second.startswith("error: a pack takes 5 CPU and 1 GPU, but no node of the cluster at")
    assert "they have 2 CPU and 1 GPU;" in second


@slow
@pytest.mark.parametrize(
    "other",
    [{"ray_version": "2.0.0"}, pytest.param({"python_version": "3.9.1"}, marks=long)],
)
def test_another_ray_or_python_on_the_cluster_is_named_and_refused(
    other: dict[str, str], up: Place, refusal: Callable[..., str]
) -> None:
    address = up.cluster().address
    mine = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(up.folder / state.TOKEN)}
    with subprocess.Popen(
        [sys.executable, "-c", NAMES_OTHER_VERSIONS, address, json.dumps(other)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=up.environment(**mine),
    ) as named:
        assert named.stdout is not None
        assert named.stdout.readline() == "\n"
        try:
            said = refusal("--address", address)
        finally:
            named.communicate(timeout=300)
    assert named.returncode == 0
    (version,) = other.values()
    assert said.count("\n") == 1
    assert f"the cluster at {address} runs Ray " in said
    assert version in said.partition("but this command Ray")[0]


@slow
def test_a_sweep_joins_by_the_address_finds_the_token_and_leaves_the_cluster_running(
    up: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on_disk(tmp_path / "prepared")
    already_prepared(monkeypatch, tmp_path / "prepared")
    monkeypatch.setenv("XDG_CACHE_HOME", str(up.cache))
    study = ("mrpc_grid", *FIX, "alpha=0.1", "seeds=[0]", "pack.gpus=0", "pack.points=2")
    places = ("--out", str(tmp_path), "--cache", str(tmp_path / "cache"), "--name", "r")
    code = main([*study, "--sample", "--no-report", *places, "--address", up.cluster().address])
    assert code == 0, capsys.readouterr().err
    assert [trial["status"] for trial in rows(tmp_path / "r", "trials")] == ["COMPLETED"] * 4
    assert len(up.cluster().processes()) > len(NAMES)
    host, _, port = up.cluster().address.partition(":")
    with socket.socket() as probe:
        assert probe.connect_ex((host, int(port))) == 0


@slow
def test_each_expert_is_trained_once_on_a_node_with_a_gpu_and_none_in_this_process(
    up: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(up.cache))
    lines: list[str] = []
    runner = ClusterErrands(
        address=up.cluster().address, scaled=False, patience=300.0, say=lines.append, pays=0.0
    )
    chosen = config(expert_model_names=["sample/tiny", "sample/base"], stem="expert")
    here = prepare(chosen, places_at(tmp_path / "here"))
    monkeypatch.setattr("mpc_router.experts.encoder_runs.fine_tune", forbid)
    monkeypatch.setattr("mpc_router.experts.encoder_runs.predict", forbid)
    on_nodes = prepare(chosen, places_at(tmp_path / "there", runner=runner))
    labels = [line.partition(" on node ")[0] for line in lines]
    assert sorted(labels) == ["expert 1 of 2: tiny", "expert 2 of 2: base"]
    assert all(line.endswith(" (GPU)") for line in lines)
    for name, split in here.splits.items():
        assert np.array_equal(on_nodes.splits[name].outputs, split.outputs)
        assert np.array_equal(on_nodes.splits[name].features, split.features)


@slow
def test_auto_finds_the_cluster_of_this_machine(up: Place) -> None:
    assert up.cluster().address in clusters_here(embedded=PREFIX)


@slow
def test_auto_passes_over_the_ray_of_a_sweep(up: Place) -> None:
    name = Path(up.cluster().temporary).name
    assert up.cluster().address not in clusters_here(embedded=name)


GRID = [
    *("mrpc_grid", "--sample", "--no-report", "--quiet", "train_rows=96", "validation_rows=60"),
    *("router_hidden_size=8", "epochs=300", "seeds=[0, 1]", "start=[]", "pack.points=1"),
    *("alpha={grid: [0, 0.01, 0.03, 0.1, 0.3, 1]}", "beta={grid: [0.003, 0.01, 0.03, 0.1]}"),
]
"""24 packs, which last longer than it takes a node to start its workers."""


@dataclass(frozen=True, kw_only=True)
class Swept:
    """A run on the cluster, and what was seen meanwhile."""

    run: Path
    cache: Path
    at_once: dict[str, int] = field(default_factory=dict)
    """The most workers of packs that a node had."""


def packs_on(cluster: LocalNodes) -> dict[str, int]:
    """How many workers of packs each node has now."""
    found = dict.fromkeys(NAMES, 0)
    names = {node.pid: node.name for node in cluster.nodes}
    for each in cluster.processes():
        try:
            title = " ".join(psutil.Process(each.pid).cmdline())
        except psutil.NoSuchProcess:
            continue
        if title.startswith("ray::") and "Trainable" in title:
            found[names[each.session]] += 1
    return found


@pytest.fixture(scope="module")
def swept(up: Place, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """The grid, two packs to a GPU."""
    folder = tmp_path_factory.mktemp("swept")
    cluster, most = up.cluster(), dict.fromkeys(NAMES, 0)
    words = [*GRID, "pack.gpus=0.5", "--address", cluster.address, "--name", "there"]
    words += ["--out", str(folder), "--cache", str(folder / "cache")]
    with (folder / "said").open("w") as said:
        sweep = subprocess.Popen(
            [sys.executable, "-m", "sweeps.run", *words],
            stdout=said,
            stderr=said,
            cwd=ROOT,
            env=up.environment(),
        )
        while sweep.poll() is None:
            now = packs_on(cluster)
            most = {name: max(most[name], now[name]) for name in NAMES}
            time.sleep(0.2)
    assert sweep.returncode == 0, (folder / "said").read_text()
    return Swept(run=folder / "there", cache=folder / "cache", at_once=most)


@long
@slow
def test_a_sweep_finds_the_token_by_the_address_and_gives_the_rows_of_the_embedded_run(
    swept: Swept, up: Place
) -> None:
    pool = {path: path.stat().st_mtime_ns for path in swept.cache.rglob("*.npy")}
    words = [*GRID, "--name", "here", "--out", str(swept.run.parent), "--cache", str(swept.cache)]
    done = up.run("-m", "sweeps.run", *words)
    assert done.returncode == 0, done.stderr
    assert len(set(pq.read_table(swept.run / "trials.parquet")["pack"].to_pylist())) == 24
    assert_same_tables(swept.run, swept.run.with_name("here"))
    assert pool == {path: path.stat().st_mtime_ns for path in swept.cache.rglob("*.npy")}


@long
@slow
def test_packs_go_to_every_node_and_two_share_a_gpu(swept: Swept) -> None:
    events = [event for event in read(swept.run / "journal.jsonl") if event["event"] == "started"]
    ran = Counter(event["node"] for event in events)
    assert set(ran) == set(NAMES)
    assert all(event["gpus"] == ["0"] for event in events)  # the only one of each node
    assert sum(ran.values()) == 24
    assert set(swept.at_once) == set(NAMES)
    assert all(1 <= count <= 2 for count in swept.at_once.values()), swept.at_once
    assert 2 in swept.at_once.values()


@long
@slow
def test_the_cluster_outlives_the_sweep(swept: Swept, up: Place) -> None:
    assert up.local("status").returncode == 0


def raylet(cluster: LocalNodes, node: Node) -> int:
    """The process that is the node to Ray."""
    for each in cluster.processes():
        words = psutil.Process(each.pid).cmdline()
        if each.session == node.pid and words and words[0].endswith("/raylet"):
            return each.pid
    raise AssertionError(f"{node.name} has no raylet")


def until_gone(pid: int) -> None:
    """Waits for the process to end."""
    end = time.monotonic() + 300
    while pid in processes() and time.monotonic() < end:
        time.sleep(0.1)
    assert pid not in processes()


@slow
def test_a_half_dead_cluster_is_said_to_be_and_taken_down_clean(tmp_path: Path) -> None:
    place = Place(cache=tmp_path)
    try:
        assert place.local("up", "--nodes", "2").returncode == 0
        cluster = place.cluster()
        head, worker = cluster.nodes
        os.kill(raylet(cluster, worker), signal.SIGKILL)
        until_gone(worker.pid)  # it watches its raylet
        done = place.local("status")
        assert done.returncode == 3
        assert "1 of 2 nodes are up" in done.stdout
        assert "worker1: dead: its process has ended" in done.stdout
        assert "mpc-router-cluster local down" in one_line(done)

        os.kill(head.pid, signal.SIGKILL)
        until_gone(head.pid)
        done = place.local("status")
        assert done.returncode == 3
        assert "0 of 2 nodes are up" in done.stdout
    finally:
        done = place.local("down")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ended 2 nodes")
    assert not kept(cluster)
    again = place.local("down")
    assert (again.returncode, again.stdout) == (0, "nothing is up\n")
    assert place.local("status").returncode == 2


@slow
def test_an_up_that_is_stopped_ends_what_it_has_started(tmp_path: Path) -> None:
    place = Place(cache=tmp_path)
    command = [sys.executable, "-m", "cluster.local", "up"]
    begun = subprocess.Popen(
        command, cwd=ROOT, env=place.environment(), stderr=subprocess.PIPE, text=True
    )
    cluster = None
    while begun.poll() is None and (cluster is None or not cluster.nodes):
        cluster = state.read(place.folder)
        time.sleep(0.05)
    begun.send_signal(signal.SIGTERM)
    _, said = begun.communicate(timeout=300)
    assert (begun.returncode, said) == (143, "error: stopped\n")
    assert cluster is not None
    assert not kept(cluster)
    assert list(place.folder.iterdir()) == []


@slow
@pytest.mark.parametrize(
    ("words", "more", "said"),
    [
        (["--timeout", "1"], {}, "not all nodes were up after 1 seconds"),
        (["--gpus", "2"], {"CUDA_VISIBLE_DEVICES": "0"}, "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_nodes_that_do_not_come_up_are_exit_3_and_all_are_ended(
    tmp_path: Path, words: Sequence[str], more: dict[str, str], said: str
) -> None:
    place = Place(cache=tmp_path)
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as short:
        done = place.local("up", *words, TMPDIR=short, **more)
        left = sorted(Path(short).rglob("*"))
    assert said in one_line(done)
    assert done.returncode == 3
    assert left == []
    assert list(place.folder.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        *(["up", "--nodes", given] for given in ("0", "-1", "three", "1.5", "17", "9" * 30, "")),
        *(["up", "--cpus", given] for given in ("0", "9" * 30)),
        *(["up", "--gpus", given] for given in ("-1", "x")),
        *(["up", "--port", given] for given in ("0", "80", "65536")),
        *(["up", "--timeout", "0"], ["up", "--nod", "3"], ["stop"], []),
        *(["up", "--folder", "/proc/none"], ["up", "--folder", "/tmp"]),
        *(["up", "--folder", "/tmp/" + "x" * 300], ["status"]),
    ],
)
def test_bad_input_is_exit_2_in_a_line_and_starts_nothing(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(local_nodes, "start", lambda *_: pytest.fail("something was started"))
    try:
        code: object = local.main(words)
    except SystemExit as error:
        code = error.code
    assert code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_exit_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(local_nodes, "start", lambda *_: pytest.fail("something was started"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert local.main(["up", "--port", port, "--folder", str(tmp_path / "own")]) == 2
    assert f"port {port} is taken" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"nodes": 3}', '{"nodes": [{"name": "x"}]}', '{"nodes": []}']
)
@pytest.mark.parametrize("command", ["up", "status", "down"])
def test_a_damaged_file_is_exit_3_in_a_line(
    command: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / state._STATE).write_text(text)
    assert local.main([command, "--folder", str(tmp_path)]) == 3
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert (tmp_path / state._STATE).read_text() == text


def test_two_at_work_in_a_folder_are_one_too_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o700)
    number = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        assert local.main(["down", "--folder", str(tmp_path)]) == 3
    finally:
        os.close(number)
    assert "another up or down" in capsys.readouterr().err


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, which nothing here may end."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        yield process
        process.kill()


def written(folder: Path, *, pid: int, start: int, boot_id: str) -> None:
    folder.chmod(0o700)
    node = Node(name="head", pid=pid, start=start)
    place = str(folder / "theirs")
    state.write(
        folder, LocalNodes(address="127.0.0.1:1", temporary=place, boot=boot_id, nodes=(node,))
    )


@pytest.mark.parametrize(("later", "boot_id"), [(1, boot()), (0, "another")])
def test_down_spares_whoever_has_a_node_s_number_by_now(
    later: int, boot_id: str, tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    (tmp_path / "theirs").mkdir()
    start = processes()[sleeper.pid].start
    written(tmp_path, pid=sleeper.pid, start=start - later, boot_id=boot_id)
    assert local.main(["down", "--folder", str(tmp_path)]) == 0
    assert sleeper.poll() is None
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]  # a folder not named as ours


def test_down_ends_what_a_dead_leader_has_left_behind(tmp_path: Path) -> None:
    leader = subprocess.Popen(
        ["sh", "-c", "trap '' TERM; (trap - TERM; sleep 600) & echo $!; exec sleep 600"],
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert leader.stdout is not None
    orphan = int(leader.stdout.readline())
    start = processes()[leader.pid].start
    leader.kill()
    leader.wait()
    assert [each.pid for each in members({leader.pid: start}, processes())] == [orphan]
    written(tmp_path, pid=leader.pid, start=start, boot_id=boot())
    assert local.main(["down", "--folder", str(tmp_path)]) == 0
    until_gone(orphan)


def test_who_does_not_heed_sigterm_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(local_nodes, "_GRACE", 0.5)
    deaf = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()",
        ],
        start_new_session=True,
        stdout=subprocess.PIPE,
    )
    assert deaf.stdout is not None
    deaf.stdout.readline()
    written(tmp_path, pid=deaf.pid, start=processes()[deaf.pid].start, boot_id=boot())
    assert local.main(["down", "--folder", str(tmp_path)]) == 0
    assert deaf.wait(timeout=300) == -signal.SIGKILL
    assert "1 of them by SIGKILL" in capsys.readouterr().out


FORKS = """
import os, pathlib, sys, time
if not os.fork():
    new = pathlib.Path(sys.argv[1] + ".new")
    new.write_text(str(os.getpid()))
    new.rename(sys.argv[1])
time.sleep(600)
"""


def test_a_node_that_cannot_be_found_is_ended_with_what_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child"
    monkeypatch.setattr(local_nodes, "_HEAD", ("-c", FORKS, str(child)))

    def none() -> dict[int, Process]:
        while not child.exists():
            time.sleep(0.02)
        return {}

    monkeypatch.setattr(local_nodes, "processes", none)
    folder = tmp_path / "cluster"
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        assert local.main(["up", "--folder", str(folder)]) == 3
        assert list(Path(short).iterdir()) == []
    assert list(folder.iterdir()) == []
    until_gone(int(child.read_text()))


def test_a_folder_of_ray_that_stays_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(private, "remove", lambda *_: None)
    place = tmp_path / "mpcr-local-x"
    place.mkdir(mode=0o700)
    folder = tmp_path / "cluster"
    state.make_private(folder)
    state.write(folder, LocalNodes(address="127.0.0.1:1", temporary=str(place), boot="b"))
    assert local.main(["down", "--folder", str(folder)]) == 3
    assert f"all nodes have ended, but {place} stays" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def joined(address: str, **environ: str) -> dict[str, str]:
    """What `sweeps.run --address` tells Ray of tokens."""
    found = _environment.environment(address, environ)
    return {name: value for name, value in found.items() if name.startswith("RAY_AUTH")}


def test_the_token_is_found_by_the_address_and_the_mode_is_always_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = state.default_folder()
    state.make_private(folder)
    written(folder, pid=1, start=1, boot_id=boot())
    found = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / state.TOKEN)}
    assert joined("127.0.0.1:1") == joined("localhost:1") == found
    assert joined("127.0.0.1:2") == joined("10.0.0.1:1") == {"RAY_AUTH_MODE": "disabled"}
    own = {"RAY_AUTH_TOKEN_PATH": "/own"}
    assert joined("127.0.0.1:1", **own) == {"RAY_AUTH_MODE": "token", **own}
    assert joined("10.0.0.1:1", RAY_AUTH_TOKEN="t")["RAY_AUTH_MODE"] == "token"
    assert joined("127.0.0.1:1", RAY_AUTH_MODE="disabled")["RAY_AUTH_MODE"] == "disabled"
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("t")
    assert joined("10.0.0.1:1") == {"RAY_AUTH_MODE": "token"}


def test_the_file_says_what_was_written(tmp_path: Path) -> None:
    written(tmp_path, pid=7, start=8, boot_id="b")
    found = state.read(tmp_path)
    assert found is not None
    assert found.nodes == (Node(name="head", pid=7, start=8),)
    assert json.loads((tmp_path / state._STATE).read_text())["boot"] == "b"
