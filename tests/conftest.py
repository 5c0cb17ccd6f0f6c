"""What is prepared and trained once for all tests."""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.waiting import WAITING_FILES, WaitingInOneProcess

if TYPE_CHECKING:
    from tests.trained import Train, Trained

ROOT: Final = Path(__file__).resolve().parents[1]

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: processes of xdist share the cores


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
    from tests import trained as training  # here, for xdist's controller trains nothing

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


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Processes of xdist begin at different folders and files: each of them finds compiled what
    another has read before, which in a fresh clone is half of its start."""
    report = yield
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    if isinstance(collector, pytest.Directory) and number and report.result:
        begin = number * len(report.result) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        report.result = [*report.result[begin:], *report.result[:begin]]
    return report


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays: the garbage collector never looks at it, and seldom at
    what tests leave, which takes a thirtieth of their time otherwise."""
    gc.disable()
    collected = yield
    gc.enable()
    gc.freeze()
    gc.set_threshold(30_000, 20, 20)
    return collected


@pytest.hookimpl(trylast=True)  # after pytest has left out what `-m` leaves out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits comes first, then what is slow, then the others, the largest files first: what is
    short fills up the end. Where a process began to collect changes nothing."""
    waiting = {ROOT / name: place for place, name in enumerate(WAITING_FILES)}
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    places = {
        path: (waiting.get(path, len(waiting)), path not in slow, -path.stat().st_size, path)
        for path in {item.path for item in items}
    }
    items.sort(key=lambda item: places[item.path])


@pytest.hookimpl(optionalhook=True)  # `-p no:xdist` has no such hook
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> WaitingInOneProcess | None:
    """With `--dist loadfile` all files that wait go to one process."""
    return WaitingInOneProcess(config, log) if config.getoption("dist") == "loadfile" else None
