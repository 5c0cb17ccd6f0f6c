"""Outputs of train from experts that have not seen it: each fold's from those of the other folds.

Letters: N examples of train, C outputs of an expert.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mpc_router.experts.encoder_runs import Bench
from mpc_router.experts.errands import Errand, KeptSplit, errand_of
from mpc_router.recipes.recipes import Recipe
from mpc_router.run_names import TRAIN


def cross_fitted(
    bench: Bench,
    recipe: Recipe,
    place: str,
    *,
    folds: NDArray[np.int64],
    fingerprints: Sequence[tuple[str, str]],
) -> NDArray[np.float32]:
    """Gives outputs of train (N, C), those of each fold from the expert trained without it.

    `folds` (N,) is the fold of each example, from 0; `fingerprints` are of each fold's rows, and of
    all others. `place` says which expert of the pool it is, for the progress. Experts of folds, and
    what they say, are kept in the cache as all experts are.
    """
    outputs = np.empty((len(folds), bench.task.outputs), np.float32)
    errands = fold_errands(bench, recipe, place, folds=folds, fingerprints=fingerprints)
    for fold, errand in enumerate(errands):
        of_fold = errand.bench(bench.progress).outputs(errand.recipe, errand.label)
        outputs[folds == fold] = of_fold[TRAIN]
    return outputs


def fold_errands(
    bench: Bench,
    recipe: Recipe,
    place: str,
    *,
    folds: NDArray[np.int64],
    fingerprints: Sequence[tuple[str, str]],
) -> list[Errand]:
    """Gives, by fold, what `cross_fitted` asks: a fold, of an expert trained on all others."""
    errands = []
    for fold, (of_fold, of_others) in enumerate(fingerprints):
        who = f"{place}, fold {fold + 1} of {len(fingerprints)}: {recipe.label}"
        of_all = errand_of(bench, fold_recipe(recipe, of_others), who, [TRAIN])
        tokens = of_all.splits[TRAIN].tokens
        inside, others = (np.flatnonzero(chosen) for chosen in (folds == fold, folds != fold))
        errands.append(
            dataclasses.replace(
                of_all,
                splits={TRAIN: KeptSplit(tokens=tokens.take(inside), fingerprint=of_fold)},
                train=KeptSplit(tokens=tokens.take(others), fingerprint=of_others),
            )
        )
    return errands


def fold_recipe(recipe: Recipe, of_others: str) -> Recipe:
    """Gives the recipe of an expert that is trained on the rows of this fingerprint alone."""
    return dataclasses.replace(recipe, trained_on=of_others)
