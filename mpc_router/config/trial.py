"""TrialConfig: every setting of one trial and every rule on them, from YAML and `key=value`.

The tree has the published shape (`model`, `loss_weights`, `training`, `data`). Leaf names are
unique over the tree, so a setting is named by its leaf (`alpha`) or its path
(`loss_weights.alpha`). A configuration that exists is complete and valid.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mpc_router.config._pool_defaults import has_stem, with_pool
from mpc_router.config._typed import typed
from mpc_router.config.own_pools import pool_of
from mpc_router.config.pools import OUTPUTS
from mpc_router.config.sections import (
    SECTIONS,
    DataConfig,
    LossWeights,
    ModelConfig,
    TrainingConfig,
    without_usual,
)
from mpc_router.costs import CONSTANTS, CostVector, cost_vectors
from mpc_router.messages import quoted, shown
from mpc_router.routes import Experts
from mpc_router.settings.rules import ConfigError, nearest
from mpc_router.storage.paths import fault
from mpc_router.tasks import Task

__all__ = [
    "ConfigError",
    "TrialConfig",
    "flatten",
    "leaf_of",
    "leaf_paths",
    "parse_overrides",
    "read_yaml",
    "settings",
    "to_tree",
    "trial_config",
]


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """Holds every setting of one trial but its seed: complete (the pool's values too) and valid."""

    model: ModelConfig = field(default_factory=ModelConfig)
    loss_weights: LossWeights = field(default_factory=LossWeights)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    data: DataConfig = field(default_factory=DataConfig)

    def __post_init__(self) -> None:
        model, training = with_pool(self.model, self.training, self.data.task)
        object.__setattr__(self, "model", model)
        object.__setattr__(self, "training", training)
        count = len(model.expert_model_names)
        for name in ("expert_layers", "expert_costs"):
            values = getattr(model, name)
            if len(values) != count:
                raise ConfigError(
                    f"{name} has {len(values)} values {quoted(list(values))} for {count} experts "
                    f"{quoted(list(model.expert_model_names))}; give one value an expert"
                )
        if count < 2:
            raise ConfigError(f"a router needs at least 2 experts, expert_model_names has {count}")
        model.check(stem=model.stem, joint=training.joint)
        model.check_experts(count, regression=self.data.definition.regression)
        self.data.check_router_data(
            joint=training.joint,
            handed_in=model.pool == OUTPUTS,
            fine_tuned=bool(model.expert_fine_tuned),
        )
        if (
            (training.router, training.experts) == ("supervised", "joint")
            and training.expert_start == "checkpoint"
            and not model.expert_fine_tuned
        ):
            raise ConfigError(
                "router=supervised makes its labels of the experts' outputs, but with "
                "expert_start=checkpoint these experts have learned nothing of the task yet; set "
                "expert_start=fine_tuned"
            )

    @property
    def experts(self) -> int:
        """Gives the pool's size K."""
        return len(self.model.expert_model_names)

    @property
    def paths(self) -> tuple[Experts, ...]:
        """Gives the paths that the router chooses between: single experts but of some kinds."""
        return self.model.paths(self.experts, stem=self.model.stem)

    def vectors(self) -> dict[str, CostVector]:
        """Gives the cost vectors that results are reported under, by name.

        Where the stem is the cheapest expert, the router costs what that expert costs, and a route
        to it costs nothing more. Constants and published numbers are those of whole encoders, also
        where experts share the stem: there `mpc_router.pricing.counts` counts the layers that run.
        """
        model = self.model
        pool = pool_of(model.pool)
        constants: list[float] = []
        sizes: list[str | None] = []
        for name, layers, trained in zip(
            model.expert_model_names, model.expert_layers, model.expert_costs, strict=True
        ):
            member = pool.find(name, layers, self.data.task) if pool else None
            constants.append(member.cost if member else trained)
            sizes.append(member.size if member else None)
        if pool is None or not has_stem(model, pool):
            sizes = [None] * len(sizes)  # the published numbers are another router's
        vectors = cost_vectors(constants=constants, router=model.router_cost, sizes=sizes)
        if model.pool == OUTPUTS:  # published numbers are of encoders
            vectors = {CONSTANTS: vectors[CONSTANTS]}
        if model.stem == "model":
            return vectors
        return {
            name: dataclasses.replace(vector, router=vector.experts[0], stem_is_expert=True)
            for name, vector in vectors.items()
        }


_LEAVES: Final = {
    part: tuple(leaf.name for leaf in dataclasses.fields(kind)) for part, kind in SECTIONS.items()
}
"""Leaf names by section, in their order."""

_VALUES: Final = {part: operator.attrgetter(*names) for part, names in _LEAVES.items()}
"""By section, what gives all its values in that order: thousands of points are read with it."""


@functools.cache
def leaf_paths() -> dict[str, str]:
    """Maps every leaf name to its dotted path."""
    return {leaf: f"{part}.{leaf}" for part, names in _LEAVES.items() for leaf in names}


def leaf_of(name: str) -> str:
    """Gives the leaf that a leaf name or a dotted path names.

    Raises:
        ConfigError: there is no such setting; the nearest names are given.
    """
    leaf = name.rpartition(".")[2]
    paths = leaf_paths()
    if leaf in paths and name in (leaf, paths[leaf]):
        return leaf
    raise ConfigError(f"unknown setting {quoted(name)}; {nearest(leaf, paths)}")


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Gives settings by leaf name, from a nested, dotted or flat mapping (mixtures too).

    Raises:
        ConfigError: an unknown setting, or one that is given twice.
    """
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if name in SECTIONS:
            if not isinstance(value, Mapping):
                raise ConfigError(f"{name} is {quoted(value)}, but holds settings: write a mapping")
            inner = {leaf_of(f"{name}.{leaf}"): setting for leaf, setting in value.items()}
        else:
            inner = {leaf_of(str(name)): value}
        for leaf, setting in inner.items():
            if leaf in flat:
                raise ConfigError(f"setting {leaf!r} is given twice")
            flat[leaf] = setting
    return flat


def trial_config(settings: Mapping[str, Any]) -> TrialConfig:
    """Gives the complete configuration with these settings, everything else at its default.

    Raises:
        ConfigError: an unknown setting, a value of the wrong type, or a broken rule.
    """
    given = {leaf: typed(leaf, value) for leaf, value in flatten(settings).items()}
    return TrialConfig(
        **{
            part: kind(**{leaf: given[leaf] for leaf in _LEAVES[part] if leaf in given})
            for part, kind in SECTIONS.items()
        }
    )


def read_yaml(path: Path) -> dict[str, Any]:
    """Gives a YAML file as plain data, read safely (`1e-4` is a number).

    Raises:
        ConfigError: no such file, not YAML, or not a mapping.
    """
    from mpc_router.settings.yaml_text import YamlError, read

    if (why := fault(str(path))) is not None:
        raise ConfigError(f"{quoted(str(path))} {why}; give a YAML file")
    try:
        data = read(path)
    except OSError as error:
        raise ConfigError(f"{shown(path)}: {error.strerror or error}; give a YAML file") from error
    except YamlError as error:
        raise ConfigError(f"{shown(path)} cannot be read as YAML: {error}") from error
    if not isinstance(data, dict) or not data:
        raise ConfigError(f"{shown(path)} holds no mapping; write `key: value` lines")
    return data


def parse_overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """Gives `key=value` arguments as typed values; the value is read as YAML.

    Raises:
        ConfigError: an argument without `=` or whose value is not YAML.
    """
    from mpc_router.settings.yaml_text import YamlError, plain

    values: dict[str, Any] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals or not name:
            raise ConfigError(f"{quoted(argument)} is not key=value")
        try:
            read = plain(f"value: {text}")
        except YamlError as error:
            why = str(error).replace(" (line 1)", "")
            raise ConfigError(f"{quoted(argument)} cannot be read as YAML: {why}") from error
        if not isinstance(read, dict) or len(read) != 1:
            raise ConfigError(f"{quoted(argument)} is more than one line of YAML; write one value")
        values[name] = read["value"]
    return values


def settings(config: TrialConfig) -> dict[str, Any]:
    """Gives every setting by leaf name; sequences are tuples."""
    complete: dict[str, Any] = {}
    for part in SECTIONS:
        complete.update(_section(config, part))
    return complete


def _section(config: TrialConfig, part: str) -> dict[str, Any]:
    """Gives the settings of one section by leaf name."""
    return dict(zip(_LEAVES[part], _VALUES[part](getattr(config, part)), strict=True))


def to_tree(config: TrialConfig) -> dict[str, dict[str, Any]]:
    """Gives the configuration as plain nested data in the published shape.

    Settings of a router's kind and of what it learns from are left out where they have their
    defaults, and so is the definition of one of GLUE's tasks: files without them stay as they were.
    """
    tree = {part: without_usual(_section(config, part)) for part in SECTIONS}
    definition = config.data.task_definition
    if definition is None:
        del tree["data"]["task_definition"]
    else:
        tree["data"]["task_definition"] = definition.to_json()
    return tree


def plain(value: Any) -> Any:
    """Gives the value as YAML and JSON have it: lists for tuples, a mapping for a task."""
    if isinstance(value, Task):
        return value.to_json()
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value
