"""A study: what is searched, how, and when to stop; from YAML and `key=value`."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mpc_router.config import (
    ConfigError,
    TrialConfig,
    canonical,
    flatten,
    leaf_of,
    leaf_paths,
    parse_overrides,
    read_yaml,
    settings,
    to_tree,
    trial_config,
)
from mpc_router.costs import to_json
from mpc_router.sections import SECTIONS
from mpc_router.tasks import TASKS, Task
from sweeps.records import Point
from sweeps.space import PackSettings, SpaceError, grid, kind, only_able, plain, unknown

MOST_POINTS: Final = 10_000
"""Of a grid: more than a run could hold, and a slip of the pen rather than a wish."""

SHIPPED: Final = Path(__file__).parent / "studies"

PREPARED: Final = frozenset(
    {
        *("task", "max_length", "train_rows", "validation_rows"),
        *("pool", "expert_model_names", "expert_layers", "expert_pooling", "expert_fine_tuned"),
        *("tokenizer_model_name", "stem", "router_model_name", "router_stem_layers"),
        *("stem_pooling", "experts", "expert_seed", "expert_epochs", "expert_learning_rate"),
        *("expert_batch_size", "precision", "device"),
    }
)
"""Settings that decide what is prepared before the sweep: one value a study."""

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
    pack: PackSettings = field(default_factory=PackSettings)

    def __post_init__(self) -> None:
        check_name("the study's name", self.study)
        _check_seeds(self.seeds)
        for leaf in self.searched:
            if leaf in PREPARED:
                raise ConfigError(
                    f"{leaf} is searched, but it decides what is prepared before the sweep; "
                    f"fix it ({leaf}=VALUE) and run a study for each value"
                )
        for leaf in set(self.searched) & set(self.trial):
            raise ConfigError(f"{leaf} is fixed in trial and searched in space; keep one")
        first = self.base
        for config in self.configs().values():
            if config.vectors() != first.vectors():
                raise ConfigError("the points differ in their cost vectors; fix expert_costs")
        self._check_objectives(first)

    def _check_objectives(self, config: TrialConfig) -> None:
        vectors = config.vectors()
        if self.cost_vector not in vectors:
            raise ConfigError(unknown("cost_vector", self.cost_vector, vectors))
        allowed = {"score", *self.task.metrics, "cost", *(f"cost_{name}" for name in vectors)}
        if not self.objectives:
            raise ConfigError("objectives is empty; name at least one, such as {score: max}")
        for name, direction in self.objectives.items():
            if name not in allowed:
                raise ConfigError(unknown("objectives", name, allowed))
            if direction not in ("max", "min"):
                raise ConfigError(f"objectives.{name} is {direction!r}, allowed are max and min")

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
        """`start`, then the grid; a point that stands twice is tried once."""
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
            found.setdefault(canonical(to_tree(config)), (point, config))
        return tuple(found.values())

    def facts(self) -> dict[str, Any]:
        """What tables and reports need to know of it, as plain data."""
        first = self.points()[0].settings
        return {
            "task": self.task.name,
            "pool": self.base.model.pool,
            "metrics": list(self.task.metrics),
            "quoted": list(self.task.quoted),
            "cost_vectors": to_json(self.base.vectors()),
            "settings": {leaf: kind(first[leaf]) for leaf in self.searched},
        }

    def to_tree(self) -> dict[str, Any]:
        """The resolved study as plain data, which `from_tree` reads."""
        fixed = settings(self.base)
        trial = {leaf: plain(fixed[leaf]) for leaf in fixed if leaf not in self.searched}
        return {
            "study": self.study,
            "trial": trial,
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


KEYS: Final = (
    *("study", "trial", "space", "start", "seeds", "objectives", "cost_vector"),
    *("search", "stopping", "budget", "pack"),
)
_MAPPINGS: Final = ("trial", "space", "objectives", "search", "stopping", "budget", "pack")


def from_tree(tree: Mapping[str, Any]) -> Study:
    """The study that plain data describes.

    Raises:
        ConfigError: an unknown key, a value of the wrong kind, or a broken rule.
    """
    for name in tree:
        if name not in KEYS:
            raise ConfigError(unknown("key of a study", name, KEYS))
    for name in _MAPPINGS:
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
        axes = {name: grid(name, axis) for name, axis in tree.get("space", {}).items()}
        pack = PackSettings.of(tree.get("pack", {}))
    except SpaceError as error:
        raise ConfigError(str(error)) from error
    return Study(
        study=tree.get("study", ""),
        trial=flatten(tree.get("trial", {})),
        space={leaf_of(str(name)): values for name, values in axes.items()},
        start=tuple(flatten(each) for each in start),
        seeds=tuple(seeds),
        objectives={str(k): v for k, v in tree["objectives"].items()}
        if "objectives" in tree
        else {"score": "max", "cost": "min"},
        cost_vector=str(tree.get("cost_vector", "constants")),
        pack=pack,
    )


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
    tree = _with_overrides(tree, given)
    if sample and not any(each.rpartition(".")[2] == "pool" for each in given):
        tree["trial"] = {**_flat(tree["trial"]), "pool": "sample"}
    return from_tree(tree)


def _with_overrides(tree: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The tree with study settings replaced, and trial settings fixed or searched."""
    result = {**tree}
    for name in _MAPPINGS:
        if not isinstance(result.setdefault(name, {}), Mapping):
            raise ConfigError(f"{name} is {result[name]!r}, but must be a mapping")
        result[name] = dict(result[name])
    if not result["objectives"]:
        del result["objectives"]
    for name, value in given.items():
        head, _, rest = name.partition(".")
        if name in KEYS and name != "trial":
            result[name] = value
        elif rest and head in _MAPPINGS and head not in ("trial", "space"):
            result[head] = {**result.get(head, {}), rest: value}
        else:
            _set(result, _leaf(rest if head in ("trial", "space") and rest else name), value)
    return result


def _set(tree: dict[str, Any], leaf: str, value: Any) -> None:
    """Searches the setting if the value is an axis, else fixes it everywhere."""
    space, trial = _flat(tree["space"]), _flat(tree["trial"])
    space.pop(leaf, None)
    trial.pop(leaf, None)
    if isinstance(value, Mapping):
        space[leaf] = value
    else:
        trial[leaf] = value
        start = tree.get("start", [])
        if isinstance(start, list) and all(isinstance(each, Mapping) for each in start):
            kept = [{k: v for k, v in flatten(each).items() if k != leaf} for each in start]
            tree["start"] = [each for each in kept if each or space]
    tree["space"], tree["trial"] = space, trial


def _flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """By leaf name, the axes of a space not taken apart."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        inner = flatten({name: value}) if name in SECTIONS else {leaf_of(str(name)): value}
        for leaf in inner.keys() & flat.keys():
            raise ConfigError(f"setting {leaf!r} is given twice")
        flat.update(inner)
    return flat


def _leaf(name: str) -> str:
    """The leaf that an override names; among the near names are the study's own keys."""
    try:
        return leaf_of(name)
    except ConfigError:
        raise ConfigError(
            unknown("setting", name, [*leaf_paths(), *(key for key in KEYS if key != "trial")])
        ) from None


def _check_seeds(seeds: tuple[int, ...]) -> None:
    if not seeds:
        raise ConfigError("seeds is empty; give at least one, such as seeds=[0]")
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
            raise ConfigError(f"seeds holds {seed!r}, but a seed is an integer from 0 to 2^31 - 1")
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds is {list(seeds)}; give each seed once")
