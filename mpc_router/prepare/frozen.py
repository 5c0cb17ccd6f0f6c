"""What frozen experts and the stem say about every example: computed once, read by all trials.

Letters: N examples, K experts, C outputs of an expert (classes, or 1 for a regression), F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from mpc_router import cache as caching
from mpc_router.config.trial import TrialConfig
from mpc_router.costs import to_json
from mpc_router.data.router_rows import Fingerprints
from mpc_router.data.sources import Cut, all_fingerprints, cut_all, read
from mpc_router.data.tokens import tokenise
from mpc_router.model.encoders import load_tokenizer
from mpc_router.prepare._checks import check_device, check_inputs
from mpc_router.prepare._facts import Facts, describe_recipes, facts_of
from mpc_router.prepare.cross_fitting import cross_fitted
from mpc_router.prepare.encoder_runs import WINDOW, Bench, Split, found_order, head_note
from mpc_router.prepare.inputs import Places, SplitOutputs, judged_by
from mpc_router.prepare.recipes import Recipe, Recipes, recipes
from mpc_router.prepare.tokenizers import Tokenizers
from mpc_router.progress import Progress, Silence, shown
from mpc_router.run_names import TRAIN

if TYPE_CHECKING:
    from mpc_router.pricing.counts import Counted

__all__ = [
    "Prepared",
    "check_inputs",
    "open_prepared",
    "prepare",
]

_ARRAYS: Final = ("features", "outputs", "labels", "example", "tokens")
_BY_EXPERT: Final = "tokens_by_expert"
"""Where the experts' tokenizers differ."""

_VERSION: Final = 4
"""Raised when the same outputs would be described or stored differently."""

LEAST_DEVIATION: Final = 1e-6
"""A feature that varies less than this is left as it is: dividing would blow up rounding errors."""


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
    check_device(config.training.device)
    hears = progress or Silence()
    files = read(config, places.source)
    prints = all_fingerprints(config, files)
    pool_recipes = recipes(
        config, places.models, trained_on=prints.experts, memory=places.cache / "hashes"
    )
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
    folder = places.cache / "outputs" / name

    def make(new_folder: Path) -> dict[str, Any]:
        cut_rows = cut_all(config, files)
        benches = _benches(config, places, cut_rows, prints, pool_recipes, hears)
        _write(new_folder, benches, pool_recipes, cut_rows.folds, prints)
        described = describe_recipes(
            config,
            places,
            cut_rows,
            prints.data,
            experts_id=pool_recipes.experts_id,
            experts=pool_recipes.experts,
            pool_recipes=pool_recipes,
        )
        asked = _asked(benches, pool_recipes)
        for info, (bench, recipe, who) in zip(described["experts"], asked, strict=True):
            info["label_order"] = found_order(recipe, bench, who)
        described["notes"] += _head_notes(benches, pool_recipes)
        costs = _counted(config, benches, pool_recipes)
        described["notes"] += costs.notes
        return described | {"vectors": to_json(config.vectors() | costs.vectors)}

    waiting = shown(hears, "waiting for another process that prepares the same")
    description = caching.entry(folder, make, waiting=waiting)
    return _opened(folder, description)


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
    arrays = (*_ARRAYS, _BY_EXPERT) if several else _ARRAYS
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
    return [to_json(config.vectors()), model.router_hidden_size, shared, *kind]


def _counted(config: TrialConfig, benches: Sequence[Bench], pool_recipes: Recipes) -> Counted:
    from mpc_router.pricing.counts import counted

    means = [float(bench.splits[TRAIN].tokens.lengths.mean()) for bench in benches]
    tokens = [means[number] for number in (0, *pool_recipes.tokenizers.experts)]
    return counted(config, benches[0].models, tokens=tokens)


def _benches(
    config: TrialConfig,
    places: Places,
    cut_rows: Cut,
    prints: Fingerprints,
    pool_recipes: Recipes,
    progress: Progress,
) -> tuple[Bench, ...]:
    """Gives a bench for each tokenizer of the pool, the stem's first."""
    length, tokenizers = config.data.max_length, pool_recipes.tokenizers
    sources = [(prints.splits[split], examples) for split, examples in cut_rows.splits.items()]
    if prints.experts != prints.splits[TRAIN]:
        sources.append((prints.experts, cut_rows.experts))
    progress.start("tokens", len(sources) * len(tokenizers.names))
    benches = []
    for name, key in zip(tokenizers.names, tokenizers.keys, strict=True):
        tokenizer = load_tokenizer(name, places.models)
        tokenised = {}
        for fingerprint, examples in sources:
            tokens = tokenise(
                examples,
                tokenizer,
                max_length=length,
                fingerprint=fingerprint,
                cache=places.cache,
            )
            tokenised[fingerprint] = Split(tokens=tokens, fingerprint=fingerprint)
            progress.advance()
        benches.append(
            Bench(
                task=config.data.definition,
                splits={split: tokenised[content] for split, content in prints.splits.items()},
                learned=tokenised[prints.experts],
                models=places.models,
                cache=places.cache,
                tokenizer=key,
                device=config.training.device,
                progress=progress,
            )
        )
    progress.finish()
    return tuple(benches)


