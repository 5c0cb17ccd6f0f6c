"""The losses of a router: task + alpha * balance + beta * cost.

Every loss has a functional form, which works under `torch.func.vmap` and over leading dimensions
(lanes), and a module around it under its published name. Letters: B examples of a batch,
K experts, C outputs of an expert (classes, or 1 for a regression); `...` are lanes or nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Term = TypeVar("Term", Tensor, NDArray[np.float64])

_LARGEST_EXPONENT: Final = 80.0
"""e^80 is still a float32."""


def mix(
    gates: Tensor, outputs: Tensor, mixing: str = "logits", *, regression: bool = False
) -> Tensor:
    """Mixes outputs (..., B, K, C) by gates (..., B, K) to logits (..., B, C).

    logits:         sum_k g_k z_k
    probabilities:  log sum_k g_k softmax(z_k): the logarithm of the mixed probabilities, for which
                    cross-entropy is exact

    Values of a regression are mixed as they are. The gradient by the gates is exact where a gate
    is 0 too (straight-through).
    """
    _one_of("mixing", mixing, ("logits", "probabilities"))
    if regression or mixing == "logits":
        return (gates.unsqueeze(-1) * outputs).sum(-2)
    log_p = torch.log_softmax(outputs, -1)
    weights = gates.unsqueeze(-1)
    # logsumexp with weights: the shift is the largest term that counts (a gate of 0 has log -inf),
    # so the sum neither under- nor overflows, however far the experts are apart
    shift = (log_p.detach() + weights.detach().log()).amax(-2, keepdim=True)
    terms = weights * (log_p - shift).clamp(max=_LARGEST_EXPONENT).exp()
    return terms.sum(-2).log() + shift.squeeze(-2)


def task_loss(predictions: Tensor, labels: Tensor, *, regression: bool = False) -> Tensor:
    """Gives the mean loss (...) of predictions (..., B, C) against labels (B,) or (..., B).

    Cross-entropy of logits; for a regression the mean squared error of C = 1 values.
    """
    if regression:
        values = predictions.squeeze(-1)
        return (values - labels.to(values.dtype)).square().mean(-1)
    log_p = torch.log_softmax(predictions, -1)
    index = labels.long().expand(predictions.shape[:-1]).unsqueeze(-1)
    return -log_p.gather(-1, index).squeeze(-1).mean(-1)


def focal_loss(logits: Tensor, labels: Tensor, weights: Tensor, gamma: Tensor) -> Tensor:
    """Gives the mean focal loss (...) of a router's logits (..., B, K), labels (..., B).

    mean_b -w_y (1 - p_y)^gamma log p_y,  p = softmax(logits); `weights` (..., K), `gamma` (...).

    A plain mean: it is not divided by the weights' sum. gamma = 0 is weighted cross-entropy.
    Lin et al. 2017, arXiv:1708.02002; for routers Dr.LLM, arXiv:2510.12773.
    """
    log_p = torch.log_softmax(logits, -1)
    index = labels.unsqueeze(-1)
    log_p_y = log_p.gather(-1, index).squeeze(-1)
    # log(1 - p_y) from the other experts: finite, and so is its gradient, where p_y rounds to 1
    others = log_p.scatter(-1, index, -torch.inf).logsumexp(-1)
    weight = weights.to(log_p.dtype).unsqueeze(-2).expand_as(log_p).gather(-1, index).squeeze(-1)
    hardness = (gamma.to(log_p.dtype).unsqueeze(-1) * others).exp()
    return -(weight * hardness * log_p_y).mean(-1)


def balance_loss(gates: Tensor, variance: str = "biased") -> Tensor:
    """Gives the squared coefficient of variation (...) of importance, gates (..., B, K).

    I_k = sum_b g_bk;  loss = Var(I) / Mean(I)^2, the variance divided by K (`biased`) or by
    K - 1 (`unbiased`). Even use gives 0, all on one expert K - 1 or K; a single expert 0.
    Shazeer et al. 2017, arXiv:1701.06538, section 4.
    """
    _one_of("balance variance", variance, ("biased", "unbiased"))
    importance = gates.sum(-2)
    if importance.shape[-1] == 1:
        return (importance * 0).sum(-1)
    spread = importance.var(-1, correction=int(variance == "unbiased"))
    return spread / importance.mean(-1).square()


def cost_loss(gates: Tensor, costs: Tensor) -> Tensor:
    """Gives the expected training cost (...): mean_b sum_k g_bk c_k, not normalised.

    `gates` is (..., B, K), `costs` (K,) or (..., K). Its unit is that of the costs.
    """
    return (gates * costs.to(gates.dtype).unsqueeze(-2)).sum(-1).mean(-1)


def total_loss(
    task: Term, balance: Term, cost: Term, *, alpha: float | Term, beta: float | Term
) -> Term:
    """Gives L = task + alpha * balance + beta * cost, which every router is trained on.

    Terms and weights are numbers of one batch, or (L,) of the lanes of a stack.
    """
    return task + alpha * balance + beta * cost


class TaskLoss(nn.Module):
    """Computes cross-entropy (`classification`) or the mean squared error (`regression`)."""

    def __init__(self, task_type: str = "classification", num_labels: int = 2) -> None:
        super().__init__()
        _one_of("task_type", task_type, ("classification", "regression"))
        if task_type == "regression" and num_labels != 1:
            raise ValueError(f"a regression has 1 output, num_labels is {num_labels}; give 1")
        if task_type == "classification" and num_labels < 2:
            raise ValueError(f"num_labels is {num_labels}; a classification has at least 2 classes")
        self.regression = task_type == "regression"
        self.num_labels = num_labels

    def forward(self, predictions: Tensor, labels: Tensor) -> Tensor:
        """Gives the loss of predictions (B, C) against labels (B,); scalar.

        Raises:
            ValueError: the predictions have another width than `num_labels`.
        """
        if predictions.shape[-1] != self.num_labels:
            raise ValueError(
                f"predictions have shape {tuple(predictions.shape)}, but num_labels is "
                f"{self.num_labels}; give logits (B, {self.num_labels})"
            )
        return task_loss(predictions, labels, regression=self.regression)


class LoadBalancingLoss(nn.Module):
    """Measures how unevenly a batch uses the experts: `balance_loss` of its gates."""

    def __init__(self, num_experts: int | None = None, variance: str = "biased") -> None:
        super().__init__()
        _one_of("balance variance", variance, ("biased", "unbiased"))
        self.num_experts = num_experts
        self.variance = variance

    def forward(self, gating_weights: Tensor) -> Tensor:
        """Gives the balance loss of gates (B, K); scalar."""
        _check_experts(gating_weights, self.num_experts)
        return balance_loss(gating_weights, self.variance)


class CostAwareLoss(nn.Module):
    """Measures what a batch is expected to cost: `cost_loss` of its gates."""

    expert_costs: Tensor

    def __init__(self, expert_costs: Tensor | Sequence[float]) -> None:
        super().__init__()
        costs = torch.as_tensor(expert_costs, dtype=torch.float32).detach().clone()
        if (
            costs.ndim != 1
            or not costs.numel()
            or not bool((costs.isfinite() & (costs >= 0)).all())
        ):
            raise ValueError(
                f"expert_costs is {costs.tolist()}; give one finite number from 0 an expert"
            )
        self.register_buffer("expert_costs", costs)

    def forward(self, gating_weights: Tensor) -> Tensor:
        """Gives the cost loss of gates (B, K); scalar."""
        _check_experts(gating_weights, self.expert_costs.numel())
        return cost_loss(gating_weights, self.expert_costs)


class CompositeLoss(nn.Module):
    """Computes L = task + alpha * balance + beta * cost."""

    def __init__(
        self,
        task_type: str = "classification",
        num_labels: int = 2,
        num_experts: int = 3,
        expert_costs: Tensor | Sequence[float] = (2.0, 7.0, 13.0),
        alpha: float = 0.01,
        beta: float = 0.03,
        balance_variance: str = "biased",
    ) -> None:
        super().__init__()
        for name, weight in (("alpha", alpha), ("beta", beta)):
            if not 0 <= weight < float("inf"):
                raise ValueError(f"{name} is {weight}, but must be a finite number from 0")
        self.task = TaskLoss(task_type, num_labels)
        self.balance = LoadBalancingLoss(num_experts, balance_variance)
        self.cost = CostAwareLoss(expert_costs)
        if self.cost.expert_costs.numel() != num_experts:
            raise ValueError(
                f"expert_costs has {self.cost.expert_costs.numel()} values, num_experts is "
                f"{num_experts}; give one cost an expert"
            )
        self.alpha = alpha
        self.beta = beta

    def forward(
        self, predictions: Tensor, labels: Tensor, gating_weights: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Gives the loss and its unweighted terms: "task", "balance", "cost"; all scalar.

        `predictions` are logits (B, C), `labels` (B,), `gating_weights` (B, K) with rows of sum 1.
        """
        terms = {
            "task": self.task(predictions, labels),
            "balance": self.balance(gating_weights),
            "cost": self.cost(gating_weights),
        }
        return total_loss(**terms, alpha=self.alpha, beta=self.beta), terms


def _check_experts(gates: Tensor, experts: int | None) -> None:
    if experts is not None and gates.shape[-1] != experts:
        raise ValueError(
            f"gating_weights have shape {tuple(gates.shape)}, but there are {experts} experts; "
            f"give (B, {experts})"
        )


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}, allowed are {', '.join(allowed)}")


def balance_of_lanes(gates: Tensor, variance: str) -> Tensor:
    """Gives `balance_loss` (L,) of gates (L, B, K), the same to the last bit for any L.

    A variance over all of a tensor, as over a lone lane's experts, is another kernel of torch than
    one along its last axis: a lone lane is given a shadow.
    """
    if len(gates) > 1:
        return balance_loss(gates, variance)
    return balance_loss(gates.expand(2, -1, -1), variance)[:1]
