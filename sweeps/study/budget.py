"""Limits what a run may spend, over all of its sessions together."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mpc_router.config.rules import SpaceError, is_number, unknown
from mpc_router.messages import quoted

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
"""Gives the seconds of each unit of time."""

_TIME: Final = re.compile(r"(?:[0-9]{1,18}(?:\.[0-9]{1,18})?[smhd])+")

_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits the totals of a run; None sets no limit."""

    time: float | None = None
    """Limits the seconds by the clock, of all sessions together."""

    epochs: int | None = None
    """Limits the epochs that trials have finished, of all trials together."""

    gpu_hours: float | None = None
    """Limits the hours of GPUs: each pack's share of GPUs times how long it trained."""

    def __post_init__(self) -> None:
        for limit in dataclasses.fields(self):
            value = getattr(self, limit.name)
            countable = limit.name != "epochs" or isinstance(value, int)
            if value is not None and not (
                is_number(value) and countable and math.isfinite(value) and value > 0
            ):
                kind = "a whole number" if limit.name == "epochs" else "a number"
                raise SpaceError(
                    f"budget.{limit.name} is {quoted(value)}, but must be {kind} above 0"
                )

    def __bool__(self) -> bool:
        """Tells whether anything is limited."""
        return any(value is not None for value in dataclasses.astuple(self))

    def used_up(self, *, time: float, epochs: int, gpu_hours: float) -> str | None:
        """Names the limit that has been reached, in words; None where none has.

        Args:
            time: seconds of all sessions.
            epochs: of all trials.
            gpu_hours: of all packs.
        """
        if self.time is not None and time >= self.time:
            return f"budget.time of {duration_text(self.time)}"
        if self.epochs is not None and epochs >= self.epochs:
            return f"budget.epochs of {self.epochs}"
        if self.gpu_hours is not None and gpu_hours >= self.gpu_hours:
            return f"budget.gpu_hours of {self.gpu_hours:g}"
        return None

    def plain(self) -> dict[str, Any]:
        """Gives the limits as YAML has them; unlimited totals are left out."""
        limits = dataclasses.asdict(self)
        return {name: limit for name, limit in limits.items() if limit is not None}

    @staticmethod
    def from_tree(tree: Mapping[Any, Any]) -> Budget:
        """Reads the budget that YAML describes: `{time: 2h, epochs: 5000, gpu_hours: 3}`.

        Raises:
            SpaceError: an unknown key, or a value that is no budget.
        """
        names = [limit.name for limit in dataclasses.fields(Budget)]
        for name in tree:
            if name not in names:
                raise SpaceError(unknown("key of budget", name, names))
        values = {str(name): value for name, value in tree.items()}
        return Budget(**values | {"time": seconds("budget.time", values.get("time"))})


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
