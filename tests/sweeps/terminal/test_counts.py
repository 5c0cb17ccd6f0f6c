"""Counts of a stopped search, event by event of recorded journals."""

from __future__ import annotations

import io
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweeps.journal.journal import read
from sweeps.journal.state import State, apply
from sweeps.records import STOPPED
from sweeps.terminal.counts import _expected, counts, epochs_left, seconds_left
from sweeps.terminal.display import Display, front_table
from sweeps.terminal.front_so_far import front
from sweeps.terminal.live import LiveDisplay
from sweeps.terminal.outline import Outline
from tests.sweeps.faults import GRID, SEARCH

RACING = (
    *("mrpc_pareto", "pool=sample", "epochs=3", "seeds=[0,1,2]", "racing=1", "search.points=8"),
    *("search.batch=4", "search.method=tpe", "stopping.bracket=4", "router_hidden_size=8"),
)
REPEATING = (
    *("mrpc_pareto", "pool=sample", "epochs=2", "seeds=[0]", "search.points=12", "search.batch=4"),
    *("search.method=tpe", "stopping.method=none", "router_hidden_size=8"),
    *("alpha={choice: [0.1, 1.0]}", "beta={choice: [0.01, 0.1]}", "learning_rate=0.01"),
    "temperature=1",
)
"""Twelve proposals of at most four different points."""

WIDE = (
    *("mrpc_pareto", "pool=sample", "epochs=4", "seeds=[0, 1]", "search.points=12"),
    *("search.method=tpe", "stopping.bracket=6", "router_hidden_size={choice: [8, 16]}"),
    "learning_rate={loguniform: [1e-3, 1]}",
)
"""Two brackets of six points whose routers differ."""

WIDE_RACING = (*(word for word in WIDE if not word.startswith("seeds")), "seeds=[0,1]", "racing=1")

Made = Callable[..., Path]


def states(run: Path) -> Iterator[tuple[str, State]]:
    """The run's state after every event, with the event's kind; it is one state that changes."""
    state = State()
    for event in read(run / "journal.jsonl"):
        apply(state, event)
        yield event["event"], state


@pytest.fixture(
    params=[GRID, SEARCH, RACING, REPEATING], ids=["grid", "search", "racing", "repeating"]
)
def recorded(request: pytest.FixtureRequest, made_run: Made, tmp_path: Path) -> Path:
    return made_run(tmp_path / "r", *request.param)


def test_counts_are_true_and_never_go_back(recorded: Path) -> None:
    before = None
    outline = None
    for kind, state in states(recorded):
        outline = outline or Outline.of(state.study)
        now = counts(state, outline)
        if state.trials:
            running_first = now.running - now.further
            assert now.done + now.failed + running_first <= now.total, kind
            assert 0 <= now.stopped <= now.done
        if before is not None and before.total:
            assert now.done >= before.done
            assert now.total >= before.total
        before = now
    assert before is not None
    assert before.done == before.total > 0
    assert before.running == before.failed == 0


def test_a_search_s_total_is_known_from_its_beginning(made_run: Made, tmp_path: Path) -> None:
    for _, state in states(made_run(tmp_path / "r", *SEARCH)):
        assert counts(state, Outline.of(state.study)).total == 8
    for _, state in states(made_run(tmp_path / "again", *REPEATING)):
        assert counts(state, Outline.of(state.study)).total == 12
    assert len(state.trials) <= 4


def test_trials_that_have_left_a_bracket_do_not_run(made_run: Made, tmp_path: Path) -> None:
    sizes = [
        counts(state, Outline.of(state.study)).running
        for kind, state in states(made_run(tmp_path / "r", *SEARCH))
        if kind in ("started", "ended")
    ]
    assert sizes[0] == 4
    assert 0 < min(size for size in sizes if size) < 4  # some went on when others were stopped
    assert sizes[-1] == 0


def test_the_front_does_not_shrink_when_points_are_stopped(made_run: Made, tmp_path: Path) -> None:
    last: set[tuple[float, ...]] = set()
    grey = 0
    for kind, state in states(made_run(tmp_path / "r", *WIDE)):
        standings = front(state, Outline.of(state.study))
        places = {tuple(standing.values.values()) for standing in standings}
        if kind in ("decided", "ended", "asked"):
            assert places >= last, kind
        last = places
        grey += any(standing.stopped for standing in standings)
    assert grey


