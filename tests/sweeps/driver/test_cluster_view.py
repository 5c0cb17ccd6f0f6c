"""A sweep waits for the nodes that it is told to wait for, says so, and begins in the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from sweeps.driver import _cluster_view
from sweeps.driver._cluster_view import ClusterView, Wait, view_of
from sweeps.records import InputError, NodesWanted

HEAD = "10.0.0.1:6379"


def view(*cpus: float, scaled: bool = False) -> ClusterView:
    return ClusterView(nodes=[{"CPU": count} for count in cpus], scaled=scaled)


def with_a_cpu(seen: ClusterView) -> int:
    return sum(node["CPU"] >= 1 for node in seen.nodes)


def test_the_wait_is_over_when_the_nodes_are_there_and_a_line_says_what_is_missing() -> None:
    lines: list[str] = []
    now = iter(range(100))
    wait = Wait(
        HEAD,
        NodesWanted(count=2, seconds=90),
        with_a_cpu,
        lines.append,
        now=lambda: float(next(now)),
    )
    views = [view(0), view(0), view(0, 1), view(0, 1), view(0, 1, 4)]
    assert [wait.is_over(seen) for seen in views] == [False] * 4 + [True]
    begin = f"waiting up to 1.5 m for nodes of the cluster at {HEAD}"
    assert lines == [
        f"{begin}: {count} of 2 nodes with room for a pack are there" for count in (0, 1)
    ]


@pytest.mark.parametrize(("cpus", "said"), [((0.0, 1.0), 1), ((0.0,), 0)])
def test_after_its_time_the_wait_is_over_and_those_that_are_there_are_named(
    cpus: tuple[float, ...], said: int
) -> None:
    lines: list[str] = []
    now = iter([0.0, 59.0, 60.0])
    wait = Wait(
        HEAD, NodesWanted(count=3, seconds=60), with_a_cpu, lines.append, now=lambda: next(now)
    )
    assert [wait.is_over(view(*cpus)) for _ in range(3)] == [False, False, True]
    assert sum("1 of 3 nodes with room for a pack are there; the sweep" in x for x in lines) == said


class Ray:
    """The process that Ray runs in, with a cluster that grows a node at each look."""

    def __init__(self) -> None:
        self._words: list[tuple[str, dict[str, Any]]] = [("begun", {})]
        self._count = 0

    def question(self, seconds: float) -> tuple[str, dict[str, Any]]:
        return self._words.pop(0)

    def answer(self, data: dict[str, Any]) -> None:
        if data.get("what") == "nodes" and self._count:
            return
        if data.get("again", True):
            self._count += 1
            nodes: Sequence[dict[str, float]] = [{"CPU": 1.0}] * self._count
            self._words.append(("nodes", {"nodes": nodes, "scaled": False}))
        else:
            self._words.append(("done", {}))


@pytest.mark.parametrize(("wanted", "count"), [(None, 1), (NodesWanted(count=3, seconds=60), 3)])
def test_a_cluster_is_asked_until_the_nodes_are_there(
    monkeypatch: pytest.MonkeyPatch, wanted: NodesWanted | None, count: int
) -> None:
    @contextlib.contextmanager
    def ray_process(address: str) -> Iterator[Ray]:
        yield Ray()

    monkeypatch.setattr(_cluster_view, "ray_process", ray_process)
    assert len(view_of(HEAD, wanted, with_a_cpu, lambda _: None).nodes) == count


def test_a_cluster_that_refuses_is_a_wrong_input(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def ray_process(address: str) -> Iterator[Ray]:
        ray = Ray()
        ray._words = [("failed", {"reason": "the token is wrong"})]
        yield ray

    monkeypatch.setattr(_cluster_view, "ray_process", ray_process)
    with pytest.raises(InputError, match="the token is wrong"):
        view_of(HEAD, None, with_a_cpu, lambda _: None)
