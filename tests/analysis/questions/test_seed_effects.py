"""Effects between points beside the noise between seeds."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.questions.seed_effects import _effect


def test_an_effect_states_span_and_pooled_deviation() -> None:
    found = _effect("score", np.array([[0.0, 2.0], [5.0, 5.0]]))
    assert found.test.span == 4.0
    assert found.noise == pytest.approx(1.0)


def test_two_points_far_apart_are_told_apart_by_five_seeds() -> None:
    """Permutations cannot: two points and five seeds have no p under 1/16."""
    noise = np.array([0.01, -0.01, 0.02, 0.0, -0.02])
    values = np.stack([0.7 + noise, 0.9 - noise])
    assert _effect("score", values).test.p < 0.001


def test_points_that_differ_like_seeds_are_not_told_apart() -> None:
    values = np.array([[0.70, 0.74, 0.72], [0.73, 0.71, 0.74]])
    assert _effect("score", values).test.p > 0.3
