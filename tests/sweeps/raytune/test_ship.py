"""Nodes that do not see the user's folders get what they need, and what they write comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cluster import local, local_nodes, state
from cluster.processes import members, processes
from mpc_router.prepare.frozen import prepare
from mpc_router.storage.lane_files import files_by_key
from sweeps.journal.journal import read
from sweeps.plan.cluster_errands import ClusterErrands
from sweeps.raytune import _depot, _ship
from sweeps.raytune._ship import Folders, NodeView, ReachError
from sweeps.records import COMPLETED
from tests.mpc_router.prepare.frozen_pools import custom, forbid, models_folder, places_at
from tests.sweeps.conftest import assert_same_tables, rows

ROOT = Path(__file__).resolve().parents[3]


def test_a_depot_reads_files_of_the_run_alone_and_in_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run" / "states").mkdir(parents=True)
    (tmp_path / "run" / "states" / "pack00-1.safetensors").write_bytes(b"0123456789")
    (tmp_path / "secret").write_bytes(b"x")
    monkeypatch.setattr(_depot, "CHUNK", 4)
    opened = _depot.Depot([], str(tmp_path / "run"))
    chunks = [opened.chunk("states/pack00-1.safetensors", start) for start in (0, 4, 8, 10)]
    assert chunks == [b"0123", b"4567", b"89", b""]
    for name in ("../secret", str(tmp_path / "secret"), "states/../../secret"):
        with pytest.raises(ReachError, match="is no name of a file"):
            opened.chunk(name, 0)


class LocalActor:
    """An actor of Ray that answers at once, in this process."""

    def __init__(self, made: object) -> None:
        self._made = made

    def __getattr__(self, method: str) -> Any:
        return SimpleNamespace(remote=getattr(self._made, method))


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[LocalActor]:
    """A node in a folder of this machine; its actors come here as they are started."""
    actors: list[LocalActor] = []

    def remote(made: Any) -> Any:
        def start(*arguments: Any) -> LocalActor:
            actors.append(LocalActor(made(*arguments)))
            return actors[-1]

        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=start))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "node"))
    (tmp_path / "node").mkdir()
    monkeypatch.setattr(_ship, "answer", lambda _, answer: answer)
    monkeypatch.setattr(_ship, "CHUNK", 300)
    monkeypatch.setattr("ray.remote", remote)
    monkeypatch.setattr(_depot, "on_node", lambda _: {})
    return actors


def made_folder(path: Path, *, size: int) -> Path:
    path.mkdir()
    (path / "train.npy").write_bytes(b"x" * size)
    (path / "empty").touch()
    return path


def contents_of(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.mark.parametrize("shares", [True, False])
def test_a_node_is_sent_once_what_it_does_not_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: list[LocalActor], shares: bool
) -> None:
    prepared = made_folder(tmp_path / "prepared", size=1000)
    views: list[str] = []

    def view(node: str, folders: Folders, run: Path) -> NodeView:
        views.append(node)
        return NodeView(node=node, name="worker", missing=(str(prepared),), shares=shares)

    monkeypatch.setattr(_ship, "view_node", view)
    opened = _depot.Depot([str(prepared)], str(tmp_path / "run"))
    first, second = opened.supply("n1"), opened.supply("n1")
    assert first is not None
    assert first is second
    assert (views, len(node)) == (["n1"], 1)
    copy = Path(first.folders[str(prepared)])
    assert copy.is_relative_to(tmp_path / "node")
    assert contents_of(str(copy)) == {"train.npy": b"x" * 1000, "empty": b""}
    assert (first.writable is None) == shares
    opened.close()
    assert not copy.exists()


def test_a_node_is_asked_once_about_further_folders_and_a_broken_send_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, node: list[LocalActor]
) -> None:
    tokens = str(made_folder(tmp_path / "tokens", size=500))
    model = str(made_folder(tmp_path / "model", size=700))
    asked: list[list[str]] = []
    broken = [True]

    def view(node: str, folders: Folders, run: Path) -> NodeView:
        missing = tuple(map(str, folders))
        asked.append(list(missing))
        return NodeView(node=node, name="worker", missing=missing, shares=False)

    def send(
        folder: Path, names: Sequence[str] | None, name: str, actor: Any, *, node: str
    ) -> None:
        sent(folder, names, name, actor, node=node)
        if broken.pop() if broken else False:
            raise ReachError("the connection broke")

    sent = _ship.send
    monkeypatch.setattr(_ship, "view_node", view)
    monkeypatch.setattr(_ship, "send", send)
    opened = _depot.Depot([], str(tmp_path / "run"))
    with pytest.raises(ReachError):
        opened.supply("n1", {tokens: None})
    first = opened.supply("n1", {tokens: None})
    second = opened.supply("n1", {tokens: None, model: ["train.npy"]})
    assert asked == [[tokens], [tokens], [model]]
    assert first is not None
    assert second is not None
    assert set(first.folders) == {tokens}
    assert set(second.folders) == {tokens, model}
    assert contents_of(second.folders[tokens])["train.npy"] == b"x" * 500
    assert contents_of(second.folders[model]) == {"train.npy": b"x" * 700}
    assert len(node) == 1
    opened.close()
    assert not any(Path(copy).exists() for copy in second.folders.values())


def test_a_node_sees_a_folder_where_the_files_that_are_read_are_the_same(tmp_path: Path) -> None:
    folder = made_folder(tmp_path / "model", size=10)
    names = ["train.npy", "config.json"]
    wanted = {str(folder): (names, _ship.listing(folder, names))}
    assert list(wanted[str(folder)][1]) == ["train.npy"]
    probe = str(tmp_path / ".probe.tmp")
    (folder / "checkpoint-500").mkdir()
    (folder / "checkpoint-500" / "optimizer.pt").write_bytes(b"x")
    assert _ship._view(wanted, probe, "token") == ([], False)
    (folder / "config.json").touch()
    assert _ship._view(wanted, probe, "token") == ([str(folder)], False)


HIDING = """#!/bin/sh
case "$*" in
*--node-name=$HIDING*) exec unshare -m sh -c 'mount -t tmpfs tmpfs "$HIDDEN" && exec "$0" "$@"' \
  "$PYTHON" "$@" ;;
