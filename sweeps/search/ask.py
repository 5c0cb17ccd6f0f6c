"""Optuna behind two functions: ask for a batch of points, and show the search as a study.

Exactly resumable: batch b is asked of a study that is rebuilt in memory from what the journal says
of the batches before it, by a fresh sampler seeded with (seed, b). So the same journal gives the
same points, however often the run was interrupted and in whatever order results arrived. What a
sampler writes into Optuna's own attributes (NSGA-II its generations, QMC its place in the sequence)
is part of what was asked, and is journaled with it.

Optuna alone is imported here (and in an export of analysis), when a function is called.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from sweeps.search.rule import OPEN, UNHEARING, Batch, Proposal, SearchError
from sweeps.search.space import Axis

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study as OptunaStudy
    from optuna.trial import FrozenTrial, TrialState

    from sweeps.search.rule import Result, SearchRule


UNREACHED: Final = "unreached"
"""Constraint of a stopped point under `infeasible`: the share of its epochs not reached."""


def ask(
    space: Mapping[str, Axis],
    directions: Sequence[str],
    rule: SearchRule,
    before: Sequence[Batch],
    *,
    seed: int,
    start: Sequence[Mapping[str, Any]] = (),
) -> Batch:
    """The next batch, of points that depend on nothing but the arguments.

    `before` are all batches asked so far. Of those, only what was told of the first
    `len(before) + 1 - rule.parallel` is used: what else has arrived by now is by chance. Methods
    that hear nothing see of a point that it was asked, and no more.

    Args:
        space: by leaf name.
        directions: `max` or `min` of each objective.
        rule: how to propose.
        before: batches 0..b-1 in order.
        seed: the study's.
        start: points that are tried first, complete over the space.
    """
    number = len(before)
    heard = 0 if rule.method in UNHEARING else max(0, number + 1 - rule.parallel)
    known = [
        batch if place < heard else Batch(proposals=batch.proposals, attributes=batch.attributes)
        for place, batch in enumerate(before)
    ]
    study = _rebuilt(space, directions, rule, known, sampler=_sampler(rule, seed, number))
    done = sum(len(batch.proposals) for batch in before)
    proposals = []
    for place in range(done, done + rule.size_of(number)):
        if place < len(start):
            study.enqueue_trial({leaf: _told(start[place][leaf]) for leaf in space})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # experimental features are chosen with open eyes
            trial = study.ask({leaf: _distribution(axis) for leaf, axis in space.items()})
        proposals.append(
            Proposal(
                settings={leaf: _read(space[leaf], trial.params[leaf]) for leaf in space},
                # not study.trials, which copies every trial for every proposal
                attributes=_plain(study._storage.get_trial(trial._trial_id).system_attrs),
            )
        )
    attributes = study._storage.get_study_system_attrs(study._study_id)
    return Batch(proposals=tuple(proposals), attributes=_plain(attributes))


DIRECTIONS: Final[Mapping[str, Literal["maximize", "minimize"]]] = {
    "max": "maximize",
    "min": "minimize",
}


def _rebuilt(
    space: Mapping[str, Axis],
    directions: Sequence[str],
    rule: SearchRule,
    batches: Sequence[Batch],
    *,
    sampler: BaseSampler,
) -> OptunaStudy:
    """The search in memory, as it stood when the next batch was to be asked."""
    import optuna

    with quiet():
        study = optuna.create_study(
            directions=[DIRECTIONS[way] for way in directions], sampler=sampler
        )
        for batch in batches:
            for place in range(len(batch.proposals)):
                study.add_trial(frozen_trial(space, rule, batch, place, running=True))
            for name, value in batch.attributes.items():
                study._storage.set_study_system_attr(study._study_id, name, value)
    return study


def frozen_trial(
    space: Mapping[str, Axis], rule: SearchRule, batch: Batch, place: int, *, running: bool
) -> FrozenTrial:
    """One point as Optuna has it."""
    from optuna.trial import create_trial

    proposal = batch.proposals[place]
    result = batch.results[place] if batch.results else OPEN
    state = _state(result, rule, running=running)
    complete = state.name == "COMPLETE"
    return create_trial(
        state=state,
        params={leaf: _told(value) for leaf, value in proposal.settings.items()},
        distributions={leaf: _distribution(space[leaf]) for leaf in proposal.settings},
        values=list(result.values) if complete else None,
        constraints=_constraints(result, rule) if complete else None,
        user_attrs={"ended": result.ended}
        | ({} if result.ended == "open" else {"share_of_epochs": result.reached}),
        system_attrs=dict(proposal.attributes),
    )


def _state(result: Result, rule: SearchRule, *, running: bool) -> TrialState:
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
    """Deb's rule ranks what is feasible first, then by the sum of violations."""
    found = {name: float(value) for name, value in result.violations.items()}
    if rule.fidelity == "infeasible":
        found[UNREACHED] = 1.0 - result.reached if result.ended == "stopped" else 0.0
    return found


def _sampler(rule: SearchRule, seed: int, batch: int) -> BaseSampler:
    """A fresh sampler. QMC's sequence is one for the whole study: its seed is the study's alone."""
    from optuna import samplers

    drawn = _seed(seed, -1 if rule.method == "qmc" else batch)
    population = max(2, rule.batch)
    with quiet():
        if rule.method == "random":
            return samplers.RandomSampler(seed=drawn)
        if rule.method == "qmc":
            return samplers.QMCSampler(
                scramble=True, seed=drawn, independent_sampler=samplers.RandomSampler(seed=drawn)
            )
        if rule.method == "tpe":
            return samplers.TPESampler(seed=drawn)
        if rule.method == "nsga2":
            return samplers.NSGAIISampler(population_size=population, seed=drawn)
        if rule.method == "nsga3":
            return samplers.NSGAIIISampler(population_size=population, seed=drawn)
        if rule.method == "gp":
            return samplers.GPSampler(seed=drawn, deterministic_objective=False)
    raise SearchError(f"search.method {rule.method!r} proposes no points")


def _seed(seed: int, batch: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{batch}".encode()).digest()[:4], "big")


def _distribution(axis: Axis) -> BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if axis.listed:
        return CategoricalDistribution([_told(value) for value in axis.values])
    if axis.kind == "int":
        return IntDistribution(int(axis.low), int(axis.high))
    return FloatDistribution(axis.low, axis.high, log=axis.kind == "loguniform")


def _told(value: Any) -> Any:
    """A value as Optuna takes it: a sequence becomes its JSON."""
    return json.dumps(value) if isinstance(value, tuple | list) else value


def _read(axis: Axis, value: Any) -> Any:
    """A value as the space has it."""
    if not axis.listed:
        return value
    return next(each for each in axis.values if _told(each) == value)


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back, so that live and resumed searches see the same."""
    found: dict[str, Any] = json.loads(json.dumps(dict(attributes)))
    return found


class quiet:
    """Without Optuna's log lines and warnings of experimental features."""

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
