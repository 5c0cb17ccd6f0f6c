"""Reads and writes lengths of time, as a study says them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

from mpc_router.messages import quoted
from mpc_router.settings.rules import SpaceError, is_number

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
"""Gives the seconds of each unit of time."""

_TIME: Final = re.compile(r"(?:[0-9]{1,18}(?:\.[0-9]{1,18})?[smhd])+")

_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])")


@dataclass(frozen=True, slots=True)
class Length:
    """Allows lengths of time above 0; in seconds, once they are read."""

    def fault(self, name: str, value: Any) -> str | None:
        """Says that it is no such length."""
        if is_number(value) and math.isfinite(value) and value > 0:
            return None
        return f"{name} is {quoted(value)}, but must be a length of time above 0"

    def schema(self) -> dict[str, Any]:
        """Gives seconds, or the pattern of a text."""
        seconds_schema = {"type": "number", "exclusiveMinimum": 0}
        return {"anyOf": [seconds_schema, {"type": "string", "pattern": f"^{_TIME.pattern}$"}]}

    def __str__(self) -> str:
        """Says how it is written."""
        return "a length of time such as 2h, 90m, 1h30m or 3600 (seconds)"


def duration_text(length: float) -> str:
    """Writes a length of time, in seconds, in the unit that fits."""
    for unit in ("d", "h", "m"):
        if length >= _SECONDS[unit]:
            return f"{length / _SECONDS[unit]:.3g} {unit}"
    return f"{length:.3g} s"


def seconds(name: str, length: Any) -> Any:
    """Turns `2h`, `90m`, `1h30m`, `45s` or `2d` into seconds; a value that is no text stays.

    Raises:
        SpaceError: a text that is no length of time.
    """
    if not isinstance(length, str):
        return length
    if not _TIME.fullmatch(length):
        raise SpaceError(
            f"{name} is {quoted(length)}, but must be a length of time such as 2h, 90m, 1h30m or "
            "3600 (seconds)"
        )
    parts = _PART.findall(length)
    return math.fsum(float(number) * _SECONDS[unit] for number, unit in parts)
