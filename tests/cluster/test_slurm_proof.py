"""A sweep on a real Slurm of three nodes: sessions to the end, a killed node, and scancel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweeps.journal.journal import read
from tests.cluster import slurm_site
from tests.cluster.slurm_site import NODES, Site, until
from tests.sweeps.conftest import assert_same_tables

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 1800.0
SESSIONS = 4

pytestmark = [pytest.mark.long, pytest.mark.slow]

GRID = [
    *("mrpc_grid", "train_rows=96", "validation_rows=60", "router_hidden_size=8", "epochs=150"),
    *("seeds=[0, 1]", "start=[]", "pack.points=1"),
    *("alpha={grid: [0.01, 0.1, 1]}", "beta={grid: [0.003, 0.01, 0.03, 0.1]}"),
]
"""Twelve packs."""


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """The sweep without Slurm, and the cache of both."""

    run: Path
    cache: Path


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A place whose path Slurm takes, and munge trusts."""
    if reason := slurm_site.missing():
        pytest.skip(reason)
    made = Path(f"/tmp/mpcr-proof-{os.getpid()}")
    made.mkdir(mode=0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> Undisturbed:
    run, cache = folder / "here", folder / "cache"
    words = ["--sample", "--no-report", "--quiet", "--cache", str(cache), "--out", str(folder)]
    command = [sys.executable, "-m", "sweeps.run", *GRID, *words, "--address", "local"]
    prepared = subprocess.run(
        [*command, "--name", "prepared", "budget.epochs=1"], cwd=ROOT, check=False
    )
    assert prepared.returncode == 5
    done = subprocess.run([*command, "--name", run.name], cwd=ROOT, check=False)
    assert done.returncode == 0
    return Undisturbed(run=run, cache=cache)


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[Site]:
    place = folder / "slurm"
    place.mkdir()
    with slurm_site.running(place, f"mpcr-{os.getpid()}") as made:
        yield made
    assert not list(Path("/tmp").glob("mpcr-slurm-*"))


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """The job of a run."""

    site: Site
    run: Path
    number: str

    @property
    def output(self) -> str:
        path = self.run.with_name(f"{self.run.name}.slurm") / f"{self.number}.out"
        return path.read_text() if path.exists() else ""

    def state(self) -> str:
        words = ("squeue", "--noheader", "--states=all", f"--jobs={self.number}", "--format=%T %r")
        return self.site.call(*words).stdout.strip()

    def until_started(self) -> str:
        """Waits until a pack runs on a node that is no head; names the node."""
        workers = set(NODES[1:])
        report = self.site.report
        until(lambda: workers & set(self.nodes()), PATIENCE, lambda: self.output + report())
        return next(node for node in reversed(self.nodes()) if node in workers)

    def nodes(self) -> list[str]:
        """Names the nodes of the packs that were started."""
        journal = self.run / "journal.jsonl"
        if not journal.exists():
            return []
        return [event["node"] for event in read(journal) if event["event"] == "started"]

    def until_ended(self, count: int) -> None:
        """Waits until so many packs have ended trials."""
        journal = self.run / "journal.jsonl"

        def packs() -> int:
            events = read(journal) if journal.exists() else ()
            return len({event["pack"] for event in events if event["event"] == "ended"})

        until(lambda: packs() >= count, PATIENCE, lambda: self.output + self.site.report())

    def begin_now(self) -> None:
        """Cuts Slurm's wait before the next session."""
        until(lambda: "BeginTime" in self.state(), 60, self.site.report)
        time.sleep(5.0)  # sooner, nodes take the job's credential for a revoked one
        self.site.call("scontrol", "update", f"JobId={self.number}", "StartTime=now")

    def until_over(self) -> str:
        """Waits for the end of the job; gives its state."""
        end = time.monotonic() + PATIENCE
        while (state := self.state()).partition(" ")[0] in ("PENDING", "RUNNING", "COMPLETING"):
            assert time.monotonic() < end, self.output + self.site.report()
            time.sleep(1.0)
        print(f"\n--- job {self.number}: {state}\n{self.output}")
        return state.partition(" ")[0]

    def ends(self) -> list[str]:
        """The codes that the sessions ended with."""
        return re.findall(r"^session \S+ ends with (\d+)", self.output, flags=re.MULTILINE)

    def assert_clean(self) -> None:
        """Nothing of the job is left but logs."""
        beside = self.run.with_name(f"{self.run.name}.slurm")
        assert {path.name for path in beside.iterdir()} == {"batch.sh", "job", f"{self.number}.out"}
        assert not list(Path("/tmp").glob(f"mpcr-slurm-{self.number}.*"))
        folders = sorted(path.name for path in (self.run / "slurm").iterdir())
        assert f"{self.number}.0" in folders
        logs = {path.name for path in (self.run / "slurm" / folders[-1]).iterdir()}
        assert {f"{node}.log" for node in NODES} <= logs


def submit(site: Site, undisturbed: Undisturbed, name: str, *flags: str) -> Submitted:
    """Submits the sweep; a run that has begun is gone on with."""
    run = undisturbed.run.with_name(name)
    words = [*GRID, "--run", str(run), "--nodes", "3", "--cpus", "1", "--minutes", "120"]
    flags = ("--sample", "--no-report", "--cache", str(undisturbed.cache), *flags)
    command = [sys.executable, "-m", "cluster.slurm", "submit", *words, "--", *flags]
    done = site.call(*command)
    assert done.returncode == 0, done.stderr
    number = re.findall(r"submitted job (\d+);", done.stdout)[0]
    return Submitted(site=site, run=run, number=number)


def test_a_sweep_of_several_sessions_ends_with_the_tables_of_the_undisturbed_run(
    site: Site, undisturbed: Undisturbed
) -> None:
    job = submit(site, undisturbed, "sessions")
    for session in range(1, SESSIONS):
        job.until_ended(2 * session)
        site.call("scancel", "--batch", "--signal=USR1", job.number)  # as at an allocation's end
        until(lambda count=session: len(job.ends()) == count, PATIENCE, site.report)
        job.begin_now()
    assert job.until_over() == "COMPLETED"
    assert job.ends()[-1] == "0"
    assert set(job.ends()[:-1]) == {"75"}
    assert len(job.ends()) >= SESSIONS
    assert set(job.nodes()) > {NODES[0]}
    assert_same_tables(job.run, undisturbed.run)
    job.assert_clean()


def test_a_killed_node_costs_no_result(site: Site, undisturbed: Undisturbed) -> None:
    job = submit(site, undisturbed, "killed")
    node = job.until_started()
    site.kill(node)
    until(lambda: job.ends(), PATIENCE, site.report)
    site.node(node)  # a job is completing until all of its nodes have said so
    try:
        assert job.until_over() == "COMPLETED"
        assert job.ends() == ["0"]
        assert_same_tables(job.run, undisturbed.run)
        attempts = [
            event for event in read(job.run / "journal.jsonl") if event["event"] == "started"
        ]
        assert any(event["attempt"] > 1 for event in attempts)
    finally:
        site.wait_for_nodes("idle")
    shutil.rmtree(job.run)


def test_scancel_ends_the_job_for_good_and_a_new_one_goes_on(
    site: Site, undisturbed: Undisturbed
) -> None:
    job = submit(site, undisturbed, "cancelled")
    job.until_started()
    site.call("scancel", job.number)
    assert job.until_over() == "CANCELLED"
    end = time.monotonic() + 60
    while list(Path("/tmp").glob(f"mpcr-slurm-{job.number}.*")) and time.monotonic() < end:
        time.sleep(0.5)
    assert not list(Path("/tmp").glob(f"mpcr-slurm-{job.number}.*"))
    assert not list(job.run.with_name("cancelled.slurm").glob("*.token"))
    events = list(read(job.run / "journal.jsonl"))
    assert events[-1]["event"] == "closed"
    assert events[-1]["outcome"] == "SIGTERM"
    again = submit(site, undisturbed, "cancelled")
    assert again.until_over() == "COMPLETED"
    assert again.ends() == ["0"]
    assert_same_tables(again.run, undisturbed.run)
