"""Defines a stopping rule: points near the front go on, however many those are."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from sweeps.stopping.own_rules import Rung

_NEAR: Final = 0.2


def near_front(rung: Rung) -> NDArray[np.bool_]:
    """Stops a point that another one beats clearly.

    That one is worse in no objective, and better in one by a fifth of the objective's range.
    Points that break constraints by more than the one that breaks them least are stopped too.
    """
    losses = rung.losses  # (N, M), minimised
    needed = _NEAR * np.ptp(losses, axis=0)
    lead = losses[:, None, :] - losses[None, :, :]  # of the second point over the first
    beats = (lead >= 0).all(axis=-1) & (lead > needed).any(axis=-1)
    kept = rung.violations <= rung.violations.min()
    return np.asarray(~beats.any(axis=1) & kept)
