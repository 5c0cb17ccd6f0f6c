"""Everything random in a stack, keyed by (seed, epoch, step) and by nothing else.

A counter-based generator (Philox) is placed at the key, so a draw depends neither on the draws
before it nor on which lanes train beside: lanes of one seed see the same. Global generators are
neither read nor moved. Letters: N rows, B batch, F features, H hidden units, K experts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mpc_router.model.router import initial_weights

_WEIGHTS: Final = 1
_ORDER: Final = 2
_NOISE: Final = 3
_DROPOUT: Final = 4
_TORCH: Final = 5
_WORD: Final = 2**64 - 1


def _generator(purpose: int, seed: int, *, epoch: int = 0, step: int = 0) -> np.random.Generator:
    """Gives the generator of one purpose at one key; equal keys give equal draws.

    The two low words of the counter are left to the draws themselves.
    """
    return np.random.Generator(
        np.random.Philox(key=[seed & _WORD, purpose], counter=[0, 0, step, epoch])
    )


def starting_weights(
    seed: int, *, features: int, hidden_size: int, experts: int
) -> dict[str, Tensor]:
    """Draws the router's state dict before the first step."""
    source = torch.Generator()
    source.manual_seed(int(_generator(_WEIGHTS, seed).integers(2**63)))
    return initial_weights(features, hidden_size, experts, source)


def order(seed: int, *, epoch: int, rows: int) -> NDArray[np.int64]:
    """Gives the rows of an epoch (N,) in the order they are trained on."""
    return _generator(_ORDER, seed, epoch=epoch).permutation(rows)


def gumbel(seed: int, *, epoch: int, step: int, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Draws a step's Gumbel noise (B, K): -log of an exponential draw, always finite."""
    draws = _generator(_NOISE, seed, epoch=epoch, step=step).standard_exponential(
        shape, dtype=np.float32
    )
    return -np.log(np.maximum(draws, np.finfo(np.float32).tiny))


def dropout(
    seed: int, *, epoch: int, step: int, shape: tuple[int, int], probability: float
) -> NDArray[np.float32]:
    """Draws a step's dropout mask (B, H): 0 with this probability, else 1 / (1 - probability)."""
    kept = _kept_units(seed, epoch=epoch, step=step, shape=shape, probability=probability)
    return kept * np.float32(1 / (1 - probability))


def _kept_units(
    seed: int, *, epoch: int, step: int, shape: tuple[int, int], probability: float
) -> NDArray[np.bool_]:
    """Draws which hidden units (B, H) a step's dropout keeps."""
    draws = _generator(_DROPOUT, seed, epoch=epoch, step=step).random(shape, dtype=np.float32)
    return draws >= probability


def torch_seed(seed: int, *, epoch: int, step: int) -> int:
    """Gives a step's seed for torch's generators, which dropout inside encoders draws from."""
    return int(_generator(_TORCH, seed, epoch=epoch, step=step).integers(2**63))


@dataclass(frozen=True, slots=True)
class StepDraws:
    """Holds a step's draws for S distinct seeds: rows (S, B), noise (S, B, K), masks (S, B, H)."""

    rows: NDArray[np.int64]
    noise: NDArray[np.float32] | None
    masks: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochDraws:
    """Holds one epoch's draws for distinct seeds; lanes of one seed share them."""

    seeds: tuple[int, ...]
    epoch: int
    orders: NDArray[np.int64]
    """(S, N)"""

    batch_size: int
    experts: int
    """Width of the noise; 0 where the gate needs none."""

    hidden_size: int
    probability: float
    """Of dropout."""

    @property
    def steps(self) -> int:
        """Counts the batches of the epoch; the last one may be smaller."""
        return -(-int(self.orders.shape[1]) // self.batch_size)

    def at(self, step: int) -> StepDraws:
        """Gives the draws of a step, counted from 0 in the epoch."""
        start = step * self.batch_size
        rows = self.orders[:, start : start + self.batch_size]
        size = rows.shape[1]
        noise = masks = None
        if self.experts:
            shape = (size, self.experts)
            noise = np.stack(
                [gumbel(seed, epoch=self.epoch, step=step, shape=shape) for seed in self.seeds]
            )
        if self.probability:
            masks = np.stack(
                [
                    dropout(
                        seed,
                        epoch=self.epoch,
                        step=step,
                        shape=(size, self.hidden_size),
                        probability=self.probability,
                    )
                    for seed in self.seeds
                ]
            )
        return StepDraws(rows, noise, masks)

    def rows_of(self, place: int, steps: range) -> NDArray[np.int64]:
        """Gives the rows (n, B) of n steps with batches of one size, of the seed at a place."""
        first, end = steps.start * self.batch_size, steps.stop * self.batch_size
        return self.orders[place, first:end].reshape(len(steps), -1)

    def noise_of(self, place: int, steps: range) -> NDArray[np.float32] | None:
        """Gives the noise (n, B, K) of these steps; None where the gate needs none."""
        if not self.experts:
            return None
        shape = (self.rows_of(place, steps).shape[1], self.experts)
        seed = self.seeds[place]
        return np.stack([gumbel(seed, epoch=self.epoch, step=step, shape=shape) for step in steps])

    def kept_of(self, place: int, steps: range) -> NDArray[np.bool_]:
        """Gives the hidden units (n, B, H) that dropout keeps; (n, 0, H) without dropout."""
        size = self.rows_of(place, steps).shape[1] if self.probability else 0
        kept = np.empty((len(steps), size, self.hidden_size), np.bool_)
        for number, step in enumerate(steps if size else ()):
            kept[number] = _kept_units(
                self.seeds[place],
                epoch=self.epoch,
                step=step,
                shape=(size, self.hidden_size),
                probability=self.probability,
            )
        return kept


def epoch_draws(
    seeds: tuple[int, ...],
    *,
    epoch: int,
    rows: int,
    batch_size: int,
    experts: int,
    hidden_size: int,
    probability: float,
) -> EpochDraws:
    """Makes the draws of an epoch over `rows` training rows."""
    return EpochDraws(
        seeds=seeds,
        epoch=epoch,
        orders=np.stack([order(seed, epoch=epoch, rows=rows) for seed in seeds]),
        batch_size=batch_size,
        experts=experts,
        hidden_size=hidden_size,
        probability=probability,
    )
