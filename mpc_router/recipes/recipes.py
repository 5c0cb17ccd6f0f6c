"""How each expert and the stem come about, and their names in the cache: known before training.

A recipe's key is a hash of all that decides the weights: the model's files, depth, pooling, the
rows trained on and the settings of training. It holds no path, no device and no number of threads,
so that trials have the same keys on every machine.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from mpc_router.config.trial import TrialConfig
from mpc_router.messages import quoted
from mpc_router.model.sources import (
    CONFIG_FILE,
    SAMPLE_PREFIX,
    WEIGHT_FILES,
    ModelError,
    Models,
    Resolved,
)
from mpc_router.recipes._hashes import file_hash, hub_folder, remembered, sample_hash
from mpc_router.recipes.pool_tokenizers import Tokenizers, tokenizers_of
from mpc_router.storage.cache import digest
from mpc_router.tasks import label_key

_VERSION: Final = 1
"""Raised when the same recipe would give other weights."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Holds how one encoder with its head comes about: where it starts, how it is trained."""

    name: str
    layers: int
    pooling: str
    weights: str
    """Hash of the files it starts from."""

    stand_in: str | None

    seed: int

    keep_head: bool = False
    """A head that the checkpoint comes with is kept, and with it the model: nothing is trained."""

    task: str = ""
    trained_on: str = ""
    """Fingerprint of the rows trained on, or that the order of a kept head's labels is found on."""

    tokenizer: str = ""
    """Hash of the tokenizer's files and the length kept."""

    epochs: int = 0
    """0: nothing is trained, and nothing of the settings below counts."""

    learning_rate: float = 0.0
    batch_size: int = 0
    weight_decay: float = 0.01
    warmup: float = 0.1
    precision: str = "auto"

    @property
    def key(self) -> str:
        """Gives hex digits of everything but words for people."""
        return digest("recipe", _VERSION, {**asdict(self), "name": "", "stand_in": ""})

    @property
    def label(self) -> str:
        """Gives what people read: the model and its depth."""
        short = self.name.rpartition("/")[2]
        return f"{short}, {self.layers} layers" if self.layers else short


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """Holds the pool's experts, cheapest first, and the stem."""

    experts: tuple[Recipe, ...]
    stem: Recipe
    stem_is_expert: bool
    """The stem is the cheapest expert itself."""

    tokenizers: Tokenizers

    @property
    def experts_id(self) -> str:
        """Names this set of trained experts."""
        keys = [recipe.key for recipe in self.experts]
        # of an expert that is not trained, the recipe does not hold its tokenizer
        more = [self.tokenizers.key] if self.tokenizers.several else []
        return digest("experts", keys, *more)


def recipes(
    config: TrialConfig, models: Models, *, trained_on: str, memory: Path | None = None
) -> Recipes:
    """Gives the recipes of a configuration; `trained_on` is the fingerprint of train.

    `memory` is a folder that remembers hashes of large files by their size and time.

    Raises:
        ModelError: a model that cannot be found, or has no weights or no tokenizer.
    """
    model = config.model
    tokenizers = tokenizers_of(config, models, memory=memory)

    def start(name: str, layers: int, pooling: str) -> Recipe:
        """Gives a recipe that trains nothing yet."""
        resolved = models.resolve(name)
        return Recipe(
            name=name,
            layers=layers,
            pooling=pooling,
            weights=_model_hash(resolved, memory),
            stand_in=resolved.stand_in,
            # the sample's encoders start from random weights
            seed=config.training.expert_seed if resolved.kind == "sample" else 0,
        )

    experts = tuple(
        _trained(
            start(name, layers, model.expert_pooling),
            config,
            models,
            trained_on=trained_on,
            tokenizer=tokenizers.keys[number],
            memory=memory,
        )
        for name, layers, number in zip(
            model.expert_model_names, model.expert_layers, tokenizers.experts, strict=True
        )
    )
    shared = model.stem == "expert"
    stem = (
        experts[0]
        if shared
        else start(model.router_model_name, model.router_stem_layers, model.stem_pooling)
    )
    return Recipes(experts=experts, stem=stem, stem_is_expert=shared, tokenizers=tokenizers)


