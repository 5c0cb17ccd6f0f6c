"""Which points of a run keep their routers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from analysis.fronts import kept
from analysis.fronts.constraints import Judged
from analysis.runs.outcomes import Point


def test_both_of_two_equal_points_of_the_front_stay_and_no_other() -> None:
    merits, costs = np.array([0.9, 0.8, 0.9, 0.7]), np.array([3.0, 2.0, 3.0, 2.5])
    every = Judged(constraints=(), violation=np.zeros((4, 0)))
    marks = kept._front_with_twins(every, merits, costs)
    assert marks.tolist() == [True, True, True, False]


def test_of_points_that_do_the_same_with_every_example_the_first_that_may_stand_stays() -> None:
    points = [
        Point(point=name, label=name, settings={}, seeds=(0, 1), keys=(f"{name}0", f"{name}1"))
        for name in ("a", "b", "c", "d", "e")
    ]
    routes = np.array([[0, 1], [1, 1]] * 5, np.uint16)  # of two seeds and two examples
    routes[4:6] = routes[5:3:-1]  # c has them the other way round
    predictions = routes.astype(np.float64)
    predictions[9] = 0.0  # e routes as a does, to other experts
    seen = SimpleNamespace(routes=routes, predictions=predictions, set_of=np.zeros(10, np.intp))
    may = np.array([False, True, True, True, True])
    firsts = kept._firsts_of_alike(points, cast(Any, seen), may)
    assert firsts.tolist() == [False, True, True, False, True]
    seen.routes = routes[:0]
    assert kept._firsts_of_alike(points, cast(Any, seen), may).tolist() == may.tolist()
