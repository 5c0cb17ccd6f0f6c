"""Says what share of a machine a pack gets, and how large a pack is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from mpc_router.messages import quoted
from mpc_router.settings.allowed import Number, Whole, check_allowed
from mpc_router.settings.rules import SpaceError, unknown
from sweeps.study.lengths import Length, seconds

_AUTO: Final = "auto"
"""Sets `pack.gpus` to 1 where there is a GPU and the device is not the processor."""

MEASURED: Final = "measured"
"""Sets `pack.gpus` to the share of a GPU's memory that a pack needs, where `auto` is 1."""

_PARTS: Final = 8
"""Counts the parts of a GPU that a measured share is rounded up to."""

_SMALLEST_SHARE: Final = 1e-4
"""Gives the smallest share of a GPU that Ray can count."""


@dataclass(frozen=True, slots=True)
class _Share:
    """Allows shares of a GPU, 0, `auto` and `measured`."""

    def fault(self, name: str, value: Any) -> str | None:
        """Says that it is no such share."""
        return (
            None
            if value in (_AUTO, MEASURED) or _is_share(value)
            else f"{name} is {quoted(value)}, but must be {self}: a pack trains on one GPU at most"
        )

    def schema(self) -> dict[str, Any]:
        """Gives the names, 0, or the bounds."""
        share = {"type": "number", "minimum": _SMALLEST_SHARE, "maximum": 1}
        return {"anyOf": [{"enum": [_AUTO, MEASURED, 0]}, share]}

    def __str__(self) -> str:
        """Gives the shares in words."""
        return f"{_AUTO}, {MEASURED}, 0, or a share of a GPU from {_SMALLEST_SHARE:g} to 1"


@dataclass(frozen=True, kw_only=True)
class PackSettings:
    """Says what share of the machine a pack gets, and how large it is."""

    points: Annotated[int, Whole(0)] = 0
    """Limits the points of a pack, each with all replicates; 0 makes two or more packs a worker."""

    cpus: Annotated[float, Number(0, above=True)] = 1.0
    """Counts the processors of a pack."""

    gpus: Annotated[float | str, _Share()] = _AUTO
    """Gives a pack's share of a GPU, 0 for none, `auto` or `measured`; a pack trains on one GPU."""

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
        """Gives the GPUs of a pack that trains on `device`, where so many are available.

        Where they are to be measured, it is one until that is done.
        """
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


def share_of_memory(peak: float, memory: float) -> float:
    """Gives the share of a GPU that a pack needs whose peak takes so much of the GPU's memory.

    It is rounded up to an eighth, and 1 at most: share = ceil(8 peak / memory) / 8.
    """
    return min(_PARTS, max(1, math.ceil(_PARTS * peak / memory))) / _PARTS


@dataclass(frozen=True, kw_only=True)
class DryStep:
    """Holds what some steps of a pack's first stack have shown on a GPU, and on the processor."""

    peak: int
    """It is the most memory that was taken of the GPU, in bytes."""

    memory: int
    """It is the GPU's whole memory, in bytes."""

    gpu_seconds: float
    """It is the time of a step of a trial on the GPU."""

    cpu_seconds: float | None
    """It is that on the processor; None for trials whose experts train, which need the GPU."""

    def share(self, *, may_do_without: bool) -> float:
        """Gives a pack's share of a GPU; 0 where it may do without one and is faster so."""
        if may_do_without and self.cpu_seconds is not None and self.cpu_seconds <= self.gpu_seconds:
            return 0.0
        return share_of_memory(self.peak, self.memory)

    def text(self, share: float) -> str:
        """Says in words what was measured, and the share that follows."""
        if not share:
            return (
                f"a step takes {1e3 * self.gpu_seconds:.2f} ms a trial on the GPU and "
                f"{1e3 * (self.cpu_seconds or 0):.2f} ms on the processor: packs get no GPU"
            )
        return (
            f"a pack takes {self.peak / 1e9:.2f} of {self.memory / 1e9:.2f} GB of a GPU: its share "
            f"is {share:g}"
        )


def largest_share(steps: Sequence[DryStep], *, may_do_without: bool) -> tuple[float, str]:
    """Gives the share of a GPU with which every measured kind of pack trains, and why in words.

    `may_do_without` tells whether packs may train on the processor where that is faster; a session
    has one share, so they do only where all kinds are faster there.
    """
    without = may_do_without and not any(step.share(may_do_without=True) for step in steps)
    largest = max(steps, key=lambda step: step.peak / step.memory)
    share = largest.share(may_do_without=without)
    return share, largest.text(share)


def packs_on(resources: Mapping[str, float], cpus: float, gpus: float) -> int:
    """Counts the packs of such a share that a node with these resources runs at once."""
    room = int(resources.get("CPU", 0.0) / cpus)
    return min(room, int(resources.get("GPU", 0.0)) * packs_a_gpu(gpus)) if gpus else room


def _is_share(value: object) -> bool:
    """Tells whether a value is 0, or a share of a GPU that Ray can count."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value == 0 or _SMALLEST_SHARE <= value <= 1
