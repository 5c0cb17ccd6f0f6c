"""The routers of a stack as one set of tensors: forward, a step, and what is cut out of it.

Letters: L lanes, S distinct seeds, B batch, N rows, F features, H hidden units, K experts,
C outputs of an expert.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, vmap

from mpc_router.config.trial import TrialConfig
from mpc_router.costs import CONSTANTS
from mpc_router.frozen._labels import Supervision
from mpc_router.frozen._optimizer import LaneAdamW
from mpc_router.frozen.lanes import Lane
from mpc_router.frozen.randomness import EpochDraws, StepDraws, starting_weights
from mpc_router.model.losses import (
    balance_of_lanes,
    cost_loss,
    focal_loss,
    mix,
    task_loss,
    total_loss,
)
from mpc_router.model.router import build_router, gumbel_gate, softmax_gate
from mpc_router.prepare.frozen import Prepared
from mpc_router.prepare.inputs import SplitOutputs
from mpc_router.routes import Decisions
from mpc_router.terminal.progress import Progress

TERMS: Final = ("task", "balance", "cost", "total")
"""Rows of `StackedRouters.step`'s answer; of a supervised router `task` is the focal loss."""

EVALUATED_ROWS: Final = 256
"""Rows evaluated at once: one number for every stack, so that logits depend on no neighbour."""


def route_offset(config: TrialConfig) -> Tensor:
    """Gives what `router_bias` adds to a router's numbers, (M,): less b times a path's cost.

    In units of the pool's constants, so that a bias means the same in every trial of a study.
    """
    paths = config.paths
    price = Decisions(paths).price(config.vectors()[CONSTANTS].on(paths).routed)
    return -config.model.router_bias * torch.tensor(price, dtype=torch.float32)


class SplitTensors:
    """Holds a split on the device, on a CPU without a copy; features are not standardised."""

    def __init__(
        self, outputs: SplitOutputs, answers: SplitOutputs, prepared: Prepared, device: str
    ) -> None:
        self.outputs_of_split = outputs
        self.answers_of_split = answers
        self.features = _tensor(outputs.features, device)
        self.outputs = _tensor(outputs.outputs, device)
        """(N, K, C) of the experts."""

        self.answers = self.outputs
        """(N, P, C) of the paths: the experts' own where a path is one expert."""

        if answers is not outputs:
            self.answers = _tensor(answers.outputs, device)
        labels = outputs.labels.astype(np.float32 if prepared.task.regression else np.int64)
        self.labels = _tensor(labels, device)
        self.mean = _tensor(prepared.feature_mean, device)
        self.deviation = _tensor(prepared.feature_deviation, device)

    def standardised(self, rows: Tensor | slice) -> Tensor:
        """Gives the features of these rows, less train's mean, over its deviation."""
        return (self.features[rows] - self.mean) / self.deviation

    def __len__(self) -> int:
        return len(self.labels)


