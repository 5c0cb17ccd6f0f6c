"""Runs drawn from a world whose truth is known, in memory, as the survey reads them.

A world: whether a weak and a strong expert are right about an example, whoever asks; seeds of a
training that draw how often a router asks the strong one, and how well it sees who needs it. A run
draws examples and seeds; a point is one kind of training. Letters: N examples, S seeds, K experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from analysis.runs.load import Run
from mpc_router.costs import CostVector, to_json

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]

BOTH, WEAK_ALONE, STRONG_ALONE = 0.68, 0.06, 0.16
"""How often both experts are right, and either alone: the weak is right .74, the strong .84."""

VECTOR = CostVector(name="constants", unit="units", router=0.0, experts=(2.0, 10.0))
SPLITS = ("selection", "validation")
_SEEDS_OF_TRUTH = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Routers of one training: how its seeds differ, and what they see."""

    name: str
    seeds: int
    spread: float
    """Standard deviation over seeds of the share sent to the strong expert (mean one half)."""

    skill: float = 0.0
    """0 draws lots; else how much of its share a router moves to those who need the strong one."""

    skill_spread: float = 0.0

    def trained(self, rng: np.random.Generator, seeds: int) -> Values:
        """(seeds, 3) by seed the chance to ask the strong expert where only the weak one is right,
        where it makes no difference, and where only the strong one is."""
        share = np.clip(rng.normal(0.5, self.spread, (seeds, 1)), 0, 1)
        skill = np.maximum(rng.normal(self.skill, self.skill_spread, (seeds, 1)), 0)
        return np.asarray(np.clip(share + 0.5 * skill * np.array([-1, 0, 1]), 0, 1))

    def truth(self) -> dict[str, float]:
        """Score, cost and distance to the coin, the mean over examples and seeds."""
        less, same, more = _chances(replace(self, name="", seeds=0))
        gained, lost = more * STRONG_ALONE, less * WEAK_ALONE
        strong = gained + lost + same * (1 - STRONG_ALONE - WEAK_ALONE)
        low, high = VECTOR.experts
        over_weak = gained - lost
        return {
            "score": BOTH + WEAK_ALONE + over_weak,
            "cost": low + strong * (high - low),
            "over_mix": over_weak - strong * (STRONG_ALONE - WEAK_ALONE),
        }


@lru_cache
def _chances(kind: Kind) -> tuple[float, ...]:
    """(3,) the mean over a million seeds of `trained`, which neither name nor `seeds` changes."""
    drawn = kind.trained(np.random.default_rng(0), _SEEDS_OF_TRUTH)
    return tuple(drawn.mean(axis=0).tolist())


def world(examples: int, rng: np.random.Generator) -> Mask:
    """(2, N) whether the weak and the strong expert are right."""
    cells = np.array([[True, True], [True, False], [False, True], [False, False]])
    neither = 1 - BOTH - WEAK_ALONE - STRONG_ALONE
    drawn = rng.choice(4, size=examples, p=[BOTH, WEAK_ALONE, STRONG_ALONE, neither])
    return np.asarray(cells[drawn].T)


@dataclass(frozen=True, eq=False)
class Simulated(Run):
    """A run whose tables were never written."""

    tables: dict[str, pa.Table] = field(default_factory=dict, repr=False)

    def table(
        self, name: str, columns: Sequence[str] | None = None, *, coded: Sequence[str] = ()
    ) -> pa.Table:
        found = self.tables[name]
        return found if columns is None else found.select(list(columns))

    @property
    def routed(self) -> bool:
        return True


def simulate(kinds: Sequence[Kind], rng: np.random.Generator, *, examples: int = 400) -> Simulated:
    """A run of these kinds of points, all over the same examples and experts."""
    keys = [(kind, seed, f"{kind.name}-{seed}") for kind in kinds for seed in range(kind.seeds)]
    number = np.arange(examples)
    trained = [kind.trained(rng, kind.seeds) for kind in kinds]
    rows: dict[str, list[dict[str, Any]]] = {"examples": [], "experts": [], "routing": []}
    for split in SPLITS:
        right = world(examples, rng)
        labels = rng.integers(0, 2, examples).astype(float)
        rows["examples"].append({"split": split, "example": number, "label": labels})
        for expert in range(2):
            rows["experts"].append(
                {
                    "experts_id": "e0",
                    "expert": expert,
                    "split": split,
                    "example": number,
                    "prediction": np.where(right[expert], labels, 1 - labels),
                    "right": right[expert],
                }
            )
        need = right[1].astype(int) - right[0]
        for kind, chances in zip(kinds, trained, strict=True):
            asked = rng.random((kind.seeds, examples)) < chances[:, need + 1]
            for seed, route in enumerate(asked):
                rows["routing"].append(
                    {
                        "key": f"{kind.name}-{seed}",
                        "split": split,
                        "example": number,
                        "route": route.astype(np.uint8),
                    }
                )
    tables = {
        name: pa.concat_tables([_table(row, examples) for row in found])
        for name, found in rows.items()
    }
    tables["trials"] = pa.Table.from_pandas(
        pd.DataFrame(
            {
                "key": [key for _, _, key in keys],
                "point": [kind.name for kind, _, _ in keys],
                "seed": [seed for _, seed, _ in keys],
                "status": "COMPLETED",
                "reason": None,
                "experts_id": "e0",
                "kind": [kind.name for kind, _, _ in keys],
                "config": "{}",
            }
        )
    )
    return Simulated(Path("simulated"), _provenance(), {"seeds": [0]}, tables)


def _table(row: dict[str, Any], rows: int) -> pa.Table:
    return pa.table(
        {
            name: value if isinstance(value, np.ndarray) else [value] * rows
            for name, value in row.items()
        }
    )


def _provenance() -> dict[str, Any]:
    return {
        "run": "simulated",
        "task": "rte",
        "pool": "two",
        "experts": [{"expert": k, "name": f"e{k}", "layers": 0} for k in range(2)],
        "cost_vector": VECTOR.name,
        "cost_vectors": to_json({VECTOR.name: VECTOR}),
    }
