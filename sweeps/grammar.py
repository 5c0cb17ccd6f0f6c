"""The parts of a study's YAML, each read into its own kind, what it alone can say checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mpc_router.config import ConfigError, flatten
from mpc_router.measured import Measured, from_json, read_measured
from mpc_router.messages import quoted
from mpc_router.pools import POOLS
from mpc_router.sections import ModelConfig
from sweeps.axes import Axis, axis
from sweeps.overrides import MAPPINGS, flat_settings
from sweeps.search import SearchRule
from sweeps.space import unknown
from sweeps.stopping import Rule

FILE: Final = "file:"
"""Before a path: the cost vector is one that was measured."""

BATCH: Final = 16
"""Points asked at once where no bracket says how many."""


def mappings(tree: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The study's parts that are mappings, empty where they are not given.

    Raises:
        ConfigError: one that is none.
    """
    found = {}
    for name in MAPPINGS:
        part = tree.get(name, {})
        if not isinstance(part, Mapping):
            raise ConfigError(f"{name} is {quoted(part)}, but must be a mapping")
        found[name] = part
    return found


def space_of(space: Mapping[str, Any], trial: Mapping[str, Any]) -> dict[str, Axis]:
    """The searched settings by leaf name."""
    given = flat_settings(space)
    return {
        leaf: axis(leaf, each, whole=_whole(leaf, trial, given)) for leaf, each in given.items()
    }


def search_of(given: Mapping[str, Any], stopping: Rule) -> tuple[SearchRule, int]:
    """How points are proposed, and the seed of that.

    Where nothing else is said a batch is a bracket, so that one is ranked while the next is asked.
    """
    method = given.get("method", "grid")
    known = [*(each.name for each in dataclasses.fields(SearchRule)), "seed"]
    for name in given:
        if name not in known:
            raise ConfigError(unknown("key of search", name, known))
        if method == "grid" and name not in ("method", "seed"):
            raise ConfigError(
                f"search.method 'grid' tries every point of its space once and has no setting "
                f"{quoted(name)}; leave it out, or set search.method to tpe, nsga2, ..."
            )
    rest = {name: value for name, value in given.items() if name != "seed"}
    if method != "grid":
        rest.setdefault("batch", BATCH if stopping.method == "none" else stopping.bracket)
    seed = given.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise ConfigError(
            f"search.seed is {quoted(seed)}, but must be an integer from 0 to 2^31 - 1"
        )
    return SearchRule(**rest), seed


def stopping_of(given: Mapping[str, Any]) -> Rule:
    """How points are stopped early."""
    known = [each.name for each in dataclasses.fields(Rule)]
    for name in given:
        if name not in known:
            raise ConfigError(unknown("key of stopping", name, known))
        if given.get("method", "none") == "none" and name != "method":
            raise ConfigError(
                f"stopping.method 'none' stops nothing and has no setting "
                f"{quoted(name)}; leave it out, "
                "or set stopping.method=mo_asha"
            )
    return Rule(**given)


def costs_of(tree: Mapping[str, Any]) -> tuple[str, Measured | None]:
    """The name of the cost vector, and the measured costs: of a file, or kept in the study."""
    name = str(tree.get("cost_vector", "constants"))
    if name.startswith(FILE):
        found = read_measured(Path(name.removeprefix(FILE)))
        return found.name, found
    kept = tree.get("measured")
    return name, None if kept is None else from_json(kept, origin="measured of the study")


def start_of(tree: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """The points that are tried first."""
    start = tree.get("start", [])
    if not isinstance(start, list) or not all(isinstance(each, Mapping) for each in start):
        raise ConfigError(f"start is {quoted(start)}, but must be a list of mappings")
    return tuple(flatten(each) for each in start)


def seeds_of(tree: Mapping[str, Any]) -> tuple[Any, ...]:
    """The seeds that every point is tried with."""
    seeds = tree.get("seeds", [0])
    if not isinstance(seeds, Sequence) or isinstance(seeds, str):
        raise ConfigError(
            f"seeds is {quoted(seeds)}, but must be a list of integers such as [0, 1, 2]"
        )
    return tuple(seeds)


def check_seeds(seeds: tuple[Any, ...], racing: Any) -> None:
    """Refuses what are no seeds: none at all, one that is no seed, or one twice; and a race that
    leaves no seed for later."""
    if not seeds:
        raise ConfigError("seeds is empty; give at least one, such as seeds=[0]")
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
            raise ConfigError(
                f"seeds holds {quoted(seed)}, but a seed is an integer from 0 to 2^31 - 1"
            )
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds is {quoted(list(seeds))}; give each seed once")
    if isinstance(racing, bool) or not isinstance(racing, int) or not 0 <= racing < len(seeds):
        raise ConfigError(
            f"racing is {quoted(racing)}, but must be a number of seeds below all "
            f"{len(seeds)} (the "
            "others are for points of the front), or 0 to try every point with all of them"
        )


def _whole(
    leaf: str, trial: Mapping[str, Any], space: Mapping[str, Any]
) -> Callable[[], Sequence[Any]] | None:
    """What `{grid: all}` of a setting means; None where it means nothing."""
    if leaf != "pool_size":
        return None

    def sizes() -> Sequence[int]:
        pool = trial.get("pool", ModelConfig().pool)
        if "pool" in space:
            raise ConfigError("pool_size={grid: all} needs one pool; fix it, or list the sizes")
        if not isinstance(pool, str) or pool not in POOLS:
            raise ConfigError(
                f"pool_size={{grid: all}} needs a pool with sizes of its own ({', '.join(POOLS)}), "
                f"and pool is {quoted(pool)}; name one of these"
            )
        return list(POOLS[pool].sizes)

    return sizes
