"""What is prepared and trained once for all tests."""

from __future__ import annotations

import functools
import gc
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: processes of xdist share the cores

from tests import trained as training
from tests.trained import Train, Trained


@pytest.fixture(scope="session")
def sample_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`--cache`: the sample's experts are trained once for all tests of all processes of xdist."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "sample_cache"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, sample_cache: Path) -> Train:
    """A router with these settings; one training a session for each."""

    @functools.cache
    def made(**settings: Any) -> Trained:
        folder = tmp_path_factory.mktemp("trained") / "checkpoint"
        return training.train(folder, sample_cache, **settings)

    return made


@pytest.fixture(scope="session")
def router(trained: Train) -> Trained:
    """Over the sample's frozen experts, for pairs of sentences (mrpc)."""
    return trained()


@pytest.fixture(scope="session")
def joint_router(trained: Train) -> Trained:
    """Trained with its experts."""
    return trained(experts="joint", train_rows=60, expert_start="checkpoint")


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """What a test puts into the environment leaves with it: a sweep in this process sets Ray's."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session", autouse=True)
def no_wait_for_the_disk() -> Iterator[None]:
    """Files of tests need not outlive the machine: `fsync`, of which a small sweep does eighty,
    waits for nothing. Tests of full disks and of crashes replace it, or what calls it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def quick_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports whose intervals and questions draw less: `analysis/report/test_report.py` makes one
    with everything."""
    from analysis.questions import information, leakage
    from analysis.stats import resampling

    monkeypatch.setattr(resampling, "resamples_for", lambda _: 20)

    for question in (information.route_information, leakage.leakage):
        fewer = {**(question.__kwdefaults__ or {}), "permutations": 19}
        monkeypatch.setattr(question, "__kwdefaults__", fewer)


def pytest_collection_finish() -> None:
    """What was imported and collected stays: the garbage collector looks at it no more."""
    gc.freeze()


@pytest.hookimpl(trylast=True)  # after pytest has left out what `-m` leaves out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files come first, one that waits for Ray and then two that compute, and so on: beside a
    wait no core is idle. The largest of the others come next: what is short fills up the end."""
    waiting, slow = (
        list(dict.fromkeys(item.path for item in items if item.get_closest_marker(mark)))
        for mark in ("waits", "slow")
    )
    computing = [path for path in slow if path not in waiting]
    places = {path: 3.0 * number for number, path in enumerate(waiting)}
    places |= {path: 1.5 * number + 1 for number, path in enumerate(computing)}
    sizes = {item.path: item.path.stat().st_size for item in items}
    items.sort(key=lambda item: (places.get(item.path, math.inf), -sizes[item.path], item.path))
