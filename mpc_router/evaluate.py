"""What a stack of routers is worth on a split: hard routes, scores, costs, and soft losses beside.

Routes are always hard: the argmax of the logits (the cheapest expert of a tie). The losses are
those of the soft gate as it would be in training less what is random: softmax of the logits over
the temperature of the last step, no noise, no dropout, never straight-through; the balance is that
of the whole split. They say how training goes; scores and costs say what a router does.

Letters: L lanes, N examples, K experts, C outputs of an expert.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mpc_router import tasks
from mpc_router.checkpoint import JointCheckpoint, LaneCheckpoint
from mpc_router.config import TrialConfig
from mpc_router.costs import CostVector
from mpc_router.lanes import balance_of_lanes
from mpc_router.losses import cost_loss, mix, task_loss
from mpc_router.outputs import SplitOutputs
from mpc_router.routers import softmax_gate
from mpc_router.tasks import Task

_LANES: Final = 32
_ROWS: Final = 1024
"""Lanes and rows at once: bounds the memory of gates and mixed outputs."""

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class SplitReport:
    """What lanes measured on a split; every array's first axis is the lanes named in `lanes`."""

    split: str
    lanes: NDArray[np.int64]
    """(L,)"""

    metrics: dict[str, Values]
    """`score` and the task's own, (L,) each."""

    cost: dict[str, Values]
    """Mean cost of an example under every cost vector, the router paid, (L,) each."""

    share: Values
    """(L, K) of the hard routes."""

    gate: Values
    """(L, K) mean soft gate."""

    gate_entropy: Values
    """(L,) mean entropy of an example's soft gate, nats."""

    loss: Values
    loss_task: Values
    loss_balance: Values
    loss_cost: Values
    """Terms before their weights, (L,) each."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Routing:
    """Where lanes send every example of a split."""

    split: str
    example: NDArray[np.int64]
    """(N,)"""

    routes: NDArray[np.uint8]
    """(L, N)"""

    logits: NDArray[np.float32]
    """(L, N, K) before noise and temperature."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A lane that went no further, and the first step at which that showed."""

    lane: int
    epoch: int
    step: int
    """Counted from 1 over the whole training."""

    term: str
    """`task`, `balance`, `cost`, `total`, or `logits` if only the evaluation saw it."""

    message: str


@dataclass(frozen=True, kw_only=True, eq=False)
class EpochResult:
    """An epoch of all lanes that live after it, on selection."""

    epoch: int
    """From 1."""

    report: SplitReport
    failures: tuple[Failure, ...]
    """Lanes that died in this epoch: not in the report."""

    steps: NDArray[np.float32] | None = None
    """(steps, 4, L) loss terms as each step saw them: task, balance, cost, and their weighted sum;
    None where they are not known."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LanesEnded:
    """Lanes that train no more, and what they leave."""

    epoch: int
    """The last one reached; the one whose results these are is in each lane's checkpoint."""

    lanes: NDArray[np.int64]
    reason: Literal["completed", "dropped", "failed"]
    reports: tuple[SplitReport, ...]
    """The quoted splits."""

    routing: tuple[Routing, ...]
    """Selection and the quoted splits; lanes in the order of `lanes`."""

    checkpoints: tuple[LaneCheckpoint, ...] | tuple[JointCheckpoint, ...]
    """One a lane. Of failed lanes there are no reports, routing and checkpoints."""

    experts: tuple[SplitOutputs, ...] = ()
    """Where experts train too: what they say of selection and the quoted splits at the end. They
    have no features, (N, 0)."""

    best: tuple[LaneCheckpoint, ...] | tuple[JointCheckpoint, ...] = ()
    """If asked for: each lane after its best epoch on selection."""

    last: tuple[LaneCheckpoint, ...] | tuple[JointCheckpoint, ...] = ()
    """If asked for: each lane after its last epoch."""


