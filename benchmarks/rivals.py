"""What others stop by: Ray Tune's ASHA on one metric, Syne Tune's MOASHA as released (0.16).

Syne Tune sorts all results of a rung anew for each that arrives, in Python and with O(n^3) steps
within a front: 10 to 15 s a replay of 1,600 epochs. It then takes the *order* it found for ranks
(its `NonDominatedPriority` returns indices, best to worst), so its decision is whether the index of
the point that came last in the sort is among the first third. `syne_tunes` computes that one index
only, with their own functions on the last front; `exact=True` asks their scheduler as well and
raises where the two differ (`python -m benchmarks.search ... --exact`).
"""

from __future__ import annotations

from typing import Any, Final

import moocore
import numpy as np

from benchmarks.replay import OBJECTIVES, GoesOn, Setting
from sweeps.stopping.rule import Rule

GO: Final = "CONTINUE"


def rays(setting: Setting, rule: Rule) -> GoesOn:
    """Ray Tune's ASHA, which takes one metric: the score."""
    from ray.tune.schedulers.async_hyperband import _Bracket

    curves = setting.curves
    bracket = _Bracket(rule.grace, curves.epochs, rule.eta, 0)
    return lambda point, epoch: bool(
        bracket.on_result(_Numbered(str(point)), epoch, -curves.losses[point, epoch - 1, 0]) == GO
    )


def syne_tunes(setting: Setting, rule: Rule, *, exact: bool = False) -> GoesOn:
    """Syne Tune's MOASHA with its defaults (non-dominated sorting, epsilon-net)."""
    from syne_tune.optimizer.schedulers.multiobjective.multiobjective_priority import MOPriority
    from syne_tune.optimizer.schedulers.multiobjective.non_dominated_priority import (
        compute_epsilon_net,
    )

    class Last(MOPriority):  # type: ignore[misc]
        """As theirs for the newest point: 0 for all others up to its place, 1 above."""

        def priority_unsafe(self, objectives: Any) -> Any:
            fronts = moocore.pareto_rank(objectives)
            last = np.flatnonzero(fronts == fronts.max())
            worst = int(last[compute_epsilon_net(objectives[last], dim=0)[-1]])
            order = [number for number in range(len(objectives)) if number != worst]
            return np.array([*order, worst])

    fast = _scheduler(setting, rule, Last())
    released = _scheduler(setting, rule, None) if exact else None

    def goes_on(point: int, epoch: int) -> bool:
        trial = _Numbered(str(point))
        values = map(float, setting.curves.losses[point, epoch - 1])
        said = {"training_iteration": epoch, **dict(zip(OBJECTIVES, values, strict=True))}
        answers = []
        for scheduler in (fast, released):
            if scheduler is None:
                continue
            if epoch == 1:
                scheduler.on_trial_add(trial)
            answers.append(scheduler.on_trial_result(trial, said) == GO)
        if len(set(answers)) > 1:
            raise AssertionError(f"point {point}, epoch {epoch}: Syne Tune decides otherwise")
        return bool(answers[0])

    return goes_on


def _scheduler(setting: Setting, rule: Rule, priority: Any) -> Any:
    from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

    return MOASHA(
        {},
        list(OBJECTIVES),
        multiobjective_priority=priority,
        max_t=setting.curves.epochs,
        grace_period=rule.grace,
        reduction_factor=rule.eta,
    )


class _Numbered:
    """A trial as far as the schedulers look at it."""

    def __init__(self, name: str) -> None:
        self.trial_id = name
