"""A study: what is searched, how, and when to stop; from YAML and `key=value`."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mpc_router.config.trial import (
    ConfigError,
    TrialConfig,
    applied,
    canonical,
    plain,
    settings,
    trial_config,
)
from mpc_router.costs import FLOPS, PARAMETERS, CostVector
from mpc_router.messages import quoted
from mpc_router.plain_names import PLAIN, is_plain
from mpc_router.pricing.measured_file import Measured
from mpc_router.tasks import Task, to_record
from sweeps.records import Point
from sweeps.search.rule import SearchRule
from sweeps.search.space import Axis
from sweeps.stopping.constraints import Constraint, reported
from sweeps.stopping.rule import Rule
from sweeps.stopping.rungs import Ranking
from sweeps.study._probes import check_space, default_settings, examples, starts
from sweeps.study._rules import (
    MOST_POINTS,
    check_brackets,
    check_objectives,
    check_search,
    check_seeds,
    check_stopping,
)
from sweeps.study.budget import Budget
from sweeps.study.pack_share import PackSettings
from sweeps.study.prepared_sets import PreparedSet, set_key, sets_of

_COUNTED: Final = (PARAMETERS, FLOPS)
"""Cost vectors that every set has, counted from its models as it is prepared."""


def check_name(what: str, name: object) -> str:
    """The name, if it is one file name that cannot leave its folder.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(name, str) or not is_plain(name):
        raise ConfigError(f"{what} is {quoted(name)}, but must be {PLAIN}")
    return name