def _trained(
    recipe: Recipe,
    config: TrialConfig,
    models: Models,
    *,
    trained_on: str,
    tokenizer: str,
    memory: Path | None,
) -> Recipe:
    """Gives an expert's recipe: the sample's own training, else the configuration's.

    Settings of the configuration that say something win over the sample's. An expert that comes
    with its head keeps it, and nothing of a training that never happens is in its key.
    """
    if config.model.expert_fine_tuned and not recipe.name.startswith(SAMPLE_PREFIX):
        head = _head(models.resolve(recipe.name), recipe.layers, memory)
        if head["kept"]:
            task = config.data.definition
            kept = dataclasses.replace(recipe, keep_head=True, task=label_key(task))
            if task.regression or head["names_labels"]:
                return kept
            # the order of its labels is found on train, so train decides what it says
            return dataclasses.replace(kept, trained_on=trained_on, tokenizer=tokenizer)
    training = config.training
    trained = dataclasses.replace(
        recipe,
        keep_head=bool(config.model.expert_fine_tuned),
        task=label_key(config.data.definition),
        trained_on=trained_on,
        tokenizer=tokenizer,
        epochs=training.expert_epochs,
        learning_rate=training.expert_learning_rate,
        batch_size=training.expert_batch_size,
        seed=training.expert_seed,
        precision=training.precision,
    )
    if recipe.name.startswith(SAMPLE_PREFIX):
        from mpc_router.sample.encoders import RECIPES

        sample_recipe = RECIPES.get(recipe.name)
        if sample_recipe is not None:
            trained = dataclasses.replace(
                trained,
                epochs=training.expert_epochs or sample_recipe.epochs,
                learning_rate=training.expert_learning_rate or sample_recipe.learning_rate,
                batch_size=training.expert_batch_size or sample_recipe.batch_size,
                weight_decay=sample_recipe.weight_decay,
                warmup=sample_recipe.warmup,
                precision=sample_recipe.precision
                if training.precision == "auto"
                else training.precision,
            )
    if not trained.epochs or not trained.learning_rate:
        raise ModelError(
            f"expert {recipe.name} has no recipe of its own; set expert_epochs and "
            "expert_learning_rate"
        )
    return trained


def _head(model: Resolved, layers: int, memory: Path | None) -> Mapping[str, Any]:
    """Tells whether a checkpoint's head is kept at this depth, and whether it names its labels."""

    def read() -> dict[str, Any]:
        from mpc_router.model.experts import comes_with_head, names_labels
        from mpc_router.model.reading import load_config

        shape = load_config(model)
        return {
            "kept": comes_with_head(shape, layers),
            "names_labels": names_labels(shape.id2label),
        }

    config = weight_files(model)[0].parent / CONFIG_FILE
    return remembered(memory, ["head", file_hash(config, None), layers], read)


def _model_hash(model: Resolved, memory: Path | None) -> str:
    """Gives a hash of a model's configuration and weights."""
    if model.kind == "sample":
        return sample_hash(model.name)
    weights = weight_files(model)
    config = weights[0].parent / CONFIG_FILE
    # weights alone, not the files' names: the same tensors may lie under another name elsewhere
    return digest(file_hash(config, None), [file_hash(path, memory) for path in weights])


def weight_files(model: Resolved) -> list[Path]:
    """Gives the files that a model's weights are read from; none for the sample's.

    Raises:
        ModelError: there is no configuration, no weights, or a part of them is missing.
    """
    if model.kind == "sample":
        return []
    folder = _hub_model(model.name) if model.kind == "hub" else Path(model.path_or_name)
    weights = _weights(folder)
    if not (folder / CONFIG_FILE).is_file() or not weights:
        raise ModelError(
            f"{folder} holds no {CONFIG_FILE} or no weights (looked for "
            f"{', '.join(WEIGHT_FILES)}); copy them there or name another model"
        )
    return weights


def loaded_files(model: Resolved) -> tuple[str, ...]:
    """Names the files that loading a model looks for in the folder of its weights.

    Those that are not there are looked for first. A program that trained the model may have left
    much more beside it.

    Raises:
        ModelError: as `weight_files`.
    """
    weights = weight_files(model)
    names = [CONFIG_FILE]
    for name in WEIGHT_FILES:
        names.append(name)
        if weights and (weights[0].parent / name).is_file():
            break
    return tuple(dict.fromkeys([*names, *(path.name for path in weights)]))


def _weights(folder: Path) -> list[Path]:
    """Gives the weight files that transformers would read: one, or an index's parts, or none."""
    for name in WEIGHT_FILES:
        path = folder / name
        if path.is_file():
            return _parts(path) if name.endswith(".index.json") else [path]
    return []


def _parts(index: Path) -> list[Path]:
    """Gives the files that an index names, all of them beside it."""
    try:
        named = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        parts = [index.parent / str(part) for part in sorted(set(named))]
        lost = [part for part in parts if part.parent != index.parent or not part.is_file()]
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise ModelError(f"{index} is no index of weights; copy or download it again") from error
    if lost:
        raise ModelError(
            f"{index} names {quoted(lost[0].name)[1:-1]}, which is not there; copy it there"
        )
    return parts


def _hub_model(name: str) -> Path:
    """Gives a model's folder in the hub's cache: safetensors, else torch's own files."""
    folder = hub_folder(name, (CONFIG_FILE, "model*.safetensors", "model.safetensors.index.json"))
    if _weights(folder):
        return folder
    return hub_folder(name, (CONFIG_FILE, "pytorch_model*.bin", "pytorch_model.bin.index.json"))
