"""What a message repeats of the input is readable and harmless."""

from __future__ import annotations

from mpc_router.messages import _LONGEST_MESSAGE, LONGEST_VALUE, one_line, quoted


def test_a_long_value_is_cut_and_keeps_both_ends() -> None:
    text = quoted("a" * 5000 + "z")
    assert len(text) == LONGEST_VALUE
    assert text.startswith("'aaa")
    assert text.endswith("z'")
    assert " ... " in text


def test_a_short_value_is_its_repr() -> None:
    assert quoted("a b") == "'a b'"


def test_a_message_is_one_printable_line() -> None:
    text = one_line("first\nsecond\x1b[31m\u202e\udcff " + "word " * 1000)
    assert text.startswith("first second\\x1b[31m\\u202e\\udcff word")
    assert text.isprintable()
    assert len(text) == _LONGEST_MESSAGE
