"""Describes where packs run in a session, how many at once and with which share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final

from sweeps.records import Pack

STARTING: Final = 600.0
"""Limits the seconds until Ray has started or joined, and until a first worker has started."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Says where packs run, how many at once, with which share, and how often one is retried."""

    count: int
    cpus: float
    gpus: float = 0.0
    retries: int = 0
    """Counts how often a pack is retried whose worker or node died."""

    timeout: float = float("inf")
    """Limits the seconds without a message of a pack; then it counts as hanging."""

    address: str | None = None
    """Names a running Ray cluster; None starts one on this machine for the time of the run."""

    scaled: bool = False
    """Tells whether the cluster has an autoscaler."""

    patience: float = STARTING
    """Limits the seconds without any node that has room for a pack."""

    samples: tuple[Pack, ...] = ()
    """Holds packs by which the share of a GPU is measured; none where it is decided."""

    may_do_without: bool = False
    """Tells whether packs may train without the GPUs that there are, where that is faster."""

    def to_json(self) -> dict[str, Any]:
        """Gives as plain data what the process with Ray needs of it."""
        return {
            "address": self.address,
            "most": self.most,
            "cpus": self.cpus,
            "gpus": self.gpus,
            "scaled": self.scaled,
            "samples": [dataclasses.asdict(pack) for pack in self.samples],
            "may_do_without": self.may_do_without,
        }

    @property
    def most(self) -> int | None:
        """Gives the most packs at once; None where the room decides or is to be measured."""
        return self.count if self.address is None and not self.samples else None

    @property
    def share(self) -> str:
        """Describes a pack's share in words."""
        return f"{self.cpus:g} CPU" + (f", {self.gpus:g} GPU" if self.gpus else "")

    @property
    def place(self) -> str:
        """Describes the workers in words."""
        return f"the cluster at {self.address}" if self.address else "this machine"
