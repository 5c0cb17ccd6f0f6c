"""Points that stand for a search before it proposes any: what can go wrong goes wrong on them."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from mpc_router.config.sections import SECTIONS, is_number
from mpc_router.config.trial import (
    ConfigError,
    TrialConfig,
    canonical,
    plain,
    settings,
    trial_config,
)
from sweeps.search.space import Axis
from sweeps.study.prepared_sets import DECIDING

MOST_PAIRS: Final = 300
"""Of listed values that are tried together: each takes a hundredth of a second."""

MOST_SETS: Final = 100
"""Combinations of what is prepared that a search may have: each is checked and priced."""


def check_space(space: Mapping[str, Axis]) -> None:
    """Refuses axes over settings that cannot have such values, whatever the method.

    Raises:
        ConfigError: a range of something that is no number, parts of what is whole, or a range of
            what is prepared before the first trial.
    """
    defaults = default_settings()
    for leaf, axis in space.items():
        if axis.listed:
            continue
        if not is_number(defaults[leaf]):
            raise ConfigError(
                f"space.{leaf} is a range ({axis.kind}), but {leaf} is no number; list its values: "
                f"{leaf}={{choice: [...]}}"
            )
        if isinstance(defaults[leaf], int) and axis.kind != "int":
            raise ConfigError(
                f"space.{leaf} is {axis.kind}, but {leaf} is a whole number; search it as "
                f"{{int: [a, b]}} or {{choice: [...]}}"
            )
        if leaf in DECIDING:
            raise ConfigError(
                f"space.{leaf} is a range ({axis.kind}), but {leaf} decides what is prepared and "
                f"priced before the first trial; list its values: {leaf}={{choice: [...]}}"
            )


def starts(
    space: Mapping[str, Axis], trial: Mapping[str, Any], start: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], ...]:
    """The start points of a search, complete over its space: the rest is at its default.

    Raises:
        ConfigError: one that lies outside.
    """
    found = []
    for number, given in enumerate(start, 1):
        for leaf in given:
            if leaf not in space:
                raise ConfigError(
                    f"start point {number} sets {leaf}, which is not in space; fix it for all "
                    "points in trial, or search it"
                )
        complete = settings(trial_config({**trial, **given}))
        for leaf, axis in space.items():
            if not axis.holds(complete[leaf]):
                how = "is" if leaf in given else "does not set it, and its default is"
                raise ConfigError(
                    f"start point {number} lies outside of space: {leaf} {how} "
                    f"{plain(complete[leaf])}, searched is {axis.plain()}; change one of the two"
                )
        found.append({leaf: axis.on(complete[leaf]) for leaf, axis in space.items()})
    return tuple(found)


def examples(
    space: Mapping[str, Axis], trial: Mapping[str, Any], first: Sequence[Mapping[str, Any]]
) -> tuple[tuple[dict[str, Any], TrialConfig], ...]:
    """Points of a search with their configurations; the first is the one to show or to try.

    They are `first` and the middle of the space; that with every combination of what is prepared;
    with every value and every end of a range, one axis at a time; and with all pairs of listed
    values (of their ends where those are very many), since rules on two settings are broken by
    pairs.

    Raises:
        ConfigError: one of them cannot be.
    """
    middle = {leaf: axis.middle for leaf, axis in space.items()}
    found: dict[str, tuple[dict[str, Any], TrialConfig]] = {}
    for given in (*first, middle):
        found.setdefault(canonical(plain(given)), (dict(given), _config(trial, given, space)))
    for change in _changes(space):
        given = {**middle, **change}
        name = canonical(plain(given))
        if name not in found:
            found[name] = (given, _config(trial, given, change))
    return tuple(found.values())


def _changes(space: Mapping[str, Axis]) -> Iterator[dict[str, Any]]:
    """What to change of the middle."""
    prepared = {leaf: axis.values for leaf, axis in space.items() if leaf in DECIDING}
    count = math.prod(map(len, prepared.values()))
    if count > MOST_SETS:
        raise ConfigError(
            f"space has {count} combinations of {', '.join(prepared)}, each of which is prepared "
            f"before the first trial, but {MOST_SETS} is the most; search fewer values"
        )
    for values in itertools.product(*prepared.values()):
        yield dict(zip(prepared, values, strict=True))
    for leaf, axis in space.items():
        yield from ({leaf: value} for value in axis.corners)
    listed = [(leaf, axis.values) for leaf, axis in space.items() if axis.listed]
    for (one, ones), (other, others) in itertools.combinations(_few(listed), 2):
        for pair in itertools.product(ones, others):
            yield dict(zip((one, other), pair, strict=True))


def _few(listed: list[tuple[str, tuple[Any, ...]]]) -> list[tuple[str, tuple[Any, ...]]]:
    """The listed settings; of many values only the first and the last, if pairs were too many."""
    pairs = sum(len(a) * len(b) for (_, a), (_, b) in itertools.combinations(listed, 2))
    if pairs <= MOST_PAIRS:
        return listed
    return [(leaf, (values[0], values[-1])) for leaf, values in listed]


def _config(
    trial: Mapping[str, Any], given: Mapping[str, Any], named: Mapping[str, Any]
) -> TrialConfig:
    """The configuration of a point; a refusal says at which of its settings."""
    try:
        return trial_config({**trial, **given})
    except ConfigError as error:
        at = ", ".join(f"{leaf}={plain(given[leaf])}" for leaf in named)
        raise ConfigError(f"{error} (in space, at {at})" if at else str(error)) from error


def default_settings() -> dict[str, Any]:
    """Every setting as it is before the pool fills it in, by leaf name."""
    return {
        leaf.name: leaf.default
        for section in SECTIONS.values()
        for leaf in dataclasses.fields(section)
    }
