"""Translates axes, values, points and results between this package and Optuna.

Optuna is imported when a function is called, for it takes a second.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

from sweeps.search.rule import UNREACHED
from sweeps.search.space import Axis

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, TrialState

    from sweeps.search.rule import Proposal, Result, SearchRule

DIRECTIONS: Final[Mapping[str, Literal["maximize", "minimize"]]] = {
    "max": "maximize",
    "min": "minimize",
}
"""Gives Optuna's name by direction of an objective."""


def distribution(axis: Axis) -> BaseDistribution:
    """Gives Optuna's distribution over the values of an axis."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if axis.listed:
        return CategoricalDistribution([to_optuna(value) for value in axis.values])
    if axis.kind == "int":
        return IntDistribution(int(axis.low), int(axis.high))
    return FloatDistribution(axis.low, axis.high, log=axis.kind == "loguniform")


def distributions(space: Mapping[str, Axis]) -> dict[str, BaseDistribution]:
    """Gives Optuna's distributions over a space, by leaf name."""
    return {leaf: distribution(axis) for leaf, axis in space.items()}


def to_optuna(value: Any) -> Any:
    """Gives a value as Optuna takes it; a sequence becomes JSON text."""
    return json.dumps(value) if isinstance(value, tuple | list) else value


def from_optuna(axis: Axis, value: Any) -> Any:
    """Gives Optuna's value as the axis has it."""
    if not axis.listed:
        return value
    return next(listed for listed in axis.values if to_optuna(listed) == value)


def frozen_trial(
    space: Mapping[str, BaseDistribution],
    rule: SearchRule,
    proposal: Proposal,
    result: Result,
    *,
    running: bool,
) -> FrozenTrial:
    """Gives a point with its result as a trial of Optuna's; `space` has its `distributions`.

    A point without a result is RUNNING if `running`, else WAITING.
    """
    from optuna.trial import create_trial

    state = _state(result, rule, running=running)
    complete = state.name == "COMPLETE"
    return create_trial(
        state=state,
        params={leaf: to_optuna(value) for leaf, value in proposal.settings.items()},
        distributions={leaf: space[leaf] for leaf in proposal.settings},
        values=list(result.values) if complete else None,
        constraints=_constraints(result, rule) if complete else None,
        user_attrs={"ended": result.ended}
        | ({} if result.ended == "open" else {"share_of_epochs": result.reached}),
        system_attrs=dict(proposal.attributes),
    )


def _state(result: Result, rule: SearchRule, *, running: bool) -> TrialState:
    """Gives Optuna's state of a point with this result."""
    from optuna.trial import TrialState

    if result.ended == "complete":
        return TrialState.COMPLETE
    if result.ended == "failed":
        return TrialState.FAIL
    if result.ended == "stopped":
        left_out = rule.fidelity == "left_out" or not result.values
        return TrialState.PRUNED if left_out else TrialState.COMPLETE
    return TrialState.RUNNING if running else TrialState.WAITING


def _constraints(result: Result, rule: SearchRule) -> dict[str, float]:
    """Gives the violations by constraint.

    Samplers rank feasible points first, and the others by the sum of their violations (Deb's rule).
    """
    amounts = {name: float(value) for name, value in result.violations.items()}
    if rule.fidelity == "infeasible":
        amounts[UNREACHED] = 1.0 - result.reached if result.ended == "stopped" else 0.0
    return amounts


class quiet:
    """Silences Optuna's log lines and its warnings of experimental features inside a `with`."""

    def __enter__(self) -> None:
        import optuna

        self._level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.simplefilter("ignore")

    def __exit__(self, *error: object) -> None:
        import optuna

        self._warnings.__exit__(None, None, None)
        optuna.logging.set_verbosity(self._level)
