"""Numbers in words: what sentences, tables and pictures of a run all say alike."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

LARGER: Final = 0.05
"""Chance alone gives such differences less often than this."""


def number(value: float, digits: int = 3) -> str:
    """A score, or with `digits` significant figures a cost."""
    return f"{value:.{digits}f}"


def amount(value: float) -> str:
    """A cost: whole numbers as they are, others with three significant digits."""
    if float(value).is_integer():
        return f"{value:.0f}"
    if not value or not math.isfinite(value):
        return f"{value:g}"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{max(0, digits)}f}"


def signed(value: float) -> str:
    """A difference of scores with its sign."""
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def percent(share: float) -> str:
    """A share in whole per cent."""
    return f"{100 * share:.0f}".replace("-", "\N{MINUS SIGN}")


def interval(row: Any, name: str) -> str:
    """`0.812 to 0.861` of a table's row."""
    return f"{number(row[f'{name}_low'])} to {number(row[f'{name}_high'])}"


def count(n: int, noun: str) -> str:
    """`1 point`, `3 points`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def settings_label(settings: dict[str, Any]) -> str:
    """Settings in words."""
    return (
        ", ".join(f"{name} {setting_text(value)}" for name, value in settings.items()) or "as set"
    )


def setting_text(value: Any) -> str:
    """A setting in words: a number with three digits (the trial's configuration has them all), a
    list in brackets."""
    if isinstance(value, float | np.floating):
        return f"{value:.3g}" if abs(float(value)) < 1000 else f"{value:g}"
    if isinstance(value, tuple | list | np.ndarray):
        return f"[{', '.join(map(setting_text, value))}]"
    return str(value)
