"""The front so far, against the definition, on random reports."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from sweeps.journal.state import State, apply
from sweeps.records import Message, Pack, Point, Report, Trial
from sweeps.stopping.constraints import constraints_of
from sweeps.terminal.display import front_table
from sweeps.terminal.front_so_far import Standing, front
from sweeps.terminal.outline import Outline


def report(key: str, epoch: int, score: float, cost: float) -> Report:
    return Report(
        key=key,
        epoch=epoch,
        split="selection",
        metrics={"score": score},
        cost={"constants": cost},
        losses={},
        share=(),
        gate=(),
        gate_entropy=0.0,
        seconds=0.0,
    )


def told(values: np.ndarray[Any, np.dtype[np.float64]]) -> State:
    """A state in which points x replicates reported (score, cost), shape (P, R, 2)."""
    state = State()
    trials = [
        Trial(key=f"{point}-{seed}", point=f"p{point}", seed=seed, config="{}")
        for point in range(values.shape[0])
        for seed in range(values.shape[1])
    ]
    points = [Point(name=f"p{point}", settings={}) for point in range(values.shape[0])]
    state.points = {point.name: point for point in points}
    state.trials = {trial.key: trial for trial in trials}
    state.packs = {"pack00": Pack(name="pack00", trials=tuple(trials))}
    for trial in trials:
        state.replicates.setdefault(trial.point, []).append(trial.key)
    state.pack_of = {trial.key: "pack00" for trial in trials}
    said = [
        report(trial.key, epoch, *(values[int(trial.point[1:]), trial.seed] * epoch / 2))
        for epoch in (2, 1)  # whatever arrives last, the higher epoch counts
        for trial in trials
    ]
    reports = json.loads(json.dumps(Message(reports=tuple(said)).to_json()["reports"]))
    event = {"v": 1, "n": 1, "time": "2026-11-30", "mono": 0.0, "event": "reported"}
    apply(state, {**event, "pack": "pack00", "reports": reports})
    return state


def outline(**more: Any) -> Outline:
    return Outline(objectives={"score": "max", "cost": "min"}, cost_vector="constants", **more)


@pytest.mark.parametrize("seed", range(5))
def test_the_front_holds_exactly_the_points_that_nobody_beats(seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 6, (40, 2, 2)).astype(float)
    means = values.mean(axis=1)
    wanted = {
        f"p{place}"
        for place, (score, cost) in enumerate(means)
        if not any(
            other[0] >= score
            and other[1] <= cost
            and ((other[0], other[1]) != (score, cost) or before < place)  # the first of equals
            for before, other in enumerate(means)
        )
    }
    found = front(told(values), outline(seeds=2))
    assert {each.point.name for each in found} == wanted
    assert {each.epoch for each in found} == {2}
    costs = [each.values["cost"] for each in found]
    assert costs == sorted(costs)


def test_the_live_front_holds_what_keeps_the_constraints_as_long_as_anything_does() -> None:
    values = np.array([[[0.9, 9.0]], [[0.8, 5.0]], [[0.7, 4.0]]])
    capped = front(told(values), outline(constraints=constraints_of({"cost": {"max": 6}})))
    assert [each.point.name for each in capped] == ["p2", "p1"]
    assert all(each.breaks == () for each in capped)
    none = front(told(values), outline(constraints=constraints_of({"cost": {"max": 1}})))
    assert [each.point.name for each in none] == ["p2", "p1", "p0"]
    assert all(each.breaks == ("cost",) for each in none)
    assert "no point keeps the constraints" in str(front_table(none).title)
    assert "constraints" not in str(front_table(capped).title)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_numbers_of_the_front_so_far_are_whole_in_a_terminal_of_any_width(width: int) -> None:
    settings = {f"setting_{number}": 0.00012345 for number in range(6)}
    standing = Standing(
        point=Point(name="p00", settings=settings),
        values={"score": 0.81234, "cost": 7.25},
        epoch=3,
    )
    table = front_table([standing], width=width)
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(table)
    text = " ".join(console.export_text().split())
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    assert "0.8123" in text
    left_out = 6 - sum("setting" in str(column.header) for column in table.columns)
    assert (f"settings without room: {left_out}" in text) == (left_out > 0)
    assert (width < 200) == (left_out > 0)
