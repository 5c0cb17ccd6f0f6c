"""`key=value` over a study: its own settings replaced, a trial's fixed or searched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mpc_router.config.sections import SECTIONS, unknown
from mpc_router.config.trial import ConfigError, flatten, leaf_of, leaf_paths
from mpc_router.messages import quoted

KEYS: Final = (
    *("study", "trial", "space", "start", "seeds", "racing", "objectives", "cost_vector"),
    *("measured", "search", "stopping", "budget", "constraints", "pack"),
    *("dataset", "task_definition", "outputs", "features"),
)
"""What a study's YAML may say at the top."""

MAPPINGS: Final = (
    *("trial", "space", "objectives", "search", "stopping", "budget", "constraints", "pack"),
)
"""The keys that hold mappings."""

_PLAIN_METHODS: Final = {"search": "grid", "stopping": "none"}
"""Methods without settings: whoever chooses one lets go of those that the study had."""


def with_overrides(tree: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The tree with study settings replaced, and trial settings fixed or searched."""
    result = {**tree}
    for name in MAPPINGS:
        if not isinstance(result.setdefault(name, {}), Mapping):
            raise ConfigError(f"{name} is {quoted(result[name])}, but must be a mapping")
        result[name] = dict(result[name])
    if not result["objectives"]:
        del result["objectives"]
    for name, value in given.items():
        head, _, rest = name.partition(".")
        if name in KEYS and name != "trial":
            result[name] = value
        elif rest and head in MAPPINGS and head not in ("trial", "space"):
            before = result.get(head, {})
            if not isinstance(before, Mapping):
                raise ConfigError(f"{head} is {quoted(before)}, but must be a mapping")
            if rest == "method" and _PLAIN_METHODS.get(head) == value:
                before = {each: before[each] for each in before if f"{head}.{each}" in given}
            result[head] = {**before, **_bound(head, rest, value, before)}
        else:
            _set(result, _leaf(rest if head in ("trial", "space") and rest else name), value)
    return result


def _bound(head: str, rest: str, value: Any, before: Mapping[str, Any]) -> dict[str, Any]:
    """`constraints.cost.max=8` beside the bound that cost may have already; else key and value."""
    name, dot, bound = rest.rpartition(".")
    if head != "constraints" or not dot:
        return {rest: value}
    known = before.get(name, {})
    return {name: {**(known if isinstance(known, Mapping) else {}), bound: value}}


def _set(tree: dict[str, Any], leaf: str, value: Any) -> None:
    """Searches the setting if the value is an axis, else fixes it everywhere."""
    space, trial = flat_settings(tree["space"]), flat_settings(tree["trial"])
    space.pop(leaf, None)
    trial.pop(leaf, None)
    if isinstance(value, Mapping):
        space[leaf] = value
    else:
        trial[leaf] = value
        start = tree.get("start", [])
        if isinstance(start, list) and all(isinstance(each, Mapping) for each in start):
            left = [{k: v for k, v in flatten(each).items() if k != leaf} for each in start]
            tree["start"] = [new for new, old in zip(left, start, strict=True) if new or not old]
    tree["space"], tree["trial"] = space, trial


def flat_settings(tree: Mapping[str, Any]) -> dict[str, Any]:
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
