"""A study: what is searched, how, and when to stop; from YAML and `key=value`."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mpc_router.config import (
    ConfigError,
    TrialConfig,
    applied,
    canonical,
    flatten,
    leaf_of,
    parse_overrides,
    read_yaml,
    settings,
    trial_config,
)
from mpc_router.costs import FLOPS, PARAMETERS, CostVector
from mpc_router.measured import Measured, from_json, read_measured
from mpc_router.pools import POOLS
from mpc_router.sections import SECTIONS, ModelConfig
from mpc_router.tasks import TASKS, Task
from sweeps.overrides import KEYS, MAPPINGS, flat_settings, with_overrides
from sweeps.records import Point
from sweeps.sets import PreparedSet, sets_of
from sweeps.space import PackSettings, SpaceError, grid, kind, only_able, plain, unknown

MOST_POINTS: Final = 10_000
"""Of a grid: more than a run could hold, and a slip of the pen rather than a wish."""

SHIPPED: Final = Path(__file__).parent / "studies"

COUNTED: Final = (PARAMETERS, FLOPS)
"""Cost vectors that every set has, counted from its models as it is prepared."""

FILE: Final = "file:"
"""Before a path: the cost vector is one that was measured."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_name(what: str, name: object) -> str:
    """The name, if it is one file name that cannot leave its folder.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{what} is {name!r}, but must be up to 100 letters, digits, '.', '_' or '-', "
            "the first a letter or a digit"
        )
    return name


@dataclass(frozen=True, kw_only=True)
class Study:
    """A valid study. Downstream everything is asked of its points."""

    study: str
    trial: Mapping[str, Any] = field(default_factory=dict)
    """Fixed settings by leaf name."""

    space: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Searched settings by leaf name: the values of the grid."""

    start: tuple[Mapping[str, Any], ...] = ()
    """Points tried first."""

    seeds: tuple[int, ...] = (0,)
    objectives: Mapping[str, str] = field(default_factory=lambda: {"score": "max", "cost": "min"})
    cost_vector: str = "constants"
    measured: Measured | None = None
    """Costs that were measured: one more cost vector, whose name they hold."""

    pack: PackSettings = field(default_factory=PackSettings)

    def __post_init__(self) -> None:
        check_name("the study's name", self.study)
        _check_seeds(self.seeds)
        for leaf in set(self.searched) & set(self.trial):
            raise ConfigError(f"{leaf} is fixed in trial and searched in space; keep one")
        self._check_objectives()

    def _check_objectives(self) -> None:
        by_set = [self._vector_names(each) for each in self.sets]
        vectors = [name for name in by_set[0] if all(name in names for names in by_set)]
        if self.cost_vector not in vectors:
            for each, names in zip(self.sets, by_set, strict=True):
                if any(self.cost_vector in others for others in by_set) and (
                    self.cost_vector not in names
                ):
                    raise ConfigError(
                        f"cost_vector {self.cost_vector} is not known for {each.label}; known for "
                        f"all points are {', '.join(vectors)}"
                    )
            raise ConfigError(unknown("cost_vector", self.cost_vector, vectors))
        allowed = {"score", *self.task.metrics, "cost", *(f"cost_{name}" for name in vectors)}
        if not self.objectives:
            raise ConfigError("objectives is empty; name at least one, such as {score: max}")
        for name, direction in self.objectives.items():
            if name not in allowed:
                raise ConfigError(unknown("objectives", name, allowed))
            if direction not in ("max", "min"):
                raise ConfigError(f"objectives.{name} is {direction!r}, allowed are max and min")

    def _vector_names(self, each: PreparedSet) -> list[str]:
        """The cost vectors that a set's trials will be reported under."""
        return [*each.config.vectors(), *COUNTED, *self.measured_vectors(each)]

    def measured_vectors(self, each: PreparedSet) -> dict[str, CostVector]:
        """The vector of the measured costs for a set, by its name; empty where none were given.

        Raises:
            ConfigError: they lack one of the set's experts, or are of another router.
        """
        if self.measured is None:
            return {}
        return {self.measured.name: self.measured.vector(each.config)}

    @functools.cached_property
    def sets(self) -> tuple[PreparedSet, ...]:
        """What is prepared before the sweep, each with the points that train on it."""
        return sets_of(self.configs(), self.searched)

    @property
    def task(self) -> Task:
        """Its task."""
        return TASKS[self.base.data.task]

    @property
    def searched(self) -> tuple[str, ...]:
        """Leaf names of everything that differs between points, in the order of the study."""
        return tuple(dict.fromkeys([*self.space, *(leaf for each in self.start for leaf in each)]))

    @property
    def base(self) -> TrialConfig:
        """The configuration of the first point."""
        return self._resolved[0][1]

    def points(self) -> tuple[Point, ...]:
        """`start`, then the grid; a point that stands twice is tried once.

        So is one that differs from an earlier one in nothing that applies to it.
        """
        return tuple(point for point, _ in self._resolved)

    def configs(self) -> dict[str, TrialConfig]:
        """The complete configuration of every point, by the point's name."""
        return {point.name: config for point, config in self._resolved}

    @functools.cached_property
    def _resolved(self) -> tuple[tuple[Point, TrialConfig], ...]:
        axes = self.space.values()
        size = math.prod(map(len, axes))
        if size > MOST_POINTS:
            raise ConfigError(
                f"space has {size} points, more than {MOST_POINTS}; search fewer values"
            )
        whole = [dict(zip(self.space, values, strict=True)) for values in itertools.product(*axes)]
        if self.start and not self.space:
            whole = []
        found: dict[str, tuple[Point, TrialConfig]] = {}
        for given in (*self.start, *whole):
            config = trial_config({**self.trial, **given})
            complete = settings(config)
            searched = {leaf: complete[leaf] for leaf in self.searched}
            point = Point(name=f"p{len(found):02d}", settings=searched)
            found.setdefault(canonical(plain(applied(config))), (point, config))
        return tuple(found.values())

    def facts(self) -> dict[str, Any]:
        """What tables and reports need to know of it, as plain data."""
        first = self.points()[0].settings
        return {
            "task": self.task.name,
            "pool": self.base.model.pool,
            "metrics": list(self.task.metrics),
            "quoted": list(self.task.quoted),
            "settings": {leaf: kind(first[leaf]) for leaf in self.searched},
        }

    def to_tree(self) -> dict[str, Any]:
        """The resolved study as plain data, which `from_tree` reads; it needs no other file."""
        tree = {
            "study": self.study,
            "trial": plain(self._fixed()),
            "space": {leaf: {"grid": plain(values)} for leaf, values in self.space.items()},
            "start": [plain(each) for each in self.start],
            "seeds": list(self.seeds),
            "objectives": dict(self.objectives),
            "cost_vector": self.cost_vector,
            "search": {"method": "grid"},
            "stopping": {"method": "none"},
            "budget": {},
            "pack": dataclasses.asdict(self.pack),
        }
        return tree if self.measured is None else {**tree, "measured": self.measured.to_json()}

    def _fixed(self) -> dict[str, Any]:
        """Everything that is not searched, complete.

        What the pool fills in is left to it where points differ in that: a searched `pool_size`
        brings each point its own experts, layers and costs.
        """
        complete = [settings(config) for config in self.configs().values()]
        given = {leaf: self.trial.get(leaf, value) for leaf, value in _defaults().items()}
        fixed = {leaf: value for leaf, value in complete[0].items() if leaf not in self.searched}
        filled = {
            leaf
            for leaf in fixed
            if any(canonical(each[leaf]) != canonical(given[leaf]) for each in complete)
        }
        if all(each[leaf] == fixed[leaf] for each in complete for leaf in filled):
            return fixed
        kept = {leaf: self.trial[leaf] for leaf in filled if leaf in self.trial}
        return {leaf: value for leaf, value in fixed.items() if leaf not in filled} | kept


