"""Reads a study from YAML and `key=value` overrides, and checks each part by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mpc_router.config.own_pools import named_pool
from mpc_router.config.pools import POOLS
from mpc_router.config.sections import ModelConfig
from mpc_router.config.trial import ConfigError, flatten, parse_overrides, read_yaml
from mpc_router.messages import quoted, shown
from mpc_router.plugins import words_of_user
from mpc_router.pricing.measured_file import Measured, from_json, read_named
from mpc_router.pricing.own_costs import OwnCosts, own_costs
from mpc_router.run_names import ALL
from mpc_router.settings.rules import SpaceError, unknown
from mpc_router.tasks import task_of
from sweeps.search.rehearsal import rehearse
from sweeps.search.rule import SearchError, search_of
from sweeps.search.space import Axis, AxisError, axis_of
from sweeps.stopping.constraints import constraints_of
from sweeps.stopping.rule import StoppingError, stopping_of
from sweeps.study._completion import Surroundings, completed
from sweeps.study.budget import Budget
from sweeps.study.overrides import KEYS, MAPPINGS, flat_settings, with_overrides
from sweeps.study.pack_share import PackSettings
from sweeps.study.shipped import shipped_studies
from sweeps.study.study import Study

if TYPE_CHECKING:
    from mpc_router.prepare.inputs import Places

FILE: Final = "file:"
"""Begins a `cost_vector` that is the path of a file of measured costs."""


def _mappings(tree: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Gives the study's parts that are mappings, empty where they are missing.

    Raises:
        ConfigError: one is no mapping.
    """
    parts = {}
    for name in MAPPINGS:
        part = tree.get(name, {})
        if not isinstance(part, Mapping):
            raise ConfigError(f"{name} is {quoted(part)}, but must be a mapping")
        parts[name] = part
    return parts


def _space_of(space: Mapping[str, Any], trial: Mapping[str, Any]) -> dict[str, Axis]:
    """Gives the axes of the searched settings by leaf name."""
    axes = flat_settings(space)
    return {
        leaf: axis_of(leaf, tree, all_values=_all_values(leaf, trial, axes))
        for leaf, tree in axes.items()
    }


def _costs_of(tree: Mapping[str, Any]) -> tuple[str, Measured | OwnCosts | None]:
    """Gives the name of the cost vector, and the costs of a file, of the study or of one's own."""
    name = str(tree.get("cost_vector", "constants"))
    if name.startswith(FILE):
        measured = read_named(name)
        return measured.name, measured
    kept = tree.get("measured")
    if kept is None:
        return name, own_costs(name)
    return name, from_json(kept, origin="measured of the study")


