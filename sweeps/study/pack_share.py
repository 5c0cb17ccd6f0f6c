"""Says what share of a machine a pack gets, and how large a pack is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from mpc_router.config.allowed import Number, Whole, check_allowed
from mpc_router.config.rules import SpaceError, unknown
from mpc_router.messages import quoted
from sweeps.study.lengths import Length, seconds

_AUTO: Final = "auto"
"""Sets `pack.gpus` to 1 where there is a GPU and the device is not the processor."""

_SMALLEST_SHARE: Final = 1e-4
"""Gives the smallest share of a GPU that Ray can count."""


@dataclass(frozen=True, slots=True)
class _Share:
    """Allows shares of a GPU, 0 and `auto`."""

    def fault(self, name: str, value: Any) -> str | None:
        """Says that it is no such share."""
        return (
            None
            if value == _AUTO or _is_share(value)
            else f"{name} is {quoted(value)}, but must be {self}: a pack trains on one GPU at most"
        )

    def schema(self) -> dict[str, Any]:
        """Gives the name, 0, or the bounds."""
        share = {"type": "number", "minimum": _SMALLEST_SHARE, "maximum": 1}
        return {"anyOf": [{"enum": [_AUTO, 0]}, share]}

    def __str__(self) -> str:
        """Gives the shares in words."""
        return f"{_AUTO}, 0, or a share of a GPU from {_SMALLEST_SHARE:g} to 1"


@dataclass(frozen=True, kw_only=True)
class PackSettings:
    """Says what share of the machine a pack gets, and how large it is."""

    points: Annotated[int, Whole(0)] = 0
    """Limits the points of a pack, each with all replicates; 0 makes two packs a worker."""

    cpus: Annotated[float, Number(0, above=True)] = 1.0
    """Counts the processors of a pack."""

    gpus: Annotated[float | str, _Share()] = _AUTO
    """Gives a pack's share of a GPU, 0 for none, or `auto`; a pack trains on one GPU at most."""

    retries: Annotated[int, Whole(0)] = 2
    """Counts how often a pack is retried whose worker or node died."""

    timeout: Annotated[float, Length()] = 6 * 3600.0
    """Limits the seconds without a message of a pack, which sends one after every epoch.

    After them the pack counts as hanging, and its worker is ended. An epoch of a large joint trial
    must fit into them.
    """

    def __post_init__(self) -> None:
        check_allowed(self, "pack.", error=SpaceError)

    @property
    def threads(self) -> int:
        """Gives the number of PyTorch's threads for a pack."""
        return max(1, int(self.cpus))

    def gpus_of(self, available: float, device: str) -> float:
        """Gives the GPUs of a pack that trains on `device`, where so many are available."""
        if isinstance(self.gpus, str):
            return 1.0 if available >= 1 and device != "cpu" else 0.0
        return self.gpus

    @staticmethod
    def from_tree(tree: Mapping[str, Any]) -> PackSettings:
        """Reads the settings from plain data.

        Raises:
            SpaceError: an unknown key, or a value out of its range.
        """
        names = [setting.name for setting in dataclasses.fields(PackSettings)]
        for name in tree:
            if name not in names:
                raise SpaceError(unknown("key of pack", name, names))
        if "timeout" in tree:
            tree = {**tree, "timeout": seconds("pack.timeout", tree["timeout"])}
        return PackSettings(**tree)


def packs_a_gpu(gpus: float) -> int:
    """Gives the number of packs that share a GPU if each has `gpus` of it.

    Ray gives no pack parts of two GPUs.
    """
    return math.floor(1 / gpus + 1e-9)


def _is_share(value: object) -> bool:
    """Tells whether a value is 0, or a share of a GPU that Ray can count."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value == 0 or _SMALLEST_SHARE <= value <= 1