def _defaults() -> dict[str, Any]:
    """Every setting as it is before the pool fills it in, by leaf name."""
    return {
        leaf.name: leaf.default
        for section in SECTIONS.values()
        for leaf in dataclasses.fields(section)
    }


def from_tree(tree: Mapping[str, Any]) -> Study:
    """The study that plain data describes.

    Raises:
        ConfigError: an unknown key, a value of the wrong kind, or a broken rule.
    """
    for name in tree:
        if name not in KEYS:
            raise ConfigError(unknown("key of a study", name, KEYS))
    for name in MAPPINGS:
        if not isinstance(tree.get(name, {}), Mapping):
            raise ConfigError(f"{name} is {tree[name]!r}, but must be a mapping")
    start = tree.get("start", [])
    if not isinstance(start, Sequence) or not all(isinstance(each, Mapping) for each in start):
        raise ConfigError(f"start is {start!r}, but must be a list of mappings")
    seeds = tree.get("seeds", [0])
    if not isinstance(seeds, Sequence) or isinstance(seeds, str):
        raise ConfigError(f"seeds is {seeds!r}, but must be a list of integers such as [0, 1, 2]")
    try:
        only_able(tree)
        trial = flatten(tree.get("trial", {}))
        axes = {
            name: grid(name, axis, whole=_whole(str(name), trial, tree))
            for name, axis in tree.get("space", {}).items()
        }
        pack = PackSettings.of(tree.get("pack", {}))
    except SpaceError as error:
        raise ConfigError(str(error)) from error
    cost_vector, measured = _costs(tree)
    return Study(
        study=tree.get("study", ""),
        trial=trial,
        space={leaf_of(str(name)): values for name, values in axes.items()},
        start=tuple(flatten(each) for each in start),
        seeds=tuple(seeds),
        objectives={str(k): v for k, v in tree["objectives"].items()}
        if "objectives" in tree
        else {"score": "max", "cost": "min"},
        cost_vector=cost_vector,
        measured=measured,
        pack=pack,
    )