def test_stopped_points_are_grey_and_the_title_says_so(made_run: Made, tmp_path: Path) -> None:
    for _, state in states(made_run(tmp_path / "r", *WIDE)):
        standings = front(state, Outline.of(state.study))
        table = front_table(standings)
        styles = [row.style for row in table.rows]
        assert [style == "bright_black" for style in styles] == [
            standing.stopped for standing in standings
        ]
        assert ("grey" in str(table.title)) == any(standing.stopped for standing in standings)


@pytest.mark.parametrize("seed", range(5))
def test_expected_epochs_are_the_sum_of_the_chances_to_train_them(seed: int) -> None:
    draw = np.random.default_rng(seed)
    end, eta = int(draw.integers(2, 40)), int(draw.integers(2, 5))
    begin = int(draw.integers(0, end))
    rungs = sorted({int(rung) for rung in draw.integers(1, end + 3, 4)})
    chances = [
        eta ** -float(sum(begin < rung < epoch for rung in rungs))
        for epoch in range(begin + 1, end + 1)
    ]
    assert _expected(begin, end, rungs, eta) == pytest.approx(sum(chances))


def test_what_is_left_is_nothing_at_the_end_and_more_before(recorded: Path) -> None:
    left = [epochs_left(state, Outline.of(state.study)) for _, state in states(recorded)]
    assert left[-1] == 0
    assert max(left) > 0


@pytest.mark.parametrize("words", [WIDE, WIDE_RACING], ids=["search", "racing"])
def test_the_follow_up_of_the_front_is_estimated_before_it_is_asked(
    made_run: Made, tmp_path: Path, words: tuple[str, ...]
) -> None:
    before = 0.0
    for kind, state in states(made_run(tmp_path / "r", *words)):
        outline = Outline.of(state.study)
        best = front(state, outline)
        if kind == "asked" and state.following is not None:
            assert before == epochs_left(state, outline, best) > 0
            return
        before = epochs_left(state, outline, best)
    pytest.fail("nothing was followed up")


def test_a_bracket_of_27_is_expected_to_train_63_epochs_in_all() -> None:
    assert 27 * _expected(0, 9, (1, 3), 3) == pytest.approx(63)


def test_budgets_limit_what_is_left(made_run: Made, tmp_path: Path) -> None:
    *_, (_, state) = itertools.islice(states(made_run(tmp_path / "r", *SEARCH)), 4)
    outline = Outline.of({**state.study, "budget": {"epochs": state.epochs + 1}})
    assert epochs_left(state, outline) == 1
    outline = Outline.of({**state.study, "budget": {"time": state.seconds + 5}})
    assert seconds_left(state, outline, left=3, seconds=1e9, epochs=1) == pytest.approx(5)
    assert seconds_left(state, outline, left=3, seconds=1.0, epochs=0) is None


def drawn(run: Path, display: Display, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tells the display of a recorded run, a minute an event."""
    clock = itertools.count(0, 61)
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    begun = False
    for kind, state in states(run):
        if kind == "opened":
            display.study(Outline.of(state.study))
        elif not begun:
            begun = True
            display.training(state)
        display.turn(state)


def test_without_a_terminal_there_is_a_line_every_minute_with_an_estimate(
    made_run: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = io.StringIO()
    drawn(made_run(tmp_path / "r", *SEARCH), Display(file=text), monkeypatch)
    first, *lines = text.getvalue().splitlines()
    assert (
        first == "training: 0 of 8 trials done, 0 failed, 0 running; workers are being started ..."
    )
    assert all(" of 8 trials done" in line for line in lines)
    assert any("min, about " in line and " left; front of " in line for line in lines)
    assert any("stopped early" in line for line in lines)
    quiet = io.StringIO()
    drawn(tmp_path / "r", Display(file=quiet, quiet=True), monkeypatch)
    assert quiet.getvalue() == ""


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_screen_of_80_by_24_holds_all_that_is_drawn(
    made_run: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {**os.environ, "COLUMNS": "80", "LINES": "24"})
    for kind, state in states(made_run(tmp_path / "r", *SEARCH)):
        display: Any = LiveDisplay(file=Terminal())
        display.study(Outline.of(state.study))
        display.training(state)
        for name in sorted(state.running):
            display.started(state.packs[name], state)
        with display.console.capture() as screen:
            display.console.print(display._draw())
        lines = screen.get().splitlines()
        assert len(lines) <= 24, kind
    assert {ending.status for ending in state.endings.values()} & {STOPPED}
