"""Checks rules between the parts of a study: they are possible together, and each has an effect."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from mpc_router.config.trial import ConfigError
from mpc_router.messages import quoted
from mpc_router.run_names import ALL, FRONT, KEEPS, NONE
from mpc_router.settings.rules import unknown
from mpc_router.tasks import Task
from sweeps.search.rule import SearchRule
from sweeps.search.samplers import SAMPLERS, sampler_of
from sweeps.search.space import Axis
from sweeps.stopping.constraints import DEAD_EXPERTS, Constraint, reported
from sweeps.stopping.rule import Rule, StoppingError

MOST_POINTS: Final = 10_000
"""Limits the points of a study: a run cannot hold more, and more are most likely a typing error."""


def check_search(rule: SearchRule, *, space: Mapping[str, Axis], starts: int) -> None:
    """Refuses a search that its method cannot do; `starts` counts the study's start points.

    Raises:
        ConfigError: a setting is impossible with the method, or has no effect.
    """
    if rule.method == "grid":
        _check_grid(space)
        return
    if not space:
        raise ConfigError(
            f"search.method {rule.method!r} has nothing to search: space is empty; give an axis, "
            "such as alpha={loguniform: [1e-3, 1]}"
        )
    _check_effect(rule)
    if rule.points > MOST_POINTS:
        raise ConfigError(f"search.points is {rule.points}, but {MOST_POINTS} is the most")
    if rule.points < starts:
        raise ConfigError(
            f"search.points is {rule.points}, but start has {starts} points already; "
            f"set it to {starts} or more"
        )


def _check_effect(rule: SearchRule) -> None:
    """Refuses settings that have no effect with the method.

    Raises:
        ConfigError: there is one.
    """
    sampler = sampler_of(rule.method)
    assert sampler is not None  # a rule has checked its method
    defaults = {part.name: part.default for part in dataclasses.fields(rule)}
    for name in ("parallel", "fidelity") if not sampler.learns else ():
        value = getattr(rule, name)
        if value != defaults[name]:
            raise ConfigError(
                f"`{rule.method}` does not learn from results, so search.{name}={value} has no "
                "effect; remove it"
            )
    if sampler.learns and not sampler.heeds_constraints and rule.fidelity == "infeasible":
        raise ConfigError(
            f"`{rule.method}` does not heed constraints, so search.fidelity=infeasible has no "
            "effect; set search.fidelity to complete or left_out"
        )


def _check_grid(space: Mapping[str, Axis]) -> None:
    """Refuses a grid over a range.

    Raises:
        ConfigError: an axis is a range.
    """
    for leaf, axis in space.items():
        if not axis.listed:
            raise ConfigError(
                f"space.{leaf} is a range ({axis.kind}), but search.method 'grid' needs a list of "
                f"values; write {{grid: [...]}}, or set search.method to one of "
                f"{', '.join(SAMPLERS)}"
            )


def check_objectives(
    objectives: Mapping[str, str],
    *,
    constraints: Sequence[Constraint],
    cost_vector: str,
    task: Task,
    vectors_by_set: Sequence[tuple[str, Sequence[str]]],
) -> None:
    """Refuses objectives, constraints and a cost vector that some reports lack.

    `vectors_by_set` holds the label of each prepared set and the names of its cost vectors.

    Raises:
        ConfigError: there is one.
    """
    by_set = [names for _, names in vectors_by_set]
    vectors = [name for name in by_set[0] if all(name in names for names in by_set)]
    if cost_vector not in vectors:
        for label, names in vectors_by_set:
            if cost_vector not in names and any(cost_vector in others for others in by_set):
                raise ConfigError(
                    f"cost_vector {cost_vector} is not known for {label}; known for "
                    f"all points are {', '.join(vectors)}"
                )
        raise ConfigError(unknown("cost_vector", cost_vector, vectors))
    allowed = {"score", *task.metrics, "cost", *(f"cost_{name}" for name in vectors)}
    _check_names(objectives, cost_vector, allowed)
    _check_directions(objectives, task)
    for name in reported(constraints):
        if name not in allowed:
            raise ConfigError(unknown("constraints", name, {*allowed, DEAD_EXPERTS}))


def _check_names(objectives: Mapping[str, str], cost_vector: str, allowed: set[str]) -> None:
    """Refuses objectives of unknown names or directions, and two that are the same.

    Raises:
        ConfigError: there is one.
    """
    if not objectives:
        raise ConfigError("objectives is empty; name at least one, such as {score: max}")
    for name, direction in objectives.items():
        if name not in allowed:
            raise ConfigError(unknown("objectives", name, allowed))
        if direction not in ("max", "min"):
            raise ConfigError(f"objectives.{name} is {quoted(direction)}, allowed are max and min")
    if {"cost", f"cost_{cost_vector}"} <= objectives.keys():
        raise ConfigError(
            f"objectives has cost and cost_{cost_vector}, which are the same because "
            f"cost_vector is {cost_vector}; keep one"
        )


def _check_directions(objectives: Mapping[str, str], task: Task) -> None:
    """Refuses an objective that asks for the worst of a metric.

    Raises:
        ConfigError: there is one.
    """
    for name, direction in objectives.items():
        if name == "score":
            better = task.direction
        elif name in task.metrics:
            better = "min" if task.metric(name).low_is_better else "max"
        else:
            continue
        if direction != better:
            raise ConfigError(
                f"objectives.{name} is {direction}, but {name} of task {task.name} is better "
                f"{'low' if better == 'min' else 'high'}; set objectives.{name}={better}"
            )


def check_stopping(
    rule: Rule, *, objectives: Mapping[str, str], searched: Collection[str], epochs: int
) -> None:
    """Refuses stopping of points that cannot be stopped early, or not as the rule says.

    Raises:
        ConfigError: they cannot, or a setting has no effect.
    """
    if rule.method == "none":
        return
    if rule.method == "asha" and len(objectives) > 1:
        raise ConfigError(
            f"stopping.method 'asha' ranks by one objective, but objectives are "
            f"{', '.join(objectives)}; set stopping.method=mo_asha, or keep one objective"
        )
    if rule.own_rule is not None and rule.variant == "stop" and rule.ties != Rule().ties:
        raise ConfigError(
            f"stopping.ties orders the points of a front for asha and mo_asha, but stopping rule "
            f"{quoted(rule.method)} decides itself; leave it out"
        )
    if "epochs" in searched:
        raise ConfigError(
            "epochs is searched, but stopping compares points that have trained equally long; fix "
            "it (epochs=VALUE) and let stopping choose, or set stopping.method=none"
        )
    try:
        rungs = rule.rungs(epochs)
    except StoppingError as error:
        raise ConfigError(str(error)) from error
    if rule.brackets > len(rungs) + 1:
        raise ConfigError(
            f"stopping.brackets is {rule.brackets}, but {epochs} epochs have {len(rungs)} rungs "
            f"({', '.join(map(str, rungs))}), so {len(rungs) + 1} is the most"
        )


def check_brackets(
    rule: Rule, search: SearchRule, *, joint: Sequence[bool], pack_points: int
) -> None:
    """Refuses settings of brackets that do not fit the study's packs.

    A pack with frozen experts is a bracket, while every joint trial is a separate pack. `joint`
    says of each prepared set whether its experts train too; `pack_points` is `pack.points`.

    Raises:
        ConfigError: a setting has no effect, or a bracket is never full.
    """
    if rule.method == "none" or all(joint):
        return
    if rule.brackets > 1 and not any(joint):
        raise ConfigError(
            f"stopping.brackets is {rule.brackets}, but brackets stand between packs, and with "
            "experts=frozen a pack is ranked within itself; set stopping.brackets=1"
        )
    if rule.variant == "promote" and not any(joint):
        raise ConfigError(
            "stopping.variant is 'promote', but with experts=frozen all points of a pack stand at "
            "a rung together, and a stopped point is never among its best later; leave it out"
        )
    if pack_points:
        raise ConfigError(
            f"pack.points is {pack_points}, but with stopping a pack holds "
            f"stopping.bracket={rule.bracket} points; set pack.points=0"
        )
    if search.method != "grid":
        _check_batches(rule, search)


def _check_batches(rule: Rule, search: SearchRule) -> None:
    """Refuses batches in which a bracket lacks points to be ranked.

    Raises:
        ConfigError: there is one.
    """
    if search.batch < min(rule.bracket, search.points):
        raise ConfigError(
            f"search.batch is {search.batch}, but stopping ranks {rule.bracket} points of a batch "
            "against each other (stopping.bracket); leave search.batch out, or set "
            f"stopping.bracket={search.batch}"
        )
    last = search.points % search.batch or search.batch
    if last < rule.eta and rule.own_rule is None:
        before_last = search.points - last
        raise ConfigError(
            f"search.points is {search.points}, in batches of {search.batch}, so the last batch "
            f"has {last}, too few to stop one of them (stopping.eta is {rule.eta}); set "
            f"search.points={before_last + rule.eta} or more"
            + (f", or {before_last}" if before_last else "")
            + ", or stopping.method=none"
        )


def check_checkpoints(kept: Any) -> None:
    """Refuses a word that does not say which routers a run keeps.

    Raises:
        ConfigError: it is refused.
    """
    if kept not in KEEPS:
        raise ConfigError(
            f"checkpoints is {quoted(kept)}, but must be {FRONT} (routers of the front alone), "
            f"{ALL} or {NONE}"
        )


def check_seeds(seeds: tuple[Any, ...], racing: Any) -> None:
    """Refuses seeds that are no integers or given twice, and a race that leaves no further seed.

    Raises:
        ConfigError: they are refused.
    """
    if not seeds:
        raise ConfigError("seeds is empty; give at least one, such as 'seeds=[0]'")
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
            raise ConfigError(
                f"seeds holds {quoted(seed)}, but a seed is an integer from 0 to 2^31 - 1"
            )
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds is {quoted(list(seeds))}; give each seed once")
    if isinstance(racing, bool) or not isinstance(racing, int) or not 0 <= racing < len(seeds):
        raise ConfigError(
            f"racing is {quoted(racing)}, but must be a number of seeds below all {len(seeds)} "
            "(the others are for points of the front), or 0 to try every point with all of them"
        )