@dataclass(frozen=True, kw_only=True)
class Study:
    """A valid study. Downstream everything is asked of its points."""

    study: str
    trial: Mapping[str, Any] = field(default_factory=dict)
    """Fixed settings by leaf name."""

    space: Mapping[str, Axis] = field(default_factory=dict)
    """Searched settings by leaf name."""

    start: tuple[Mapping[str, Any], ...] = ()
    """Points tried first."""

    seeds: tuple[int, ...] = (0,)
    racing: int = 0
    """Seeds that every point is tried with first; only points of the front get the others. 0: all
    points get all."""

    objectives: Mapping[str, str] = field(default_factory=lambda: {"score": "max", "cost": "min"})
    cost_vector: str = "constants"
    measured: Measured | None = None
    """Costs that were measured: one more cost vector, whose name they hold."""

    dataset: Mapping[str, Any] | None = None
    """A data set of one's own, as `mpc_router.data.dataset.dataset_of` reads it; paths are
    absolute."""

    outputs: tuple[Mapping[str, Any], ...] = ()
    """Tables of experts that were run elsewhere (`mpc_router.data.output_tables.table_of`)."""

    features: Mapping[str, Any] | None = None
    """The table that routers over such experts look at: `path`, `id`."""

    notes: tuple[str, ...] = ()
    """Sentences on what the study's text left to data and models."""

    search: SearchRule = field(default_factory=SearchRule)
    seed: int = 0
    """Of the search's proposals, and of what lots a rung draws; the trials' are `seeds`."""

    stopping: Rule = field(default_factory=Rule)
    budget: Budget = field(default_factory=Budget)
    constraints: tuple[Constraint, ...] = ()
    pack: PackSettings = field(default_factory=PackSettings)

    def __post_init__(self) -> None:
        check_name("the study's name", self.study)
        check_seeds(self.seeds, self.racing)
        for leaf in set(self.searched) & set(self.trial):
            raise ConfigError(f"{leaf} is fixed in trial and searched in space; keep one")
        check_space(self.space)
        check_search(self.search, space=self.space, starts=len(self.start))
        check_objectives(
            self.objectives,
            constraints=self.constraints,
            cost_vector=self.cost_vector,
            task=self.task,
            vectors_by_set=[(each.label, self.vector_names(each)) for each in self.sets],
        )
        check_stopping(
            self.stopping,
            objectives=self.objectives,
            searched=self.searched,
            epochs=self.base.training.epochs,
        )
        check_brackets(
            self.stopping,
            self.search,
            joint=[each.joint for each in self.sets],
            pack_points=self.pack.points,
        )

    def vector_names(self, each: PreparedSet) -> list[str]:
        """The cost vectors that a set's trials will be reported under."""
        counted = () if self.outputs else _COUNTED
        return [*each.config.vectors(), *counted, *self.measured_vectors(each)]

    @property
    def reported_vectors(self) -> set[str]:
        """The cost vectors that it cannot do without: its own, and those that it searches or
        bounds by."""
        named = (*self.objectives, *reported(self.constraints))
        return {self.cost_vector, *(name.removeprefix("cost_") for name in named)}

    def measured_vectors(self, each: PreparedSet) -> dict[str, CostVector]:
        """The vector of the measured costs for a set, by its name; empty where none were given.

        Raises:
            ConfigError: they lack one of the set's experts, or are of another router.
        """
        if self.measured is None:
            return {}
        return {self.measured.name: self.measured.vector(each.config)}

    @property
    def proposes(self) -> bool:
        """Whether points are proposed as results come in, instead of being known before."""
        return self.search.method != "grid"

    @property
    def ranking(self) -> Ranking | None:
        """What its points are ranked by at rungs; None where nothing is stopped early."""
        if self.stopping.method == "none":
            return None
        return Ranking(
            rule=self.stopping,
            objectives=dict(self.objectives),
            cost_vector=self.cost_vector,
            epochs=self.base.training.epochs,
            constraints=self.constraints,
            seed=self.seed,
        )

    @functools.cached_property
    def sets(self) -> tuple[PreparedSet, ...]:
        """What is prepared before the sweep, each with the points that train on it.

        Where points are proposed: every combination of the listed settings that decide it, for all
        points to come.
        """
        found = sets_of({point.name: config for point, config in self._resolved}, self.searched)
        if not self.proposes:
            return found
        return tuple(dataclasses.replace(each, points=()) for each in found)

    def set_of(self, config: TrialConfig) -> PreparedSet:
        """The set that a point of this configuration trains on."""
        return self._sets_by_key[set_key(config)]

    @functools.cached_property
    def _sets_by_key(self) -> dict[str, PreparedSet]:
        return {set_key(each.config): each for each in self.sets}

    @property
    def first_seeds(self) -> tuple[int, ...]:
        """Those that every point is tried with."""
        return self.seeds[: self.racing or None]

    @property
    def task(self) -> Task:
        """Its task."""
        return self.base.data.definition

    @property
    def searched(self) -> tuple[str, ...]:
        """Leaf names of everything that differs between points, in the order of the study."""
        return tuple(dict.fromkeys([*self.space, *(leaf for each in self.start for leaf in each)]))

    @property
    def first(self) -> tuple[Point, TrialConfig]:
        """A point to show or to try: the grid's first; of a search its first start point, or the
        middle of its space."""
        return self._resolved[0]

    @property
    def base(self) -> TrialConfig:
        """The configuration of `first`."""
        return self.first[1]

    @functools.cached_property
    def start_points(self) -> tuple[Mapping[str, Any], ...]:
        """`start` as a search proposes it: complete over the space."""
        return starts(self.space, self.trial, self.start)

    def points(self) -> tuple[Point, ...]:
        """`start`, then the grid; a point that stands twice is tried once.

        So is one that differs from an earlier one in nothing that applies to it. There are none
        where points are still to be proposed.
        """
        return () if self.proposes else tuple(point for point, _ in self._resolved)

    def configs(self) -> dict[str, TrialConfig]:
        """The complete configuration of every point of the grid, by the point's name."""
        return {} if self.proposes else {point.name: config for point, config in self._resolved}

    def config(self, given: Mapping[str, Any]) -> TrialConfig:
        """The complete configuration of a point with these searched settings.

        Raises:
            ConfigError: they cannot be together.
        """
        return trial_config({**self.trial, **given})

    def point(self, name: str, config: TrialConfig) -> Point:
        """The point that has this configuration."""
        complete = settings(config)
        return Point(name=name, settings={leaf: complete[leaf] for leaf in self.searched})

    @functools.cached_property
    def _resolved(self) -> tuple[tuple[Point, TrialConfig], ...]:
        """The grid's points, or those that stand for a search."""
        if self.proposes:
            stand = examples(self.space, self.trial, self.start_points)
            return tuple(
                (self.point(f"x{number}", config), config)
                for number, (_, config) in enumerate(stand)
            )
        axes = [axis.values for axis in self.space.values()]
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
            config = self.config(given)
            point = self.point(f"p{len(found):02d}", config)
            found.setdefault(canonical(plain(applied(config))), (point, config))
        return tuple(found.values())

    def facts(self) -> dict[str, Any]:
        """What tables and reports need to know of it, as plain data."""
        first = self.first[0].settings
        return {
            **to_record(self.task),
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
            "space": {leaf: axis.plain() for leaf, axis in self.space.items()},
            "start": [plain(each) for each in self.start],
            "seeds": list(self.seeds),
            "racing": self.racing,
            "objectives": dict(self.objectives),
            "cost_vector": self.cost_vector,
            "search": self._search(),
            "stopping": {"method": "none"}
            if self.stopping.method == "none"
            else dataclasses.asdict(self.stopping),
            "budget": self.budget.plain(),
            "constraints": {each.name: each.plain() for each in self.constraints},
            "pack": dataclasses.asdict(self.pack),
        }
        if self.dataset is not None:
            tree["dataset"] = dict(self.dataset)
        if self.outputs:
            tree["outputs"] = [dict(table) for table in self.outputs]
        if self.features is not None:
            tree["features"] = dict(self.features)
        return tree if self.measured is None else {**tree, "measured": self.measured.to_json()}

    def _search(self) -> dict[str, Any]:
        """The way YAML has it."""
        rule = dataclasses.asdict(self.search) if self.proposes else {"method": "grid"}
        return {**rule, "seed": self.seed}

    def _fixed(self) -> dict[str, Any]:
        """Everything that is not searched, complete.

        What the pool fills in is left to it where points differ in that: a searched `pool_size`
        brings each point its own experts, layers and costs.
        """
        complete = [settings(config) for _, config in self._resolved]
        given = {leaf: self.trial.get(leaf, value) for leaf, value in default_settings().items()}
        fixed = {
            leaf: value
            for leaf, value in complete[0].items()
            if leaf not in self.searched and (leaf != "task_definition" or value is not None)
        }
        filled = {
            leaf
            for leaf in fixed
            if any(canonical(each[leaf]) != canonical(given[leaf]) for each in complete)
        }
        if all(each[leaf] == fixed[leaf] for each in complete for leaf in filled):
            return fixed
        kept = {leaf: self.trial[leaf] for leaf in filled if leaf in self.trial}
        return {leaf: value for leaf, value in fixed.items() if leaf not in filled} | kept


def kind(value: Any) -> str:
    """The kind of a setting: bool, int, float, str, or the plural of one for a list."""
    if isinstance(value, tuple):
        return f"{kind(value[0]) if value else 'str'}s"
    return type(value).__name__
