"""Configuration files: what they inherit, how keys may be laid out, and which layer has its way.

A file may name the one it inherits from (`inherits: base_config.yaml`, relative to itself); a
`task_*.yaml` beside a `base_config.yaml` inherits from it without saying so, as published. Where a
later layer (a file, then the command line) names another pool or another size of it, what earlier
layers say of experts and stem gives way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mpc_router.config._typed import typed
from mpc_router.config.own_pools import named_pool
from mpc_router.config.sections import SECTIONS, DataConfig, ModelConfig
from mpc_router.config.trial import (
    ConfigError,
    TrialConfig,
    leaf_of,
    leaf_paths,
    read_yaml,
    trial_config,
)
from mpc_router.costs import names_costs
from mpc_router.messages import quoted, shown
from mpc_router.plugins import words_of_user
from mpc_router.storage.paths import fault
from mpc_router.tasks import TASKS

_INHERITS: Final = "inherits"
"""The key that names the file to inherit from."""

_BASE_FILE: Final = "base_config.yaml"

_TRAINER: Final = {"experts": "joint", "epoch": "best_score"}
"""What the published trainer does, so what a file means that does not say otherwise."""

_OF_POOL: Final = (
    *("pool_size", "expert_model_names", "expert_layers", "expert_costs", "expert_pooling"),
    *("expert_fine_tuned", "tokenizer_model_name", "router_model_name", "router_stem_layers"),
    *("router_cost", "stem_pooling", "expert_epochs", "expert_learning_rate"),
    *("expert_batch_size", "encoder_learning_rate"),
)
"""Settings that describe a pool's experts and stem: no use to another pool."""

_OF_SIZE: Final = ("pool_size", "expert_model_names", "expert_layers", "expert_costs")
_OF_TASK: Final = ("num_labels",)
_COMMAND: Final = ("seed",)

_SMALL_RATE: Final = 1e-4
"""A learning rate below this is an encoder's: a router hardly moves with it."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Holds what one file, or the command line, says."""

    where: str
    settings: Mapping[str, Any]
    """By leaf name."""

    moved: tuple[str, ...] = ()
    """A few words on each key that has another place in the published shape."""

    seed: Any = None
    num_labels: Any = None


_DEFINITION: Final = "task_definition"
"""The one setting whose value is a mapping."""

Completion = Callable[[dict[str, Any]], tuple[dict[str, Any], str | None]]
"""Fills in settings by leaf name; gives them, and a sentence about what was filled in."""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """Holds what all layers come to."""

    config: TrialConfig
    seed: int | None
    """As a file gives it; no setting of a trial."""

    notes: tuple[str, ...] = field(default=())
    """Sentences for the user: keys with another place, settings that gave way."""


def settle(
    path: Path,
    given: Mapping[str, Any],
    *,
    sample: bool = False,
    complete: Completion | None = None,
) -> Settled:
    """Gives the configuration of a file and what it inherits, with `given` laid over both.

    `sample` sets `pool: sample` unless `given` names the pool. `complete` fills in what takes a
    look at models or data, such as named costs.

    Raises:
        ConfigError: a file that is missing, a loop, an unknown key, or a broken rule.
    """
    layers = [Layer(where="the trainer", settings=_TRAINER), *files(path)]
    command = layer("the command line", given)
    if sample and "pool" not in command.settings:
        layers.append(Layer(where="--sample", settings={"pool": "sample"}))
    layers.append(command)
    with words_of_user():
        return _settled(path, layers, given, complete)


