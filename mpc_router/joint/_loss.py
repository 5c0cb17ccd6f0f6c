"""One backward pass with the gradients of the published two.

The published recipe goes back twice over a retained graph: once from the task loss through
everything, once from alpha * balance + beta * cost through the router alone. Here the auxiliary
losses see gates through which they reach nothing but the router, so that one pass from the sum
gives every parameter the same gradient and frees the graph as it goes.

The router is stem and MLP (`aux_gradient: router`), a shared stem included, or the MLP (`mlp`):
then the auxiliary gates are computed anew from detached features, with the same noise and mask.
Letters: B examples of a batch, N of all batches of a step, H hidden units, K experts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from mpc_router.config.sections import LossWeights
from mpc_router.data.tokens import Batch
from mpc_router.model.gated_pool import GatedBertPool
from mpc_router.model.losses import balance_loss, cost_loss, mix, task_loss, total_loss
from mpc_router.model.router import softmax_gate
from mpc_router.model.seen import Seen

TERMS: Final = ("task", "balance", "cost", "total")
"""What a step measures, in the order of its numbers."""


@dataclass(frozen=True)
class Part:
    """Holds a batch and its random draws."""

    batch: Batch
    noise: Tensor | None
    """(B, K) Gumbel noise; None where the gate draws none."""

    mask: Tensor | None
    """(B, H) the router's dropout; None where it drops nothing."""

    settle: Callable[[], object]
    """Places the global generator, from which the encoders' dropout draws, at this batch."""

    def cut(self, count: int) -> list[Part]:
        """Cuts the batch into this many parts, or into single examples where it has fewer.

        The backward pass takes them one after the other, so only one is in memory.

        Noise and mask go with their examples, so together the pieces have this part's gradient
        (`JointLoss.backward`) but for rounding and, where the encoders have dropout, its draws.
        """
        size = len(self.batch.labels)
        if count == 1 or size == 1:
            return [self]
        return [
            Part(
                self.batch.take(rows),
                None if self.noise is None else self.noise[rows],
                None if self.mask is None else self.mask[rows],
                self.settle,
            )
            for rows in torch.arange(size).tensor_split(min(count, size))
        ]


@dataclass(frozen=True, kw_only=True)
class JointLoss:
    """Computes L = task + alpha * balance + beta * cost of a pool, and its gradient."""

    weights: LossWeights
    costs: Tensor
    """(K,) what the experts cost in training."""

    autocast: Callable[[], torch.autocast]
    """A fresh context in which stem and experts run."""

    def backward(self, pool: GatedBertPool, parts: Sequence[Part]) -> Tensor:
        """Adds the gradient of the loss over the N examples of all parts; returns its terms, (4,).

        Several parts have the gradient of one batch of all their examples: means are weighted by
        examples, and the balance, which is no mean, is linear in the gates for small changes: its
        slopes by the experts' importance are taken over all parts first, in a pass of stem and
        router without gradients.
        """
        examples = sum(len(part.batch.labels) for part in parts)
        slopes = torch.zeros_like(self.costs)
        if len(parts) > 1 and self.weights.alpha:
            slopes = self._slopes(self._importance(pool, parts))
        importance = torch.zeros_like(self.costs)
        terms = torch.zeros(len(TERMS), dtype=torch.float64)
        for part in parts:
            share = len(part.batch.labels) / examples
            task, seen = self._forward(pool, part)
            cost = cost_loss(seen, self.costs)
            if len(parts) == 1:
                balance = balance_loss(seen, self.weights.balance_variance)
            else:
                balance = (slopes * seen.sum(0)).sum()
            self._total(share * task, balance, share * cost).backward()  # type: ignore[no-untyped-call]
            importance = importance + seen.detach().sum(0)
            terms[0] += share * float(task.detach())
            terms[2] += share * float(cost.detach())
        terms[1] = self._balance(importance)
        terms[3] = self._total(*terms[:3])
        return terms

    def _total(self, task: Tensor, balance: Tensor, cost: Tensor) -> Tensor:
        """Gives the loss of these terms under the trial's weights."""
        weights = self.weights
        return total_loss(task, balance, cost, alpha=weights.alpha, beta=weights.beta)

    def _forward(self, pool: GatedBertPool, part: Part) -> tuple[Tensor, Tensor]:
        """Gives the task loss, and the gates (B, K) that the auxiliary losses see."""
        batch = part.batch
        part.settle()
        with self.autocast():
            view = pool.look(*batch.inputs)
            outputs = pool.ask(view)
        logits = pool.router(view.features, part.mask)
        gates = pool.gates(logits, part.noise)
        mixed = mix(gates, outputs.to(gates.dtype), pool.mixing, regression=pool.regression)
        task = task_loss(mixed, batch.labels, regression=pool.regression)
        return task, self._auxiliary(pool, view, part, logits, gates)

    def _auxiliary(
        self, pool: GatedBertPool, view: Seen, part: Part, logits: Tensor, gates: Tensor
    ) -> Tensor:
        if self.weights.aux_gradient == "mlp":
            assert view.features is not None  # a gated router always sees them
            logits = pool.router(view.features.detach(), part.mask)
            gates = pool.gates(logits, part.noise)
        return softmax_gate(logits) if self.weights.auxiliary_gates == "clean" else gates

    @torch.no_grad()
    def _importance(self, pool: GatedBertPool, parts: Sequence[Part]) -> Tensor:
        """Sums the auxiliary gates over all parts, (K,)."""
        total = torch.zeros_like(self.costs)
        for part in parts:
            batch = part.batch
            part.settle()
            with self.autocast():
                view = pool.look(*batch.inputs)
            logits = pool.router(view.features, part.mask)
            gates = pool.gates(logits, part.noise)
            seen = softmax_gate(logits) if self.weights.auxiliary_gates == "clean" else gates
            total = total + seen.sum(0)
        return total

    def _balance(self, importance: Tensor) -> Tensor:
        return balance_loss(importance.unsqueeze(0), self.weights.balance_variance)

    def _slopes(self, importance: Tensor) -> Tensor:
        """Gives the balance's slope by each expert's importance, (K,)."""
        leaf = importance.detach().requires_grad_()
        with torch.enable_grad():
            (slopes,) = torch.autograd.grad(self._balance(leaf), leaf)
        return slopes
