"""What a message repeats of the input is readable and harmless."""

from __future__ import annotations

import pytest

from mpc_router.messages import _LONGEST_MESSAGE, LONGEST_VALUE, decimal, one_line, quoted


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


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.8124, "0.812"),
        (-0.0001, "-0.000"),
        (9.87654, "9.877"),
        (12.345, "12.35"),
        (-123.456, "-123.5"),
        (12345.678, "12346"),
        (1e9, "1000000000"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_a_number_has_as_many_digits_as_its_magnitude_asks_for(value: float, text: str) -> None:
    assert decimal(value, 3) == text