def routes_of(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Hard routes (L, N) of logits (L, N, K)."""
    return np.asarray(logits.argmax(-1), np.uint8)


def routed_predictions(
    routes: NDArray[np.uint8], outputs: NDArray[np.float32], *, regression: bool
) -> Values:
    """Predictions (L, N) of routes (L, N) over outputs (N, K, C): a class, or a value."""
    said = outputs[..., 0] if regression else outputs.argmax(-1)
    return said[np.arange(len(said)), routes].astype(np.float64)


def split_report(
    split: SplitOutputs,
    *,
    task: Task,
    lanes: Sequence[int],
    configs: Sequence[TrialConfig],
    logits: NDArray[np.float32],
    temperature: Sequence[float],
    vectors: Mapping[str, CostVector] | None = None,
) -> SplitReport:
    """The report of lanes with these finite logits (L, N, K) and present temperatures (L,).

    `vectors` are those of what was prepared; a lane's own constants win over theirs.
    """
    parts = [
        _report_block(
            split,
            task=task,
            lanes=lanes[start : start + _LANES],
            configs=configs[start : start + _LANES],
            logits=logits[start : start + _LANES],
            temperature=temperature[start : start + _LANES],
            vectors=vectors or {},
        )
        for start in range(0, max(1, len(lanes)), _LANES)
    ]
    if len(parts) == 1:
        return parts[0]

    def joined(name: str) -> Values:
        return np.concatenate([getattr(part, name) for part in parts])

    return SplitReport(
        split=split.split,
        lanes=np.asarray(lanes, np.int64),
        metrics={
            name: np.concatenate([part.metrics[name] for part in parts])
            for name in parts[0].metrics
        },
        cost={name: np.concatenate([part.cost[name] for part in parts]) for name in parts[0].cost},
        share=joined("share"),
        gate=joined("gate"),
        gate_entropy=joined("gate_entropy"),
        loss=joined("loss"),
        loss_task=joined("loss_task"),
        loss_balance=joined("loss_balance"),
        loss_cost=joined("loss_cost"),
    )


def _report_block(
    split: SplitOutputs,
    *,
    task: Task,
    lanes: Sequence[int],
    configs: Sequence[TrialConfig],
    logits: NDArray[np.float32],
    temperature: Sequence[float],
    vectors: Mapping[str, CostVector],
) -> SplitReport:
    """A report of few lanes."""
    routes = routes_of(logits)
    experts = logits.shape[-1]
    counts = np.stack([(routes == expert).sum(-1) for expert in range(experts)], -1)
    predictions = routed_predictions(routes, split.outputs, regression=task.regression)
    soft = _Soft.of(split, task=task, configs=configs, logits=logits, temperature=temperature)
    alpha = np.array([config.loss_weights.alpha for config in configs], np.float64)
    beta = np.array([config.loss_weights.beta for config in configs], np.float64)
    share = counts / len(split)
    return SplitReport(
        split=split.split,
        lanes=np.asarray(lanes, np.int64),
        metrics=tasks.evaluate(task, predictions, split.labels),
        cost=_costs(configs, share, vectors),
        share=share,
        gate=soft.gate,
        gate_entropy=soft.entropy,
        loss=soft.task + alpha * soft.balance + beta * soft.cost,
        loss_task=soft.task,
        loss_balance=soft.balance,
        loss_cost=soft.cost,
    )


def _costs(
    configs: Sequence[TrialConfig], share: Values, vectors: Mapping[str, CostVector]
) -> dict[str, Values]:
    """Mean costs (L,) by vector; lane by lane, since a spelled-out pool's are the trial's own."""
    of_lanes = [{**vectors, **config.vectors()} for config in configs]
    names = list(of_lanes[0]) if of_lanes else []
    return {
        name: np.array(
            [float(of[name].mean(row)) for of, row in zip(of_lanes, share, strict=True)], np.float64
        )
        for name in names
    }


@dataclass(frozen=True, slots=True)
class _Soft:
    """Of the soft gate: mean (L, K), entropy, and the loss terms (L,)."""

    gate: Values
    entropy: Values
    task: Values
    balance: Values
    cost: Values

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        split: SplitOutputs,
        *,
        task: Task,
        configs: Sequence[TrialConfig],
        logits: NDArray[np.float32],
        temperature: Sequence[float],
    ) -> _Soft:
        """Summed over chunks of rows, in float64."""
        lanes, rows, experts = logits.shape
        if not lanes:
            none = np.empty(0)
            return cls(np.empty((0, experts)), none, none, none, none)
        config = configs[0]
        tau = torch.tensor(temperature, dtype=torch.float64)[:, None, None]
        gate = torch.zeros(lanes, experts, dtype=torch.float64)
        entropy = torch.zeros(lanes, dtype=torch.float64)
        loss = torch.zeros(lanes, dtype=torch.float64)
        for start in range(0, rows, _ROWS):
            part = slice(start, start + _ROWS)
            z = torch.from_numpy(logits[:, part]).double()
            gates = softmax_gate(z, tau)
            gate += gates.sum(1)
            entropy += torch.special.entr(gates).sum((1, 2))
            outputs = torch.from_numpy(split.outputs[part].astype(np.float64))
            mixed = mix(gates, outputs, config.model.mixing, regression=task.regression)
            labels = torch.from_numpy(np.array(split.labels[part]))
            loss += task_loss(mixed, labels, regression=task.regression) * len(labels)
        clean = config.loss_weights.auxiliary_gates == "clean"
        seen = _mean_gate(logits) if clean else gate / rows
        costs = torch.tensor([each.model.expert_costs for each in configs], dtype=torch.float64)
        # importance is the mean gate times N, and the loss does not change with its scale
        balance = balance_of_lanes(seen.unsqueeze(1), config.loss_weights.balance_variance)
        cost = cost_loss(seen.unsqueeze(1), costs)
        return cls(
            *(each.numpy() for each in (gate / rows, entropy / rows, loss / rows, balance, cost))
        )


def _mean_gate(logits: NDArray[np.float32]) -> Tensor:
    """Mean over examples of softmax(z), (L, K): what balance and cost see if `clean`."""
    total: Tensor = torch.zeros(logits.shape[0], logits.shape[2], dtype=torch.float64)
    for start in range(0, logits.shape[1], _ROWS):
        part = torch.from_numpy(logits[:, start : start + _ROWS]).double()
        total += softmax_gate(part).sum(1)
    return total.div(logits.shape[1])