def _settled(
    path: Path, layers: list[Layer], given: Mapping[str, Any], complete: Completion | None
) -> Settled:
    """Gives what layers come to, the trainer's first."""
    settings, notes = _merged(layers)
    if not any("task" in source.settings for source in layers):
        task = path.stem.removeprefix("task_")
        if task in TASKS and task != path.stem:
            settings["task"] = task
            notes.append(f"{path.name} names no task, so its name does: task={task}")
    moved = list(dict.fromkeys(words for entry in layers for words in entry.moved))
    if moved:
        notes.insert(0, f"keys with another place: {'; '.join(moved)}")
    if "expert_start" not in settings and _starts_from_nothing(settings):
        settings["expert_start"] = "fine_tuned"
        notes.append(
            "these experts do not come fine-tuned: each is fine-tuned alone before all train "
            "together; expert_start=checkpoint leaves that out"
        )
    try:
        if complete is not None:
            settings, note = complete(settings)
            notes += [] if note is None else [note]
        config = trial_config(settings)
    except ConfigError as error:
        raise error if given else ConfigError(f"{shown(path)}: {error}") from error
    if _one_rate_meant(layers[1:], config):
        notes.append(
            "learning_rate is the router's alone; stem and experts train at "
            f"encoder_learning_rate={config.training.encoder_learning_rate:g}"
        )
    for source in layers:
        _check_labels(source, config)
    seeds = [source.seed for source in layers if source.seed is not None]
    return Settled(config=config, seed=_seed(seeds[-1]) if seeds else None, notes=tuple(notes))


def _one_rate_meant(layers: Sequence[Layer], config: TrialConfig) -> bool:
    """Says whether one learning rate was given where two apply, as codes with one optimizer do."""
    named = {leaf for entry in layers for leaf in entry.settings}
    small = config.training.learning_rate < _SMALL_RATE
    joint = config.training.experts == "joint"
    return joint and small and "learning_rate" in named and "encoder_learning_rate" not in named


def _starts_from_nothing(settings: Mapping[str, Any]) -> bool:
    """Says whether all would train together from experts that know nothing of the task.

    A router then learns within an epoch that the cheapest is as good as any, and stays there.
    """
    pool = named_pool(settings.get("pool", ModelConfig().pool))
    tuned = settings.get("expert_fine_tuned")
    if tuned is None:
        tuned = pool is not None and pool.fine_tuned
    return settings.get("experts") == "joint" and not tuned


def files(path: Path) -> list[Layer]:
    """Gives the file and all it inherits, the farthest first.

    Raises:
        ConfigError: one is missing or bad, or they inherit in a circle.
    """
    layers: list[Layer] = []
    seen: list[Path] = []
    following: Path | None = path
    while following is not None:
        tree = read_yaml(following)
        base = _base(following, tree)
        seen.append(following.resolve())
        if base is not None and (fault(str(base)) or not base.is_file()):
            raise ConfigError(
                f"{following} inherits {shown(base)}, which is no file; "
                f"`{_INHERITS}` names one relative to the file it stands in"
            )
        if base is not None and base.resolve() in seen:
            raise ConfigError(
                f"{following} inherits {base}, which inherits it in turn; take one of the "
                f"`{_INHERITS}` lines out"
            )
        layers.insert(0, layer(str(following), tree))
        following = base
    return layers


def _base(path: Path, tree: dict[str, Any]) -> Path | None:
    """Gives the file that a tree inherits from; its key is taken out."""
    if _INHERITS in tree:
        base = tree.pop(_INHERITS)
        if not isinstance(base, str) or not base:
            raise ConfigError(
                f"{path}: {_INHERITS} is {quoted(base)}, but names one file, such as {_BASE_FILE}"
            )
        return path.parent / base
    beside = path.parent / _BASE_FILE
    inherits = path.name.startswith("task_") and beside.is_file()
    return beside if inherits else None


def layer(where: str, tree: Mapping[str, Any]) -> Layer:
    """Gives the settings of nested, dotted or flat keys, by leaf name.

    A section without content (`model:` and its keys beside it: indentation that was lost) is none.

    Raises:
        ConfigError: an unknown key, or a setting that is given twice.
    """
    settings: dict[str, Any] = {}
    aside: dict[str, Any] = {}
    moved: list[str] = []
    sections = not SECTIONS.keys().isdisjoint(tree)
    for name, value in _leaves(tree):
        leaf = name.rpartition(".")[2]
        if leaf in (*_OF_TASK, *_COMMAND):
            aside[leaf] = value
            continue
        _check_known(where, name, value)
        if sections and name == leaf:
            moved.append(f"{name} is {leaf_paths()[leaf]}")
        if leaf in settings:
            raise ConfigError(f"{where}: setting {leaf!r} is given twice ({quoted(name)} is one)")
        _check_kind(where, leaf, value)
        settings[leaf] = value
    return Layer(where=where, settings=settings, moved=tuple(moved), **aside)


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and key != _DEFINITION:
            yield from _leaves(value, f"{name}.")
        elif value is not None or name not in SECTIONS:
            yield name, value


