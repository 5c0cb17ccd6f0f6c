"""Syne Tune's public tests of MO-ASHA that state intended behaviour, against ours.

Inputs and expectations are those of `tst/test_moasha.py` in github.com/syne-tune/syne-tune (commit
bb40423, Apache 2.0), restated; Syne Tune itself is not imported. What its tests ask of a priority
that is one number (a fixed objective, a weighted mean) is asked of ours with that one objective.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Final

import numpy as np
import pytest

from sweeps.stopping.ranks import Entry, _ranks, arrival, bracket_of
from sweeps.stopping.rule import _TIES, Rule

STEPS: Final = 10
"""Theirs: max_t."""

STEP, LOSS, COST = "step", "mean_loss", "cost"

Scalar = Callable[[tuple[float, ...]], tuple[float, ...]]

PRIORITIES: Final[Mapping[str, Scalar]] = {
    "fixed objective": lambda losses: losses[:1],
    "mean of the objectives": lambda losses: (sum(losses) / len(losses),),
    "non-dominated": lambda losses: losses,
}


@dataclass(kw_only=True)
class Moasha:
    """Their scheduler's calls, answered by `sweeps.stopping.ranks`."""

    modes: Mapping[str, str]
    """`min` or `max` by metric, in the order of the objectives."""

    rule: Rule
    priority: Scalar = PRIORITIES["non-dominated"]
    _brackets: dict[int, int] = field(default_factory=dict)
    _rungs: dict[tuple[int, int], list[Entry]] = field(default_factory=dict)

    def on_trial_add(self, trial: int) -> None:
        self._brackets[trial] = bracket_of(f"t{trial}", self.rule, seed=0)

    def on_trial_result(self, trial: int, result: Mapping[str, float]) -> str:
        step = int(result[STEP])
        if step >= STEPS:
            return "STOP"
        bracket = self._brackets[trial]
        if step not in self.rule.rungs(STEPS, bracket):
            return "CONTINUE"
        sign = {"min": 1.0, "max": -1.0}
        losses = tuple(sign[mode] * result[name] for name, mode in self.modes.items())
        entry = Entry(name=f"t{trial}", losses=self.priority(losses))
        there = self._rungs.setdefault((bracket, step), [])
        verdict = arrival(entry, there, self.rule, seed=0, epoch=step)
        there.append(entry)
        return "CONTINUE" if verdict.goes_on else "STOP"


def decisions(
    values: Sequence[float], mode: str, *, priority: str = "non-dominated", ties: str = "crowding"
) -> list[str]:
    """Three trials are added, then each reports the value for both metrics at step 1."""
    scheduler = Moasha(
        modes={LOSS: mode, COST: mode},
        rule=Rule(method="mo_asha", eta=2, ties=ties),
        priority=PRIORITIES[priority],
    )
    for trial in range(len(values)):
        scheduler.on_trial_add(trial)
    return [
        scheduler.on_trial_result(trial, {STEP: 1, LOSS: value, COST: value})
        for trial, value in enumerate(values)
    ]


def test_bucket() -> None:
    scheduler = Moasha(modes={LOSS: "min"}, rule=Rule(method="asha", eta=2))
    for trial in range(3):
        scheduler.on_trial_add(trial)
    said = [
        scheduler.on_trial_result(trial, {STEP: 1, LOSS: loss})
        for trial, loss in enumerate((2, 0, 3))
    ]
    assert said == ["CONTINUE", "CONTINUE", "STOP"]


@pytest.mark.parametrize("ties", _TIES)
@pytest.mark.parametrize("priority", PRIORITIES)
def test_moasha_mode_max(priority: str, ties: str) -> None:
    said = decisions((2.0, 4.0, 1.0), "max", priority=priority, ties=ties)
    assert said == ["CONTINUE", "CONTINUE", "STOP"]


@pytest.mark.parametrize("ties", _TIES)
@pytest.mark.parametrize("priority", PRIORITIES)
def test_moasha_mode_min(priority: str, ties: str) -> None:
    said = decisions((4.0, 2.0, 10.0), "min", priority=priority, ties=ties)
    assert said == ["CONTINUE", "CONTINUE", "STOP"]


def test_a_direction_may_be_given_for_each_metric() -> None:
    """Their mode=["max", "max"]; here one of each."""
    scheduler = Moasha(modes={LOSS: "max", COST: "min"}, rule=Rule(method="mo_asha", eta=2))
    said = []
    for trial, value in enumerate((2.0, 4.0, 1.0)):
        scheduler.on_trial_add(trial)
        said.append(scheduler.on_trial_result(trial, {STEP: 1, LOSS: value, COST: -value}))
    assert said == ["CONTINUE", "CONTINUE", "STOP"]


OBJECTIVES: Final = np.arange(15, dtype=np.float64).reshape(5, 3)
"""Theirs: five points, three objectives, each point worse than the one before in all."""


@pytest.mark.parametrize("ties", _TIES)
@pytest.mark.parametrize("first", [0, 1], ids=["dim=0", "dim=1"])
def test_multiobjective_priorities_non_dominated(first: int, ties: str) -> None:
    """Theirs prefers objective `dim` within a front, ours always the first."""
    turned = np.roll(OBJECTIVES, -first, axis=1)
    assert list(ranked(turned, ties)) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.2, 0.4, 0.8)])
def test_multiobjective_priorities_linear(weights: tuple[float, ...]) -> None:
    """Theirs are 1, 4, 7, 10, 13 and .67, 2.07, 3.47, 4.87, 6.27; as one objective they rank so."""
    mean = (OBJECTIVES * weights).mean(axis=1, keepdims=True)
    expected = {1.0: [1, 4, 7, 10, 13], 0.2: [2 / 3, 31 / 15, 52 / 15, 73 / 15, 94 / 15]}
    assert mean[:, 0] == pytest.approx(expected[weights[0]])
    assert list(ranked(mean, "crowding")) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("ties", _TIES)
def test_multiobjective_priorities_in_any_order(ties: str) -> None:
    """What their sorted input hides: a point's number is its own, wherever it stands.

    The released code returns an order where ranks are wanted: right for 26 of the 120 orders, those
    that are their own inverse.
    """
    right = 0
    for order in permutations(range(5)):
        assert list(ranked(OBJECTIVES[list(order)], ties)) == list(order)
        right += list(np.argsort(order)) == list(order)
    assert right == 26


def ranked(losses: np.ndarray[tuple[int, ...], np.dtype[np.float64]], ties: str) -> list[int]:
    count = len(losses)
    found = _ranks(losses, np.zeros(count), np.linspace(0, 0.9, count), ties=ties)
    return [int(rank) for rank in found]
