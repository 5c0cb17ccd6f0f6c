"""Asks Optuna for a batch of points.

A search is exactly resumable. Batch b is asked of a study that is rebuilt in memory from the
journal's earlier batches, by a new sampler seeded with (seed, b). So the same journal gives the
same points, however often the run was interrupted and in whatever order results arrived. Samplers
write notes into Optuna's own attributes (NSGA-II its generations, QMC its place in the sequence),
which are journaled with the batch.

Only this folder imports Optuna (and a question of analysis), when a function is called.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mpc_router.messages import quoted
from sweeps.records import SweepError
from sweeps.search._translation import (
    DIRECTIONS,
    distributions,
    from_optuna,
    frozen_trial,
    quiet,
    to_optuna,
)
from sweeps.search.rule import OPEN, Batch, Proposal, SearchError
from sweeps.search.samplers import sampler_of
from sweeps.search.space import Axis

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study as OptunaStudy
    from optuna.trial import FrozenTrial

    from sweeps.search.rule import SearchRule
    from sweeps.search.samplers import Sampler


def ask(
    space: Mapping[str, Axis],
    directions: Sequence[str],
    rule: SearchRule,
    before: Sequence[Batch],
    *,
    seed: int,
    start: Sequence[Mapping[str, Any]] = (),
    sampler: Sampler | None = None,
) -> Batch:
    """Gives the next batch, whose points depend on the arguments alone.

    `before` holds all batches asked so far. Only the results of the first
    `len(before) + 1 - rule.parallel` are used, because which others have arrived is chance. A
    method that does not learn sees that a point was asked, but not its results.

    Args:
        space: by the setting's short name.
        directions: `max` or `min` of each objective.
        rule: how to propose.
        before: batches 0..b-1 in order.
        seed: the study's.
        start: points that are tried first, complete over the space.
        sampler: used instead of the rule's own sampler.

    Raises:
        SearchError: the method is `grid`, which proposes no points.
        SweepError: a sampler of one's own raises.
    """
    sampler = sampler or sampler_of(rule.method)
    if sampler is None:
        raise SearchError(f"search.method {rule.method!r} proposes no points")
    if sampler.part is None:
        return _asked(space, directions, rule, before, sampler=sampler, seed=seed, start=start)
    try:
        return _asked(space, directions, rule, before, sampler=sampler, seed=seed, start=start)
    except (Exception, SystemExit) as error:
        # Whatever is raised: it is the sampler's own code, which can fail in any way
        raise SweepError(
            f"sampler {quoted(sampler.part.name)} failed ({type(error).__name__}: {error})"
        ) from error


def _asked(
    space: Mapping[str, Axis],
    directions: Sequence[str],
    rule: SearchRule,
    before: Sequence[Batch],
    *,
    sampler: Sampler,
    seed: int,
    start: Sequence[Mapping[str, Any]],
) -> Batch:
    """Gives the next batch, as `ask` does."""
    number = len(before)
    with_results = max(0, number + 1 - rule.parallel) if sampler.learns else 0
    batches = [
        batch if place < with_results else _without_results(batch)
        for place, batch in enumerate(before)
    ]
    made = _made(sampler, rule, seed, number)
    study = _rebuilt(space, directions, rule, batches, sampler=made)
    first = sum(len(batch.proposals) for batch in before)
    proposals, optuna_space = [], distributions(space)
    for place in range(first, first + rule.size_of(number)):
        if place < len(start):
            study.enqueue_trial({leaf: to_optuna(start[place][leaf]) for leaf in space})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a user chose the experimental sampler by its name
            trial = study.ask(optuna_space)
        proposals.append(
            Proposal(
                settings={leaf: from_optuna(space[leaf], trial.params[leaf]) for leaf in space},
                # not study.trials, which copies every trial for every proposal
                attributes=_plain(study._storage.get_trial(trial._trial_id).system_attrs),
            )
        )
    attributes = study._storage.get_study_system_attrs(study._study_id)
    return Batch(proposals=tuple(proposals), attributes=_plain(attributes))


def _without_results(batch: Batch) -> Batch:
    """Gives a batch as it was before its results were known."""
    return Batch(proposals=batch.proposals, attributes=batch.attributes)


def _rebuilt(
    space: Mapping[str, Axis],
    directions: Sequence[str],
    rule: SearchRule,
    batches: Sequence[Batch],
    *,
    sampler: BaseSampler,
) -> OptunaStudy:
    """Gives the search in memory, as it stood when the next batch was to be asked."""
    import optuna

    with quiet():
        study = optuna.create_study(
            directions=[DIRECTIONS[direction] for direction in directions], sampler=sampler
        )
        optuna_space = distributions(space)
        for batch in batches:
            results = batch.results or (OPEN,) * len(batch.proposals)
            for proposal, result in zip(batch.proposals, results, strict=True):
                _add(study, frozen_trial(optuna_space, rule, proposal, result, running=True))
            for name, value in batch.attributes.items():
                study._storage.set_study_system_attr(study._study_id, name, value)
    return study


def _add(study: OptunaStudy, trial: FrozenTrial) -> None:
    """Adds a new trial to a study without a copy, which takes two thirds of the rebuilding."""
    vars(trial)["__deepcopy__"] = lambda memo: trial
    study.add_trial(trial)
    del vars(trial)["__deepcopy__"]  # from now on whoever asks for a copy gets one


def _made(sampler: Sampler, rule: SearchRule, seed: int, batch: int) -> BaseSampler:
    """Makes a new sampler for a batch, seeded with the study's seed and the batch's number."""
    from optuna import samplers

    batch_seed = _seed(seed, -1 if sampler.one_sequence else batch)
    with quiet():
        return sampler.make(samplers, batch_seed, max(2, rule.batch))


def _seed(seed: int, batch: int) -> int:
    """Gives the seed of a batch's sampler."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{batch}".encode()).digest()[:4], "big")


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Gives attributes as the journal's JSON does, so that live and resumed searches are equal."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(attributes)))
    return plain
