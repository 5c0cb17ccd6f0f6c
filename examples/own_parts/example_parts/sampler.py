"""Defines a sampler: every value is a random one, or that of a point of the front so far."""

from __future__ import annotations

import random
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial


class NearBest(BaseSampler):
    """Mixes points of the front with random values, each with probability 1/2.

    A new one is made for every batch of a sweep, with another seed. It takes all randomness from
    that seed and all memory from the study, so that a resumed sweep proposes the same points.
    """

    def __init__(self, seed: int) -> None:
        self._lot = random.Random(seed)
        self._random = RandomSampler(seed=seed)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Gives no setting: each is sampled by itself."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Gives no value, see above."""
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Gives a value for one setting."""
        front = study.best_trials
        if front and self._lot.random() < 0.5:
            return self._lot.choice(front).params[param_name]
        return self._random.sample_independent(study, trial, param_name, param_distribution)