*) exec "$PYTHON" "$@" ;;
esac
"""
"""Python; where the node that is named begins, in a file system in which a folder is empty."""


def may_mount() -> bool:
    """Whether we may hide a folder from a process."""
    wish = ["unshare", "-m", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    try:
        return subprocess.run(wish, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture
def hiding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[tuple[str, Path, Path]]:
    """A head and a worker, and which of those and later ones does not see a folder: the address,
    this folder, and the token's."""
    if not may_mount():
        pytest.skip("only who may mount can hide a folder from a node")
    hidden, folder = tmp_path / "hidden", tmp_path / "cluster"
    hidden.mkdir()
    python = tmp_path / "python"
    python.write_text(HIDING)
    python.chmod(0o755)
    monkeypatch.setenv("HIDDEN", str(hidden))
    monkeypatch.setenv("HIDING", request.param)
    monkeypatch.setenv("PYTHON", sys.executable)  # before it is another one
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(python))
        code = local.main(["up", "--nodes", "2", "--cpus", "1", "--folder", str(folder)])
    try:
        assert code == 0
        found = state.read(folder)
        assert found is not None
        yield found.address, hidden, folder
    finally:
        local.main(["down", "--folder", str(folder)])


GRID = (
    *("mrpc_grid", "--sample", "--no-report", "--quiet", "train_rows=96", "validation_rows=60"),
    *("router_hidden_size=64", "epochs=150", "seeds=[0, 1]", "pack.points=1"),
)
"""Ten packs."""