def _write(
    new_folder: Path,
    benches: Sequence[Bench],
    pool_recipes: Recipes,
    folds: NDArray[np.int64] | None,
    prints: Fingerprints,
) -> None:
    """Writes all arrays of `Prepared` into a folder."""
    count = len(pool_recipes.experts)
    parts: list[dict[str, NDArray[np.float32]]] = []
    for number, (bench, recipe, who) in enumerate(_asked(benches, pool_recipes), 1):
        if folds is None:
            parts.append(bench.outputs(recipe, who))
            continue
        place = f"expert {number} of {count}"
        unseen = cross_fitted(bench, recipe, place, folds=folds, fingerprints=prints.folds)
        parts.append({**bench.without(TRAIN).outputs(recipe, who), TRAIN: unseen})
    of_stem = benches[0]
    features = of_stem.features(pool_recipes.stem, f"stem: {pool_recipes.stem.label}")
    for name, split in of_stem.splits.items():
        features_file = of_stem.features_file(pool_recipes.stem, name)
        caching.share(features_file, new_folder, f"{name}.features")
        outputs = [part[name] for part in parts]
        kept = caching.blank(
            new_folder,
            f"{name}.outputs",
            (len(split.tokens), count, outputs[0].shape[1]),
            np.float32,
        )
        for number, output in enumerate(outputs):
            kept[:, number] = output
        kept.flush()
        arrays: dict[str, NDArray[Any]] = {
            "labels": split.tokens.labels,
            "example": split.tokens.example,
            **_lengths([bench.splits[name] for bench in benches], pool_recipes.tokenizers),
        }
        caching.save(new_folder, {f"{name}.{kind}": array for kind, array in arrays.items()})
    caching.save(new_folder, standardised(features[TRAIN]))


def _lengths(splits: Sequence[Split], tokenizers: Tokenizers) -> dict[str, NDArray[np.int64]]:
    """Gives the lengths of a split's examples; `splits` is what each tokenizer makes of it."""
    by_expert = tokenizers.by_expert([split.tokens.lengths for split in splits])
    if by_expert is None:
        return {"tokens": splits[tokenizers.experts[0]].tokens.lengths}
    return {"tokens": by_expert.max(axis=1), _BY_EXPERT: by_expert}


def _asked(benches: Sequence[Bench], pool_recipes: Recipes) -> list[tuple[Bench, Recipe, str]]:
    """Gives each expert's bench and recipe, and what the progress calls it."""
    numbers = pool_recipes.tokenizers.experts
    return [
        (benches[number], recipe, f"expert {place} of {len(numbers)}: {recipe.label}")
        for place, (number, recipe) in enumerate(zip(numbers, pool_recipes.experts, strict=True), 1)
    ]


def _head_notes(benches: Sequence[Bench], pool_recipes: Recipes) -> list[str]:
    """Gives what is to be said of the labels of experts that come with their heads."""
    notes = [
        head_note(recipe, bench, who, bench.outputs(recipe, who)[TRAIN])
        for bench, recipe, who in _asked(benches, pool_recipes)
        if recipe.keep_head
    ]
    return list(dict.fromkeys(note for note in notes if note))


def standardised(features: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Gives `feature_mean` and `feature_deviation` (F,) of train's features (N, F)."""
    mean, deviation = moments(features)
    deviation[deviation < LEAST_DEVIATION] = 1.0
    return {
        "feature_mean": mean.astype(np.float32),
        "feature_deviation": deviation.astype(np.float32),
    }


def moments(
    features: NDArray[np.float32], rows: int = WINDOW
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gives mean and deviation (F,) of features (N, F), read so many rows at a time."""
    count = len(features)
    parts = [features[start : start + rows] for start in range(0, count, rows)]
    mean = sum(part.sum(axis=0, dtype=np.float64) for part in parts) / count
    square = sum(np.square(part - mean).sum(axis=0) for part in parts)
    return mean, np.sqrt(square / count)
