"""Checks that a sampler can propose points of a sweep; `sweeps.testing` offers it."""

from __future__ import annotations

from typing import Any, Final

from mpc_router.plugins import SAMPLERS, Part, PartError
from sweeps.records import SweepError
from sweeps.search.rehearsal import rehearsed
from sweeps.search.rule import SearchError, SearchRule
from sweeps.search.samplers import described
from sweeps.search.space import axis_of

_SPACE: Final = {
    "alpha": axis_of("alpha", {"loguniform": [1e-3, 1]}),
    "temperature": axis_of("temperature", {"uniform": [0.5, 2]}),
    "router_hidden_size": axis_of("router_hidden_size", {"choice": [64, 128]}),
    "pool_size": axis_of("pool_size", {"int": [2, 5]}),
}
_DIRECTIONS: Final = ("max", "min")


def check_sampler(factory: Any, *, objectives: int = 2) -> None:
    """Checks a sampler in the search itself; `factory(seed=...)` gives an Optuna sampler.

    It proposes points of ranges and of listed values for so many objectives, the same ones when
    it is made again with the same seed (a resume depends on that), and others with another seed.
    What it notes in Optuna's attributes is plain data, as the journal keeps it.

    Raises:
        AssertionError: it is not so; one sentence says what is wrong.
    """
    name = getattr(factory, "__qualname__", None) or type(factory).__qualname__
    part = Part(group=SAMPLERS, name=str(name), package=None, version=None, thing=factory)
    rule = SearchRule(method="random", points=1, fidelity="complete")
    directions = [_DIRECTIONS[number % 2] for number in range(objectives)]
    try:
        sampler = described(part)
        searches = [rehearsed(sampler, _SPACE, directions, rule, seed=seed) for seed in (0, 1)]
    except (PartError, SearchError, SweepError) as error:
        raise AssertionError(str(error)) from error
    first, second = (
        [dict(proposal.settings) for batch in batches for proposal in batch.proposals]
        for batches in searches
    )
    assert first != second, f"sampler {name!r} proposes the same points with two seeds"
