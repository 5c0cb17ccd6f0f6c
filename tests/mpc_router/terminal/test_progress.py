"""Lines about steps: at their start, every minute, at their end."""

from __future__ import annotations

import threading

import pytest

from mpc_router.terminal import progress
from mpc_router.terminal.progress import StepLines, duration, shown, times


def test_a_step_that_is_silent_for_long_has_a_line_every_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "MINUTE", 0.001)
    lines: list[str] = []
    third = threading.Event()

    def say(text: str) -> None:
        lines.append(text)
        if len(lines) == 3:
            third.set()

    with shown(StepLines(say), "thinking"):
        assert third.wait(300)
    assert lines[0] == "thinking ..."
    assert lines[1] == "thinking: 0 s"
    assert lines[-1] == "thinking: 0.0 s"
    count = len(lines)
    assert not [
        thread for thread in threading.enumerate() if "_repeat" in thread.name and count < 3
    ]


def test_a_step_that_was_broken_off_says_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "MINUTE", 0.0)
    before = set(threading.enumerate())
    steps = StepLines(lambda _: None)
    steps.start("reading", 5)
    steps.close()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and "_repeat" in thread.name:
            thread.join(300)
    assert set(threading.enumerate()) <= before


def test_the_estimate_goes_by_the_parts_that_are_done() -> None:
    steps = StepLines(lambda _: None, every_minute=False)
    steps.start("training", 10)
    now = steps._began + 120
    assert steps.so_far(now) == "training: 0 of 10, 2 min"
    steps.advance(4)
    assert steps.so_far(now) == "training: 4 of 10, 2 min, about 3 min left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (90, "2 min"), (18 * 60, "18 min")),
        *((3599, "1 h"), (7500, "2 h 5 min"), (86399, "1 d"), (100_000, "1 d 3 h")),
    ],
)
def test_a_duration_is_said_in_units_that_fit(seconds: float, text: str) -> None:
    assert duration(seconds) == text
    assert times(seconds, None) == text
    assert times(seconds, 60.0) == f"{text}, about 1 min left"
