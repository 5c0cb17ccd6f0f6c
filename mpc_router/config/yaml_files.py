"""Configuration files: what they inherit, keys under older names, and which layer has its way.

A file may name the one it inherits from (`inherits: base_config.yaml`, relative to itself); a
`task_*.yaml` beside a `base_config.yaml` inherits from it without saying so, as published. Where a
later layer (a file, then the command line) names another pool or another size of it, what earlier
layers say of experts and stem gives way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mpc_router.config.pools import POOLS
from mpc_router.config.sections import SECTIONS, DataConfig, ModelConfig
from mpc_router.config.trial import (
    ConfigError,
    TrialConfig,
    leaf_of,
    leaf_paths,
    read_yaml,
    trial_config,
)
from mpc_router.config.typed import typed
from mpc_router.messages import quoted, shown
from mpc_router.paths import fault
from mpc_router.tasks import TASKS

INHERITS: Final = ("inherits", "base_config", "base", "extends", "_base_")
"""The key that names the file to inherit from: ours first, then what others call it."""

BASE_FILE: Final = "base_config.yaml"

TRAINER: Final = {"experts": "joint", "epoch": "best_score"}
"""What the published trainer does, so what a file means that does not say otherwise."""

RENAMED: Final = {
    **dict.fromkeys(("num_epochs", "num_train_epochs", "max_epochs"), "epochs"),
    **dict.fromkeys(("lr", "router_lr", "router_learning_rate"), "learning_rate"),
    **dict.fromkeys(("encoder_lr", "expert_lr", "bert_lr"), "encoder_learning_rate"),
    **dict.fromkeys(
        ("train_batch_size", "per_device_train_batch_size", "per_gpu_train_batch_size"),
        "batch_size",
    ),
    **dict.fromkeys(("task_name", "glue_task"), "task"),
    **dict.fromkeys(("max_seq_length", "max_seq_len", "max_len"), "max_length"),
    **dict.fromkeys(("max_train_samples", "max_train_rows"), "train_rows"),
    **dict.fromkeys(("max_eval_samples", "max_eval_rows"), "validation_rows"),
    **dict.fromkeys(("expert_names", "expert_models"), "expert_model_names"),
    **dict.fromkeys(("costs", "expert_cost"), "expert_costs"),
    **dict.fromkeys(("router_model", "router_name"), "router_model_name"),
    **dict.fromkeys(("tokenizer_name", "tokenizer"), "tokenizer_model_name"),
    **dict.fromkeys(("stem_layers", "num_stem_layers"), "router_stem_layers"),
    **dict.fromkeys(("hidden_size", "router_hidden_dim"), "router_hidden_size"),
    **dict.fromkeys(("dropout",), "router_dropout"),
    **dict.fromkeys(("num_experts",), "pool_size"),
    **dict.fromkeys(("gumbel_temperature", "gumbel_tau", "tau"), "temperature"),
    **dict.fromkeys(("hard", "gumbel_hard"), "straight_through"),
    **dict.fromkeys(("share_stem",), "shared_stem"),
    **dict.fromkeys(("balance_weight", "lambda_balance"), "alpha"),
    **dict.fromkeys(("cost_weight", "lambda_cost"), "beta"),
    **dict.fromkeys(("max_grad_norm", "grad_clip", "clip_grad_norm"), "gradient_clip"),
    **dict.fromkeys(
        ("gradient_accumulation_steps", "grad_accumulation_steps", "accumulation_steps"),
        "accumulation",
    ),
    **dict.fromkeys(("warmup_ratio",), "warmup"),
}
"""Older or common spellings of our settings, by leaf name."""

OF_POOL: Final = (
    *("pool_size", "expert_model_names", "expert_layers", "expert_costs", "expert_pooling"),
    *("expert_fine_tuned", "tokenizer_model_name", "router_model_name", "router_stem_layers"),
    *("router_cost", "stem_pooling", "expert_epochs", "expert_learning_rate"),
    *("expert_batch_size", "encoder_learning_rate"),
)
"""Settings that describe a pool's experts and stem: no use to another pool."""

_OF_SIZE: Final = ("pool_size", "expert_model_names", "expert_layers", "expert_costs")
_OF_TASK: Final = ("num_labels",)
_COMMAND: Final = ("seed",)

