"""Gives parts of a resolved study as plain data: fixed settings, search, kinds of values."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mpc_router.config.keys import canonical
from mpc_router.config.sections import without_usual
from sweeps.search.rule import SearchRule
from sweeps.study._probes import default_settings


def search_tree(rule: SearchRule, seed: int) -> dict[str, Any]:
    """Gives the search as YAML has it."""
    search = {"method": "grid"} if rule.method == "grid" else dataclasses.asdict(rule)
    return {**search, "seed": seed}


def fixed_settings(
    complete: Sequence[Mapping[str, Any]], *, chosen: Mapping[str, Any], searched: Collection[str]
) -> dict[str, Any]:
    """Gives all settings that are not searched, of points whose `complete` settings these are.

    `chosen` are those that the study fixes. Settings that the pool fills in are left out if points
    differ in them: a searched `pool_size` gives each point its own experts, layers and costs.
    """
    unfilled = {leaf: chosen.get(leaf, value) for leaf, value in default_settings().items()}
    fixed = {
        leaf: value
        for leaf, value in without_usual(complete[0]).items()
        if leaf not in searched and (leaf != "task_definition" or value is not None)
    }
    filled = {
        leaf
        for leaf in fixed
        if {canonical(value) for value in {point[leaf] for point in complete}}
        != {canonical(unfilled[leaf])}
    }
    if all(point[leaf] == fixed[leaf] for point in complete for leaf in filled):
        return fixed
    kept = {leaf: chosen[leaf] for leaf in filled if leaf in chosen}
    return {leaf: value for leaf, value in fixed.items() if leaf not in filled} | kept


def kind_of(value: Any) -> str:
    """Names the kind of a setting: bool, int, float, str, or the plural of one for a list."""
    if isinstance(value, tuple):
        return f"{kind_of(value[0]) if value else 'str'}s"
    return type(value).__name__