class StackedRouters:
    """Holds routers of equal shape as stacked tensors, their optimizer and loss weights.

    With `supervision` they learn its labels, else from the mixed outputs of the experts.
    """

    def __init__(
        self,
        lanes: Sequence[Lane],
        *,
        features: int,
        device: str,
        supervision: Supervision | None = None,
    ) -> None:
        config = lanes[0].config
        self.config = config
        self.device = device
        self.supervision = supervision
        model = config.model
        drawn = {
            seed: starting_weights(
                seed,
                features=features,
                hidden_size=model.router_hidden_size,
                experts=config.experts,
            )
            for seed in {lane.seed for lane in lanes}
        }
        self._leaves = {
            name: turned(torch.stack([drawn[lane.seed][name] for lane in lanes]))
            .contiguous()
            .to(device)
            for name in drawn[lanes[0].seed]
        }
        self.optimizer = LaneAdamW(
            self._leaves,
            learning_rate=[lane.config.training.learning_rate for lane in lanes],
            weight_decay=[lane.config.training.weight_decay for lane in lanes],
        )
        with torch.device("meta"):  # the module is its forward; its weights are never used
            router = build_router(config, features).eval()  # it drops by the masks alone
        self._forward = vmap(lambda weights, x, mask: functional_call(router, weights, (x, mask)))
        self._forward_whole = vmap(lambda weights, x: functional_call(router, weights, (x,)))
        self._settle(lanes)

    def _settle(self, lanes: Sequence[Lane]) -> None:
        """Sets every tensor over lanes, and which lane has which seed."""

        def over_lanes(values: Sequence[object]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=self.device)

        weights = [lane.config.loss_weights for lane in lanes]
        self.lanes = list(lanes)
        self.alpha = over_lanes([lane_weights.alpha for lane_weights in weights])
        self.beta = over_lanes([lane_weights.beta for lane_weights in weights])
        self.costs = over_lanes([lane.config.model.expert_costs for lane in lanes])
        self._offset = torch.stack([route_offset(lane.config) for lane in lanes]).to(self.device)
        self.seeds = tuple(dict.fromkeys(lane.seed for lane in lanes))
        place = {seed: index for index, seed in enumerate(self.seeds)}
        self.seed_of_lane = torch.tensor(
            [place[lane.seed] for lane in lanes], dtype=torch.long, device=self.device
        )

    def __len__(self) -> int:
        return len(self.lanes)

    @property
    def weights(self) -> dict[str, Tensor]:
        """Gives the stacked state dict (L, ...).

        Matrices lie transposed in memory, for that is how autograd gives their gradients, and the
        optimizer's kernel wants both in one order.
        """
        return {name: turned(value) for name, value in self._leaves.items()}

    def _of_lanes(self, by_seed: Tensor) -> Tensor:
        """Gives every lane its seed's draws: (S, ...) to (L, ...)."""
        if len(self.seeds) == 1:
            return by_seed.expand(len(self), *by_seed.shape[1:])
        return by_seed[self.seed_of_lane]

    def train_epoch(
        self,
        train: SplitTensors,
        draws: EpochDraws,
        temperatures: Tensor,
        progress: Progress | None = None,
    ) -> Tensor:
        """Updates every lane once for each batch of an epoch; temperatures are (steps, L).

        Returns each step's loss terms before it, (steps, 4, L).
        """
        terms = torch.empty(draws.steps, len(TERMS), len(self), device=self.device)
        for step in range(draws.steps):
            terms[step] = self.step(train, draws.at(step), temperatures[step, :, None, None])
            if progress is not None:
                progress.advance()
        return terms

    def step(self, train: SplitTensors, draws: StepDraws, temperature: Tensor) -> Tensor:
        """Updates every lane once; returns the loss terms before it, (4, L) in `TERMS`' order.

        Temperatures are (L, 1, 1). A lane's gradient is that of its own loss: the sum over lanes
        is only how autograd is asked, so what is NaN in one lane stays there.
        """
        with torch.enable_grad():
            for value in self._leaves.values():
                value.requires_grad_()
            loss, terms = self._losses(train, draws, temperature)
            gradients = torch.autograd.grad(loss.sum(), list(self._leaves.values()))
        self.optimizer.step(gradients)
        return torch.stack([*terms, loss]).detach()

    def _losses(
        self, train: SplitTensors, draws: StepDraws, temperature: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Gives the total (L,) and its terms before their weights, each (L,)."""
        weighting = self.config.loss_weights
        rows = torch.from_numpy(draws.rows).to(self.device)
        features = self._of_lanes(train.standardised(rows))
        if draws.masks is None:
            logits = self._forward_whole(self.weights, features)
        else:
            masks = self._of_lanes(torch.from_numpy(draws.masks).to(self.device))
            logits = self._forward(self.weights, features, masks)
        gates = self._gates(logits, draws, temperature)
        if self.supervision is None:
            task = self._mixed_loss(gates, train, rows)
        else:
            labels = self.supervision.at(self._of_lanes(rows))
            task = focal_loss(logits, labels, self.supervision.weights, self.supervision.gamma)
        seen = softmax_gate(logits) if weighting.auxiliary_gates == "clean" else gates
        balance = balance_of_lanes(seen, weighting.balance_variance)
        cost = cost_loss(seen, self.costs)
        total = total_loss(task, balance, cost, alpha=self.alpha, beta=self.beta)
        return total, (task, balance, cost)

    def _gates(self, logits: Tensor, draws: StepDraws, temperature: Tensor) -> Tensor:
        """Gives the gates (L, B, K) in training; a supervised router's have no noise."""
        if draws.noise is None or self.supervision is not None:
            return softmax_gate(logits, temperature)
        noise = self._of_lanes(torch.from_numpy(draws.noise).to(self.device))
        straight = self.config.model.straight_through
        return gumbel_gate(logits, noise, temperature, straight_through=straight)

    def _mixed_loss(self, gates: Tensor, train: SplitTensors, rows: Tensor) -> Tensor:
        """Gives the task's loss (L,) of the experts' outputs, mixed by the gates."""
        regression = train.labels.is_floating_point()
        outputs = self._of_lanes(train.answers[rows])
        mixed = mix(gates, outputs, self.config.model.mixing, regression=regression)
        return task_loss(mixed, self._of_lanes(train.labels[rows]), regression=regression)

    def snapshot(self) -> dict[str, Tensor]:
        """Copies weights and moments (L, ...) by name: `weights.<name>`, `exp_avg.<name>`, ...

        What a lane's bias takes off its logits is folded into the last layer.
        """
        tensors = {f"weights.{name}": value for name, value in self._folded().items()}
        tensors |= self.optimizer.moments()
        return {
            name: turned(value.detach()).clone(memory_format=torch.contiguous_format)
            for name, value in tensors.items()
        }

    def state(self) -> dict[str, Tensor]:
        """Gives weights and moments (L, ...) as training changes them; `restore` takes them."""
        weights = {f"weights.{name}": value.detach() for name, value in self._leaves.items()}
        return weights | self.optimizer.moments()

    def restore(self, tensors: Mapping[str, Tensor], *, steps: int) -> None:
        """Goes on from copies of what `state` gave after so many steps."""
        layout = torch.contiguous_format
        moved = {
            name: value.to(self.device, copy=True, memory_format=layout)
            for name, value in tensors.items()
        }
        self._leaves = {name: moved[f"weights.{name}"] for name in self._leaves}
        self.optimizer.restore(moved, self._leaves, steps=steps)

    def move(self, device: str, *, steps: int) -> None:
        """Takes weights and moments, after so many steps, and all else to a device, to the bits."""
        tensors = self.state()
        self.device = device
        self.restore(tensors, steps=steps)
        if self.supervision is not None:
            self.supervision = self.supervision.to(device)
        self._settle(self.lanes)

    def _folded(self) -> dict[str, Tensor]:
        """Gives the leaves with every lane's bias in its last layer."""
        return self._leaves | {"out.bias": self._leaves["out.bias"].detach() + self._offset}

    def keep(self, places: Sequence[int]) -> None:
        """Keeps the lanes at these places and drops the others."""
        index = torch.tensor(places, dtype=torch.long, device=self.device)
        self._leaves = {name: value.detach()[index] for name, value in self._leaves.items()}
        self.optimizer.keep(places, self._leaves)
        if self.supervision is not None:
            self.supervision = self.supervision.keep(places)
        self._settle([self.lanes[place] for place in places])

    @torch.no_grad()
    def logits(
        self, split: SplitTensors, weights: dict[str, Tensor] | None = None
    ) -> NDArray[np.float32]:
        """Gives logits (L, N, K) over a split, without noise, temperature and dropout.

        The bias is taken off. `weights` (L, ...), as in a snapshot, stand in for the present ones.
        """
        used = weights
        if used is None:
            used = {name: turned(value) for name, value in self._folded().items()}
        lanes = len(next(iter(used.values())))
        logits = np.empty((lanes, len(split), self.config.experts), np.float32)
        for start in range(0, len(split) if lanes else 0, EVALUATED_ROWS):
            # expanded, not shared: a shared batch would be multiplied with all lanes at once, by a
            # kernel that depends on their number
            features = split.standardised(slice(start, start + EVALUATED_ROWS)).expand(
                lanes, -1, -1
            )
            logits[:, start : start + EVALUATED_ROWS] = (
                self._forward_whole(used, features).cpu().numpy()
            )
        return logits


def turned(stack: Tensor) -> Tensor:
    """Transposes the matrices of a stack (L, I, J), and nothing else; it is its own inverse."""
    return stack.mT if stack.ndim == 3 else stack


def _tensor(array: NDArray[np.generic], device: str) -> Tensor:
    with warnings.catch_warnings():  # a read-only memory-map, which is only read
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array).to(device)
