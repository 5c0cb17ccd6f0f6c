"""Finds pools by name: those that ship, and pools of one's own."""

from __future__ import annotations

import dataclasses
import math
import string
from typing import Final, cast

from mpc_router import plugins
from mpc_router.config.pools import CUSTOM, OUTPUTS, POOLS, Pool
from mpc_router.messages import quoted
from mpc_router.plugins import Part, PartError
from mpc_router.settings.rules import ConfigError, one_of

_parts: Final[dict[str, Part]] = {}
"""Keeps what was loaded and checked, for every configuration asks for its pool."""

_LARGEST: Final = 100
"""Limits the experts of a pool that is checked."""


def pool_of(name: str) -> Pool | None:
    """Gives the pool of a name; None for a pool that is spelled out, and for an unknown name.

    Raises:
        PartError: a pool of one's own is not trusted, cannot be loaded, or is no pool.
    """
    if name in POOLS:
        return POOLS[name]
    part = part_of(name)
    return None if part is None else cast(Pool, part.thing)


def named_pool(name: str) -> Pool | None:
    """Gives the pool of a name; None where the experts are spelled out, or handed in.

    Raises:
        ConfigError: there is no such pool, or a pool of one's own cannot be had.
    """
    try:
        pool = pool_of(name)
    except PartError as error:
        raise ConfigError(f"pool: {error}") from error
    if pool is None:
        others = "the name of an installed pool", "module:name"
        one_of("pool", name, [*POOLS, CUSTOM, OUTPUTS], others=others)
    return pool


def part_of(name: str) -> Part | None:
    """Gives the pool of one's own of this name, as a part; None where there is none.

    Raises:
        PartError: it is not trusted, cannot be loaded, or is no pool.
    """
    if name in (*POOLS, CUSTOM, OUTPUTS):
        return None
    if name not in _parts:
        part = plugins.part(plugins.POOLS, name)
        if part is None:
            return None
        try:
            check_pool(part.thing)
        except Exception as error:
            # Whatever is raised: a part may be of any shape
            kind = "" if type(error) is AssertionError else f"{type(error).__name__}: "
            raise PartError(f"pool {quoted(name)} cannot be used: {kind}{error}") from error
        _parts[name] = dataclasses.replace(part, thing=dataclasses.replace(part.thing, name=name))
    return _parts[name]


def check_pool(pool: object) -> None:
    """Checks that a pool can stand in a study: its encoders, their costs, its sizes and its recipe.

    Raises:
        AssertionError: it cannot; one sentence says what is wrong.
    """
    assert isinstance(pool, Pool), (
        f"it is {quoted(type(pool).__name__)}, and must be an mpc_router.config.pools.Pool"
    )
    _check_members(pool)
    _check_sizes(pool)
    for name in ("expert_pooling", "stem_pooling"):
        value = getattr(pool, name)
        assert value in ("cls", "mean"), f"its {name} is {quoted(value)}, allowed are cls and mean"
    for name, least in (("expert_epochs", 1), ("expert_batch_size", 1), ("stem_layers", 0)):
        value = getattr(pool, name)
        assert _is_whole(value, least), (
            f"its {name} is {quoted(value)}, and must be an integer from {least}"
        )
    for name in ("expert_learning_rate", "encoder_learning_rate"):
        value = getattr(pool, name)
        assert value, f"its {name} is {quoted(value)}, and must be above 0"
        assert _is_cost(value), f"its {name} is {quoted(value)}, and must be a number above 0"


def _check_members(pool: Pool) -> None:
    """Checks names, layers and costs of a pool's encoders.

    Raises:
        AssertionError: one is missing or impossible.
    """
    assert len(pool.members) >= 2, f"it has {len(pool.members)} members, and a router needs 2"
    for member in pool.members:
        assert member.model, "a member names no model; write org/name or a folder"
        assert _fields(member.model) <= {"task"}, (
            f"model {quoted(member.model)} has braces around something else than {{task}}"
        )
        assert _is_whole(member.layers, 0), (
            f"layers of {quoted(member.model)} is {quoted(member.layers)}; 0 keeps all of them"
        )
    assert pool.stem, "it has no stem; name the encoder that routers look through"
    costs = [member.cost for member in pool.members]
    assert all(map(_is_cost, (*costs, pool.router_cost))), (
        f"its costs are {quoted(costs)} and router_cost is {quoted(pool.router_cost)}; all must be "
        "finite numbers from 0"
    )
    assert costs == sorted(costs), f"its costs are {quoted(costs)}; members stand cheapest first"


def _check_sizes(pool: Pool) -> None:
    """Checks which members a pool of each size has.

    Raises:
        AssertionError: a size is not that of its members, or the usual size is none.
    """
    for size, indices in pool.sizes.items():
        assert 2 <= size == len(indices) <= _LARGEST, (
            f"its sizes say {quoted(size)}: {quoted(list(indices))}; give as many members"
        )
        assert list(indices) == sorted(set(indices) & set(range(len(pool.members)))), (
            f"its sizes say {size}: {quoted(list(indices))}; give numbers of members, rising from 0"
        )
    assert pool.usual_size in pool.sizes, (
        f"its usual_size is {quoted(pool.usual_size)}, which is not among its sizes "
        f"{quoted(list(pool.sizes))}"
    )


def _fields(model: str) -> set[str]:
    """Gives the names that stand in braces in the name of a model.

    Raises:
        AssertionError: the braces do not match.
    """
    try:
        return {field for _, field, _, _ in string.Formatter().parse(model) if field is not None}
    except ValueError as error:
        raise AssertionError(f"model {quoted(model)} has braces that do not match") from error


def _is_whole(value: object, least: int) -> bool:
    """Tells whether a value is an integer from `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_cost(value: object) -> bool:
    """Tells whether a value is a finite number from 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value >= 0
