"""Reads JSON strictly: what it gives can be written again as JSON."""

from __future__ import annotations

import json
import math
from typing import Any


def json_value(text: str | bytes) -> Any:
    """Gives the value that a JSON text from elsewhere holds.

    Raises:
        ValueError: it is no JSON; NaN, infinities and numbers beyond a double's range are none.
        RecursionError: it is nested too deeply.
    """
    return json.loads(text, parse_constant=_no_number, parse_float=_finite)


def _no_number(name: str) -> None:
    """Refuses NaN and infinities, which are not JSON.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    """Gives the number that a text names.

    Raises:
        ValueError: it is beyond a double's range.
    """
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is beyond the range of numbers")
    return value
