"""Defines a study: which settings are searched, how, and when trials stop."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from mpc_router.config.keys import applied, canonical
from mpc_router.config.trial import ConfigError, TrialConfig, plain, settings, trial_config
from mpc_router.costs import FLOPS, PARAMETERS, CostVector
from mpc_router.messages import quoted
from mpc_router.plain_names import PLAIN, is_plain
from mpc_router.plugins import Part
from mpc_router.pricing.measured_file import Measured
from mpc_router.pricing.own_costs import OwnCosts
from mpc_router.run_names import ALL
from mpc_router.tasks import Task, merit, to_record
from sweeps.records import Point
from sweeps.search.rule import SearchRule
from sweeps.search.space import Axis
from sweeps.stopping.constraints import Constraint, reported
from sweeps.stopping.rule import Rule
from sweeps.stopping.rungs import Ranking
from sweeps.study._probes import check_space, examples, starts
from sweeps.study._rules import (
    MOST_POINTS,
    check_brackets,
    check_checkpoints,
    check_objectives,
    check_search,
    check_seeds,
    check_stopping,
)
from sweeps.study._tree import fixed_settings, kind_of, search_tree
from sweeps.study.budget import Budget
from sweeps.study.pack_share import PackSettings
from sweeps.study.parts import parts_of
from sweeps.study.prepared_sets import PreparedSet, set_key, sets_of

_COUNTED: Final = (PARAMETERS, FLOPS)
"""Names the cost vectors that every set has, counted from its models as it is prepared."""


def check_name(subject: str, name: object) -> str:
    """Gives a name if it is one file name that cannot leave its folder.

    Raises:
        ConfigError: it is not; the message calls it `subject`.
    """
    if not isinstance(name, str) or not is_plain(name):
        raise ConfigError(f"{subject} is {quoted(name)}, but must be {PLAIN}")
    return name


@dataclass(frozen=True, kw_only=True)
class Study:
    """Holds a valid study: its settings, its space, and the rules for its points."""

    study: str
    trial: Mapping[str, Any] = field(default_factory=dict)
    """Holds the fixed settings by leaf name."""

    space: Mapping[str, Axis] = field(default_factory=dict)
    """Holds the searched settings by leaf name."""

    start: tuple[Mapping[str, Any], ...] = ()
    """Holds the settings of the points that are tried first."""

    seeds: tuple[int, ...] = (0,)
    racing: int = 0
    """Counts the seeds of every point; only points of the front get the others. 0 means all."""

    objectives: Mapping[str, str] = field(default_factory=lambda: {"score": "max", "cost": "min"})
    cost_vector: str = "constants"
    measured: Measured | OwnCosts | None = None
    """Holds measured costs, or those of one's own, which are one more cost vector."""

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
    """Seeds the search's proposals and the lots of rungs; `seeds` are those of the trials."""

    stopping: Rule = field(default_factory=Rule)
    budget: Budget = field(default_factory=Budget)
    constraints: tuple[Constraint, ...] = ()
    pack: PackSettings = field(default_factory=PackSettings)
    checkpoints: str = ALL
    """Which routers a run keeps: `all`, those on the `front` of any cost vector, or `none`."""

    def __post_init__(self) -> None:
        check_name("the study's name", self.study)
        check_seeds(self.seeds, self.racing)
        check_checkpoints(self.checkpoints)
        for leaf in set(self.searched) & set(self.trial):
            raise ConfigError(f"{leaf} is fixed in trial and searched in space; keep one")
        check_space(self.space)
        check_search(self.search, space=self.space, starts=len(self.start))
        check_objectives(
            self.objectives,
            constraints=self.constraints,
            cost_vector=self.cost_vector,
            task=self.task,
            vectors_by_set=[(item.label, self.vector_names(item)) for item in self.sets],
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
            joint=[item.joint for item in self.sets],
            pack_points=self.pack.points,
        )

    def vector_names(self, prepared_set: PreparedSet) -> list[str]:
        """Gives the names of the cost vectors that a set's trials are reported under."""
        return [
            *prepared_set.config.vectors(),
            *(() if self.outputs else _COUNTED),
            *self.measured_vectors(prepared_set),
        ]

    @property
    def reported_vectors(self) -> set[str]:
        """Gives the names of the cost vectors that objectives and constraints need."""
        names = (*self.objectives, *reported(self.constraints))
        return {self.cost_vector, *(name.removeprefix("cost_") for name in names)}

    def measured_vectors(self, prepared_set: PreparedSet) -> dict[str, CostVector]:
        """Gives the vectors of `measured` for a set by their names; empty without such costs.

        Raises:
            ConfigError: they lack one of the set's experts, are of another router, or fail.
        """
        if self.measured is None:
            return {}
        if isinstance(self.measured, Measured):
            return self.measured.vectors(prepared_set.config)
        return {self.measured.name: self.measured.vector(prepared_set.config)}

    @property
    def proposes(self) -> bool:
        """Tells whether a search proposes points as results come in, instead of a grid."""
        return self.search.method != "grid"

    @property
    def ranking(self) -> Ranking | None:
        """Gives the rule by which points are ranked at rungs; None where none is stopped early."""
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
        """Gives the sets that are prepared before the sweep, each with the points that train on it.

        For a search there is a set for every combination of the listed settings that decide what is
        prepared, and no set has points yet.
        """
        sets = sets_of({point.name: config for point, config in self.resolved}, self.searched)
        if not self.proposes:
            return sets
        return tuple(dataclasses.replace(item, points=()) for item in sets)

    def set_of(self, config: TrialConfig) -> PreparedSet:
        """Gives the set that a point of this configuration trains on."""
        return self._sets_by_key[set_key(config)]

    @functools.cached_property
    def _sets_by_key(self) -> dict[str, PreparedSet]:
        """Gives the sets by the key that their configurations share."""
        return {set_key(item.config): item for item in self.sets}

    @property
    def first_seeds(self) -> tuple[int, ...]:
        """Gives the seeds that every point is tried with."""
        return self.seeds[: self.racing or None]

    @property
    def task(self) -> Task:
        """Gives the task of all trials."""
        return self.base.data.definition

    @property
    def parts(self) -> tuple[Part, ...]:
        """Gives the parts of one's own that the study uses."""
        pools = (item.config.model.pool for item in self.sets)
        kinds = [config.model.router_kind for _, config in self.resolved]
        if "router_kind" in self.space:
            kinds += self.space["router_kind"].corners
        return parts_of(
            self.search,
            self.stopping,
            task=self.task,
            costs=self.measured,
            pools=pools,
            kinds=kinds,
        )

    def merit(self, score: float) -> float:
        """Gives a score of its task as a number that is better high."""
        return float(merit(self.task, score))

    @property
    def searched(self) -> tuple[str, ...]:
        """Gives the leaf names of the settings that differ between points, in the study's order."""
        start_leaves = (leaf for point in self.start for leaf in point)
        return tuple(dict.fromkeys([*self.space, *start_leaves]))

    @property
    def first(self) -> tuple[Point, TrialConfig]:
        """Gives a point to show or to try.

        It is the first of a grid; of a search the first start point, or the middle of the space.
        """
        return self.resolved[0]

    @property
    def base(self) -> TrialConfig:
        """Gives the configuration of `first`."""
        return self.first[1]

    @functools.cached_property
    def start_points(self) -> tuple[Mapping[str, Any], ...]:
        """Gives the start points as a search proposes them, complete over the space."""
        return starts(self.space, self.trial, self.start)

    def points(self) -> tuple[Point, ...]:
        """Gives the start points and then the grid; none for a search.

        Points that differ in no setting that applies to them are one point.
        """
        return () if self.proposes else tuple(point for point, _ in self.resolved)

    def configs(self) -> dict[str, TrialConfig]:
        """Gives the complete configuration of every point of the grid, by the point's name."""
        return {} if self.proposes else {point.name: config for point, config in self.resolved}

    def config(self, searched_settings: Mapping[str, Any]) -> TrialConfig:
        """Gives the complete configuration of a point with these searched settings.

        Raises:
            ConfigError: the settings contradict each other.
        """
        return trial_config({**self.trial, **searched_settings})

    def point(self, name: str, config: TrialConfig) -> Point:
        """Gives the point of this configuration."""
        complete = settings(config)
        return Point(name=name, settings={leaf: complete[leaf] for leaf in self.searched})

    @functools.cached_property
    def resolved(self) -> tuple[tuple[Point, TrialConfig], ...]:
        """Gives the grid's points, or examples of a search's points, with their configurations.

        Among the examples are the ends and the listed values of every searched setting.
        """
        if self.proposes:
            configs = examples(self.space, self.trial, self.start_points)
            return tuple(
                (self.point(f"x{number}", config), config) for number, config in enumerate(configs)
            )
        axes = [axis.values for axis in self.space.values()]
        size = math.prod(map(len, axes))
        if size > MOST_POINTS:
            raise ConfigError(
                f"space has {size} points, more than {MOST_POINTS}; search fewer values"
            )
        grid = [dict(zip(self.space, values, strict=True)) for values in itertools.product(*axes)]
        if self.start and not self.space:
            grid = []
        points: dict[str, tuple[Point, TrialConfig]] = {}
        for searched_settings in (*self.start, *grid):
            config = self.config(searched_settings)
            point = self.point(f"p{len(points):02d}", config)
            points.setdefault(canonical(applied(config)), (point, config))
        return tuple(points.values())

    def facts(self) -> dict[str, Any]:
        """Gives the facts about the study that tables and reports need, as plain data."""
        first = self.first[0].settings
        return {
            **to_record(self.task),
            "pool": self.base.model.pool,
            "metrics": list(self.task.metrics),
            "quoted": list(self.task.quoted),
            "settings": {leaf: kind_of(first[leaf]) for leaf in self.searched},
        }

    def to_tree(self) -> dict[str, Any]:
        """Gives the resolved study as plain data, which `from_tree` reads without other files."""
        tree = {
            "study": self.study,
            "trial": plain(
                fixed_settings(
                    [settings(config) for _, config in self.resolved],
                    chosen=self.trial,
                    searched=self.searched,
                )
            ),
            "space": {leaf: axis.plain() for leaf, axis in self.space.items()},
            "start": [plain(point) for point in self.start],
            "seeds": list(self.seeds),
            "racing": self.racing,
            "objectives": dict(self.objectives),
            "cost_vector": self.cost_vector,
            "search": search_tree(self.search, self.seed),
            "stopping": {"method": "none"}
            if self.stopping.method == "none"
            else dataclasses.asdict(self.stopping),
            "budget": self.budget.plain(),
            "constraints": {bound.name: bound.plain() for bound in self.constraints},
            "pack": dataclasses.asdict(self.pack),
        }
        if self.checkpoints != ALL:
            tree["checkpoints"] = self.checkpoints
        if self.dataset is not None:
            tree["dataset"] = dict(self.dataset)
        if self.outputs:
            tree["outputs"] = [dict(table) for table in self.outputs]
        if self.features is not None:
            tree["features"] = dict(self.features)
        if self.parts:
            tree["parts"] = [part.record() for part in self.parts]
        if isinstance(self.measured, Measured):
            tree["measured"] = self.measured.to_json()
        return tree
