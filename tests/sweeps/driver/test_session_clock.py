"""When a session of limited time starts no pack any more, and when it closes."""

from __future__ import annotations

import pytest

from sweeps.driver.session_clock import SessionClock


class Hand:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_session_without_an_end_never_closes() -> None:
    hand = Hand()
    clock = SessionClock(now=hand)
    hand.now = 1e12
    assert clock.lets_start()
    assert not clock.closes
    assert not clock.held_back


def test_the_tables_have_their_time_before_the_end() -> None:
    hand = Hand()
    clock = SessionClock(1100.0, now=hand)
    hand.now = 1079.0
    assert not clock.closes
    hand.now = 1080.0
    assert clock.closes


@pytest.mark.parametrize(("end", "closes"), [(130.0, 120.0), (160.0, 140.0)])
def test_a_short_session_keeps_two_thirds_for_training(end: float, closes: float) -> None:
    hand = Hand()
    clock = SessionClock(end, now=hand)
    hand.now = closes - 0.1
    assert not clock.closes
    hand.now = closes
    assert clock.closes


def test_a_session_whose_end_has_passed_closes_at_once() -> None:
    assert SessionClock(50.0, now=Hand()).closes
    assert SessionClock(100.0, now=Hand()).closes


def test_a_pack_that_cannot_report_before_the_end_is_not_started() -> None:
    hand = Hand()
    clock = SessionClock(1120.0, now=hand)
    for pack, seconds in (("quick", 30.0), ("slow", 200.0)):
        clock.started(pack)
        hand.now += seconds
        clock.reported(pack)
        hand.now += 50.0
        clock.reported(pack)  # only its first report counts
    hand.now = 1100.0 - 201.0
    assert clock.lets_start()
    hand.now = 1100.0 - 200.0
    assert not clock.lets_start()
    assert clock.held_back
    assert not clock.closes


def test_a_session_that_held_a_pack_back_starts_none_later() -> None:
    hand = Hand()
    clock = SessionClock(160.0, now=hand)
    hand.now = 141.0
    assert not clock.lets_start()
    hand.now = 101.0
    assert not clock.lets_start()
