"""AdamW over a stack: every lane has its own learning rate and weight decay.

Letters: L lanes; a stacked tensor is (L, ...).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

BETA1: Final = 0.9
BETA2: Final = 0.999
EPSILON: Final = 1e-8


class LaneAdamW:
    """Updates stacked weights in place by Adam with decoupled weight decay, elementwise.

    A lane's numbers are those of `torch.optim.AdamW(lr=..., weight_decay=...)` over it alone.
    Torch's fused kernel makes one pass over memory where separate operations make ten (measured:
    a fifth of their time), but takes one rate a call: there is one call for each distinct pair
    of rate and decay. It is handed each lane's tensors as such, never a stack of them, so that how
    it splits a tensor into vectors and threads depends on no other lane.
    Loshchilov and Hutter 2019, arXiv:1711.05101.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        *,
        learning_rate: Sequence[float],
        weight_decay: Sequence[float],
    ) -> None:
        if not all(value.is_contiguous() for value in weights.values()):
            raise ValueError("stacked weights must be contiguous; hand in value.contiguous()")
        self.steps = 0
        self._names = list(weights)
        self._means = {name: torch.zeros_like(value) for name, value in weights.items()}
        self._squares = {name: torch.zeros_like(value) for name, value in weights.items()}
        self._rates = list(zip(learning_rate, weight_decay, strict=True))
        self._bind(weights)

    def _bind(self, weights: Mapping[str, Tensor]) -> None:
        """Sorts every lane's tensors into the groups that one call updates."""
        device = next(iter(weights.values())).device
        self._step = torch.tensor(float(self.steps), device=device)
        groups: dict[tuple[float, float], list[int]] = {}
        for lane, rate in enumerate(self._rates):
            groups.setdefault(rate, []).append(lane)
        self._groups = list(groups.items())
        self._tensors = [
            tuple(
                [stack[name].detach()[lane] for name in self._names for lane in lanes]
                for stack in (weights, self._means, self._squares)
            )
            for _, lanes in self._groups
        ]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """Makes one update; `gradients` have the order of the weights."""
        self.steps += 1
        self._step += 1
        # the kernel walks memory, whatever the strides say
        lanes_of = [gradient.contiguous().unbind() for gradient in gradients]
        for ((rate, decay), lanes), (weights, means, squares) in zip(
            self._groups, self._tensors, strict=True
        ):
            torch._fused_adamw_(
                weights,
                [gradient[lane] for gradient in lanes_of for lane in lanes],
                means,
                squares,
                [],
                [self._step] * len(weights),
                lr=rate,
                beta1=BETA1,
                beta2=BETA2,
                weight_decay=decay,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
            )

    def skip(self, steps: int) -> None:
        """Counts updates that were made elsewhere, in the same weights and moments."""
        self.steps += steps
        self._step += steps

    def keep(self, places: Sequence[int], weights: Mapping[str, Tensor]) -> None:
        """Keeps the lanes at these places alone; `weights` are already only theirs."""
        index = torch.tensor(places, dtype=torch.long, device=self._step.device)
        self._means = {name: value[index] for name, value in self._means.items()}
        self._squares = {name: value[index] for name, value in self._squares.items()}
        self._rates = [self._rates[place] for place in places]
        self._bind(weights)

    def restore(
        self, moments: Mapping[str, Tensor], weights: Mapping[str, Tensor], *, steps: int
    ) -> None:
        """Goes on from moments, as `moments` gave them, after so many steps."""
        self.steps = steps
        self._means = {name: moments[f"exp_avg.{name}"] for name in self._names}
        self._squares = {name: moments[f"exp_avg_sq.{name}"] for name in self._names}
        self._bind(weights)

    def moments(self) -> dict[str, Tensor]:
        """Gives both moments of all weights, stacked: `exp_avg.<weight>`, `exp_avg_sq.<weight>`."""
        return {f"exp_avg.{name}": value for name, value in self._means.items()} | {
            f"exp_avg_sq.{name}": value for name, value in self._squares.items()
        }
