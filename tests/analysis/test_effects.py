"""Effects between points beside the noise between seeds."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.effects import effect, permutation_test


def test_two_points_and_two_seeds_by_hand() -> None:
    """Of the 2 ways to turn the second seed, one lies as far apart: p is a half."""
    assert permutation_test(np.array([[1.0, 2.0], [3.0, 5.0]])) == 0.5


def test_points_in_the_same_order_in_every_seed_are_the_rarest_case() -> None:
    """Three points, three seeds: (3!)^2 = 36 arrangements; only the 6 turned alike are as far
    apart, and with the first seed held that is 1."""
    values = np.array([[1.0, 1.1, 0.9], [2.0, 2.1, 1.9], [3.0, 3.1, 2.9]])
    assert permutation_test(values) == pytest.approx(1 / 36)


def test_equal_points_differ_no_more_than_any_permutation() -> None:
    assert permutation_test(np.ones((3, 4))) == 1.0


def test_the_order_of_points_and_seeds_does_not_matter() -> None:
    values = np.random.default_rng(0).normal(size=(3, 3))
    assert permutation_test(values) == permutation_test(values[::-1, [2, 0, 1]])


def test_drawn_permutations_agree_with_all_of_them() -> None:
    values = np.random.default_rng(1).normal(size=(3, 4)) + np.array([[0.0], [0.4], [0.8]])
    drawn = permutation_test(values, draws=200)
    assert drawn == pytest.approx(permutation_test(values, draws=10_000), abs=0.08)


def test_p_is_uniform_where_points_do_not_differ() -> None:
    source = np.random.default_rng(2)
    found = [permutation_test(source.normal(size=(3, 3))) for _ in range(400)]
    assert np.mean(np.array(found) <= 0.25) == pytest.approx(0.25, abs=0.07)


def test_seeds_that_shift_all_points_alike_do_not_hide_an_effect() -> None:
    values = np.array([[0.0, 10.0, 20.0, 30.0], [1.0, 11.0, 21.0, 31.0], [2.0, 12.0, 22.0, 32.0]])
    assert permutation_test(values) < 0.01


def test_an_effect_states_span_and_pooled_deviation() -> None:
    found = effect("score", np.array([[0.0, 2.0], [5.0, 5.0]]))
    assert found.span == 4.0
    assert found.noise == pytest.approx(1.0)
