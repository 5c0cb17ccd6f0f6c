from __future__ import annotations

import itertools

import numpy as np
import pytest

from benchmarks.fine_tune import BASE, OURS, by_budget, by_size, our_padding, table
from tests.mpc_router.small_models import some_split

LENGTHS = np.random.default_rng(0).integers(3, 90, 500)


@pytest.mark.parametrize("budget", [1, 64, 1000, 10**6])
def test_batches_of_a_budget_hold_every_text_once_and_no_more_tokens(budget: int) -> None:
    groups = by_budget(LENGTHS, budget)
    assert sorted(np.concatenate(groups)) == list(range(len(LENGTHS)))
    for rows in groups:
        assert len(rows) == 1 or len(rows) * LENGTHS[rows].max() <= budget


def test_batches_of_a_size_are_of_like_lengths() -> None:
    groups = by_size(LENGTHS, 64)
    assert [len(rows) for rows in groups] == [64] * 7 + [52]
    for longer, shorter in itertools.pairwise(groups):
        assert LENGTHS[longer].min() >= LENGTHS[shorter].max()


def test_padding_is_a_share_of_all_places() -> None:
    assert 0 <= our_padding(some_split(200)) < 0.5


def test_ratios_are_those_of_rounds_and_a_missing_trainer_is_said() -> None:
    slow = {"clocks": [[10.0, 2.0], [30.0, 6.0], [50.0, 10.0]], "padding": 0.5}
    fast = {"clocks": [[5.0, 2.0], [10.0, 2.0], [50.0, 5.0]], "padding": 0.1}
    passes = {BASE: {"clocks": [[1.0, 1.0]]}}
    lines = table({"epochs": {OURS: fast, "Trainer": slow}, "passes": passes}).splitlines()
    assert lines[2].split() == ["Trainer", "30.0", "2.00x", "6.0", "2.00x", "50.0%"]
    alone = table({"epochs": {OURS: fast}, "passes": passes})
    assert "it needs the package accelerate" in alone
