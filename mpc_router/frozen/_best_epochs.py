"""Keeps each lane of a stack as it was after its best epoch on selection.

Letters: L lanes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BEST: Final = "best."
BEST_EPOCH: Final = "epoch_of_best"
BEST_NUMBERS: Final = "numbers_of_best"
"""They name the tensors of a stack's state that hold its lanes' best epochs: what a lane was, the
epoch (L,), and the temperature and the score (L, 2)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LaneResult:
    """Holds a lane as it was after an epoch."""

    epoch: int
    temperature: float
    tensors: dict[str, Tensor]
    """Weights and moments, as `StackedRouters.snapshot` names them, no lane dimension."""


class BestEpochs:
    """Keeps each lane as it was after its best epoch on selection; of equal ones the first."""

    def __init__(self, lanes: Sequence[int]) -> None:
        self.scores = dict.fromkeys(lanes, -np.inf)
        self.results: dict[int, LaneResult] = {}

    def see(
        self,
        scores: NDArray[np.float64],
        live: Sequence[int],
        present: Callable[[Sequence[int]], list[LaneResult]],
    ) -> None:
        """Keeps the live lanes that have got better; `scores` (high is better) are theirs.

        `present` gives what the lanes at some places are now.
        """
        better = [place for place, lane in enumerate(live) if scores[place] > self.scores[lane]]
        for place, result in zip(better, present(better) if better else [], strict=True):
            lane = live[place]
            self.scores[lane] = float(scores[place])
            self.results[lane] = dataclasses.replace(
                result, tensors={name: value.clone() for name, value in result.tensors.items()}
            )

    def state(self, lanes: Sequence[int]) -> dict[str, Tensor]:
        """Gives what is kept of these lanes (one at least) as tensors (L, ...) on the CPU."""
        results = [self.results[lane] for lane in lanes]
        numbers = [
            [result.temperature, self.scores[lane]]
            for lane, result in zip(lanes, results, strict=True)
        ]
        return {
            **{
                f"{BEST}{name}": torch.stack([result.tensors[name].cpu() for result in results])
                for name in results[0].tensors
            },
            BEST_EPOCH: torch.tensor([result.epoch for result in results]),
            BEST_NUMBERS: torch.tensor(numbers, dtype=torch.float64),
        }

    def move(self, device: str) -> None:
        """Takes what is kept to a device."""
        self.results = {
            lane: dataclasses.replace(
                result, tensors={name: value.to(device) for name, value in result.tensors.items()}
            )
            for lane, result in self.results.items()
        }

    def restore(self, tensors: Mapping[str, Tensor], *, device: str) -> None:
        """Goes on from what `state` gave of all lanes."""
        for lane in self.scores:
            temperature, self.scores[lane] = tensors[BEST_NUMBERS][lane].tolist()
            self.results[lane] = LaneResult(
                epoch=int(tensors[BEST_EPOCH][lane]),
                temperature=temperature,
                tensors={
                    name.removeprefix(BEST): value[lane].to(device)
                    for name, value in tensors.items()
                    if name.startswith(BEST)
                },
            )