def _costs(tree: Mapping[str, Any]) -> tuple[str, Measured | None]:
    """The name of the cost vector, and the measured costs: of a file, or kept in the study."""
    name = str(tree.get("cost_vector", "constants"))
    if name.startswith(FILE):
        found = read_measured(Path(name.removeprefix(FILE)))
        return found.name, found
    kept = tree.get("measured")
    return name, None if kept is None else from_json(kept, origin="measured of the study")


def _whole(
    name: str, trial: Mapping[str, Any], tree: Mapping[str, Any]
) -> Callable[[], Sequence[Any]] | None:
    """What `{grid: all}` of a setting means; None where it means nothing."""
    if leaf_of(name) != "pool_size":
        return None

    def sizes() -> Sequence[int]:
        pool = trial.get("pool", ModelConfig().pool)
        if any(leaf_of(str(leaf)) == "pool" for leaf in tree.get("space", {})):
            raise ConfigError("pool_size={grid: all} needs one pool; fix it, or list the sizes")
        if pool not in POOLS:
            raise ConfigError(
                f"pool_size={{grid: all}} needs a pool with sizes of its own ({', '.join(POOLS)}), "
                f"and pool is {pool!r}; name one of these"
            )
        return list(POOLS[pool].sizes)

    return sizes


def shipped() -> dict[str, Path]:
    """The studies that come with the package, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def load(name: str, overrides: Sequence[str] = (), *, sample: bool = False) -> Study:
    """A shipped study by name, or one's own by its YAML file, with `key=value` overrides.

    `sample` sets `pool: sample` unless an override gives the pool.

    Raises:
        ConfigError: no such study, an unknown key, or a broken rule.
    """
    known = shipped()
    path = known.get(name)
    if path is None:
        path = Path(name)
        if path.suffix not in (".yaml", ".yml"):
            raise ConfigError(f"{unknown('study', name, known)} (or give a YAML file's path)")
    tree = read_yaml(path)
    tree.setdefault("study", path.stem)
    given = parse_overrides(overrides)
    tree = with_overrides(tree, given)
    if sample and not any(each.rpartition(".")[2] == "pool" for each in given):
        tree["trial"] = {**flat_settings(tree["trial"]), "pool": "sample"}
    return from_tree(tree)


def _check_seeds(seeds: tuple[int, ...]) -> None:
    if not seeds:
        raise ConfigError("seeds is empty; give at least one, such as seeds=[0]")
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
            raise ConfigError(f"seeds holds {seed!r}, but a seed is an integer from 0 to 2^31 - 1")
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds is {list(seeds)}; give each seed once")
