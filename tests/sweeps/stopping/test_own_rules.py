"""Rungs at which a stopping rule of one's own decides."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mpc_router.config.trial import ConfigError
from mpc_router.plugins import STOPPING_RULES, Part
from sweeps.commands.dry_run import _stages
from sweeps.records import SweepError
from sweeps.stopping import own_rules
from sweeps.stopping.own_rules import OwnRule, Rung
from sweeps.stopping.ranks import Entry, arrival, cut, promotable
from sweeps.stopping.rule import Rule
from sweeps.study.read import load

ENTRIES = tuple(
    Entry(name=name, losses=losses)
    for name, losses in (("a", (0.1, 9.0)), ("b", (0.5, 5.0)), ("c", (0.9, 1.0)), ("d", (0.8, 8.0)))
)


@pytest.fixture
def ruled(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Rule]:
    """Gives a study's rule that asks this function."""

    def make(function: Any) -> Rule:
        part = Part(group=STOPPING_RULES, name="mine", package=None, version=None, thing=function)
        monkeypatch.setitem(own_rules._rules, "mine", OwnRule(part))
        return Rule(method="mine", variant="promote")

    return make


def cheap(rung: Rung) -> np.ndarray[Any, Any]:
    """Lets points go on that cost less than 8.5 and keep the constraints."""
    return np.asarray((rung.losses[:, 1] < 8.5) & (rung.violations == 0))


def test_the_rule_decides_who_goes_on(ruled: Callable[[Any], Rule]) -> None:
    verdicts = cut(ENTRIES, ruled(cheap), seed=0, epoch=3)
    assert {verdict.name for verdict in verdicts if verdict.goes_on} == {"b", "c", "d"}
    assert {verdict.reason for verdict in verdicts} == {"mine lets 3 of 4 go on after epoch 3"}


def test_verdicts_and_what_the_rule_sees_do_not_depend_on_the_order_of_entries(
    ruled: Callable[[Any], Rule],
) -> None:
    rungs: list[Rung] = []

    def first_rows(rung: Rung) -> list[bool]:
        rungs.append(rung)
        return [row < 2 for row in range(len(rung.losses))]

    rule = ruled(first_rows)
    forth, back = (cut(entries, rule, seed=7, epoch=1) for entries in (ENTRIES, ENTRIES[::-1]))
    assert forth == back[::-1]
    assert np.array_equal(rungs[0].losses, rungs[1].losses)


def test_the_rule_sees_finite_numbers_alone(ruled: Callable[[Any], Rule]) -> None:
    rungs: list[Rung] = []

    def everyone(rung: Rung) -> list[bool]:
        rungs.append(rung)
        return [True] * len(rung.losses)

    failed = dataclasses.replace(ENTRIES[0], losses=(math.nan, 1.0))
    broken = dataclasses.replace(ENTRIES[1], violation=2.5)
    odd = dataclasses.replace(ENTRIES[2], violation=math.nan)
    rule = ruled(everyone)
    verdicts = cut((failed, broken, odd), rule, seed=0, epoch=1)
    assert [verdict.goes_on for verdict in verdicts] == [False, True, True]
    assert verdicts[0].reason == "a replicate has no finite value"
    assert verdicts[1].reason.endswith("after epoch 1; breaks a constraint by 2.5")
    (rung,) = rungs
    assert np.isfinite(rung.losses).all()
    assert sorted(rung.violations) == [2.5, math.inf]
    assert (rung.epoch, rung.eta) == (1, 3)
    assert not any(verdict.goes_on for verdict in cut((failed,), rule, seed=0, epoch=1))
    assert len(rungs) == 1


def test_an_arrival_is_judged_among_all_that_have_arrived(ruled: Callable[[Any], Rule]) -> None:
    def above_median(rung: Rung) -> np.ndarray[Any, Any]:
        return rung.losses[:, 0] <= np.median(rung.losses[:, 0])

    rule = ruled(above_median)
    assert arrival(ENTRIES[3], (), rule, seed=0, epoch=1).goes_on
    assert not arrival(ENTRIES[3], ENTRIES[:3], rule, seed=0, epoch=1).goes_on
    assert arrival(ENTRIES[0], ENTRIES[1:], rule, seed=0, epoch=1).goes_on
    later = promotable(ENTRIES, {"b", "d"}, rule, seed=0, epoch=1)
    assert later is not None
    assert later.name == "b"


def test_a_rule_that_fails_at_a_rung_is_named(ruled: Callable[[Any], Rule]) -> None:
    def fails(rung: Rung) -> Any:
        raise ZeroDivisionError("no range")

    with pytest.raises(SweepError, match="rule 'mine' failed after epoch 2: ZeroDivisionError"):
        cut(ENTRIES, ruled(fails), seed=0, epoch=2)
    with pytest.raises(SweepError, match="it gives int64, and must give one truth value for each"):
        cut(ENTRIES, ruled(lambda rung: 1), seed=0, epoch=2)


def test_a_plan_counts_all_points_to_the_end(ruled: Callable[[Any], Rule]) -> None:
    stages = _stages(27, ruled(cheap), 9)
    assert [(stage.points, stage.end) for stage in stages] == [(27, 1), (27, 3), (27, 9)]


def test_an_order_of_ties_is_refused_where_the_rule_decides(ruled: Callable[[Any], Rule]) -> None:
    ruled(cheap)
    words = ["pool=sample", "stopping.method=mine", "stopping.bracket=27"]
    study = load("mrpc_pareto", words)
    assert study.stopping.method == "mine"
    assert study.parts[-1].name == "mine"
    with pytest.raises(ConfigError, match="rule 'mine' decides itself; leave it out"):
        load("mrpc_pareto", [*words, "stopping.ties=epsilon_net"])