def call(hidden: Path, folder: Path, *words: str) -> subprocess.Popen[str]:
    """Begins a sweep in the folder that a node does not see."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    token = {"RAY_AUTH_TOKEN_PATH": str(folder / state.TOKEN)}
    known = ("--cache", str(hidden / "cache"), "--out", str(hidden / "runs"))
    return subprocess.Popen(
        [sys.executable, "-m", "sweeps.run", *GRID, *known, *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**kept, **token, "OMP_NUM_THREADS": "1"},
    )


def nodes_of(run: Path) -> Counter[str]:
    events = [event for event in read(run / "journal.jsonl") if event["event"] == "started"]
    return Counter(event["node"] for event in events)


@pytest.mark.long
@pytest.mark.parametrize("hiding", ["worker1"], indirect=True)
def test_a_sweep_over_a_node_that_sees_nothing_gives_the_rows_of_the_embedded_run(
    hiding: tuple[str, Path, Path],
) -> None:
    address, hidden, folder = hiding
    for name, where in (("there", ("--address", address)), ("here", ())):
        running = call(hidden, folder, "--name", name, *where)
        _, complaints = running.communicate(timeout=300)
        assert running.returncode == 0, complaints
        assert "lost its worker" not in complaints
    run = hidden / "runs" / "there"
    assert_same_tables(run, hidden / "runs" / "here")
    assert set(nodes_of(run)) == {"head", "worker1"}
    assert len(files_by_key(run / "checkpoints")) == 20
    assert not [path for path in run.rglob("*") if path.name.endswith(".tmp")]


@pytest.mark.long
@pytest.mark.parametrize("hiding", ["worker1"], indirect=True)
def test_experts_are_trained_on_a_node_that_sees_nothing_and_what_they_say_comes_back(
    hiding: tuple[str, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, hidden, folder = hiding
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(folder / state.TOKEN))
    models, lines = models_folder(hidden / "models", tuned=False), list[str]()
    chosen = custom(expert_epochs=2, expert_learning_rate=1e-3)
    here = prepare(chosen, places_at(tmp_path / "here", models))
    monkeypatch.setattr("mpc_router.experts.encoder_runs.fine_tune", forbid)
    runner = ClusterErrands(
        address=address, scaled=False, patience=60.0, say=lines.append, pays=0.0
    )
    on_nodes = prepare(chosen, places_at(hidden / "cache", models, runner))
    assert sorted(line.partition(" on node ")[0] for line in lines) == [
        *("expert 1 of 2: small", "expert 2 of 2: large", "stem: small"),
    ]
    assert any(line.endswith(" on node worker1") for line in lines)
    for name, split in here.splits.items():
        assert np.array_equal(on_nodes.splits[name].outputs, split.outputs)
        assert np.array_equal(on_nodes.splits[name].features, split.features)
    assert {path.suffix for path in (hidden / "cache" / "errands").iterdir()} == {".lock"}


@pytest.mark.long
@pytest.mark.parametrize("hiding", ["worker2"], indirect=True)
def test_a_node_that_joins_during_a_run_is_supplied_when_it_comes(
    hiding: tuple[str, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, hidden, folder = hiding
    longer = "epochs=900"  # than a node needs to come: shorter packs are over by then
    running = call(hidden, folder, longer, "--name", "r", "--address", address)
    run = hidden / "runs" / "r"
    while not run.exists() or "worker1" not in nodes_of(run):
        assert running.poll() is None
        time.sleep(0.2)
    started = state.read(folder)
    assert started is not None
    for process in members({node.pid: node.start for node in started.nodes[1:]}, processes()):
        os.kill(process.pid, signal.SIGKILL)
    wanted = local_nodes.Wanted(nodes=3, cpus=1, gpus=0, port=0, timeout=60)
    join = (*local_nodes._WORKER, f"--address={address}")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    local_nodes._with_node(wanted, folder, started, "worker2", join)
    _, complaints = running.communicate(timeout=400)
    assert running.returncode == 0, complaints
    assert nodes_of(run)["worker2"] > 0
    assert {row["status"] for row in rows(run, "trials")} == {COMPLETED}
