"""All kinds of clusters keep one contract; and what breaks it is found by the suite."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cluster import local_nodes, state
from cluster.contract import Cluster, Condition, Refused, Running, Status
from cluster.local_cluster import LocalCluster
from cluster.processes import processes
from cluster.slurm_cluster import SlurmCluster
from cluster.slurm_script import Job
from tests.cluster.conformance import CHECKS, Case
from tests.cluster.fake_slurm import FakeSlurm


@dataclass
class World:
    """What is left of a fake cluster, whichever object asks."""

    condition: Condition = Condition.ABSENT
    spoilt: bool = False
    token: bool = False


class FakeCluster:
    """The smallest cluster that keeps the contract."""

    def __init__(self, world: World) -> None:
        self.world = world

    @property
    def address(self) -> str | None:
        return None if self.world.condition is Condition.ABSENT else "10.0.0.1:6379"

    def start(self) -> None:
        if self.world.condition is not Condition.ABSENT:
            raise Running("it runs")
        self.world.token = True
        if self.world.spoilt:
            self.clear()
            raise Refused("no machine is free", 3)
        self.world.condition = Condition.WAITING

    def wait(self, seconds: float) -> None:
        if self.world.condition is Condition.ABSENT:
            raise Refused("it was not started", 2)
        if self.world.condition is Condition.BROKEN:
            raise Refused("it is broken", 3)
        self.world.condition = Condition.UP

    def status(self) -> Status:
        return Status(condition=self.world.condition, lines=(str(self.world.condition),))

    def stop(self) -> str:
        self.clear()
        return "ended"

    def clear(self) -> None:
        self.world.condition, self.world.token = Condition.ABSENT, False


@dataclass
class FakeCase:
    """A fake, or a fake with a fault."""

    kind: type[FakeCluster] = FakeCluster
    world: World = field(default_factory=World)

    def cluster(self) -> Cluster:
        return self.kind(self.world)

    def spoil_start(self) -> Callable[[], None]:
        self.world.spoilt = True
        return lambda: setattr(self.world, "spoilt", False)

    def come_up(self) -> None:
        """Its `wait` does that."""

    def fail(self) -> None:
        self.world.condition = Condition.BROKEN

    def traces(self) -> list[str]:
        return [f"{self.world}"] if self.world != World(spoilt=self.world.spoilt) else []


@dataclass
class SlurmCase:
    """The job of a sweep, on a Slurm of commands that only write down what they are told."""

    slurm: FakeSlurm
    run: Path

    @property
    def job(self) -> Job:
        return Job(run=self.run, words=("mrpc_grid",), python="python", folder=self.run.parent)

    def cluster(self) -> Cluster:
        return SlurmCluster(self.job.beside, self.job, pause=lambda _: None)

    def spoil_start(self) -> Callable[[], None]:
        self.slurm.refuse("sbatch", "sbatch: error: the partition is down")
        return lambda: self.slurm.allow("sbatch")

    def come_up(self) -> None:
        self.slurm.set("RUNNING")
        (self.job.beside / "address").write_text("10.0.0.1:10002\n")

    def fail(self) -> None:
        self.slurm.set("NODE_FAIL")

    def traces(self) -> list[str]:
        state = self.slurm.folder / "state"
        waits = state.exists() and state.read_text() in ("PENDING", "RUNNING")
        files = self.job.beside.glob("*") if self.job.beside.exists() else ()
        return [path.name for path in files] + (["a job"] if waits else [])


@dataclass
class LocalCase:
    """Two Ray nodes on this machine."""

    folder: Path
    spoilt: bool = False

    def cluster(self) -> Cluster:
        def wanted() -> local_nodes.Wanted:
            if self.spoilt:
                raise Refused("the port is taken", 2)
            port = local_nodes.free_port()
            return local_nodes.Wanted(nodes=2, cpus=1, gpus=0, port=port, timeout=300)

        return LocalCluster(self.folder, wanted)

    def spoil_start(self) -> Callable[[], None]:
        self.spoilt = True
        return lambda: setattr(self, "spoilt", False)

    def come_up(self) -> None:
        """The machine does that."""

    def fail(self) -> None:
        started = state.read(self.folder)
        assert started is not None
        worker = started.nodes[1]
        os.kill(worker.pid, signal.SIGKILL)
        while worker.pid in processes():
            pass

    def traces(self) -> list[str]:
        started = state.read(self.folder) if self.folder.exists() else None
        names = [path.name for path in self.folder.glob("*")]
        return names + ([] if started is None else [str(each) for each in started.processes()])


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_fake_keeps_the_contract(check: Callable[[Case], None]) -> None:
    check(FakeCase())


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_slurm_keeps_the_contract(
    check: Callable[[Case], None], fake_slurm: FakeSlurm, tmp_path: Path
) -> None:
    check(SlurmCase(fake_slurm, tmp_path / "runs" / "grid"))


QUICK, SLOW = CHECKS[:1], CHECKS[1:]


@pytest.mark.parametrize("check", QUICK, ids=lambda check: check.__name__)
def test_nodes_on_this_machine_keep_the_contract(
    check: Callable[[Case], None], tmp_path: Path
) -> None:
    check(LocalCase(tmp_path / "cluster"))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("check", SLOW, ids=lambda check: check.__name__)
def test_nodes_on_this_machine_keep_the_contract_when_they_run(
    check: Callable[[Case], None], tmp_path: Path
) -> None:
    check(LocalCase(tmp_path / "cluster"))


class ForgetsTheSecondStop(FakeCluster):
    """Takes a second stop for an error."""

    def stop(self) -> str:
        if self.world.condition is Condition.ABSENT:
            raise Refused("nothing runs", 2)
        return super().stop()


class KeepsItsToken(FakeCluster):
    """Leaves a secret behind."""

    def clear(self) -> None:
        self.world.condition = Condition.ABSENT


class StartsTwice(FakeCluster):
    """Starts whatever runs already."""

    def start(self) -> None:
        if self.world.spoilt:
            raise Refused("no machine is free", 3)
        self.world.condition, self.world.token = Condition.WAITING, True


class HidesFailures(FakeCluster):
    """Calls a broken cluster one that waits."""

    def status(self) -> Status:
        status = super().status()
        if status.condition is Condition.BROKEN:
            return Status(condition=Condition.WAITING, lines=status.lines)
        return status


class WaitsForNothing(FakeCluster):
    """Waits for what was not started."""

    def wait(self, seconds: float) -> None:
        if self.world.condition is not Condition.ABSENT:
            super().wait(seconds)


class LeavesHalfAStart(FakeCluster):
    """Does not clear what a failed start has made."""

    def start(self) -> None:
        if self.world.spoilt:
            self.world.token = True
            raise Refused("no machine is free", 3)
        super().start()


@pytest.mark.parametrize(
    "kind",
    [
        *(ForgetsTheSecondStop, KeepsItsToken, StartsTwice),
        *(HidesFailures, WaitsForNothing, LeavesHalfAStart),
    ],
)
def test_the_suite_finds_a_cluster_that_breaks_the_contract(kind: type[FakeCluster]) -> None:
    broken = 0
    for check in CHECKS:
        try:
            check(FakeCase(kind))
        except (AssertionError, pytest.fail.Exception, Refused):
            broken += 1
    assert broken