SMALL_RATE: Final = 1e-4
"""A learning rate below this is an encoder's: a router hardly moves with it."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What one file, or the command line, says."""

    where: str
    settings: Mapping[str, Any]
    """By leaf name."""

    renamed: tuple[str, ...] = ()
    """A few words on each key that has a newer name or place."""

    seed: Any = None
    num_labels: Any = None


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What all layers come to."""

    config: TrialConfig
    seed: int | None
    """As a file gives it; no setting of a trial."""

    notes: tuple[str, ...] = field(default=())
    """Sentences for the user: keys with a newer name, settings that gave way."""


def settle(path: Path, given: Mapping[str, Any], *, sample: bool = False) -> Settled:
    """The configuration of a file, what it inherits, and `given` (from the command line) over both.

    `sample` sets `pool: sample` unless `given` names the pool.

    Raises:
        ConfigError: a file that is missing, a loop, an unknown key, or a broken rule.
    """
    layers = [Layer(where="the trainer", settings=TRAINER), *files(path)]
    command = layer("the command line", given)
    if sample and "pool" not in command.settings:
        layers.append(Layer(where="--sample", settings={"pool": "sample"}))
    layers.append(command)
    settings, notes = _merged(layers)
    if not any("task" in each.settings for each in layers):
        task = path.stem.removeprefix("task_")
        if task in TASKS and task != path.stem:
            settings["task"] = task
            notes.append(f"{path.name} names no task, so its name does: task={task}")
    renamed = list(dict.fromkeys(each for found in layers for each in found.renamed))
    if renamed:
        notes.insert(0, f"keys with a newer name or place: {'; '.join(renamed)}")
    if "expert_start" not in settings and _starts_from_nothing(settings):
        settings["expert_start"] = "fine_tuned"
        notes.append(
            "these experts do not come fine-tuned: each is fine-tuned alone before all train "
            "together; expert_start=checkpoint leaves that out"
        )
    try:
        config = trial_config(settings)
    except ConfigError as error:
        raise error if given else ConfigError(f"{shown(path)}: {error}") from error
    if _one_rate_meant(layers[1:], config):
        notes.append(
            "learning_rate is the router's alone; stem and experts train at "
            f"encoder_learning_rate={config.training.encoder_learning_rate:g}"
        )
    for each in layers:
        _check_labels(each, config)
    seeds = [each.seed for each in layers if each.seed is not None]
    return Settled(config=config, seed=_seed(seeds[-1]) if seeds else None, notes=tuple(notes))


def _one_rate_meant(given: Sequence[Layer], config: TrialConfig) -> bool:
    """Whether one learning rate was given where two apply, as codes with one optimizer do."""
    named = {leaf for each in given for leaf in each.settings}
    small = config.training.learning_rate < SMALL_RATE
    joint = config.training.experts == "joint"
    return joint and small and "learning_rate" in named and "encoder_learning_rate" not in named


def _starts_from_nothing(settings: Mapping[str, Any]) -> bool:
    """Whether all would train together from experts that know nothing of the task.

    A router then learns within an epoch that the cheapest is as good as any, and stays there.
    """
    pool = POOLS.get(settings.get("pool", ModelConfig().pool))
    tuned = settings.get("expert_fine_tuned")
    if tuned is None:
        tuned = pool is not None and pool.fine_tuned
    return settings.get("experts") == "joint" and not tuned


def files(path: Path) -> list[Layer]:
    """The file and all it inherits, the farthest first.

    Raises:
        ConfigError: one is missing or bad, or they inherit in a circle.
    """
    found: list[Layer] = []
    seen: list[Path] = []
    following: Path | None = path
    while following is not None:
        tree = read_yaml(following)
        base = _base(following, tree)
        seen.append(following.resolve())
        if base is not None and (fault(str(base)) or not base.is_file()):
            raise ConfigError(
                f"{following} inherits {shown(base)}, which is no file; "
                f"`{INHERITS[0]}` names one relative to the file it stands in"
            )
        if base is not None and base.resolve() in seen:
            raise ConfigError(
                f"{following} inherits {base}, which inherits it in turn; take one of the "
                f"`{INHERITS[0]}` lines out"
            )
        found.insert(0, layer(str(following), tree))
        following = base
    return found


def _base(path: Path, tree: dict[str, Any]) -> Path | None:
    """The file that a tree inherits from; its key is taken out."""
    named = {key: tree.pop(key) for key in INHERITS if key in tree}
    if len(named) > 1:
        raise ConfigError(f"{path} inherits by {' and '.join(named)}; keep {INHERITS[0]}")
    for key, value in named.items():
        if not isinstance(value, str) or not value:
            raise ConfigError(
                f"{path}: {key} is {quoted(value)}, but names one file, such as {BASE_FILE}"
            )
        return path.parent / value
    beside = path.parent / BASE_FILE
    inherits = path.name.startswith("task_") and beside.is_file()
    return beside if inherits else None


def layer(where: str, tree: Mapping[str, Any]) -> Layer:
    """The settings of nested, dotted or flat keys, under their present names.

    A section without content (`model:` and its keys beside it: indentation that was lost) is none.

    Raises:
        ConfigError: an unknown key, or a setting that is given twice.
    """
    settings: dict[str, Any] = {}
    aside: dict[str, Any] = {}
    renamed: list[str] = []
    sections = not SECTIONS.keys().isdisjoint(tree)
    for name, value in _leaves(tree):
        leaf = name.rpartition(".")[2]
        if leaf in (*_OF_TASK, *_COMMAND):
            aside[leaf] = value
            continue
        new = RENAMED.get(leaf) or _known(where, name)
        if new != leaf or (sections and name == leaf):
            renamed.append(f"{name} is {leaf_paths()[new]}")
        if new in settings:
            raise ConfigError(f"{where}: setting {new!r} is given twice ({quoted(name)} is one)")
        _check_kind(where, new, value)
        settings[new] = value
    return Layer(where=where, settings=settings, renamed=tuple(renamed), **aside)


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{name}.")
        elif value is not None or name not in SECTIONS:
            yield name, value


def _known(where: str, name: str) -> str:
    try:
        return leaf_of(name)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _check_kind(where: str, leaf: str, value: Any) -> None:
    """Refuses a value of another kind than the setting's, before layers are laid together."""
    try:
        typed(leaf, value)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _merged(layers: list[Layer]) -> tuple[dict[str, Any], list[str]]:
    """Settings of all layers, later ones over earlier; and what is to be said of it."""
    settings: dict[str, Any] = {}
    notes: list[str] = []
    for each in layers:
        task = each.settings.get("task")
        cause, out = _gives_way(settings, each.settings)
        idle = [leaf for leaf in out if leaf in settings]
        if idle:
            notes.append(f"{cause} ({each.where}) replaces {', '.join(idle)} of the files")
            settings = {leaf: value for leaf, value in settings.items() if leaf not in idle}
        elif task is not None and _renamed_experts(settings, task):
            notes.append(f"task={task} ({each.where}) takes the pool's experts for {task}")
        settings |= each.settings
    return settings, notes


