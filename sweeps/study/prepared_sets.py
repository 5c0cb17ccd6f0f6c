"""Groups a study's points by the data, experts and stem that are prepared for them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mpc_router.config.keys import canonical
from mpc_router.config.trial import ConfigError, TrialConfig, plain, settings
from mpc_router.costs import CostVector

_ONE_VALUE: Final = (
    *(
        "task",
        "task_definition",
        "max_length",
        "train_rows",
        "validation_rows",
        "expert_fine_tuned",
        "device",
    ),
)
"""Names the settings that have one value in a study: a run has one data set and kind of device."""

_PREPARED: Final = (
    *("pool", "pool_size", "expert_model_names", "expert_layers", "expert_pooling"),
    *("tokenizer_model_name", "stem", "router_model_name", "router_stem_layers", "stem_pooling"),
    *("experts", "expert_seed", "expert_epochs", "expert_learning_rate", "expert_batch_size"),
    *("precision", "shared_stem"),
    *("router_data", "router_share", "router_folds", "router_rows"),
)
"""Names the settings that decide what is prepared; points that differ in one have other sets."""

_COSTED: Final = ("router_hidden_size",)
"""Names the further settings that decide a router's cost; all points of a set have one cost."""

_COSTED_WITH_STEM: Final = ("router_kind",)
"""Names the same where the stem is a model: a stem that is an expert costs what that one costs."""

_JOINT: Final = ("expert_start", "router")
"""Names the further settings that decide what is prepared where experts train too."""

DECIDING: Final = (*_PREPARED, *_COSTED, *_COSTED_WITH_STEM, *_JOINT)
"""Names all settings that decide a set; a search lists their values, so that all sets are known."""


_REMEMBERED: Final = 10_000
"""Counts the configurations whose keys are remembered: a plan asks for each of them three times."""


@dataclass(frozen=True, kw_only=True)
class PreparedSet:
    """Holds the points of a study that train on the same experts and stem, or begin with them."""

    name: str
    points: tuple[str, ...]
    """Names the points of a grid; empty for a search, whose points `Study.set_of` assigns."""

    config: TrialConfig
    """Holds the configuration of the first point."""

    label: str
    """Describes how the set differs from the study's others; empty where it is the only one."""

    @property
    def joint(self) -> bool:
        """Tells whether each trial trains its own experts too."""
        return self.config.training.joint


def sets_of(configs: Mapping[str, TrialConfig], searched: Sequence[str]) -> tuple[PreparedSet, ...]:
    """Gives the sets of configurations by point, in the order of their first points.

    Raises:
        ConfigError: points cannot be in one study, or points of one set differ in their costs.
    """
    _check_one_value(configs, searched)
    groups: dict[str, list[str]] = {}
    for point, config in configs.items():
        groups.setdefault(set_key(config), []).append(point)
    for points in groups.values():
        _check_costs([configs[point] for point in points])
    return tuple(
        PreparedSet(
            name=f"set{number:02d}",
            points=tuple(points),
            config=configs[points[0]],
            label=_label(configs[points[0]], searched) if len(groups) > 1 else "",
        )
        for number, points in enumerate(groups.values())
    )


def _deciding(config: TrialConfig) -> dict[str, Any]:
    """Gives the settings of a configuration that decide its set."""
    leaves = [*_PREPARED, *_COSTED, *(_JOINT if config.training.joint else ())]
    if config.model.stem == "model":
        leaves += _COSTED_WITH_STEM
    complete = settings(config)
    return {leaf: complete[leaf] for leaf in leaves}


@functools.lru_cache(_REMEMBERED)
def set_key(config: TrialConfig) -> str:
    """Gives a key that is equal for configurations of one set."""
    return canonical(_deciding(config))


def _label(config: TrialConfig, searched: Sequence[str]) -> str:
    """Describes a set by its searched settings."""
    deciding = _deciding(config)
    return ", ".join(f"{leaf} {plain(deciding[leaf])}" for leaf in searched if leaf in deciding)


def _check_one_value(configs: Mapping[str, TrialConfig], searched: Sequence[str]) -> None:
    """Refuses points that differ in a setting of which a study has one value.

    Raises:
        ConfigError: they do.
    """
    reason = {leaf: "a run has one set of examples" for leaf in _ONE_VALUE}
    reason["device"] = "a run trains on one kind of device"
    complete = [settings(config) for config in configs.values()]
    for leaf in _ONE_VALUE:
        if leaf in searched:
            raise ConfigError(
                f"{leaf} is searched, but {reason[leaf]}; fix it ({leaf}=VALUE) and run a study "
                "for each value"
            )
        values = sorted(map(canonical, {point[leaf] for point in complete}))
        if len(values) > 1:
            raise ConfigError(
                f"the points differ in {leaf} ({' and '.join(values)}), but {reason[leaf]}; "
                f"fix it ({leaf}=VALUE), or search pools that agree on it"
            )


def _check_costs(configs: Sequence[TrialConfig]) -> None:
    """Refuses points of one set that differ in their cost vectors.

    Raises:
        ConfigError: they do.
    """
    first: dict[str, CostVector] = configs[0].vectors()
    # they are those of the experts and the stem, in which few points differ
    unlike = {config.model: config for config in configs}.values()
    if any(config.vectors() != first for config in unlike):
        raise ConfigError(
            "points with the same experts differ in their cost vectors; fix expert_costs and "
            "router_cost"
        )
