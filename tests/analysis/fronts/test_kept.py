"""Which points of a run keep their routers."""

from __future__ import annotations

import numpy as np

from analysis.fronts import kept
from analysis.fronts.constraints import Judged


def test_both_of_two_equal_points_of_the_front_stay_and_no_other() -> None:
    merits, costs = np.array([0.9, 0.8, 0.9, 0.7]), np.array([3.0, 2.0, 3.0, 2.5])
    every = Judged(constraints=(), violation=np.zeros((4, 0)))
    marks = kept._front_with_twins(every, merits, costs)
    assert marks.tolist() == [True, True, True, False]
