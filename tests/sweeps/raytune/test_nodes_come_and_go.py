"""Nodes of a cluster come and go while a sweep runs: real nodes of this machine."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster import local_nodes, state
from cluster.local_nodes import Wanted
from cluster.processes import members, processes
from cluster.state import TOKEN, LocalNodes
from mpc_router.prepare.inputs import Places
from sweeps.commands.sweep import prepared_on
from sweeps.driver._cluster_view import ClusterView, Wait
from sweeps.driver._ledger import Ledger
from sweeps.driver.share import Share
from sweeps.journal.journal import read
from sweeps.plan.cluster_errands import ClusterErrands
from sweeps.records import Message, Pack
from sweeps.run import main
from sweeps.terminal.display import Display
from tests.cluster.scaled_site import scaled_site
from tests.mpc_router.prepare.frozen_pools import forbid
from tests.sweeps.conftest import (
    FIX,
    LITTLE,
    already_prepared,
    assert_same_tables,
    in_process,
    rows,
    without_ray,
)

pytestmark = [pytest.mark.slow, pytest.mark.long]

PATIENCE = 300.0

ROOT = Path(__file__).resolve().parents[3]

GRID = (
    *("mrpc_grid", *FIX[1:], "epochs=60", "seeds=[0]", "start=[]", "pack.points=1"),
    *("alpha={grid: [0.01, 0.03, 0.1, 0.3, 1]}", "beta={grid: [0.001, 0.01]}"),
    *("--sample", "--no-report"),
)
"""Ten packs, each of sixty messages."""


def wanted(*, cpus: int) -> Wanted:
    return Wanted(nodes=1, cpus=cpus, gpus=0, port=local_nodes.free_port(), timeout=PATIENCE)


class Nodes:
    """A head without CPUs and workers of one each, which come and go by their names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        state.make_private(folder)
        self._cluster = local_nodes.start(wanted(cpus=0), folder)
        self.address = self._cluster.address

    def join(self, name: str) -> None:
        join = (*local_nodes._WORKER, f"--address={self.address}")
        self._cluster = local_nodes._with_node(
            wanted(cpus=1), self.folder, self._cluster, name, join
        )

    def leave(self, name: str) -> None:
        leaders = {node.pid: node.start for node in self._cluster.nodes if node.name == name}
        for process in members(leaders, processes()):
            os.kill(process.pid, signal.SIGKILL)

    @property
    def started(self) -> LocalNodes:
        return self._cluster

    def end(self) -> None:
        found: LocalNodes | None = state.read(self.folder)
        local_nodes.end(self.folder, found)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    site = Nodes(tmp_path / "cluster")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(site.folder / TOKEN))
    try:
        yield site
    finally:
        site.end()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Is set when the display says that packs wait for a node."""
    said, say = threading.Event(), Display.waits

    def waits(display: Display, text: str) -> None:
        say(display, text)
        said.set()

    monkeypatch.setattr(Display, "waits", waits)
    return said


def nodes_of(run: Path) -> Counter[str]:
    if not (run / "journal.jsonl").exists():
        return Counter()
    events = [event for event in read(run / "journal.jsonl") if event["event"] == "started"]
    return Counter(event["node"] for event in events)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def embedded(prepared: Path, tmp_path: Path) -> Path:
    """Makes the rows that all runs of this grid have."""
    with pytest.MonkeyPatch.context() as patch:
        in_process(patch, prepared)
        assert main([*GRID, "--quiet", "--out", str(tmp_path), "--name", "here"]) == 0
    return tmp_path / "here"


def test_nodes_join_and_leave_all_leave_and_one_comes_and_the_rows_are_the_embedded_run_s(
    site: Nodes,
    waits: threading.Event,
    prepared_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, steps, received = tmp_path / "there", list[str](), Ledger.received

    def slowly(self: Ledger, pack: Pack, message: Message) -> dict[str, str]:
        if "all" not in steps:
            time.sleep(0.5)  # the sweep is not to end before the nodes have come and gone
        return received(self, pack, message)

    monkeypatch.setattr(Ledger, "received", slowly)

    def come_and_go() -> None:
        until(lambda: bool(steps))
        site.join("worker1")
        until(lambda: nodes_of(run)["worker1"] > 0)
        site.join("worker2")
        until(lambda: nodes_of(run)["worker2"] > 0)
        site.leave("worker1")
        before = nodes_of(run)["worker2"]
        until(lambda: nodes_of(run)["worker2"] > before)
        site.leave("worker2")
        assert waits.wait(PATIENCE)
        site.join("worker3")
        until(lambda: nodes_of(run)["worker3"] > 0)
        steps.append("all")

    def begins(wait: Wait, view: ClusterView) -> bool:
        steps.append("a look")
        return is_over(wait, view)

    is_over = Wait.is_over
    monkeypatch.setattr(Wait, "is_over", begins)
    already_prepared(monkeypatch, prepared_folder)
    thread = threading.Thread(target=come_and_go, daemon=True)
    thread.start()
    where = ("--out", str(tmp_path), "--name", "there", "--address", site.address)
    code = main([*GRID, *where, "--quiet", "--wait-nodes", "1:120"])
    lines = capsys.readouterr().err
    thread.join(10)
    print(lines)
    assert code == 0, lines
    assert "all" in steps
    assert "waiting up to 2 m for nodes of the cluster at" in lines
    assert "waiting for a node with room for a pack (1 CPU)" in lines
    print(nodes_of(run))
    assert set(nodes_of(run)) == {"worker1", "worker2", "worker3"}
    assert_same_tables(run, embedded(prepared_folder, tmp_path))


def test_a_sweep_begins_on_an_empty_cluster_whose_autoscaler_starts_nodes_for_it(
    prepared_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    most_nodes = [0]
    with (
        tempfile.TemporaryDirectory(prefix="as", dir="/tmp") as folder,
        scaled_site(Path(folder), most=2, idle_minutes=0.1) as site,
    ):
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(site.token))
        already_prepared(monkeypatch, prepared_folder)
        over = threading.Event()

        def count() -> None:
            while not over.wait(1):
                most_nodes.append(site.raylets())

        counting = threading.Thread(target=count, daemon=True)
        counting.start()
        where = ("--out", str(tmp_path), "--name", "there", "--address", site.address)
        code = main([*GRID, *where, "--quiet"])
        lines = capsys.readouterr().err
        over.set()
        counting.join(30)
        print(lines, most_nodes)
        assert code == 0, lines
        assert "has room for a pack yet; its autoscaler will be asked for some" in lines
        assert max(most_nodes) == 3  # the head, and as many as the autoscaler may start
        until(lambda: site.raylets() == 1)  # nodes that nothing waits for are ended again
    assert {row["status"] for row in rows(tmp_path / "there", "trials")} == {"COMPLETED"}
    assert_same_tables(tmp_path / "there", embedded(prepared_folder, tmp_path))


def test_experts_are_trained_on_nodes_and_again_where_one_is_lost_and_the_rows_are_the_same(
    site: Nodes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    site.join("worker1")
    words = ["mrpc_grid", "--sample", "--no-report", *LITTLE, "seeds=[0]", "epochs=2"]
    words.append("pack.points=5")  # however many nodes there are
    lines, say = list[str](), Display.tell

    def tell(display: Display, text: str) -> None:
        say(display, text)
        if " on node " not in text:
            return
        if not lines:
            site.leave("worker1")
            site.join("worker2")
        lines.append(text)

    def eager(share: Share, places: Places, display: Display) -> Places:
        runner = prepared_on(share, places, display).runner
        assert isinstance(runner, ClusterErrands)
        return dataclasses.replace(places, runner=dataclasses.replace(runner, pays=0.0))

    with monkeypatch.context() as patch:
        patch.setattr(Display, "tell", tell)
        patch.setattr("sweeps.commands.new.prepared_on", eager)
        patch.setattr("mpc_router.experts.encoder_runs.fine_tune", forbid)
        where = ("--out", str(tmp_path), "--name", "there", "--address", site.address)
        cache = ("--cache", str(tmp_path / "there cache"))
        code = main([*words, *where, *cache, "--wait-nodes", "1:120"])
        complaints = capsys.readouterr().err
        print(complaints)
        assert code == 0, complaints
    labels = ["expert 1 of 3: tiny", "expert 2 of 3: base", "expert 3 of 3: large", "stem: stem"]
    assert lines[0].endswith(" on node worker1")
    assert sorted(line.partition(" on node ")[0] for line in lines[1:]) == labels
    assert all(line.endswith(" on node worker2") for line in lines[1:])
    without_ray(monkeypatch)
    here = ("--out", str(tmp_path), "--cache", str(tmp_path / "here cache"), "--name", "here")
    assert main([*words, *here, "--quiet"]) == 0
    assert_same_tables(tmp_path / "there", tmp_path / "here")


def test_a_large_file_from_a_node_leaves_the_driver_s_memory_small_and_its_loop_turning(
    site: Nodes, tmp_path: Path
) -> None:
    site.join("worker1")
    (tmp_path / "run").mkdir()
    asking = ("-m", "tests.sweeps.raytune.large_files", site.address)
    end = time.monotonic() + PATIENCE
    while "worker1" not in local_nodes.alive(site.folder, site.started):
        assert time.monotonic() < end
    sent = subprocess.run(
        [sys.executable, *asking, str(tmp_path / "run"), "450"],
        env={**os.environ, **local_nodes.SETTINGS, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    print(sent.stdout, sent.stderr)
    facts = json.loads(sent.stdout)
    assert facts["arrived"]
    assert facts["ours"] < 400
    assert facts["depot"] < 400
    assert facts["silence"] < 5


def test_a_node_on_which_packs_fail_is_left_out_and_the_others_train_all(
    site: Nodes,
    prepared_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    site.join("worker1")
    with pytest.MonkeyPatch.context() as patch:  # every pack on worker2 finds a full disk
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "saboteur"), prepend=":")
        patch.setenv("SABOTAGE", ",".join(f"full:pack{number:02d}:99" for number in range(10)))
        site.join("worker2")
    run, received = tmp_path / "there", Ledger.received

    def slowly(self: Ledger, pack: Pack, message: Message) -> dict[str, str]:
        if nodes_of(run)["worker2"] < 3:
            time.sleep(0.5)  # the sweep is not to end before packs have failed three times
        return received(self, pack, message)

    monkeypatch.setattr(Ledger, "received", slowly)
    already_prepared(monkeypatch, prepared_folder)
    where = ("--out", str(tmp_path), "--name", "there", "--address", site.address)
    code = main([*GRID, *where, "--quiet", "--wait-nodes", "2:200"])
    lines = capsys.readouterr().err
    print(lines, nodes_of(tmp_path / "there"))
    assert code == 0, lines
    assert "node worker2 is left out: packs fail there in a row (" in lines
    assert 3 <= nodes_of(tmp_path / "there")["worker2"] <= 4
    assert_same_tables(tmp_path / "there", embedded(prepared_folder, tmp_path))
