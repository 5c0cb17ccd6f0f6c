"""Nodes whose surroundings fail are told from surroundings that fail everywhere."""

from __future__ import annotations

from sweeps.driver._node_faults import FAILURES, NodeFaults


def test_a_node_is_left_out_after_failures_in_a_row_while_another_is_sound() -> None:
    faults = NodeFaults()
    faults.trained("sound")
    answers = [faults.failed("bad") for _ in range(FAILURES - 1)]
    assert faults.left_out == []
    assert [*answers, faults.failed("bad")] == [True] * FAILURES
    assert faults.left_out == ["bad"]


def test_a_node_that_fails_each_time_after_a_message_is_left_out() -> None:
    faults = NodeFaults()
    faults.trained("sound")
    for _ in range(FAILURES):
        faults.trained("bad")
        assert faults.failed("bad")
    assert faults.left_out == ["bad"]


def test_a_pack_that_ends_well_in_between_begins_the_row_anew() -> None:
    faults = NodeFaults()
    faults.trained("sound")
    for _ in range(3 * FAILURES):
        assert faults.failed("shaky")
        faults.finished("shaky")
    assert faults.left_out == []


def test_the_last_sound_node_is_never_left_out() -> None:
    faults = NodeFaults()
    for node in ("first", "second"):
        faults.trained(node)
    for _ in range(FAILURES):
        assert faults.failed("first")
    assert not any(faults.failed("second") for _ in range(3 * FAILURES))
    assert faults.left_out == ["first"]


def test_a_node_that_never_trained_counts_for_no_other() -> None:
    faults = NodeFaults()
    assert not any(faults.failed(node) for node in ("first", "second") * FAILURES)
    assert faults.left_out == []
