"""Reads which sets of experts a run's trials trained on, and names the experts of all of them.

Letters: K experts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mpc_router.costs import CostVector, from_json


@dataclass(frozen=True, kw_only=True)
class PreparedSet:
    """Holds points that trained on the same experts, or began with them."""

    points: frozenset[str] | None
    """Their names; None is all of the run's."""

    joint: bool
    """Experts trained with each trial, so that every trial has its own."""

    experts: tuple[tuple[str, int], ...]
    """(K,) name and layers (0: all), cheapest first."""

    vectors: dict[str, CostVector]
    members: tuple[int, ...] = ()
    """(K,) each expert's number among all of the run's."""


def sets_of(provenance: dict[str, Any]) -> tuple[PreparedSet, ...]:
    """Reads the sets as they are written, or the one of a run that names none."""
    records = provenance.get("sets")
    if not records:
        records = [{"points": None, "joint": False, **provenance}]
    return tuple(
        PreparedSet(
            points=None if record["points"] is None else frozenset(map(str, record["points"])),
            joint=bool(record["joint"]),
            experts=tuple(
                (str(expert["name"]), int(expert["layers"]))
                for expert in sorted(record["experts"], key=lambda one: int(one["expert"]))
            ),
            vectors=from_json(record["cost_vectors"]),
        )
        for record in records
    )


def keys_of(prepared: PreparedSet, vector: str) -> list[tuple[str, int, float, int]]:
    """Says what makes its experts one of the run's: name, layers, cost, number among twins."""
    costs = prepared.vectors[vector].experts
    alike = [(*expert, cost) for expert, cost in zip(prepared.experts, costs, strict=True)]
    return [(*key, alike[:place].count(key)) for place, key in enumerate(alike)]


def catalogue(sets: Sequence[PreparedSet], vector: str) -> list[tuple[str, int, float, int]]:
    """Lists all experts of the run, cheapest first; of equal cost those of earlier sets first."""
    seen = dict.fromkeys(key for prepared in sets for key in keys_of(prepared, vector))
    return list(seen) if len(sets) == 1 else sorted(seen, key=lambda key: key[2])


def short_names(models: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    """Shortens names for pictures: without the organisation; only layers where names repeat."""
    bare = [name.rsplit("/", 1)[-1] for name, _ in models]
    if len(models) > 1 and len(set(bare)) == 1 and len({layers for _, layers in models}) > 1:
        return tuple(f"{layers} layers" if layers else bare[0] for _, layers in models)
    cut = [
        f"{name}, {layers} layers" if layers and bare.count(name) > 1 else name
        for name, (_, layers) in zip(bare, models, strict=True)
    ]
    return tuple(
        f"{name} #{number}" if cut.count(name) > 1 else name for number, name in enumerate(cut)
    )
