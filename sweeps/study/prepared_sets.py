"""What a study prepares before it sweeps: its points, grouped by what they train on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mpc_router.config.trial import ConfigError, TrialConfig, canonical, plain, settings
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
"""Settings with one value a study: a run has one set of examples, and one kind of device."""

_PREPARED: Final = (
    *("pool", "pool_size", "expert_model_names", "expert_layers", "expert_pooling"),
    *("tokenizer_model_name", "stem", "router_model_name", "router_stem_layers", "stem_pooling"),
    *("experts", "expert_seed", "expert_epochs", "expert_learning_rate", "expert_batch_size"),
    *("precision", "shared_stem"),
)
"""Settings that decide what is prepared: points that differ in one train on different sets."""

_COSTED: Final = ("router_hidden_size",)
"""Settings that decide what a router costs beyond those: part of a set, which has one price."""

_JOINT: Final = ("expert_start", "router")
"""Settings that decide what is prepared where experts train too."""

DECIDING: Final = (*_PREPARED, *_COSTED, *_JOINT)
"""All of these: a search lists their values, so that every set is known before its first point."""


@dataclass(frozen=True, kw_only=True)
class PreparedSet:
    """Points of a study that train on the same experts and stem, or begin with them."""

    name: str
    points: tuple[str, ...]
    """Of a grid; empty where points are still to be proposed (`Study.set_of` finds theirs)."""

    config: TrialConfig
    """Of its first point."""

    label: str
    """What tells it from the study's other sets, for people; empty where it is the only one."""

    @property
    def joint(self) -> bool:
        """Whether its experts train too, each trial's its own."""
        return self.config.training.joint


def sets_of(configs: Mapping[str, TrialConfig], searched: Sequence[str]) -> tuple[PreparedSet, ...]:
    """The sets of these configurations by point, in the order of their first points.

    Raises:
        ConfigError: points that cannot be in one study, or that differ in their costs alone.
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
    """The settings that make it part of its set."""
    joint = config.training.joint
    complete = settings(config)
    return {leaf: complete[leaf] for leaf in (*_PREPARED, *_COSTED, *(_JOINT if joint else ()))}


def set_key(config: TrialConfig) -> str:
    """Equal for configurations of one set."""
    return canonical(plain(_deciding(config)))


def _label(config: TrialConfig, searched: Sequence[str]) -> str:
    deciding = _deciding(config)
    return ", ".join(f"{leaf} {plain(deciding[leaf])}" for leaf in searched if leaf in deciding)


def _check_one_value(configs: Mapping[str, TrialConfig], searched: Sequence[str]) -> None:
    reason = {leaf: "a run has one set of examples" for leaf in _ONE_VALUE}
    reason["device"] = "a run trains on one kind of device"
    for leaf in _ONE_VALUE:
        if leaf in searched:
            raise ConfigError(
                f"{leaf} is searched, but {reason[leaf]}; fix it ({leaf}=VALUE) and run a study "
                "for each value"
            )
        found = {canonical(settings(config)[leaf]) for config in configs.values()}
        if len(found) > 1:
            raise ConfigError(
                f"the points differ in {leaf} ({' and '.join(sorted(found))}), but {reason[leaf]}; "
                f"fix it ({leaf}=VALUE), or search pools that agree on it"
            )


def _check_costs(configs: Sequence[TrialConfig]) -> None:
    first: dict[str, CostVector] = configs[0].vectors()
    if any(config.vectors() != first for config in configs):
        raise ConfigError(
            "points with the same experts differ in their cost vectors; fix expert_costs and "
            "router_cost"
        )
