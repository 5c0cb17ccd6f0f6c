"""Applies `key=value` overrides to a study's plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mpc_router.config.sections import SECTIONS
from mpc_router.config.trial import ConfigError, flatten, leaf_of, leaf_paths
from mpc_router.messages import quoted
from mpc_router.settings.rules import unknown

KEYS: Final = (
    *("study", "trial", "space", "start", "seeds", "racing", "objectives", "cost_vector"),
    *("measured", "search", "stopping", "budget", "constraints", "pack"),
    "checkpoints",
    *("dataset", "task_definition", "outputs", "features", "parts"),
)
"""Names the keys that a study's YAML may have at the top; `parts` is what a run has recorded."""

MAPPINGS: Final = (
    *("trial", "space", "objectives", "search", "stopping", "budget", "constraints", "pack"),
)
"""Names the keys that hold mappings."""

_PLAIN_METHODS: Final = {"search": "grid", "stopping": "none"}
"""Names the methods without settings; an override to one removes the settings that were there."""


def with_overrides(tree: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Gives the tree with study settings replaced, and trial settings fixed or searched.

    Raises:
        ConfigError: a part is no mapping, or a setting is unknown.
    """
    result = {**tree}
    for name in MAPPINGS:
        if not isinstance(result.setdefault(name, {}), Mapping):
            raise ConfigError(f"{name} is {quoted(result[name])}, but must be a mapping")
        result[name] = dict(result[name])
    if not result["objectives"]:
        del result["objectives"]
    for name, value in overrides.items():
        head, _, key = name.partition(".")
        if name in KEYS and name != "trial":
            result[name] = value
        elif key and head in MAPPINGS and head not in ("trial", "space"):
            part = result.get(head, {})
            if not isinstance(part, Mapping):
                raise ConfigError(f"{head} is {quoted(part)}, but must be a mapping")
            if key == "method" and _PLAIN_METHODS.get(head) == value:
                part = {name: part[name] for name in part if f"{head}.{name}" in overrides}
            result[head] = {**part, **_bound(head, key, value, part)}
        else:
            _set(result, _leaf(key if head in ("trial", "space") and key else name), value)
    return result


def _bound(head: str, key: str, value: Any, part: Mapping[str, Any]) -> dict[str, Any]:
    """Gives the key and the value to set in a part of the study.

    `constraints.cost.max=8` keeps the other bound that cost may have.
    """
    name, dot, bound = key.rpartition(".")
    if head != "constraints" or not dot:
        return {key: value}
    bounds = part.get(name, {})
    return {name: {**(bounds if isinstance(bounds, Mapping) else {}), bound: value}}


def _set(tree: dict[str, Any], leaf: str, value: Any) -> None:
    """Makes the setting an axis of the space if the value is one, else fixes it for all points."""
    space, trial = flat_settings(tree["space"]), flat_settings(tree["trial"])
    space.pop(leaf, None)
    trial.pop(leaf, None)
    if isinstance(value, Mapping):
        space[leaf] = value
    else:
        trial[leaf] = value
        start = tree.get("start", [])
        if isinstance(start, list) and all(isinstance(point, Mapping) for point in start):
            others = [{k: v for k, v in flatten(point).items() if k != leaf} for point in start]
            tree["start"] = [new for new, old in zip(others, start, strict=True) if new or not old]
    tree["space"], tree["trial"] = space, trial


def flat_settings(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Gives settings or axes by leaf name.

    Raises:
        ConfigError: a setting is given twice, or unknown.
    """
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        inner = flatten({name: value}) if name in SECTIONS else {leaf_of(str(name)): value}
        for leaf in inner.keys() & flat.keys():
            raise ConfigError(f"setting {leaf!r} is given twice")
        flat.update(inner)
    return flat


def _leaf(name: str) -> str:
    """Gives the leaf name of the setting that an override names.

    Raises:
        ConfigError: there is none; the message names near settings and keys of a study.
    """
    try:
        return leaf_of(name)
    except ConfigError:
        raise ConfigError(
            unknown("setting", name, [*leaf_paths(), *(key for key in KEYS if key != "trial")])
        ) from None
