"""Ray starts while sets are prepared, where it is sure that there will be a run."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mpc_router.model.sources import ModelError
from mpc_router.prepare import frozen
from sweeps import run
from sweeps.driver import ray_start
from sweeps.driver.ray_start import RayStart
from sweeps.driver.share import Share
from sweeps.raytune.process import Machine, RayProcess
from sweeps.study.pack_share import PackSettings
from tests.sweeps.conftest import FIX

LOCAL = Share(
    pack=PackSettings(), address=None, gpus=0.0, workers=2, machine={"CPU": 2.0, "GPU": 0.0}
)
CLUSTER = Share(pack=PackSettings(), address="10.0.0.1:6379", gpus=0.0, workers=2)

Starts = list[tuple[str, Any]]


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Starts:
    """What became of processes that are none, in order."""
    events: Starts = []

    @contextlib.contextmanager
    def ray_process(address: str | None, machine: Machine | None) -> Iterator[RayProcess]:
        events.append(("started", address or machine))
        try:
            yield RayProcess(pipe=cast(Any, None), folder=tmp_path, process=cast(Any, None))
        finally:
            events.append(("ended", address))

    monkeypatch.setattr(ray_start, "ray_process", ray_process)
    return events


def test_ray_on_this_machine_starts_early_and_once(starts: Starts) -> None:
    start = RayStart(LOCAL)
    assert starts == []
    start.begin()
    assert starts == [("started", Machine(num_cpus=2, num_gpus=0))]
    with start:
        assert len(starts) == 1
    assert starts[1:] == [("ended", None)]
    start.close()
    assert len(starts) == 2


def test_a_cluster_is_joined_when_packs_are_due(starts: Starts) -> None:
    start = RayStart(CLUSTER)
    start.begin()
    assert starts == []
    with start:
        assert starts == [("started", CLUSTER.address)]
    assert starts[1:] == [("ended", CLUSTER.address)]


def test_nothing_more_is_imported_ahead_for_a_start_that_is_over(
    starts: Starts, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported: list[str] = []
    start = RayStart(LOCAL)

    def import_module(name: str) -> None:
        imported.append(name)
        if len(imported) == 2:
            start.close()

    monkeypatch.setattr(ray_start, "importlib", SimpleNamespace(import_module=import_module))
    start.begin()
    for thread in threading.enumerate():
        if thread is not threading.main_thread() and not thread.daemon:
            thread.join()
    assert len(imported) == 2


def raising(error: BaseException) -> Callable[..., Any]:
    def prepare(*_: Any) -> Any:
        raise error

    return prepare


def signalled(*_: Any) -> Any:
    signal.raise_signal(signal.SIGTERM)


PREPARATIONS = {
    "a bad model": (raising(ModelError("the expert diverges")), 2),
    "a full disk": (raising(OSError("No space left on device")), 3),
    "Ctrl-C": (raising(KeyboardInterrupt()), 130),
    "SIGTERM": (signalled, 143),
}


@pytest.mark.parametrize("name", PREPARATIONS)
def test_a_preparation_that_ends_ends_ray_and_leaves_no_run(
    name: str, starts: Starts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    prepare, code = PREPARATIONS[name]
    monkeypatch.setattr(frozen, "check_inputs", lambda *_: None)
    monkeypatch.setattr(frozen, "prepare", prepare)
    words = [*FIX, "--sample", "--quiet", "--no-report", "--out", str(tmp_path), "--name", "r"]
    assert run.main(["mrpc_grid", *words]) == code
    assert [word for word, _ in starts] == ["started", "ended"]
    assert not (tmp_path / "r").exists()


def test_input_that_fails_the_checks_starts_no_ray(
    starts: Starts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(frozen, "check_inputs", raising(ModelError("there is no such model")))
    words = [*FIX, "--sample", "--quiet", "--no-report", "--out", str(tmp_path), "--name", "r"]
    assert run.main(["mrpc_grid", *words]) == 2
    assert starts == []


@pytest.mark.slow
def test_a_ray_that_is_ended_while_it_starts_leaves_neither_process_nor_folder() -> None:
    with RayStart(LOCAL) as process:
        group, folder = process.process.pid, process.folder
        assert folder.is_dir()
    assert not folder.exists()
    assert process.process.poll() is not None
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)
