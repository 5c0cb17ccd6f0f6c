"""Checks a search's space on example points, before the search proposes any."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from mpc_router.config.keys import canonical
from mpc_router.config.sections import SECTIONS
from mpc_router.config.trial import ConfigError, TrialConfig, plain, settings, trial_config
from mpc_router.settings.rules import is_number
from sweeps.search.space import Axis
from sweeps.study.prepared_sets import DECIDING

MOST_PAIRS: Final = 300
"""Limits the pairs of listed values that are tried; each takes a hundredth of a second."""

MOST_SETS: Final = 100
"""Limits the prepared sets of a search; each is checked and priced before the first trial."""


def check_space(space: Mapping[str, Axis]) -> None:
    """Refuses axes over settings that cannot have such values.

    Raises:
        ConfigError: a range of a setting that is no number, a range of fractions of a whole number,
            or a range of a setting that decides what is prepared before the first trial.
    """
    defaults = default_settings()
    for leaf, axis in space.items():
        if axis.listed:
            continue
        if not is_number(defaults[leaf]):
            raise ConfigError(
                f"space.{leaf} is a range ({axis.kind}), but {leaf} is no number; list its values: "
                f"'{leaf}={{choice: [...]}}'"
            )
        if isinstance(defaults[leaf], int) and axis.kind != "int":
            raise ConfigError(
                f"space.{leaf} is {axis.kind}, but {leaf} is a whole number; search it as "
                f"{{int: [a, b]}} or {{choice: [...]}}"
            )
        if leaf in DECIDING:
            raise ConfigError(
                f"space.{leaf} is a range ({axis.kind}), but {leaf} decides what is prepared and "
                f"priced before the first trial; list its values: '{leaf}={{choice: [...]}}'"
            )


def starts(
    space: Mapping[str, Axis], trial: Mapping[str, Any], start: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], ...]:
    """Gives the start points of a search, complete over its space with defaults.

    Raises:
        ConfigError: one lies outside of the space.
    """
    points = []
    for number, start_settings in enumerate(start, 1):
        for leaf in start_settings:
            if leaf not in space:
                raise ConfigError(
                    f"start point {number} sets {leaf}, which is not in space; fix it for all "
                    "points in trial, or search it"
                )
        complete = settings(trial_config({**trial, **start_settings}))
        for leaf, axis in space.items():
            if not axis.holds(complete[leaf]):
                problem = (
                    f"{leaf} is"
                    if leaf in start_settings
                    else f"it does not set {leaf}, whose default is"
                )
                raise ConfigError(
                    f"start point {number} lies outside of space: {problem} "
                    f"{plain(complete[leaf])}, but space.{leaf} is {axis.plain()}; a search "
                    "tries points of its space alone, so change one of the two"
                )
        points.append({leaf: axis.normalised(complete[leaf]) for leaf, axis in space.items()})
    return tuple(points)


def examples(
    space: Mapping[str, Axis], trial: Mapping[str, Any], first: Sequence[Mapping[str, Any]]
) -> tuple[TrialConfig, ...]:
    """Gives the configurations of examples of a search's points; the first is the one to show.

    They are `first` and the middle of the space. The other ones change the middle: to every
    combination of settings that decide what is prepared; to every value or end of one axis; and to
    every pair of listed values (or of their ends, if there are very many), because some rules are
    about two settings.

    Raises:
        ConfigError: a point is not valid.
    """
    middle = {leaf: axis.middle for leaf, axis in space.items()}
    configs: dict[str, TrialConfig] = {}
    for point in (*first, middle):
        configs.setdefault(canonical(plain(point)), _config(trial, point, space))
    for change in _changes(space):
        point = {**middle, **change}
        name = canonical(plain(point))
        if name not in configs:
            configs[name] = _config(trial, point, change)
    return tuple(configs.values())


def _changes(space: Mapping[str, Axis]) -> Iterator[dict[str, Any]]:
    """Gives the changes of the middle, each by leaf name.

    Raises:
        ConfigError: too many sets would be prepared.
    """
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
    for (first, first_values), (second, second_values) in itertools.combinations(_few(listed), 2):
        for pair in itertools.product(first_values, second_values):
            yield dict(zip((first, second), pair, strict=True))


def _few(listed: list[tuple[str, tuple[Any, ...]]]) -> list[tuple[str, tuple[Any, ...]]]:
    """Gives listed settings with all values, or with the first and the last of too many."""
    pairs = sum(len(a) * len(b) for (_, a), (_, b) in itertools.combinations(listed, 2))
    if pairs <= MOST_PAIRS:
        return listed
    return [(leaf, (values[0], values[-1])) for leaf, values in listed]


def _config(
    trial: Mapping[str, Any], point: Mapping[str, Any], named: Mapping[str, Any]
) -> TrialConfig:
    """Gives the configuration of a point.

    Raises:
        ConfigError: it is not valid; the message quotes the settings in `named`.
    """
    try:
        return trial_config({**trial, **point})
    except ConfigError as error:
        at = ", ".join(f"{leaf}={plain(point[leaf])}" for leaf in named)
        raise ConfigError(f"{error} (in space, at {at})" if at else str(error)) from error


def default_settings() -> dict[str, Any]:
    """Gives every setting by leaf name as it is before the pool fills it in."""
    return {
        leaf.name: leaf.default
        for section in SECTIONS.values()
        for leaf in dataclasses.fields(section)
    }