def _check_known(where: str, name: str, value: Any) -> None:
    """Refuses a key that is no setting, and tells how to inherit where its value names a file."""
    try:
        leaf_of(name)
    except ConfigError as error:
        file = isinstance(value, str) and value.endswith((".yaml", ".yml"))
        how = f"; a file inherits from another by `{_INHERITS}: FILE`" if file else ""
        raise ConfigError(f"{where}: {error}{how}") from error


def _check_kind(where: str, leaf: str, value: Any) -> None:
    """Refuses a value of another kind than the setting's, before layers are laid together."""
    if leaf == "expert_costs" and names_costs(value):
        return  # numbers stand for it once the models are looked at
    try:
        typed(leaf, value)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _merged(layers: list[Layer]) -> tuple[dict[str, Any], list[str]]:
    """Lays later layers over earlier ones; gives the settings, and what is to be said of them."""
    settings: dict[str, Any] = {}
    notes: list[str] = []
    for entry in layers:
        task = entry.settings.get("task")
        cause, out = _gives_way(settings, entry.settings)
        idle = [leaf for leaf in out if leaf in settings]
        if idle:
            notes.append(f"{cause} ({entry.where}) replaces {', '.join(idle)} of the files")
            settings = {leaf: value for leaf, value in settings.items() if leaf not in idle}
        elif task is not None and _renamed_experts(settings, task):
            notes.append(f"task={task} ({entry.where}) takes the pool's experts for {task}")
        settings |= entry.settings
    return settings, notes


def _gives_way(before: Mapping[str, Any], later: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Gives the settings of earlier layers that a later one replaces, and its cause."""
    was = before.get("pool", ModelConfig().pool)
    pool, size = later.get("pool", was), later.get("pool_size", 0)
    if pool != was:
        return f"pool={pool}", _OF_POOL
    names = later.get("expert_model_names")
    if not size and isinstance(names, list):  # a count, costs and cuts may be of other experts
        idle = [
            leaf
            for leaf in ("pool_size", "expert_costs", "expert_layers")
            if leaf not in later and _count(before.get(leaf, names)) != len(names)
        ]
        return "expert_model_names", tuple(idle)
    return f"pool_size={size}", _OF_SIZE if size else ()


def _count(value: Any) -> int:
    """Gives the length of a list, and a count as it is."""
    return len(value) if isinstance(value, list | tuple) else int(value or 0)


def _renamed_experts(settings: dict[str, Any], task: object) -> bool:
    """Turns the names of a pool's experts for the task so far into those for another task."""
    before = settings.get("task", DataConfig().task)
    pool = named_pool(settings.get("pool", ModelConfig().pool))
    names = settings.get("expert_model_names")
    if pool is None or not isinstance(names, list) or task == before or task not in TASKS:
        return False
    turned = {
        member.model.format(task=before): member.model.format(task=task) for member in pool.members
    }
    settings["expert_model_names"] = [turned.get(name, name) for name in names]
    return bool(settings["expert_model_names"] != names)


def _check_labels(entry: Layer, config: TrialConfig) -> None:
    """Refuses a `num_labels` that is not what the task decides."""
    outputs = config.data.definition.outputs
    if entry.num_labels is not None and entry.num_labels != outputs:
        raise ConfigError(
            f"{entry.where}: num_labels is {quoted(entry.num_labels)}, but {config.data.task} has "
            f"{outputs}; leave it out, the task decides it"
        )


def _seed(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise ConfigError(f"seed is {quoted(value)}, but must be an integer from 0 to 2^31 - 1")
    return value