def _start_of(tree: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Gives the settings of the points that are tried first."""
    start = tree.get("start", [])
    if not isinstance(start, list) or not all(isinstance(point, Mapping) for point in start):
        raise ConfigError(f"start is {quoted(start)}, but must be a list of mappings")
    return tuple(flatten(point) for point in start)


def _seeds_of(tree: Mapping[str, Any]) -> tuple[Any, ...]:
    """Gives the seeds of the trials."""
    seeds = tree.get("seeds", [0])
    if not isinstance(seeds, Sequence) or isinstance(seeds, str):
        raise ConfigError(
            f"seeds is {quoted(seeds)}, but must be a list of integers such as [0, 1, 2]"
        )
    return tuple(seeds)


def _all_values(
    leaf: str, trial: Mapping[str, Any], space: Mapping[str, Any]
) -> Callable[[], Sequence[Any]] | None:
    """Gives a function for the values of `{grid: all}` of a setting; None where it has none."""
    if leaf != "pool_size":
        return None

    def sizes() -> Sequence[int]:
        pool = trial.get("pool", ModelConfig().pool)
        if "pool" in space:
            raise ConfigError("pool_size={grid: all} needs one pool; fix it, or list the sizes")
        sized = named_pool(pool) if isinstance(pool, str) else None
        if sized is None:
            raise ConfigError(
                f"pool_size={{grid: all}} needs a pool with sizes of its own ({', '.join(POOLS)}), "
                f"and pool is {quoted(pool)}; name one of these"
            )
        return list(sized.sizes)

    return sizes


def from_tree(tree: Mapping[str, Any], surroundings: Surroundings | None = None) -> Study:
    """Reads a study from plain data; without surroundings the data must be complete.

    Raises:
        ConfigError: an unknown key, a value of the wrong kind, or a broken rule.
    """
    for name in tree:
        if name not in KEYS:
            raise ConfigError(unknown("key of a study", name, KEYS))
    _mappings(tree)
    tree, notes = completed(tree, surroundings or Surroundings())
    part = _mappings(tree)
    trial = flatten(part["trial"])
    try:
        stopping = stopping_of(part["stopping"])
        bracket = None if stopping.method == "none" else stopping.bracket
        search, seed = search_of(part["search"], bracket=bracket)
        space = _space_of(part["space"], trial)
        budget = Budget.from_tree(part["budget"])
        constraints = constraints_of(part["constraints"])
        pack = PackSettings.from_tree(part["pack"])
    except (AxisError, SearchError, StoppingError, SpaceError) as error:
        raise ConfigError(str(error)) from error
    cost_vector, measured = _costs_of(tree)
    study = Study(
        study=tree.get("study", ""),
        trial=trial,
        space=space,
        start=_start_of(tree),
        seeds=_seeds_of(tree),
        racing=tree.get("racing", 0),
        objectives={str(name): way for name, way in part["objectives"].items()}
        if "objectives" in tree
        else {"score": _direction(trial), "cost": "min"},
        cost_vector=cost_vector,
        measured=measured,
        dataset=tree.get("dataset"),
        outputs=tuple(tree.get("outputs", ())),
        features=tree.get("features"),
        notes=notes,
        search=search,
        seed=seed,
        stopping=stopping,
        budget=budget,
        constraints=constraints,
        pack=pack,
        checkpoints=tree.get("checkpoints", ALL),
    )
    _rehearse(study)
    return study


def _rehearse(study: Study) -> None:
    """Tries a stopping rule and a sampler of one's own on the study's objectives and space.

    Raises:
        ConfigError: the rule cannot rank so many objectives, or the sampler propose points there.
    """
    try:
        study.stopping.rehearse(objectives=len(study.objectives))
        if not study.proposes:
            return
        rehearse(
            study.space,
            tuple(study.objectives.values()),
            study.search,
            seed=study.seed,
            start=study.start_points,
        )
    except (SearchError, StoppingError) as error:
        raise ConfigError(str(error)) from error


def _direction(trial: Mapping[str, Any]) -> str:
    """Gives the direction in which the score of the trial's task is better."""
    definition = trial.get("task_definition")
    return "max" if definition is None else task_of(definition).direction


def load(
    name: str,
    overrides: Sequence[str] = (),
    *,
    sample: bool = False,
    places: Callable[[], Places] | None = None,
) -> Study:
    """Loads a shipped study by its name, or any study by its YAML file, with overrides.

    Parts of one's own that the study names are trusted, for the user has named the study.
    `sample` sets `pool: sample` unless an override gives the pool. `places` gives data and models,
    for a study that names labels or costs without writing them out.

    Raises:
        ConfigError: there is no such study, a key is unknown, or a rule is broken.
    """
    studies = shipped_studies()
    base = Path()
    if name in studies:
        tree = studies[name].tree()
    else:
        path = Path(name)
        base = path.parent
        if path.suffix not in (".yaml", ".yml"):
            raise ConfigError(f"{unknown('study', name, studies)} (or give a YAML file's path)")
        tree = read_yaml(path)
        tree.setdefault("study", path.stem)
    settings = parse_overrides(overrides)
    try:
        tree = with_overrides(tree, settings)
        names_pool = any(setting.rpartition(".")[2] == "pool" for setting in settings)
        if sample and not names_pool and "outputs" not in tree:
            tree["trial"] = {**flat_settings(tree["trial"]), "pool": "sample"}
        with words_of_user():
            return from_tree(tree, Surroundings(base=base.absolute(), places=places))
    except ConfigError as error:
        if name in studies or settings:  # the cause may be an override
            raise
        raise ConfigError(f"{shown(path)}: {error}") from error
