"""Lists the samplers that propose points, by the method that a study names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sampler:
    """Describes a way to propose points: how it is made, and what it uses of results."""

    make: Callable[[Any, int, int], BaseSampler]
    """Makes the sampler from the module `optuna.samplers`, a seed, and the size of a population."""

    learns: bool = True
    """Tells whether its points depend on results."""

    heeds_constraints: bool = True
    """Tells whether it prefers points that keep the constraints."""

    one_sequence: bool = False
    """Tells whether all batches continue one sequence, so that every batch needs the same seed."""


SAMPLERS: Final[Mapping[str, _Sampler]] = {
    "random": _Sampler(
        make=lambda optuna, seed, population: optuna.RandomSampler(seed=seed),
        learns=False,
        heeds_constraints=False,
    ),
    "qmc": _Sampler(
        make=lambda optuna, seed, population: optuna.QMCSampler(
            scramble=True, seed=seed, independent_sampler=optuna.RandomSampler(seed=seed)
        ),
        learns=False,
        heeds_constraints=False,
        one_sequence=True,
    ),
    "tpe": _Sampler(make=lambda optuna, seed, population: optuna.TPESampler(seed=seed)),
    "nsga2": _Sampler(
        make=lambda optuna, seed, population: optuna.NSGAIISampler(
            population_size=population, seed=seed
        )
    ),
    "nsga3": _Sampler(
        make=lambda optuna, seed, population: optuna.NSGAIIISampler(
            population_size=population, seed=seed
        )
    ),
    "gp": _Sampler(
        make=lambda optuna, seed, population: optuna.GPSampler(
            seed=seed, deterministic_objective=False
        )
    ),
}
"""Gives the sampler by method; `grid` has none, because it tries each point of its space once."""
