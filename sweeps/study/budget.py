"""What a run may spend in all, over every session of it."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mpc_router.config.sections import SpaceError, is_number, unknown
from mpc_router.messages import quoted

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
"""Of the units that a length of time may be given in."""

_TIME: Final = re.compile(r"(?:[0-9]{1,18}(?:\.[0-9]{1,18})?[smhd])+")

_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits the totals of a run; None sets no limit."""

    time: float | None = None
    """Seconds by the clock, of all sessions together."""

    epochs: int | None = None
    """Epochs that trials have finished, all trials together."""

    gpu_hours: float | None = None
    """Hours of GPUs: each pack's share of GPUs times how long it trained."""

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            whole = each.name != "epochs" or isinstance(value, int)
            if value is not None and not (
                is_number(value) and whole and math.isfinite(value) and value > 0
            ):
                kind = "a whole number" if each.name == "epochs" else "a number"
                raise SpaceError(
                    f"budget.{each.name} is {quoted(value)}, but must be {kind} above 0"
                )

    def __bool__(self) -> bool:
        """Says whether anything is limited."""
        return any(value is not None for value in dataclasses.astuple(self))

    def used_up(self, *, time: float, epochs: int, gpu_hours: float) -> str | None:
        """Which limit has been reached, as a person says it; None where none has.

        Args:
            time: seconds of all sessions.
            epochs: of all trials.
            gpu_hours: of all packs.
        """
        if self.time is not None and time >= self.time:
            return f"budget.time of {said(self.time)}"
        if self.epochs is not None and epochs >= self.epochs:
            return f"budget.epochs of {self.epochs}"
        if self.gpu_hours is not None and gpu_hours >= self.gpu_hours:
            return f"budget.gpu_hours of {self.gpu_hours:g}"
        return None

    def plain(self) -> dict[str, Any]:
        """The way YAML has it; what has no end is left out."""
        return {name: each for name, each in dataclasses.asdict(self).items() if each is not None}

    @staticmethod
    def of(given: Mapping[Any, Any]) -> Budget:
        """The budget that YAML describes: `{time: 2h, epochs: 5000, gpu_hours: 3}`.

        Raises:
            SpaceError: an unknown key, or a value that is no budget.
        """
        known = [each.name for each in dataclasses.fields(Budget)]
        for name in given:
            if name not in known:
                raise SpaceError(unknown("key of budget", name, known))
        values = {str(name): value for name, value in given.items()}
        return Budget(**values | {"time": seconds("budget.time", values.get("time"))})


def said(length: float) -> str:
    """A length of time in the unit that fits."""
    for unit in ("d", "h", "m"):
        if length >= _SECONDS[unit]:
            return f"{length / _SECONDS[unit]:.3g} {unit}"
    return f"{length:.3g} s"


def seconds(name: str, given: Any) -> Any:
    """`2h`, `90m`, `1h30m`, `45s`, `2d` as seconds; what is no text stays, a number is seconds.

    Raises:
        SpaceError: a text that is no length of time.
    """
    if not isinstance(given, str):
        return given
    if not _TIME.fullmatch(given):
        raise SpaceError(
            f"{name} is {quoted(given)}, but must be a length of time such as 2h, "
            "90m, 1h30m or 3600 "
            "(seconds)"
        )
    parts = _PART.findall(given)
    return math.fsum(float(number) * _SECONDS[unit] for number, unit in parts)
