"""Errands side by side: when that pays, in which order, and how each process may end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc_router.experts import _errand_children, side_by_side
from mpc_router.experts._errand_children import Children
from mpc_router.experts.side_by_side import SideBySide, fitting, saved
from mpc_router.experts.work import Work
from mpc_router.model.sources import ModelError
from mpc_router.prepare.frozen import prepare
from tests.mpc_router.experts.fake_errands import STEPS, errand
from tests.mpc_router.prepare.frozen_pools import config, places_at

ROOT = Path(__file__).resolve().parents[3]


class Steps:
    """Counts the steps of a progress."""

    def __init__(self) -> None:
        self.labels: list[tuple[str, int]] = []
        self.done = self.finished = 0

    def start(self, label: str, total: int) -> None:
        self.labels.append((label, total))

    def advance(self, n: int = 1) -> None:
        self.done += n

    def finish(self) -> None:
        self.finished += 1


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says how many seconds the errands of these keys take."""

    def takes(memory: float = 1.0, **seconds: float) -> None:
        made = {
            key: Work(steps=STEPS, seconds=value, memory=memory) for key, value in seconds.items()
        }
        monkeypatch.setattr(side_by_side, "works_of", lambda _: made)

    return takes


def runner(*, cores: int = 2, memory: float = 1e12, pays: float = 20.0) -> SideBySide:
    return SideBySide(cores=lambda: cores, memory=lambda: memory, pays=pays)


def test_as_many_run_at_once_as_the_largest_of_them_leave_room_for() -> None:
    assert fitting([1, 5, 3], 9) == 3
    assert fitting([1, 5, 3], 8.9) == 2
    assert fitting([1, 5, 3], 7.9) == 1
    assert fitting([1, 5, 3], 4) == 0
    assert fitting([], 4) == 0


def test_processes_save_no_more_than_an_equal_share_and_the_longest_errand_allow() -> None:
    assert saved([10, 10, 10, 10], 2) == 20
    assert saved([10, 10, 10, 10], 4) == 30
    assert saved([30, 5, 5], 3) == 10
    assert saved([30, 5, 5], 1) == saved([], 2) == 0


@pytest.mark.parametrize(
    ("seconds", "cores", "memory"),
    [
        ({"a": 30, "b": 19}, 2, 1e12),
        ({"a": 900}, 8, 1e12),
        ({"a": 900, "b": 900}, 1, 1e12),
        ({"a": 900, "b": 900}, 8, 2.4),
    ],
    ids=["little work", "one alone", "one core", "no room"],
)
def test_no_process_is_started_where_that_pays_none(
    works: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    seconds: dict[str, float],
    cores: int,
    memory: float,
) -> None:
    works(**seconds)
    monkeypatch.setattr(side_by_side, "Children", lambda *_, **__: pytest.fail("one was started"))
    steps = Steps()
    errands = [errand(key, tmp_path) for key in seconds]
    runner(cores=cores, memory=memory).run(errands, steps)
    assert (steps.labels, steps.done) == ([], 0)


