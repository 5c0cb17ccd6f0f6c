"""What is common to all packs of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mpc_router.costs import CostVector, from_json, to_json
from sweeps.stopping.rungs import Ranking

EPOCHS: Final = "epochs"
"""In a joint trial's checkpoint, while it trains: what it goes on from when interrupted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is common to all packs of a run."""

    prepared: Mapping[str, Path]
    """Folders of what is prepared, by the set's name."""

    parts: Path
    """Where bulk files go."""

    checkpoints: Path
    measured: Mapping[str, Mapping[str, CostVector]] = field(default_factory=dict)
    """Costs that the study brings along: by set, then by name."""

    threads: int = 1
    gpus: float = 0.0
    """Of a pack; one that has none trains on the processor, whatever torch sees."""

    ranking: Ranking | None = None
    """What packs that are brackets rank their points by."""

    def to_json(self) -> dict[str, Any]:
        """Plain data, the way Ray carries it."""
        return {
            "prepared": {name: str(folder) for name, folder in self.prepared.items()},
            "parts": str(self.parts),
            "checkpoints": str(self.checkpoints),
            "measured": {name: to_json(dict(each)) for name, each in self.measured.items()},
            "threads": self.threads,
            "gpus": self.gpus,
            "ranking": self.ranking and self.ranking.to_json(),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Job:
        """The job that `to_json` gave."""
        return Job(
            prepared={name: Path(folder) for name, folder in data["prepared"].items()},
            parts=Path(data["parts"]),
            checkpoints=Path(data["checkpoints"]),
            measured={name: from_json(each) for name, each in data["measured"].items()},
            threads=data["threads"],
            gpus=data["gpus"],
            ranking=data["ranking"] and Ranking.from_json(data["ranking"]),
        )
