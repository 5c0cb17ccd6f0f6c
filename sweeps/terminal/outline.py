"""The module holds what displays need to know of a study."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeps.stopping.constraints import Constraint, constraints_of
from sweeps.stopping.rule import Rule


@dataclass(frozen=True, kw_only=True)
class Outline:
    """Says how many points a study tries, when it stops them, and what they are judged by."""

    objectives: Mapping[str, str] = field(default_factory=dict)
    """Gives the direction by name: `max` or `min`."""

    cost_vector: str = ""
    constraints: Sequence[Constraint] = ()
    seeds: int = 1
    """Counts the trials that a point begins with."""

    further_seeds: int = 0
    """Counts the trials that a point of the front gets in the end besides, in a race."""

    points: int = 0
    """Counts the points that a search proposes; 0 for a grid, which is asked at once."""

    rule: Rule = field(default_factory=Rule)
    """Says when points are stopped early."""

    budget: Mapping[str, float] = field(default_factory=dict)
    """Gives the limits by name, `time` in seconds."""

    @staticmethod
    def of(tree: Mapping[str, Any]) -> Outline:
        """Reads the outline of a study's tree, as a journal has it.

        Raises:
            Exception: of any kind, where the tree is no study's.
        """
        racing, search = tree.get("racing") or None, tree["search"]
        names = {setting.name for setting in dataclasses.fields(Rule)}
        return Outline(
            objectives=dict(tree["objectives"]),
            cost_vector=tree["cost_vector"],
            constraints=constraints_of(tree.get("constraints") or {}),
            seeds=len(tree["seeds"][:racing]),
            further_seeds=len(tree["seeds"][racing:]) if racing else 0,
            points=0 if search["method"] == "grid" else int(search["points"]),
            rule=Rule(**{name: tree["stopping"][name] for name in names & set(tree["stopping"])}),
            budget={name: float(limit) for name, limit in (tree.get("budget") or {}).items()},
        )