def test_errands_for_a_gpu_stay_in_this_process(
    works: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    works(a=900, b=900)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(side_by_side, "Children", lambda *_, **__: pytest.fail("one was started"))
    errands = [errand(key, tmp_path) for key in "ab"]
    for one in errands:
        object.__setattr__(one, "device", "auto")
    runner().run(errands, Steps())


def test_the_largest_errand_comes_first_and_every_step_is_shown_once(
    works: Callable[..., None], tmp_path: Path
) -> None:
    works(small=1, large=100, middle=50)
    steps = Steps()
    errands = [errand(key, tmp_path) for key in ("small", "large", "middle")]
    runner(cores=2).run(errands, steps)
    assert steps.labels == [("3 encoders, 2 at a time", 3 * STEPS)]
    assert (steps.done, steps.finished) == (3 * STEPS, 1)
    before, _ = (tmp_path / "done-small").read_text().split()
    assert int(before) >= 1  # it is given to the first process that has done another
    processes = {path.read_text().split()[1] for path in tmp_path.glob("done-*")}
    assert len(processes) == 2
    assert str(os.getpid()) not in processes


@pytest.mark.parametrize(
    ("word", "kind", "message"),
    [
        ("refused", ModelError, "^the loss of expert bad is not finite in step 3$"),
        ("disk", OSError, "No space left on device"),
        ("bug", RuntimeError, "ZeroDivisionError: by 0"),
        ("words", OSError, "^it cannot be written: it is full$"),
        ("killed", OSError, "at work on expert bad was killed, .* memory runs out.*begin again"),
        ("leaves", OSError, "at work on expert bad has ended with exit code 7; .*begin again"),
    ],
)
def test_what_goes_wrong_in_a_process_is_raised_here_and_no_process_stays(
    works: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    word: str,
    kind: type[Exception],
    message: str,
) -> None:
    works(bad=100, good=90)
    started = watched(monkeypatch)
    with pytest.raises(kind, match=message) as raised:
        runner().run([errand("bad", tmp_path, word), errand("good", tmp_path)], Steps())
    assert len(started) == 2
    assert all(process.returncode is not None for process in started)
    if word == "disk":
        assert isinstance(raised.value, OSError)
        assert raised.value.filename == str(tmp_path)


def watched(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that are started from now on."""
    started, start = [], _errand_children._start

    def noted(*arguments: Any) -> Any:
        child = start(*arguments)
        started.append(child.process)
        return child

    monkeypatch.setattr(_errand_children, "_start", noted)
    return started


def begun(cache: Path, keys: Sequence[str]) -> bool:
    return all(list((cache / "passes").glob(f".{key}-*/begun")) for key in keys)


def test_an_interrupt_ends_the_processes_and_leaves_nothing_half_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = watched(monkeypatch)

    def interrupted() -> None:
        with Children(2, threads=1) as children:
            for number, key in enumerate("ab"):
                children.give(number, errand(key, tmp_path, "works"))
            until(lambda: begun(tmp_path, "ab"))
            for process in started:
                os.kill(process.pid, signal.SIGINT)  # as a terminal sends it to all at once
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [process.returncode for process in started] == [1, 1]
    assert [path for path in (tmp_path / "passes").iterdir() if path.suffix != ".lock"] == []


PARENT = """
import sys, time
from pathlib import Path
from mpc_router.experts._errand_children import Children
from tests.mpc_router.experts.fake_errands import errand
with Children(1, threads=1) as children:
    children.give(0, errand("a", Path(sys.argv[1]), "works"))
    print(children._children[0].process.pid, flush=True)
    time.sleep(600)
"""


def test_a_killed_command_takes_its_processes_with_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        until(lambda: begun(tmp_path, "a"))
        parent.kill()
    until(lambda: not Path(f"/proc/{child}").exists() or "Z" in state_of(child))
    assert not begun(tmp_path, "a")


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


@pytest.mark.slow
def test_experts_side_by_side_say_to_the_bit_what_they_say_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_by_one = prepare(config(), places_at(tmp_path / "one"))
    started = watched(monkeypatch)
    monkeypatch.setattr(
        "mpc_router.experts.encoder_runs.fine_tune", lambda *_, **__: pytest.fail("trained here")
    )
    places = places_at(tmp_path / "several", runner=runner(pays=0.0))
    steps = Steps()
    several = prepare(config(), places, steps)
    assert len(started) == 2
    assert [label for label, _ in steps.labels] == ["tokens", "4 encoders, 2 at a time"]
    assert steps.done == sum(total for _, total in steps.labels)
    assert several.folder.name == one_by_one.folder.name
    assert several.models_id == one_by_one.models_id
    for name, split in one_by_one.splits.items():
        assert np.array_equal(several.splits[name].outputs, split.outputs)
        assert np.array_equal(several.splits[name].features, split.features)
    for kind in ("experts", "passes", "orders"):
        names = [
            sorted(path.name for path in (tmp_path / place / kind).glob("[!.]*/"))
            for place in ("one", "several")
        ]
        assert names[0] == names[1]
