"""The large search that `benchmarks.big_run` makes up: its task, costs, space, study and origin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from analysis import schema
from mpc_router.costs import CostVector, to_json
from mpc_router.tasks import TASKS

TASK: Final = TASKS["mrpc"]
SPLITS: Final = {"selection": 367, "validation": 408}
"""Rows by split, those of MRPC."""

SKILL: Final = (0.70, 0.78, 0.86)
"""How often each expert is right."""

VECTORS: Final = {
    "constants": CostVector(name="constants", unit="units", router=0.3, experts=(2.0, 7.0, 13.0)),
    "mpc_seconds_as_if": CostVector(
        name="mpc_seconds_as_if",
        unit="s",
        router=4.17,
        experts=(4.11, 69.71, 199.78),
        as_if=True,
    ),
}
STUDIED: Final = "constants"
EXPERTS_ID: Final = "e0"

SPACE: Final = {"alpha": (1e-3, 1.0), "beta": (1e-4, 0.3), "learning_rate": (1e-4, 1e-2)}
"""Drawn loguniformly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a run is."""

    points: int = 10_000
    seeds: int = 1
    epochs: int = 9
    ended: int = 1_000
    """Trials that trained to the end, with routes; a multiple of `seeds`."""

    def __post_init__(self) -> None:
        if self.ended % self.seeds or not 0 < self.ended <= self.points * self.seeds:
            raise ValueError(
                f"ended is {self.ended}, but must be a multiple of the {self.seeds} seeds up to "
                f"{self.points * self.seeds}"
            )


def study_of(size: Size) -> dict[str, Any]:
    return {
        "study": "big_search",
        "trial": {"task": TASK.name, "pool": "sample", "epochs": size.epochs},
        "space": {name: {"loguniform": list(ends)} for name, ends in SPACE.items()},
        "start": [],
        "seeds": list(range(size.seeds)),
        "objectives": {"score": "max", "cost": "min"},
        "search": {"method": "tpe", "points": size.points},
        "stopping": {"method": "mo_asha", "eta": 3, "grace": 1},
    }


def provenance_of(name: str) -> dict[str, Any]:
    names = ("made-up/tiny", "made-up/base", "made-up/large")
    return {
        "schema": schema.VERSION,
        "run": name,
        "study": "big_search",
        "task": TASK.name,
        "pool": "sample",
        "synthetic": True,
        "started": "2026-11-23T03:00:00Z",
        "arguments": ["benchmarks.big_run"],
        "versions": {},
        "commit": None,
        "machine": {},
        "fingerprints": {"data": "generated", "experts": EXPERTS_ID, "code": ""},
        "experts": [
            {"expert": number, "name": expert, "layers": 0, "stand_in": None}
            for number, expert in enumerate(names)
        ],
        "stem": {"name": "made-up/stem", "stand_in": None},
        "experts_fixed_seed": True,
        "splits": {
            split: {"rows": rows, "source": "generated", "note": None}
            for split, rows in SPLITS.items()
        },
        "cost_vector": STUDIED,
        "cost_vectors": to_json(VECTORS),
        "objectives": {"score": "max", "cost": "min"},
        "notes": [],
    }
