"""Makes what frozen experts and the stem say about every example.

Letters: N examples, K experts, C outputs of an expert, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc_router.config.trial import TrialConfig
from mpc_router.costs import to_json
from mpc_router.data.columns import Columns
from mpc_router.data.router_rows import Fingerprints
from mpc_router.data.sources import Cut, cut_all
from mpc_router.data.tokens import tokenise
from mpc_router.experts.cross_fitting import cross_fitted, fold_errands
from mpc_router.experts.encoder_runs import Bench, Split, found_order, head_note
from mpc_router.experts.errands import Errand, errand_of, unfinished
from mpc_router.model.encoders import load_tokenizer
from mpc_router.prepare._facts import describe_recipes
from mpc_router.prepare.inputs import BY_EXPERT, Places
from mpc_router.prepare.standardisation import standardised
from mpc_router.pricing.counts import Counted, counted
from mpc_router.recipes.pool_tokenizers import Tokenizers
from mpc_router.recipes.recipes import Recipe, Recipes
from mpc_router.run_names import TRAIN
from mpc_router.storage import cache as caching
from mpc_router.terminal.progress import Progress


def write_outputs(
    new_folder: Path,
    config: TrialConfig,
    places: Places,
    files: Mapping[str, Columns],
    prints: Fingerprints,
    pool_recipes: Recipes,
    hears: Progress,
) -> dict[str, Any]:
    """Writes the arrays of `Prepared` into a folder; gives their description.

    Reads and cuts the data, tokenises it, fine-tunes each expert alone (unless it comes tuned) and
    asks experts and stem about every example.

    Raises:
        SourceError: a split comes out empty.
        ModelError: a model is bad, or diverges.
    """
    cut_rows = cut_all(config, files)
    benches = _benches(config, places, cut_rows, prints, pool_recipes, hears)
    errands = unfinished(asked_of(benches, pool_recipes, cut_rows.folds, prints))
    places.runner.run(errands, hears)
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


def _counted(config: TrialConfig, benches: Sequence[Bench], pool_recipes: Recipes) -> Counted:
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


def asked_of(
    benches: Sequence[Bench],
    pool_recipes: Recipes,
    folds: NDArray[np.int64] | None,
    prints: Fingerprints,
) -> list[Errand]:
    """Gives what `_write` asks of experts, their folds' experts and the stem, in its order."""
    errands = []
    count = len(pool_recipes.experts)
    for number, (bench, recipe, who) in enumerate(_asked(benches, pool_recipes), 1):
        if folds is None:
            errands.append(errand_of(bench, recipe, who))
            continue
        place = f"expert {number} of {count}"
        errands += fold_errands(bench, recipe, place, folds=folds, fingerprints=prints.folds)
        errands.append(errand_of(bench.without(TRAIN), recipe, who))
    stem = pool_recipes.stem
    return [*errands, errand_of(benches[0], stem, f"stem: {stem.label}")]


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
    return {"tokens": by_expert.max(axis=1), BY_EXPERT: by_expert}


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
