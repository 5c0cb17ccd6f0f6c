"""Moments of features, by which routers see them standardised."""

from __future__ import annotations

import numpy as np
import pytest

from mpc_router.prepare.standardisation import moments


@pytest.mark.parametrize("rows", [1, 7, 96, 1000])
def test_moments_read_in_parts_are_those_of_the_whole(rows: int) -> None:
    features = np.random.default_rng(0).standard_normal((96, 5)).astype(np.float32) * 3 + 100
    mean, deviation = moments(features, rows)
    np.testing.assert_allclose(mean, features.mean(0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(deviation, features.std(0, dtype=np.float64), rtol=1e-9)
