"""Puts numbers in words as sentences, tables and pictures of a run all do."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from mpc_router.messages import decimal
from mpc_router.tasks import OF_CLASS, Task

LARGER: Final = 0.05
"""Chance alone gives such differences less often than this."""


def number(value: float) -> str:
    """Gives a score: three decimals below 10, as many digits above."""
    return decimal(value, 3)


def amount(value: float) -> str:
    """Gives a cost: whole numbers as they are, others with three significant digits."""
    if float(value).is_integer():
        return f"{value:.0f}"
    if not value or not math.isfinite(value):
        return f"{value:g}"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{max(0, digits)}f}"


def signed(value: float) -> str:
    """Gives a difference of scores with its sign."""
    text = number(value)
    return text.replace("-", "\N{MINUS SIGN}") if text.startswith("-") else f"+{text}"


def percent(share: float) -> str:
    """Gives a share in whole per cent."""
    return f"{100 * share:.0f}".replace("-", "\N{MINUS SIGN}")


def interval(row: Any, name: str) -> str:
    """Gives `0.812 to 0.861` of a table's row."""
    return f"{number(row[f'{name}_low'])} to {number(row[f'{name}_high'])}"


def constant_words(task: Task) -> str:
    """Names the answer that is given without looking: the commonest class, or the median."""
    return "median label" if task.regression else "majority class"


def _metric_words(name: str) -> str:
    """Gives a metric in words: `F1`, `macro F1`, `F1 of refund`, `mean absolute error`."""
    if name.startswith(OF_CLASS):
        return f"F1 of {name.removeprefix(OF_CLASS)}"  # a label keeps its own signs
    return name.replace("_", " ").replace("f1", "F1")


def score_words(task: Task) -> str:
    """Gives what the score is: `the mean of accuracy and F1`, or a metric `(low is better)`."""
    names = " and ".join(map(_metric_words, task.score_metrics))
    mean = "the mean of " if len(task.score_metrics) > 1 else ""
    return f"{mean}{names}{low_words(task)}"


def low_words(task: Task) -> str:
    """Says that a low score is better, in brackets; empty where a high one is."""
    return " (low is better)" if task.direction == "min" else ""


def count(n: int, noun: str) -> str:
    """Gives `1 point`, `3 points`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def settings_label(settings: dict[str, Any]) -> str:
    """Gives settings in words."""
    return (
        ", ".join(f"{name} {setting_text(value)}" for name, value in settings.items()) or "as set"
    )


def setting_text(value: Any) -> str:
    """Gives a setting in words: a number with three digits, a list in brackets.

    The trial's configuration has all digits.
    """
    if isinstance(value, float | np.floating):
        return f"{value:.3g}" if abs(float(value)) < 1000 else f"{value:g}"
    if isinstance(value, tuple | list | np.ndarray):
        return f"[{', '.join(map(setting_text, value))}]"
    return str(value)
