"""What frozen experts and the stem say about every example: computed once, read by all trials.

Letters: N examples, K experts, C outputs of an expert (classes, or 1 for a regression), F features.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mpc_router.config.trial import TrialConfig
from mpc_router.costs import FLOPS, PARAMETERS, to_json
from mpc_router.data.columns import Columns
from mpc_router.data.router_rows import Fingerprints
from mpc_router.data.sources import SourceError, all_fingerprints, read
from mpc_router.model.sources import ModelError
from mpc_router.prepare._facts import Facts, facts_of
from mpc_router.prepare._surroundings import CHECKS_VERSION, check_device, check_surroundings
from mpc_router.prepare.inputs import BY_EXPERT, Places, SplitOutputs, judged_by
from mpc_router.recipes.pool_tokenizers import Tokenizers, own_words
from mpc_router.recipes.recipes import Recipes, recipes
from mpc_router.storage import cache as caching
from mpc_router.terminal.progress import Progress, Silence, shown

__all__ = [
    "Prepared",
    "check_inputs",
    "open_prepared",
    "prepare",
]

_ARRAYS: Final = ("features", "outputs", "labels", "example", "tokens")
_VERSION: Final = 4
"""Raised when the same outputs would be described or stored differently."""


@dataclass(frozen=True, kw_only=True)
class Prepared(Facts):
    """Holds everything that trials with frozen experts train on."""

    splits: dict[str, SplitOutputs]
    """`train`, `selection`, then the quoted splits."""

    feature_mean: NDArray[np.float32]
    """(F,) over train."""

    feature_deviation: NDArray[np.float32]
    """(F,) over train; 1 where a feature never varies."""

    tokenizers: Tokenizers | None = None
    """What stem and experts are read with."""


def check_inputs(config: TrialConfig, places: Places, vectors: Collection[str] = ()) -> None:
    """Finds everything that can be known to be wrong before a run starts; trains nothing.

    Inputs that have passed and are prepared pass again: they are known by the contents of data and
    models, and no model is looked at. `vectors` names the cost vectors that must be known.

    Raises:
        SourceError, ModelError, ConfigError: as `_checks.check_inputs`; or a vector is counted
            from the models, and one of them cannot be counted.
    """
    check_surroundings(config, places)
    folder, passed = _folder_of_sound(config, places)
    kept = caching.peek(folder) if folder and passed and passed.exists() else None
    if kept is None:
        from mpc_router.prepare import _checks  # with torch, for it looks at every encoder

        _checks.check_inputs(config, places)
        if passed is not None:
            passed.parent.mkdir(parents=True, exist_ok=True)
            caching.write_json(passed, {"experts": config.model.expert_model_names})
    counted = {PARAMETERS, FLOPS}.intersection(vectors)
    if unknown := counted.difference(kept["vectors"] if kept else ()):
        from mpc_router.pricing.counts import check_counted

        for name in sorted(unknown):
            check_counted(config, places.models, name)


def _folder_of_sound(config: TrialConfig, places: Places) -> tuple[Path | None, Path | None]:
    """Names the entry of the cache for these inputs, and the note that they passed the checks.

    None where they are not even whole.
    """
    model = config.model
    names = {
        *model.expert_model_names,
        *([model.router_model_name] if model.stem == "model" else []),
    }
    try:
        places.models.check_all(sorted(filter(None, names)))
        made_of = _made_of(config, places, read(config, places.source))
        # the checks compare words with those of the one tokenizer that all are read with
        words = own_words(sorted(names), places.models) if model.tokenizer_model_name else []
    except (SourceError, ModelError):  # the checks say what is wrong, all of it at once
        return None, None
    folder = _folder(config, places, *made_of)
    note = caching.digest(CHECKS_VERSION, folder.name, words)
    return folder, _memory(places) / f"passed-{note}.json"


def _memory(places: Places) -> Path:
    """Names the folder that remembers what was learned of models."""
    return places.cache / "hashes"


def prepare(config: TrialConfig, places: Places, progress: Progress | None = None) -> Prepared:
    """Gives everything a configuration's trials train on: made once, then only opened.

    Reads and cuts the data, tokenises it, fine-tunes each expert alone (unless it comes tuned) and
    asks experts and stem about every example. Safe for several processes at once. What was made
    before loads no model.

    Raises:
        SourceError: the data are missing or bad.
        ModelError: a model is missing or bad, or diverges.
        ConfigError: cuda without a GPU.
    """
    check_device(config.training.device, places)
    hears = progress or Silence()
    files = read(config, places.source)
    prints, pool_recipes = _made_of(config, places, files)
    folder = _folder(config, places, prints, pool_recipes)

    def make(new_folder: Path) -> dict[str, Any]:
        from mpc_router.prepare._frozen_outputs import write_outputs  # with torch and all encoders

        return write_outputs(new_folder, config, places, files, prints, pool_recipes, hears)

    waiting = shown(hears, "waiting for another process that prepares the same")
    description = caching.entry(folder, make, waiting=waiting)
    return _opened(folder, description)


def _made_of(
    config: TrialConfig, places: Places, files: Mapping[str, Columns]
) -> tuple[Fingerprints, Recipes]:
    """Gives the fingerprints of the data and the recipes of the pool."""
    prints = all_fingerprints(config, files)
    return prints, recipes(config, places.models, trained_on=prints.experts, memory=_memory(places))


def _folder(
    config: TrialConfig, places: Places, prints: Fingerprints, pool_recipes: Recipes
) -> Path:
    """Names the entry of the cache that a configuration's trials train on."""
    name = caching.digest(
        _VERSION,
        prints.splits,
        pool_recipes.experts_id,
        [pool_recipes.stem.key, pool_recipes.stem_is_expert],
        pool_recipes.tokenizers.key,
        places.source.kind == "sample",
        [recipe.stand_in for recipe in (*pool_recipes.experts, pool_recipes.stem)],
        [recipe.name for recipe in (*pool_recipes.experts, pool_recipes.stem)],
        *_priced_by(config),
        *judged_by(config),
        *prints.folds,
    )
    return places.cache / "outputs" / name


def open_prepared(folder: Path) -> Prepared:
    """Gives what `prepare` left in its folder: memory-maps, loads no model.

    Raises:
        FileNotFoundError: nothing whole lies there; `prepare` makes it anew.
    """
    description = caching.description(folder)
    if description is None:
        raise FileNotFoundError(f"{folder} holds no whole outputs of experts; prepare them again")
    return _opened(folder, description)


def _opened(folder: Path, description: dict[str, Any]) -> Prepared:
    facts = facts_of(folder, description)
    several = len(set(facts["tokenizers"].experts)) > 1
    arrays = (*_ARRAYS, BY_EXPERT) if several else _ARRAYS
    splits = {
        split: SplitOutputs(
            split=split, **{name: caching.load(folder, f"{split}.{name}") for name in arrays}
        )
        for split in description["splits"]
    }
    return Prepared(
        splits=splits,
        feature_mean=caching.load(folder, "feature_mean"),
        feature_deviation=caching.load(folder, "feature_deviation"),
        **facts,
    )


def _priced_by(config: TrialConfig) -> list[Any]:
    """Gives what decides the cost vectors and is in no recipe; no part of a trial's key."""
    shared = config.model.shared_stem and config.training.experts == "joint"
    model = config.model
    kind = [model.router_kind] if model.fitted and model.stem == "model" else []
    if not model.has_network(stem=model.stem):
        kind = ["no network"]  # the name of the kind stood for prices with one
    return [to_json(config.vectors()), model.router_hidden_size, shared, *kind]
