"""Rungs and ranks: published definitions by hand, invariances, Ray's own ASHA as a reference."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweeps.stopping.ranks import (
    Entry,
    Verdict,
    _lot,
    _ranks,
    arrival,
    bracket_of,
    crowding,
    cut,
    epsilon_net,
    places,
)
from sweeps.stopping.rule import _TIES, Rule, StoppingError

ETAS = (2, 3, 4)


def entries(losses: Sequence[Sequence[float]], violations: Sequence[float] = ()) -> list[Entry]:
    return [
        Entry(
            name=f"p{number}",
            losses=tuple(values),
            violation=violations[number] if violations else 0.0,
        )
        for number, values in enumerate(losses)
    ]


def ranked(losses: Sequence[Sequence[float]], *, ties: str = "crowding") -> list[int]:
    found = np.asarray(losses, np.float64)
    lots = np.linspace(0, 0.9, len(found))
    return [int(rank) for rank in _ranks(found, np.zeros(len(found)), lots, ties=ties)]


def arrivals(losses: Sequence[Sequence[float]], rule: Rule, *, seed: int = 0) -> list[Verdict]:
    there: list[Entry] = []
    found = []
    for entry in entries(losses):
        found.append(arrival(entry, there, rule, seed=seed, epoch=1))
        there.append(entry)
    return found


@pytest.mark.parametrize(
    ("grace", "eta", "epochs", "expected"),
    [(1, 3, 9, (1, 3)), (1, 3, 10, (1, 3, 9)), (2, 2, 9, (2, 4, 8)), (4, 3, 5, (4,))],
)
def test_rungs_are_integers_below_the_last_epoch(
    grace: int, eta: int, epochs: int, expected: tuple[int, ...]
) -> None:
    assert Rule(method="mo_asha", grace=grace, eta=eta).rungs(epochs) == expected


def test_a_later_bracket_begins_at_a_later_rung() -> None:
    rule = Rule(method="mo_asha", eta=3, brackets=3)
    assert [rule.rungs(27, bracket) for bracket in range(3)] == [(1, 3, 9), (3, 9), (9,)]


def test_a_grace_period_beyond_a_trial_is_refused() -> None:
    with pytest.raises(StoppingError, match=r"grace is 5, but a trial has 5 epochs; set it to 4"):
        Rule(method="asha", grace=5).rungs(5)


def test_without_stopping_there_is_no_rung() -> None:
    assert Rule(grace=50).rungs(5) == ()


@pytest.mark.parametrize(
    "given_rule",
    [{"method": "hyperband"}, {"ties": "coin"}, {"eta": 1}, {"grace": 0}, {"eta": 2.5}],
)
def test_a_rule_that_cannot_be_is_refused(given_rule: dict[str, object]) -> None:
    with pytest.raises(StoppingError, match="stopping"):
        Rule(**given_rule)  # type: ignore[arg-type]


def test_ranks_and_not_an_order() -> None:
    """FACTS 5: f = (3,3), (1,1), (2,2) has the ranks [2, 0, 1]; its order is [1, 2, 0]."""
    assert ranked([(3, 3), (1, 1), (2, 2)]) == [2, 0, 1]


def test_the_epsilon_net_begins_left_and_goes_to_the_farthest() -> None:
    """FACTS 5: order [2, 3, 1, 0], so the places are its inverse."""
    front = np.array([(0.04, 0.96), (0.27, 0.73), (0.02, 0.98), (0.64, 0.36)])
    found = epsilon_net(front, np.linspace(0, 0.9, 4))
    assert list(np.argsort(found)) == [2, 3, 1, 0]


def test_crowding_by_hand() -> None:
    """Ends first; then (1, 2) with 3/4 + 3.5/4, then (3, .5) with 3/4 + 2/4."""
    front = np.array([(0.0, 4.0), (1.0, 2.0), (3.0, 0.5), (4.0, 0.0)])
    found = crowding(front, np.array([0.0, 0.1, 0.2, 0.3]))
    assert [int(place) for place in found] == [0, 2, 3, 1]


def test_an_earlier_front_comes_before_a_lonelier_point() -> None:
    losses = [(0, 10), (10, 0), (5, 5), (5.1, 5.1), (100, 100)]
    found = ranked(losses)
    assert sorted(found[:3]) == [0, 1, 2]
    assert found[3:] == [3, 4]


def test_what_breaks_a_constraint_comes_after_what_keeps_it_and_what_failed_comes_last() -> None:
    verdicts = cut(
        entries([(0, 0), (9, 9), (0, 1), (math.nan, 0)], [0.5, 0.0, 0.1, 0.0]),
        Rule(method="mo_asha"),
        seed=0,
        epoch=1,
    )
    assert [verdict.rank for verdict in verdicts] == [2, 0, 1, 3]


def test_a_failed_point_never_goes_on_even_alone() -> None:
    (verdict,) = cut(entries([(math.nan,)]), Rule(method="asha"), seed=0, epoch=1)
    assert not verdict.goes_on
    assert "no finite value" in verdict.reason


def test_a_verdict_says_why() -> None:
    verdicts = cut(entries([(0.0,), (1.0,), (2.0,)]), Rule(method="asha"), seed=0, epoch=3)
    assert verdicts[1].reason == "rank 2 of 3 after epoch 3, the best 1 go on"


@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize("seed", range(3))
def test_of_ordered_points_the_best_share_is_kept_and_the_best_never_stopped(
    eta: int, seed: int
) -> None:
    values = np.random.default_rng(seed).permutation(36).astype(float)
    rule = Rule(method="mo_asha", eta=eta)
    verdicts = cut(entries([(v, 2 * v) for v in values]), rule, seed=seed, epoch=1)
    kept = {value for value, verdict in zip(values, verdicts, strict=True) if verdict.goes_on}
    assert kept == set(range(36 // eta))
    live = arrivals([(v, 2 * v) for v in values], rule, seed=seed)
    assert live[int(values.argmin())].goes_on


@pytest.mark.parametrize(("given_losses", "eta"), [((-2, -4, -1), 3), ((4, 2, 10), 3)])
def test_the_intent_of_syne_tunes_public_tests(given_losses: tuple[int, ...], eta: int) -> None:
    """tst/test_moasha.py: mode_max 2, 4, 1 and mode_min 4, 2, 10: continue, continue, stop."""
    verdicts = arrivals([(value, value) for value in given_losses], Rule(eta=eta))
    assert [verdict.goes_on for verdict in verdicts] == [True, True, False]


def test_an_arrival_that_is_heard_twice_changes_nothing() -> None:
    rule = Rule(method="asha")
    there = entries([(3.0,), (1.0,), (2.0,)])
    once = arrival(there[2], there[:2], rule, seed=0, epoch=1)
    assert arrival(there[2], there, rule, seed=0, epoch=1) == once


@pytest.mark.slow
@pytest.mark.parametrize("eta", ETAS)
@pytest.mark.parametrize("seed", range(2))
def test_one_objective_agrees_with_rays_asha_where_that_does_not_interpolate(
    eta: int, seed: int
) -> None:
    """Ray cuts at a percentile of the earlier results, interpolated between two neighbours."""
    bracket_type = pytest.importorskip("ray.tune.schedulers.async_hyperband")._Bracket
    bracket = bracket_type(1, 10, eta, 0)
    values = np.random.default_rng(seed).permutation(60).astype(float)
    verdicts = arrivals([(-value,) for value in values], Rule(eta=eta))
    between = 0
    for number, (value, verdict) in enumerate(zip(values, verdicts, strict=True)):
        earlier = np.sort(values[:number])
        said = bracket.on_result(_Named(str(number)), 1, value)
        if number:
            place = (number - 1) * (1 - 1 / eta)
            low, high = earlier[math.floor(place)], earlier[math.ceil(place)]
            if low <= value < high:
                between += 1
                continue
        assert verdict.goes_on == (said == "CONTINUE")
    assert between < 30


class _Named:
    def __init__(self, name: str) -> None:
        self.trial_id = name


losses_of_points = st.integers(1, 3).flatmap(
    lambda objectives: st.integers(1, 12).flatmap(
        lambda count: arrays(
            np.float64,
            (count, objectives),
            elements=st.sampled_from([0.0, 0.25, 1.0, 2.0, 7.5, math.nan, math.inf]),
        )
    )
)


@settings(max_examples=150, deadline=None)
@given(losses=losses_of_points, ties=st.sampled_from(_TIES), data=st.data())
def test_ranks_are_a_permutation_that_does_not_depend_on_the_order_of_the_input(
    losses: np.ndarray[tuple[int, int], np.dtype[np.float64]], ties: str, data: st.DataObject
) -> None:
    count = len(losses)
    lots = np.array([_lot(str(number), seed=0) for number in range(count)])
    violations = data.draw(
        arrays(np.float64, count, elements=st.sampled_from([0.0, 0.5, 2.0, math.nan]))
    )
    turned = np.array(data.draw(st.permutations(range(count))))
    found = _ranks(losses, violations, lots, ties=ties)
    again = _ranks(losses[turned], violations[turned], lots[turned], ties=ties)
    assert sorted(found) == list(range(count))
    assert list(again) == list(found[turned])


@settings(max_examples=100, deadline=None)
@given(losses=losses_of_points, ties=st.sampled_from(_TIES))
def test_nothing_comes_before_what_beats_it(
    losses: np.ndarray[tuple[int, int], np.dtype[np.float64]], ties: str
) -> None:
    lots = np.array([_lot(str(number), seed=1) for number in range(len(losses))])
    found = _ranks(losses, np.zeros(len(losses)), lots, ties=ties)
    finite = [bool(np.isfinite(row).all()) for row in losses]
    for one in range(len(losses)):
        for other in range(len(losses)):
            beats = (losses[one] <= losses[other]).all() and (losses[one] < losses[other]).any()
            if finite[one] and (beats or not finite[other]):
                assert found[one] < found[other]


@settings(max_examples=50, deadline=None)
@given(
    scale=st.sampled_from([0.5, 4.0, 1024.0]),
    shift=st.sampled_from([0.0, 8.0, -2.0]),
    ties=st.sampled_from(_TIES),
    values=arrays(np.float64, (9, 2), elements=st.integers(0, 20).map(float)),
)
def test_ranks_do_not_change_with_the_unit_of_an_objective(
    scale: float,
    shift: float,
    ties: str,
    values: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> None:
    lots, none = np.linspace(0, 0.9, 9), np.zeros(9)
    other = np.column_stack([values[:, 0] * scale + shift, values[:, 1]])
    assert list(_ranks(values, none, lots, ties=ties)) == list(_ranks(other, none, lots, ties=ties))


def test_brackets_are_drawn_by_name_with_falling_weights() -> None:
    rule = Rule(method="mo_asha", eta=3, brackets=3)
    drawn = [bracket_of(f"p{number}", rule, seed=7) for number in range(3000)]
    share = np.bincount(drawn, minlength=3) / 3000
    assert share == pytest.approx([9 / 13, 3 / 13, 1 / 13], abs=0.03)
    assert drawn[:50] == [bracket_of(f"p{number}", rule, seed=7) for number in range(50)]


@pytest.mark.parametrize(("points", "expected"), [(1, 1), (3, 1), (4, 2), (9, 3), (27, 9)])
def test_a_third_goes_on_rounded_up(points: int, expected: int) -> None:
    assert places(points, 3) == expected
