"""The module holds what is common to all packs of a run."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mpc_router import plugins
from mpc_router.costs import CostVector, from_json, to_json
from sweeps.stopping.rungs import Ranking

EPOCHS: Final = "epochs"
"""It is a folder in a joint trial's checkpoint, from which an interrupted training goes on."""

STATE_PAUSE: Final = 10.0
"""It is the least time between two kept states of a pack, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Holds what is common to all packs of a run."""

    prepared: Mapping[str, Path]
    """They are the folders of prepared sets, by the set's name."""

    parts: Path
    """It is the folder of bulk files."""

    checkpoints: Path
    states: Path
    """It is the folder of unfinished packs' states."""

    measured: Mapping[str, Mapping[str, CostVector]] = field(default_factory=dict)
    """They are the costs that the study brings along: by set, then by name."""

    threads: int = 1
    gpus: float = 0.0
    """It is a pack's share of GPUs; a pack without trains on the processor."""

    ranking: Ranking | None = None
    """It defines how packs that are brackets rank their points."""

    keeps_routers: bool = True
    """Tells whether trials leave their routers in `checkpoints` when they end."""

    trusted: tuple[tuple[str, str], ...] = ()
    """They are the parts of one's own that a worker may load (`mpc_router.plugins.trusted`)."""

    def to_json(self) -> dict[str, Any]:
        """Gives the job as plain data, for the way to Ray's workers."""
        return {
            "prepared": {name: str(folder) for name, folder in self.prepared.items()},
            "parts": str(self.parts),
            "checkpoints": str(self.checkpoints),
            "states": str(self.states),
            "measured": {name: to_json(dict(costs)) for name, costs in self.measured.items()},
            "threads": self.threads,
            "gpus": self.gpus,
            "ranking": self.ranking and self.ranking.to_json(),
            "keeps_routers": self.keeps_routers,
            "trusted": self.trusted,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Job:
        """Makes a job of the data that `to_json` gave, and trusts the parts that it trusts."""
        trusted = tuple((group, name) for group, name in data["trusted"])
        plugins.trust_pairs(trusted)  # the ranking may name one
        return Job(
            prepared={name: Path(folder) for name, folder in data["prepared"].items()},
            parts=Path(data["parts"]),
            checkpoints=Path(data["checkpoints"]),
            states=Path(data["states"]),
            measured={name: from_json(costs) for name, costs in data["measured"].items()},
            threads=data["threads"],
            gpus=data["gpus"],
            ranking=data["ranking"] and Ranking.from_json(data["ranking"]),
            keeps_routers=data["keeps_routers"],
            trusted=trusted,
        )


def forget(keys: Iterable[str], job: Job) -> None:
    """Removes the epochs that trials would go on from: the journal has their endings."""
    for key in keys:
        shutil.rmtree(job.checkpoints / key / EPOCHS, ignore_errors=True)
        if not job.keeps_routers:
            with contextlib.suppress(OSError):  # there is none
                (job.checkpoints / key).rmdir()
