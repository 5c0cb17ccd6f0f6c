"""What of a study needs no trainer: a pack's share, plain data, lengths of time, and names that are
near."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mpc_router.config.sections import SpaceError, is_number, unknown
from mpc_router.messages import quoted
from sweeps.study.budget import seconds

_AUTO: Final = "auto"
"""Of `pack.gpus`: one where there are any, and the device is not the processor."""

_SMALLEST_SHARE: Final = 1e-4
"""Of a GPU: Ray counts in these."""


@dataclass(frozen=True, kw_only=True)
class PackSettings:
    """Says what share of the machine a pack gets, and how large it is."""

    points: int = 0
    """Points a pack holds at most, each with all replicates; 0: two packs a worker."""

    cpus: float = 1.0
    gpus: float | str = _AUTO
    """Its share of a GPU, 0 for none, or `auto`; a pack trains on one GPU at most."""

    retries: int = 2
    """Times that a pack is tried again whose worker or node died."""

    timeout: float = 6 * 3600.0
    """Seconds without a word of a pack, which speaks after every epoch, until it is taken to hang
    and its worker is ended. Long, for the epoch of a large joint trial must fit."""

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
        if self.gpus != _AUTO and not _is_share(self.gpus):
            raise SpaceError(
                f"pack.gpus is {quoted(self.gpus)}, but must be {_AUTO}, 0, or a share of a GPU "
                f"from {_SMALLEST_SHARE:g} to 1: a pack trains on one GPU at most"
            )

    @property
    def threads(self) -> int:
        """Torch's, for a pack."""
        return max(1, int(self.cpus))

    def gpus_of(self, available: float, device: str) -> float:
        """GPUs of a pack that trains on `device`, where so many are available."""
        if isinstance(self.gpus, str):
            return 1.0 if available >= 1 and device != "cpu" else 0.0
        return self.gpus

    @staticmethod
    def of(given: Mapping[str, Any]) -> PackSettings:
        """The settings that plain data describes.

        Raises:
            SpaceError: an unknown key, or a value out of its range.
        """
        known = [each.name for each in dataclasses.fields(PackSettings)]
        for name in given:
            if name not in known:
                raise SpaceError(unknown("key of pack", name, known))
        if "timeout" in given:
            given = {**given, "timeout": seconds("pack.timeout", given["timeout"])}
        return PackSettings(**given)


def packs_a_gpu(gpus: float) -> int:
    """Packs that share a GPU where each has `gpus` of it: Ray gives no pack parts of two."""
    return math.floor(1 / gpus + 1e-9)


def _is_share(value: object) -> bool:
    """Whether it is 0, or a share of a GPU that Ray can count."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value == 0 or _SMALLEST_SHARE <= value <= 1
