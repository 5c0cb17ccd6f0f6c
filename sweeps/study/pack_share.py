"""Says what share of a machine a pack gets, and how large a pack is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mpc_router.config.rules import SpaceError, is_number, unknown
from mpc_router.messages import quoted
from sweeps.study.budget import seconds

_AUTO: Final = "auto"
"""Sets `pack.gpus` to 1 where there is a GPU and the device is not the processor."""

MEASURED: Final = "measured"
"""Sets `pack.gpus` to the share of a GPU's memory that a pack needs, where `auto` is 1."""

_PARTS: Final = 8
"""Counts the parts of a GPU that a measured share is rounded up to."""

_SMALLEST_SHARE: Final = 1e-4
"""Gives the smallest share of a GPU that Ray can count."""


@dataclass(frozen=True, kw_only=True)
class PackSettings:
    """Says what share of the machine a pack gets, and how large it is."""

    points: int = 0
    """Limits the points of a pack, each with all replicates; 0 makes two packs a worker."""

    cpus: float = 1.0
    gpus: float | str = _AUTO
    """Gives a pack's share of a GPU, 0 for none, `auto` or `measured`; a pack trains on one GPU."""

    retries: int = 2
    """Counts how often a pack is retried whose worker or node died."""

    timeout: float = 6 * 3600.0
    """Limits the seconds without a message of a pack, which sends one after every epoch.

    After them the pack counts as hanging, and its worker is ended. An epoch of a large joint trial
    must fit into them.
    """

    def __post_init__(self) -> None:
        if isinstance(self.retries, bool) or not isinstance(self.retries, int) or self.retries < 0:
            raise SpaceError(
                f"pack.retries is {quoted(self.retries)}, but must be an integer from 0"
            )
        if not is_number(self.timeout) or not math.isfinite(self.timeout) or self.timeout <= 0:
            raise SpaceError(
                f"pack.timeout is {quoted(self.timeout)}, but must be a length of time above 0"
            )
        if isinstance(self.points, bool) or not isinstance(self.points, int) or self.points < 0:
            raise SpaceError(f"pack.points is {quoted(self.points)}, but must be an integer from 0")
        if not is_number(self.cpus) or not math.isfinite(self.cpus) or self.cpus < 0:
            raise SpaceError(f"pack.cpus is {quoted(self.cpus)}, but must be a number from 0")
        if self.cpus == 0:
            raise SpaceError("pack.cpus is 0, but a pack needs a share of a processor")
        if self.gpus not in (_AUTO, MEASURED) and not _is_share(self.gpus):
            raise SpaceError(
                f"pack.gpus is {quoted(self.gpus)}, but must be {_AUTO}, {MEASURED}, 0, or a share "
                f"of a GPU "
                f"from {_SMALLEST_SHARE:g} to 1: a pack trains on one GPU at most"
            )

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


def packs_on(resources: Mapping[str, float], cpus: float, gpus: float) -> int:
    """Counts the packs of such a share that a node with these resources runs at once."""
    room = int(resources.get("CPU", 0.0) / cpus)
    return min(room, int(resources.get("GPU", 0.0)) * packs_a_gpu(gpus)) if gpus else room


def _is_share(value: object) -> bool:
    """Tells whether a value is 0, or a share of a GPU that Ray can count."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value == 0 or _SMALLEST_SHARE <= value <= 1
