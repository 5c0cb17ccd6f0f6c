"""Outputs of train from experts that have not seen it: each fold's from those of the other folds.

Letters: N examples of train, C outputs of an expert.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mpc_router.experts.encoder_runs import Bench, Split
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
    for fold, (of_fold, of_others) in enumerate(fingerprints):
        who = f"{place}, fold {fold + 1} of {len(fingerprints)}: {recipe.label}"
        parts = _fold_bench(bench, folds, fold, of_fold=of_fold, of_others=of_others)
        outputs[folds == fold] = parts.outputs(fold_recipe(recipe, of_others), who)[TRAIN]
    return outputs


def fold_recipe(recipe: Recipe, of_others: str) -> Recipe:
    """Gives the recipe of an expert that is trained on the rows of this fingerprint alone."""
    return dataclasses.replace(recipe, trained_on=of_others)


def _fold_bench(
    bench: Bench, folds: NDArray[np.int64], fold: int, *, of_fold: str, of_others: str
) -> Bench:
    """Gives a bench that trains on all rows of train but a fold, and asks about the fold."""
    tokens = bench.splits[TRAIN].tokens
    inside, others = (np.flatnonzero(chosen) for chosen in (folds == fold, folds != fold))
    return dataclasses.replace(
        bench,
        splits={TRAIN: Split(tokens=tokens.take(inside), fingerprint=of_fold)},
        learned=Split(tokens=tokens.take(others), fingerprint=of_others),
    )
