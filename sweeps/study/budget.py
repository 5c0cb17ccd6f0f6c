"""Limits what a run may spend, over all of its sessions together."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from mpc_router.settings.allowed import Number, Whole, check_allowed
from mpc_router.settings.rules import SpaceError, unknown
from sweeps.study.lengths import Length, duration_text, seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Limits the totals of a run; None sets no limit."""

    time: Annotated[float | None, Length()] = None
    """Limits the seconds by the clock, of all sessions together."""

    epochs: Annotated[int | None, Whole(1)] = None
    """Limits the epochs that trials have finished, of all trials together."""

    gpu_hours: Annotated[float | None, Number(0, above=True)] = None
    """Limits the hours of GPUs: each pack's share of GPUs times how long it trained."""

    def __post_init__(self) -> None:
        check_allowed(self, "budget.", error=SpaceError)

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
