"""What every kind of cluster is held to: the contract of `cluster.contract`, as checks.

A kind is given by a `Case`: how to make the cluster of one folder, and how to let it fail. A check
is a function of a case; it raises `AssertionError` where the cluster breaks the contract.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import pytest

from cluster.contract import Cluster, Condition, Refused, Running

PATIENCE: Final = 300.0
"""Limits the wait for nodes, in seconds."""


class Case(Protocol):
    """A kind of cluster under test, with nothing started."""

    def cluster(self) -> Cluster:
        """Makes a new object for the same cluster."""

    def spoil_start(self) -> Callable[[], None]:
        """Makes the next start fail; gives what undoes that."""

    def come_up(self) -> None:
        """Lets a started cluster get its nodes, where that needs others."""

    def fail(self) -> None:
        """Breaks a cluster that is up."""

    def traces(self) -> list[str]:
        """Names what is left of the cluster: processes, jobs, secrets."""


def nothing_is_there_before_a_start(case: Case) -> None:
    """A cluster that was not started is absent, can be stopped, and cannot be waited for."""
    cluster = case.cluster()
    assert cluster.status().condition is Condition.ABSENT
    assert cluster.address is None
    with pytest.raises(Refused) as refusal:
        cluster.wait(PATIENCE)
    assert refusal.value.code == 2
    assert cluster.stop()
    assert case.traces() == []


def it_comes_up_once_and_ends_twice(case: Case) -> None:
    """Start, wait, address and status agree; a second start is refused; stop may be repeated."""
    cluster = case.cluster()
    cluster.start()
    assert case.cluster().status().condition in (Condition.WAITING, Condition.UP)
    with pytest.raises(Running):
        case.cluster().start()
    case.come_up()
    cluster.wait(PATIENCE)
    status = case.cluster().status()  # another object knows it by its folder
    assert status.condition is Condition.UP
    assert status.lines
    address = case.cluster().address
    assert address is not None
    assert address == cluster.address
    host, _, port = address.rpartition(":")
    assert host
    assert 0 < int(port) < 2**16
    cluster.wait(PATIENCE)  # what is up is up at once
    with pytest.raises(Running):
        cluster.start()
    assert cluster.address == address
    assert case.cluster().stop()
    assert cluster.status().condition is Condition.ABSENT
    assert cluster.address is None
    assert case.traces() == []
    assert cluster.stop()
    assert case.traces() == []


def it_can_be_stopped_before_it_is_up(case: Case) -> None:
    """Nobody waited, and nothing is left."""
    cluster = case.cluster()
    cluster.start()
    assert cluster.stop()
    assert cluster.status().condition is Condition.ABSENT
    assert case.traces() == []


def a_failure_is_seen_and_cleared(case: Case) -> None:
    """A broken cluster says so, is not waited for, is stopped twice, and another one can start."""
    cluster = case.cluster()
    cluster.start()
    case.come_up()
    cluster.wait(PATIENCE)
    case.fail()
    status = cluster.status()
    assert status.condition is Condition.BROKEN
    with pytest.raises(Refused) as refusal:
        cluster.wait(PATIENCE)
    assert refusal.value.code == 3
    assert cluster.stop()
    assert cluster.status().condition is Condition.ABSENT
    assert case.traces() == []
    assert cluster.stop()


def a_start_that_fails_leaves_nothing(case: Case) -> None:
    """The failure is one refusal, after it nothing is there, and a later start works."""
    undo = case.spoil_start()
    cluster = case.cluster()
    with pytest.raises(Refused) as refusal:
        cluster.start()
    assert not isinstance(refusal.value, Running)
    assert "\n" not in str(refusal.value)
    assert cluster.status().condition is Condition.ABSENT
    assert case.traces() == []
    undo()
    cluster.start()
    assert cluster.stop()
    assert case.traces() == []


CHECKS: Final = (
    nothing_is_there_before_a_start,
    it_comes_up_once_and_ends_twice,
    it_can_be_stopped_before_it_is_up,
    a_failure_is_seen_and_cleared,
    a_start_that_fails_leaves_nothing,
)
