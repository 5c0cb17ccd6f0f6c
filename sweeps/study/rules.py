"""Rules between the parts of a study: what is asked for must be possible, and must do something."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from mpc_router.config.sections import unknown
from mpc_router.config.trial import ConfigError
from mpc_router.messages import quoted
from sweeps.search.rule import METHODS, UNHEARING
from sweeps.stopping.constraints import DEAD_EXPERTS, reported
from sweeps.stopping.rule import StoppingError

if TYPE_CHECKING:
    from sweeps.study.study import Study

MOST_POINTS: Final = 10_000
"""Of a study: more than a run could hold, and a slip of the pen rather than a wish."""


def check_search(study: Study) -> None:
    """What is proposed, of which space.

    Raises:
        ConfigError: a method that cannot do what is asked.
    """
    rule = study.search
    if rule.method == "grid":
        _check_grid(study)
        return
    if not study.space:
        raise ConfigError(
            f"search.method {rule.method!r} has nothing to search: space is empty; give an axis, "
            "such as alpha={loguniform: [1e-3, 1]}"
        )
    if rule.method in UNHEARING:
        idle = [each for each in dataclasses.fields(rule) if each.name in ("parallel", "fidelity")]
        for name, default in ((each.name, each.default) for each in idle):
            if getattr(rule, name) != default:
                raise ConfigError(
                    f"search.{name} is {quoted(getattr(rule, name))}, but search.method "
                    f"{rule.method!r} draws points without looking at results, so it changes "
                    "nothing; leave it out"
                )
    if rule.points > MOST_POINTS:
        raise ConfigError(f"search.points is {rule.points}, but {MOST_POINTS} is the most")
    if rule.points < len(study.start):
        raise ConfigError(
            f"search.points is {rule.points}, but start has {len(study.start)} points already; "
            f"set it to {len(study.start)} or more"
        )


def _check_grid(study: Study) -> None:
    for leaf, axis in study.space.items():
        if not axis.listed:
            raise ConfigError(
                f"space.{leaf} is a range ({axis.kind}), but search.method 'grid' needs a list of "
                f"values; write {{grid: [...]}}, or set search.method to one of "
                f"{', '.join(METHODS[1:])}"
            )


def check_objectives(study: Study) -> None:
    """Refuses objectives, constraints and a cost vector that not every report will carry.

    Raises:
        ConfigError: one of them.
    """
    by_set = [study.vector_names(each) for each in study.sets]
    vectors = [name for name in by_set[0] if all(name in names for names in by_set)]
    if study.cost_vector not in vectors:
        for each, names in zip(study.sets, by_set, strict=True):
            if any(study.cost_vector in others for others in by_set) and (
                study.cost_vector not in names
            ):
                raise ConfigError(
                    f"cost_vector {study.cost_vector} is not known for {each.label}; known for "
                    f"all points are {', '.join(vectors)}"
                )
        raise ConfigError(unknown("cost_vector", study.cost_vector, vectors))
    allowed = {"score", *study.task.metrics, "cost", *(f"cost_{name}" for name in vectors)}
    _check_names(study, allowed)
    for name in reported(study.constraints):
        if name not in allowed:
            raise ConfigError(unknown("constraints", name, {*allowed, DEAD_EXPERTS}))


def _check_names(study: Study, allowed: set[str]) -> None:
    if not study.objectives:
        raise ConfigError("objectives is empty; name at least one, such as {score: max}")
    for name, direction in study.objectives.items():
        if name not in allowed:
            raise ConfigError(unknown("objectives", name, allowed))
        if direction not in ("max", "min"):
            raise ConfigError(f"objectives.{name} is {quoted(direction)}, allowed are max and min")
    if {"cost", f"cost_{study.cost_vector}"} <= study.objectives.keys():
        raise ConfigError(
            f"objectives has cost and cost_{study.cost_vector}, which are one thing where "
            f"cost_vector is {study.cost_vector}; keep one"
        )


def check_stopping(study: Study) -> None:
    """Whether points can be stopped early, and as the rule says.

    Raises:
        ConfigError: they cannot, or a setting would be passed over.
    """
    rule = study.stopping
    if rule.method == "none":
        return
    if rule.method == "asha" and len(study.objectives) > 1:
        raise ConfigError(
            f"stopping.method 'asha' ranks by one objective, but objectives are "
            f"{', '.join(study.objectives)}; set stopping.method=mo_asha, or keep one objective"
        )
    if "epochs" in study.searched:
        raise ConfigError(
            "epochs is searched, but stopping compares points that have trained equally long; fix "
            "it (epochs=VALUE) and let stopping choose, or set stopping.method=none"
        )
    epochs = study.base.training.epochs
    try:
        rungs = rule.rungs(epochs)
    except StoppingError as error:
        raise ConfigError(str(error)) from error
    if rule.brackets > len(rungs) + 1:
        raise ConfigError(
            f"stopping.brackets is {rule.brackets}, but {epochs} epochs have {len(rungs)} rungs "
            f"({', '.join(map(str, rungs))}), so {len(rungs) + 1} is the most"
        )
    _check_bracket(study)


def _check_bracket(study: Study) -> None:
    """Packs of frozen experts are brackets; joint trials are packs of their own."""
    rule, search = study.stopping, study.search
    joint = [each.joint for each in study.sets]
    if all(joint):
        return
    if rule.brackets > 1 and not any(joint):
        raise ConfigError(
            f"stopping.brackets is {rule.brackets}, but brackets stand between packs, and with "
            "experts=frozen a pack is ranked within itself; set stopping.brackets=1"
        )
    if rule.variant == "promote" and not any(joint):
        raise ConfigError(
            "stopping.variant is 'promote', but with experts=frozen all points of a pack stand at "
            "a rung together, and whoever stopped is never among its best later; leave it out"
        )
    if study.pack.points:
        raise ConfigError(
            f"pack.points is {study.pack.points}, but with stopping a pack holds "
            f"stopping.bracket={rule.bracket} points; set pack.points=0"
        )
    if search.method != "grid" and search.batch < min(rule.bracket, search.points):
        raise ConfigError(
            f"search.batch is {search.batch}, but stopping ranks {rule.bracket} points of a batch "
            "against each other (stopping.bracket); leave search.batch out, or set "
            f"stopping.bracket={search.batch}"
        )
    rest = search.points % search.batch or search.batch
    if search.method != "grid" and rest < rule.eta:
        more = search.points - rest + rule.eta
        raise ConfigError(
            f"search.points is {search.points}, in batches of {search.batch}, but among the {rest} "
            f"of the last one nobody can be stopped (stopping.eta is {rule.eta}); set "
            f"search.points={more} or more"
            + (f", or {search.points - rest}" if search.points > rest else "")
            + ", or stopping.method=none"
        )


def check_seeds(seeds: tuple[Any, ...], racing: Any) -> None:
    """Refuses what are no seeds: none at all, one that is no seed, or one twice; and a race that
    leaves no seed for later."""
    if not seeds:
        raise ConfigError("seeds is empty; give at least one, such as seeds=[0]")
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**31:
            raise ConfigError(
                f"seeds holds {quoted(seed)}, but a seed is an integer from 0 to 2^31 - 1"
            )
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds is {quoted(list(seeds))}; give each seed once")
    if isinstance(racing, bool) or not isinstance(racing, int) or not 0 <= racing < len(seeds):
        raise ConfigError(
            f"racing is {quoted(racing)}, but must be a number of seeds below all "
            f"{len(seeds)} (the "
            "others are for points of the front), or 0 to try every point with all of them"
        )
