"""Packs on claimed GPUs of three nodes: which ran where by default, with halves, and measured."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import local_nodes, state
from cluster.local_nodes import Wanted
from cluster.state import TOKEN
from sweeps.driver._ledger import Ledger
from sweeps.journal.journal import read
from sweeps.records import Message, Pack
from sweeps.run import main
from tests.sweeps.conftest import FIX, already_prepared, assert_same_tables, in_process, rows

pytestmark = [pytest.mark.slow, pytest.mark.long]

PATIENCE = 300.0

GRID = (
    *("mrpc_grid", *FIX[1:], "epochs=20", "seeds=[0]", "pack.points=1"),
    *("--sample", "--no-report", "--quiet"),
)
"""Ten packs of twenty messages."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Three nodes of three CPUs that claim a GPU each; their workers' dry steps are made up."""
    folder = tmp_path_factory.mktemp("claimed") / "cluster"
    state.make_private(folder)
    wanted = Wanted(nodes=3, cpus=3, gpus=1, port=local_nodes.free_port(), timeout=PATIENCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "claimed"), prepend=":")
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(folder / TOKEN))
        try:
            cluster = local_nodes.start(wanted, folder)
            local_nodes.wait(folder, cluster, PATIENCE)
            yield cluster.address
        finally:
            local_nodes.end(folder, state.read(folder))


@pytest.fixture(scope="module")
def embedded(prepared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rows that all runs of this grid have."""
    folder = tmp_path_factory.mktemp("embedded")
    with pytest.MonkeyPatch.context() as patch:
        in_process(patch, prepared_folder)
        assert main([*GRID, "--out", str(folder), "--name", "here"]) == 0
    return folder / "here"


def numbers_hash(run: Path) -> str:
    """A hash of keys and numbers."""
    facts = [
        (row["key"], row["selection_score"], row["validation_score"], row["validation_cost"])
        for row in rows(run, "trials")
    ]
    return hashlib.sha256(repr(sorted(facts)).encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("words", "at_once"),
    [((), 1), (("pack.gpus=0.5",), 2), (("pack.gpus=measured",), 2)],
    ids=["default", "halves", "measured"],
)
def test_packs_have_gpus_of_the_nodes_and_the_rows_are_the_embedded_run_s(
    address: str,
    embedded: Path,
    prepared_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    at_once: int,
) -> None:
    run, received = tmp_path / "there", Ledger.received

    def slowly(self: Ledger, pack: Pack, message: Message) -> dict[str, str]:
        if len(nodes_of(run)) < 3:
            time.sleep(0.5)  # the sweep is not to end before each node has had its worker
        return received(self, pack, message)

    monkeypatch.setattr(Ledger, "received", slowly)
    already_prepared(monkeypatch, prepared_folder)
    arguments = [word for word in GRID if word != "--quiet"]
    where = ("--out", str(tmp_path), "--name", "there", "--address", address)
    code = main([*arguments, *words, *where])
    lines = capsys.readouterr().err
    assert code == 0, lines
    started = [event for event in read(run / "journal.jsonl") if event["event"] == "started"]
    print(words, Counter((event["node"], *event["gpus"]) for event in started), numbers_hash(run))
    assert all(event["gpus"] == ["0"] for event in started)
    assert nodes_of(run) == {"head", "worker1", "worker2"}
    measured = "pack.gpus: a pack takes 0.00 of 0.00 GB of a GPU: its share is 0.375"
    assert (measured in lines) == (words == ("pack.gpus=measured",))
    assert most_at_once(run) <= at_once
    assert numbers_hash(run) == numbers_hash(embedded)
    assert_same_tables(run, embedded)


def nodes_of(run: Path) -> set[str]:
    """Names the nodes that packs have started on."""
    return {event["node"] for event in read(run / "journal.jsonl") if event["event"] == "started"}


def most_at_once(run: Path) -> int:
    """Counts the packs that ran at once on one GPU, at most."""
    places: dict[str, str] = {}
    most = 0
    for event in read(run / "journal.jsonl"):
        if event["event"] == "started":
            places[event["pack"]] = event["node"]
            most = max(most, max(Counter(places.values()).values()))
        if event["event"] == "ended":
            places.pop(event["pack"], None)
    return most
