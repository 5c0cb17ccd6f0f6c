"""Mean and deviation of features, by which they are standardised.

Letters: N examples, F features.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_ROWS: Final = 16_384
"""Examples whose features are in memory at a time."""

LEAST_DEVIATION: Final = 1e-6
"""A feature that varies less than this is left as it is: dividing would blow up rounding errors."""


def standardised(features: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Gives `feature_mean` and `feature_deviation` (F,) of train's features (N, F)."""
    mean, deviation = moments(features)
    deviation[deviation < LEAST_DEVIATION] = 1.0
    return {
        "feature_mean": mean.astype(np.float32),
        "feature_deviation": deviation.astype(np.float32),
    }


def moments(
    features: NDArray[np.float32], rows: int = _ROWS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gives mean and deviation (F,) of features (N, F), read so many rows at a time."""
    count = len(features)
    parts = [features[start : start + rows] for start in range(0, count, rows)]
    mean = sum(part.sum(axis=0, dtype=np.float64) for part in parts) / count
    square = sum(np.square(part - mean).sum(axis=0) for part in parts)
    return mean, np.sqrt(square / count)
