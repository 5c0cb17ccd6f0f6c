"""Nodes that do not see the user's folders get what they need, and what they write comes back."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import local, state
from sweeps.journal.journal import read
from sweeps.raytune._ship import ReachError, gather, listing, spread
from tests.sweeps.conftest import assert_same_tables

ROOT = Path(__file__).resolve().parents[3]


def test_what_is_gathered_on_a_node_is_spread_below_the_run(tmp_path: Path) -> None:
    node, run = tmp_path / "node", tmp_path / "run"
    files = {"parts/a.parquet": b"1" * 100, "checkpoints/k/w.safetensors": b"", "x": b"2"}
    for name, content in files.items():
        (node / name).parent.mkdir(parents=True, exist_ok=True)
        (node / name).write_bytes(content)
    for name in ("parts/.b.parquet-1.tmp", "checkpoints/k/epochs/001/w", ".lock"):
        (node / name).parent.mkdir(parents=True, exist_ok=True)
        (node / name).write_bytes(b"not yet")
    run.mkdir(mode=0o750)
    run.chmod(0o750)
    found = gather(node, but="epochs")
    assert dict(found) == files
    assert gather(node, but="epochs") == []
    assert (node / "checkpoints" / "k" / "epochs" / "001" / "w").exists()
    spread(run, found)
    sizes = {name: size for name, (size, _) in listing(run).items()}
    assert sizes == {name: len(content) for name, content in files.items()}
    assert {(run / name).read_bytes() for name in files} == set(files.values())
    assert stat.S_IMODE((run / "parts").stat().st_mode) == 0o750
    assert stat.S_IMODE((run / "parts" / "a.parquet").stat().st_mode) == 0o640
    spread(run, [("x", b"3")])
    assert (run / "x").read_bytes() == b"3"
    assert not [path for path in run.rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", ""])
def test_a_name_that_leaves_the_run_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(ReachError, match="is no name of a file"):
        spread(tmp_path / "run", [(name, b"")])
    assert list(tmp_path.rglob("*")) == [tmp_path / "run"]


HIDING = """#!/bin/sh
case "$*" in
*--node-name=worker1*) exec unshare -m sh -c 'mount -t tmpfs tmpfs "$HIDDEN" && exec "$0" "$@"' \
  "$PYTHON" "$@" ;;
*) exec "$PYTHON" "$@" ;;
esac
"""
"""Python; where a worker node begins, in a file system in which a folder is empty."""


def may_mount() -> bool:
    """Whether we may hide a folder from a process."""
    wish = ["unshare", "-m", "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
    try:
        return subprocess.run(wish, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture
def hiding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path, Path]]:
    """A head, and a worker that does not see a folder: the address, it, and the token's."""
    if not may_mount():
        pytest.skip("only who may mount can hide a folder from a node")
    hidden, folder = tmp_path / "hidden", tmp_path / "cluster"
    hidden.mkdir()
    python = tmp_path / "python"
    python.write_text(HIDING)
    python.chmod(0o755)
    monkeypatch.setenv("HIDDEN", str(hidden))
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


@pytest.mark.long
def test_a_sweep_over_a_node_that_sees_nothing_gives_the_rows_of_the_embedded_run(
    hiding: tuple[str, Path, Path],
) -> None:
    address, hidden, folder = hiding
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    token = {"RAY_AUTH_TOKEN_PATH": str(folder / state.TOKEN)}
    known = ("--cache", str(hidden / "cache"), "--out", str(hidden / "runs"))
    for name, where in (("there", ("--address", address)), ("here", ())):
        done = subprocess.run(
            [sys.executable, "-m", "sweeps.run", *GRID, *known, "--name", name, *where],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={**kept, **token, "OMP_NUM_THREADS": "1"},
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert "lost its worker" not in done.stderr
    run = hidden / "runs" / "there"
    assert_same_tables(run, hidden / "runs" / "here")
    events = [event for event in read(run / "journal.jsonl") if event["event"] == "started"]
    ran = Counter(event["node"] for event in events)
    assert set(ran) == {"head", "worker1"}, ran
    assert len(list(run.glob("checkpoints/*/trial.json"))) == 20
    assert not [path for path in run.rglob("*") if path.name.endswith(".tmp")]