def _gives_way(before: Mapping[str, Any], later: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """What of earlier layers a later one makes idle, and by which of its settings."""
    was = before.get("pool", ModelConfig().pool)
    pool, size = later.get("pool", was), later.get("pool_size", 0)
    if pool != was:
        return f"pool={pool}", OF_POOL
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
    """Of a list its items, of a count itself."""
    return len(value) if isinstance(value, list | tuple) else int(value or 0)


def _renamed_experts(settings: dict[str, Any], task: object) -> bool:
    """Turns the names of a pool's experts for the task so far into those for another task."""
    before = settings.get("task", DataConfig().task)
    pool = POOLS.get(settings.get("pool", ModelConfig().pool))
    names = settings.get("expert_model_names")
    if pool is None or not isinstance(names, list) or task == before or task not in TASKS:
        return False
    turned = {each.model.format(task=before): each.model.format(task=task) for each in pool.members}
    settings["expert_model_names"] = [turned.get(name, name) for name in names]
    return bool(settings["expert_model_names"] != names)


def _check_labels(found: Layer, config: TrialConfig) -> None:
    """`num_labels`, which the task decides, may be said all the same."""
    outputs = TASKS[config.data.task].outputs
    if found.num_labels is not None and found.num_labels != outputs:
        raise ConfigError(
            f"{found.where}: num_labels is {quoted(found.num_labels)}, but {config.data.task} has "
            f"{outputs}; leave it out, the task decides it"
        )


def _seed(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise ConfigError(f"seed is {quoted(value)}, but must be an integer from 0 to 2^31 - 1")
    return value
