"""What joint training needs: tokens of every split, and how stem and experts begin.

The joint counterpart of `frozen.Prepared`: made once, then only opened. Nothing is trained here
but the experts that are to start fine-tuned. Letters: N examples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mpc_router.config.trial import ConfigError, TrialConfig
from mpc_router.costs import to_json
from mpc_router.data.sources import Cut, all_fingerprints, cut_all, read
from mpc_router.experts.encoder_runs import Bench, Split, found_order, head_note, load_trained
from mpc_router.experts.errands import errand_of, unfinished
from mpc_router.model.shared_stem import check_layers, check_shared_stem
from mpc_router.model.sources import Models
from mpc_router.prepare._checks import check_inputs
from mpc_router.prepare._facts import Facts, describe_recipes, facts_of
from mpc_router.prepare._split_tokens import (
    SplitTokens,
    encodings,
    is_whole,
    opened,
    tokenised,
)
from mpc_router.prepare._surroundings import check_device
from mpc_router.prepare.frozen import Prepared, open_prepared, prepare
from mpc_router.prepare.inputs import Places, judged_by
from mpc_router.pricing.counts import check_counted
from mpc_router.recipes.pool_tokenizers import Tokenizers, check_one, tokenizers_of
from mpc_router.recipes.recipes import Recipe, Recipes, recipes
from mpc_router.run_names import TRAIN
from mpc_router.storage import cache as caching
from mpc_router.terminal.progress import Progress, Silence, shown

if TYPE_CHECKING:
    from mpc_router.pricing.counts import Counted

__all__ = ["JointInputs", "SplitTokens", "check_joint", "open_joint", "prepare_joint"]

_VERSION: Final = 1
"""Raised when the same inputs would be described or stored differently."""


@dataclass(frozen=True, kw_only=True)
class JointInputs(Facts):
    """Holds everything that a trial with joint experts trains on."""

    splits: dict[str, SplitTokens]
    """`train`, `selection`, then the quoted splits."""

    expert_recipes: tuple[Recipe, ...]
    stem_recipe: Recipe
    tokenizers: Tokenizers
    """What stem and experts are read with."""

    models: Models
    frozen: Prepared | None
    """Outputs of the frozen experts, for a router that begins supervised."""

    def bench(self, device: str, progress: Progress | None = None, *, tokenizer: int = 0) -> Bench:
        """Says where starting weights of the experts are found that have this tokenizer."""
        return Bench(
            task=self.task,
            splits={
                name: Split(tokens=split.encodings[tokenizer], fingerprint=split.fingerprint)
                for name, split in self.splits.items()
            },
            models=self.models,
            cache=self.folder.parent.parent,
            tokenizer=self.tokenizers.keys[tokenizer],
            device=device,
            progress=progress or Silence(),
        )


def starts_fine_tuned(config: TrialConfig) -> bool:
    """Says whether each expert is fine-tuned alone before.

    A supervised router is made for the outputs of such experts, so it begins beside them.
    """
    training = config.training
    return training.expert_start == "fine_tuned" or training.router == "supervised"


def check_joint(config: TrialConfig, places: Places, vectors: Collection[str] = ()) -> None:
    """Finds everything that can be known to be wrong before joint training; trains nothing.

    `vectors` names the cost vectors that must be known.

    Raises:
        SourceError, ModelError, ConfigError: as `checks.check_inputs`; and a stem that cannot be
            shared, or is an expert.
    """
    check_inputs(config, places)
    _check_stem(config, places.models)
    for name in vectors:
        check_counted(config, places.models, name)


def _check_stem(config: TrialConfig, models: Models) -> None:
    if config.model.stem == "expert":
        raise ConfigError(
            "stem=expert goes with frozen experts alone: where all trains, the router and the "
            "cheapest expert would pull at one encoder; set stem=model"
        )
    model = config.model
    check_one(config, tokenizers_of(config, models))
    if model.shared_stem:
        check_shared_stem(config, models, fine_tuned=starts_fine_tuned(config))
    if config.training.trainable.startswith("last_"):
        for name in sorted({model.router_model_name, *model.expert_model_names}):
            check_layers(name, models)


def prepare_joint(
    config: TrialConfig, places: Places, progress: Progress | None = None
) -> JointInputs:
    """Gives everything that trials of a configuration with joint experts start from.

    Reads, cuts and tokenises the data; experts that start fine-tuned are fine-tuned unless they
    were before. With a supervised router the frozen experts' outputs are prepared too. Safe for
    several processes at once.

    Raises:
        SourceError: the data are missing or bad.
        ModelError: a model is missing or bad, diverges, or its stem cannot be shared.
        ConfigError: cuda without a GPU, or a stem that is an expert.
    """
    check_device(config.training.device, places)
    _check_stem(config, places.models)
    hears = progress or Silence()
    frozen = None
    if config.training.router == "supervised":
        frozen = prepare(_frozen(config), places, progress)
    files = read(config, places.source)
    fingerprints = all_fingerprints(config, files)
    prints = fingerprints.splits
    pool_recipes = recipes(
        config, places.models, trained_on=prints[TRAIN], memory=places.cache / "hashes"
    )
    begin = _beginnings(config, pool_recipes)
    name = caching.digest(
        _VERSION,
        prints,
        [asdict(recipe) for recipe in (*begin, pool_recipes.stem)],
        pool_recipes.tokenizers.key,
        [config.model.shared_stem, config.model.router_hidden_size],
        to_json(config.vectors()),
        places.source.kind == "sample",
        str(_absolute(places.models)),
        str(frozen.folder) if frozen else "",
        *judged_by(config),
    )
    folder = places.cache / "joint" / name

    def make(_: Path) -> dict[str, Any]:
        cut_rows = cut_all(config, files)
        kept = tokenised(config, places, cut_rows.splits, prints, hears, pool_recipes.tokenizers)
        described = _describe(config, places, cut_rows, fingerprints.data, pool_recipes, begin)
        described["splits"] = {
            split: facts | kept[split] for split, facts in described["splits"].items()
        }
        costs = _counted(config, places, kept, pool_recipes.tokenizers)
        described["notes"] += costs.notes
        described["vectors"] = to_json(config.vectors() | costs.vectors)
        described["frozen"] = str(frozen.folder) if frozen else None
        _make_ready(_opened(folder, described), described, config.training.device, places, hears)
        return described

    waiting = shown(hears, "waiting for another process that prepares the same")
    found_entry = caching.entry(folder, make, waiting=waiting)
    if not all(is_whole(places.cache, facts) for facts in found_entry["splits"].values()):
        splits = cut_all(config, files).splits
        tokenised(config, places, splits, prints, hears, pool_recipes.tokenizers)
    for recipe in begin:  # the experts are read only where a trial begins
        caching.description(places.cache / "experts" / recipe.key)
    return _opened(folder, found_entry)


def _make_ready(
    inputs: JointInputs, described: dict[str, Any], device: str, places: Places, hears: Progress
) -> None:
    """Has experts trained that are to start so, and adds what is found of heads that come along."""
    count = len(inputs.expert_recipes)
    notes: list[str | None] = []
    benches = [
        inputs.bench(device, hears, tokenizer=number) for number in inputs.tokenizers.experts
    ]
    asked = [
        (bench, recipe, f"expert {place} of {count}: {recipe.label}")
        for place, (bench, recipe) in enumerate(zip(benches, inputs.expert_recipes, strict=True), 1)
    ]
    trained = [errand_of(bench, recipe, who, ()) for bench, recipe, who in asked if recipe.epochs]
    places.runner.run(unfinished(trained), hears)
    device_here = "auto" if places.runner.elsewhere else device  # a GPU may be there alone
    for number, (bench, recipe, who) in enumerate(asked):
        bench = dataclasses.replace(bench, device=device_here)
        if recipe.epochs:
            load_trained(recipe, bench, who)
        notes.append(head_note(recipe, bench, who))
        described["experts"][number]["label_order"] = found_order(recipe, bench, who)
    described["notes"] += list(dict.fromkeys(note for note in notes if note))


def open_joint(folder: Path) -> JointInputs:
    """Gives what `prepare_joint` left in its folder: memory-maps, loads no model.

    Raises:
        FileNotFoundError: nothing whole lies there; `prepare_joint` makes it anew.
    """
    description = caching.description(folder)
    if description is None:
        raise FileNotFoundError(f"{folder} holds no whole inputs; prepare them again")
    return _opened(folder, description)


def _absolute(models: Models) -> Path | None:
    """Makes `--models` absolute, for processes of other working folders open the inputs."""
    return models.folder.absolute() if models.folder else None


def _frozen(config: TrialConfig) -> TrialConfig:
    """Gives the configuration under which the router first learns from labels.

    Router and experts train together after that.
    """
    training = dataclasses.replace(
        config.training, experts="frozen", epochs=config.training.router_epochs
    )
    model = dataclasses.replace(config.model, shared_stem=False)
    return dataclasses.replace(config, training=training, model=model)


def _beginnings(config: TrialConfig, pool_recipes: Recipes) -> tuple[Recipe, ...]:
    """Gives what each expert is before joint training: trained, or as its checkpoint comes."""
    if starts_fine_tuned(config):
        return pool_recipes.experts
    return tuple(
        dataclasses.replace(
            recipe,
            keep_head=False,
            trained_on="",
            tokenizer="",
            epochs=0,
            learning_rate=0.0,
            batch_size=0,
            seed=0,  # what a checkpoint lacks is drawn from the trial's seed
        )
        if recipe.epochs
        else recipe
        for recipe in pool_recipes.experts
    )


def _counted(
    config: TrialConfig, places: Places, kept: dict[str, dict[str, Any]], tokenizers: Tokenizers
) -> Counted:
    """Gives the cost vectors that are counted from its models."""
    from mpc_router.pricing.counts import counted

    means = [facts["mean_tokens"] for facts in encodings(kept[TRAIN])]
    tokens = [means[number] for number in (0, *tokenizers.experts)]
    return counted(config, places.models, tokens=tokens)


def _describe(
    config: TrialConfig,
    places: Places,
    cut_rows: Cut,
    data_fingerprint: str,
    pool_recipes: Recipes,
    begin: tuple[Recipe, ...],
) -> dict[str, Any]:
    described = describe_recipes(
        config,
        places,
        cut_rows,
        data_fingerprint,
        experts_id=_experts_id(begin, pool_recipes.tokenizers),
        experts=begin,
        pool_recipes=pool_recipes,
    )
    return described | {
        "expert_recipes": [asdict(recipe) for recipe in begin],
        "stem_recipe": asdict(pool_recipes.stem),
        "models": str(_absolute(places.models)) if places.models.folder else None,
    }


def _experts_id(begin: tuple[Recipe, ...], tokenizers: Tokenizers) -> str:
    # of an expert that is as it comes, the recipe does not hold its tokenizer
    more = [tokenizers.key] if tokenizers.several else []
    return caching.digest("joint experts", [recipe.key for recipe in begin], *more)


def _opened(folder: Path, description: dict[str, Any]) -> JointInputs:
    cache, facts = folder.parent.parent, facts_of(folder, description)
    splits = {}
    for split, kept in description["splits"].items():
        if not is_whole(cache, kept):
            raise FileNotFoundError(f"{folder} holds no whole tokens; prepare them again")
        splits[split] = opened(cache, kept, split=split, tokenizers=facts["tokenizers"])
    return JointInputs(
        splits=splits,
        expert_recipes=tuple(Recipe(**recipe) for recipe in description["expert_recipes"]),
        stem_recipe=Recipe(**description["stem_recipe"]),
        models=Models(Path(description["models"]) if description["models"] else None),
        frozen=open_prepared(Path(description["frozen"])) if description["frozen"] else None,
        **facts,
    )
