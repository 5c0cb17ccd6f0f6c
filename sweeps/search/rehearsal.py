"""Tries a sampler of one's own on a study's space, before anything is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mpc_router.messages import quoted
from sweeps.records import SweepError
from sweeps.search.ask import ask
from sweeps.search.rule import Batch, Result, SearchError, SearchRule
from sweeps.search.samplers import Sampler, sampler_of
from sweeps.search.space import Axis

_BATCHES: Final = 3
_POINTS: Final = 3
"""Counts the batches of a rehearsal, and the points of each."""


def rehearse(
    space: Mapping[str, Axis],
    directions: Sequence[str],
    rule: SearchRule,
    *,
    seed: int,
    start: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Asks a sampler of one's own for points with made-up results; does nothing for the others.

    Raises:
        SearchError: it fails, leaves the space, or proposes other points when it is asked again,
            so that a resumed search would be another.
    """
    sampler = sampler_of(rule.method)
    if sampler is None or sampler.part is None:
        return
    try:
        rehearsed(sampler, space, directions, rule, seed=seed, start=start)
    except SweepError as error:
        raise SearchError(
            f"search.method: {error}; this was found by trying it on the study's space and "
            f"{len(directions)} objectives"
        ) from error


def rehearsed(
    sampler: Sampler,
    space: Mapping[str, Axis],
    directions: Sequence[str],
    rule: SearchRule,
    *,
    seed: int,
    start: Sequence[Mapping[str, Any]] = (),
) -> list[Batch]:
    """Gives the batches of a rehearsal.

    Raises:
        SearchError: the sampler leaves the space, or its answers differ.
        SweepError: it fails.
    """
    short = dataclasses.replace(rule, points=_BATCHES * _POINTS, batch=_POINTS, parallel=1)
    name = rule.method if sampler.part is None else sampler.part.name
    batches: list[Batch] = []
    for number in range(_BATCHES):
        first, again = (
            ask(space, directions, short, batches, seed=seed, start=start, sampler=sampler)
            for _ in range(2)
        )
        _check(name, space, first, again)
        batches.append(dataclasses.replace(first, results=_results(first, directions, number)))
    return batches


def _check(method: str, space: Mapping[str, Axis], first: Batch, again: Batch) -> None:
    """Refuses points outside of the space, and two answers that differ.

    Raises:
        SearchError: they are refused.
    """
    if first != again:
        raise SearchError(
            f"sampler {quoted(method)} proposes other points when it is asked again with the "
            "same seed, so a resumed search would be another; take all randomness from its seed"
        )
    for proposal in first.proposals:
        for leaf, value in proposal.settings.items():
            if not space[leaf].holds(value):
                raise SearchError(
                    f"sampler {quoted(method)} proposes {leaf}={quoted(value)}, which is "
                    f"not in the space {quoted(space[leaf].plain())}"
                )


def _results(batch: Batch, directions: Sequence[str], number: int) -> tuple[Result, ...]:
    """Makes up a result for every point of a batch: the last one failed, the others are whole."""
    last = len(batch.proposals) - 1
    return tuple(
        Result(ended="failed")
        if place == last
        else Result(
            ended="complete",
            values=tuple(
                float(1 + place + number * (objective + 1)) for objective in range(len(directions))
            ),
        )
        for place in range(len(batch.proposals))
    )
