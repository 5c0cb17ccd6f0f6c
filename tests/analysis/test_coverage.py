"""Intervals hold the truth as often as they promise: 200 simulated runs whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.resampling import (
    example_weights,
    interval,
    seed_weights,
    weighted_scores,
    weighted_shares,
)
from mpc_router.tasks import TASKS

RUNS, EXAMPLES, RESAMPLES = 200, 400, 400


WEAK, STRONG = 0.74, 0.84


def covered(*, seeds: int, spread: float, against_coin: bool) -> float:
    """Share of the simulated runs whose 95 % interval holds the truth.

    Two experts are right about an example or not, whoever asks; a router sends each example to the
    strong one with a chance that its seed draws (mean 1/2, `spread`), so seeds differ in whom they
    ask and in nothing else. It knows nothing of the examples: its score is a coin's. `against_coin`
    asks for its distance to the coin between the two at its own cost, whose truth is 0; else for
    its score, whose truth is the mean of both.
    """
    task = TASKS["rte"]
    rng = np.random.default_rng(17)
    found = 0
    for _ in range(RUNS):
        labels = rng.integers(0, 2, EXAMPLES).astype(np.float64)
        level = rng.random(EXAMPLES)  # hard examples are hard for both
        right = np.stack([level < WEAK, (level + rng.normal(0, 0.15, EXAMPLES)) % 1 < STRONG])
        share = np.clip(rng.normal(0.5, spread, seeds), 0, 1)
        routes = (rng.random((seeds, EXAMPLES)) < share[:, None]).astype(np.uint8)
        said = np.where(np.take_along_axis(right, routes.astype(int), axis=0), labels, 1 - labels)
        weights = example_weights(EXAMPLES, RESAMPLES, rng)
        by_seed = seed_weights(seeds, RESAMPLES, rng)
        score = np.einsum("bs,sb->b", by_seed, weighted_scores(task, said, labels, weights))
        truth = (WEAK + STRONG) / 2
        if against_coin:
            alone = weighted_scores(task, np.where(right, labels, 1 - labels), labels, weights)
            strong = np.einsum("bs,sb->b", by_seed, weighted_shares(routes, 2, weights)[..., 1])
            score = score - (alone[0] + strong * (alone[1] - alone[0]))
            truth = 0.0
        low, high = interval(score)
        found += bool(low <= truth <= high)
    return found / RUNS


@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_of_a_score_hold_the_truth(seeds: int) -> None:
    assert 0.92 <= covered(seeds=seeds, spread=0.05, against_coin=False) <= 0.98


@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_of_the_distance_to_the_coin_err_on_the_side_of_caution(seeds: int) -> None:
    """Whom a router asks by chance is counted among examples and among seeds: they are wider."""
    assert covered(seeds=seeds, spread=0.05, against_coin=True) >= 0.92


def test_with_few_seeds_that_differ_much_intervals_are_too_short() -> None:
    """The plain bootstrap sees (S - 1) / S of the variance between seeds: the report asks for more
    seeds, and this is why."""
    assert covered(seeds=3, spread=0.6, against_coin=False) < 0.95
