"""What a stack of routers is worth on a split: hard routes, scores, costs, and soft losses beside.

Routes are always hard: the argmax of the logits (the cheapest expert of a tie), step by step where
a router decides again after an expert has run. A path stands where an expert stands: of kinds that
choose between paths, K counts these, and the outputs are the paths' answers. The losses are
those of the soft gate as it would be in training less what is random: softmax of the logits over
the temperature of the last step, no noise, no dropout, never straight-through; the balance is that
of the whole split. They say how training goes; scores and costs say what a router does. A router
that is fitted at once has no soft gate: its gate is its hard route.

Letters: L lanes, N examples, K experts (or paths), C outputs of one, M numbers of a router, which
are K logits but of routers that decide in steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mpc_router import tasks
from mpc_router.config.sections import ModelConfig
from mpc_router.config.trial import TrialConfig
from mpc_router.costs import CostVector
from mpc_router.model.losses import balance_of_lanes, cost_loss, mix, task_loss, total_loss
from mpc_router.model.router import one_hot, softmax_gate
from mpc_router.prepare.inputs import SplitOutputs
from mpc_router.results.records import ARRAYS, SplitReport
from mpc_router.routes import Decisions
from mpc_router.tasks import Task
from mpc_router.tasks.confidence import Confidence

if TYPE_CHECKING:
    from mpc_router.results.records import Values

_LANES: Final = 32
_ROWS: Final = 1024
"""Lanes and rows at once: bounds the memory of gates and mixed outputs."""


def routed_predictions(
    routes: NDArray[np.uint8], outputs: NDArray[np.float32], *, regression: bool
) -> Values:
    """Gives predictions (L, N) of routes (L, N) over outputs (N, K, C): a class, or a value."""
    answers = outputs[..., 0] if regression else outputs.argmax(-1)
    return answers[np.arange(len(answers)), routes].astype(np.float64)


def expert_confidence(
    task: Task, outputs: NDArray[np.float32], labels: NDArray[np.generic]
) -> Confidence | None:
    """Gives how sure experts are, (K, N), of outputs (N, K, C); None where no metric asks.

    Raises:
        ValueError: an output is NaN or infinite, or a label has no output.
    """
    if not any(task.metric(name).of_outputs for name in task.metrics):
        return None
    return Confidence.of(outputs.swapaxes(0, 1), labels)


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
    """Reports on lanes with these finite logits (L, N, M) and present temperatures (L,).

    The split's outputs are the answers of the paths that the lanes choose between. `vectors` are
    those of what was prepared; a lane's own constants win over theirs.
    """
    confidence = expert_confidence(task, split.outputs, split.labels)
    parts = [
        _report_block(
            split,
            task=task,
            lanes=lanes[start : start + _LANES],
            configs=configs[start : start + _LANES],
            logits=logits[start : start + _LANES],
            temperature=temperature[start : start + _LANES],
            vectors=vectors or {},
            confidence=confidence,
        )
        for start in range(0, max(1, len(lanes)), _LANES)
    ]
    if len(parts) == 1:
        return parts[0]

    return SplitReport(
        split=split.split,
        lanes=np.asarray(lanes, np.int64),
        metrics={
            name: np.concatenate([part.metrics[name] for part in parts])
            for name in parts[0].metrics
        },
        cost={name: np.concatenate([part.cost[name] for part in parts]) for name in parts[0].cost},
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS},
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
    confidence: Confidence | None,
) -> SplitReport:
    """Reports on a few lanes; `confidence` (K, N) is the experts'."""
    paths = configs[0].paths if configs else ()
    routes = Decisions(paths).routes(logits) if configs else np.empty((0, len(split)), np.uint8)
    ways = split.outputs.shape[1]
    counts = np.stack([(routes == way).sum(-1) for way in range(ways)], -1)
    predictions = routed_predictions(routes, split.outputs, regression=task.regression)
    soft = _Soft.of(
        split, task=task, configs=configs, logits=logits, routes=routes, temperature=temperature
    )
    alpha = np.array([config.loss_weights.alpha for config in configs], np.float64)
    beta = np.array([config.loss_weights.beta for config in configs], np.float64)
    share = counts / len(split)
    return SplitReport(
        split=split.split,
        lanes=np.asarray(lanes, np.int64),
        metrics=tasks.evaluate(
            task,
            predictions,
            split.labels,
            confidence=None if confidence is None else confidence.routed(routes),
        ),
        cost=_costs(configs, share, vectors),
        share=share,
        gate=soft.gate,
        gate_entropy=soft.entropy,
        loss=total_loss(soft.task, soft.balance, soft.cost, alpha=alpha, beta=beta),
        loss_task=soft.task,
        loss_balance=soft.balance,
        loss_cost=soft.cost,
    )


def _costs(
    configs: Sequence[TrialConfig], share: Values, vectors: Mapping[str, CostVector]
) -> dict[str, Values]:
    """Gives mean costs (L,) by vector, lane by lane: a spelled-out pool has its trial's costs."""
    of_models: dict[ModelConfig, dict[str, CostVector]] = {}  # most lanes have the same
    for config in configs:
        if config.model not in of_models:
            of_models[config.model] = {
                name: vector.on(config.paths)
                for name, vector in {**vectors, **config.vectors()}.items()
            }
    of_lanes = [of_models[config.model] for config in configs]
    names = list(of_lanes[0]) if of_lanes else []
    return {
        name: np.array(
            [
                float(vectors_of_lane[name].mean(row))
                for vectors_of_lane, row in zip(of_lanes, share, strict=True)
            ],
            np.float64,
        )
        for name in names
    }


@dataclass(frozen=True, slots=True)
class _Soft:
    """Holds the soft gate's mean (L, K), entropy, and loss terms (L,)."""

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
        routes: NDArray[np.uint8],
        temperature: Sequence[float],
    ) -> _Soft:
        """Sums gate, entropy and losses over chunks of rows, in float64."""
        lanes, rows = logits.shape[:2]
        experts = split.outputs.shape[1]
        if not lanes:
            none = np.empty(0)
            return cls(np.empty((0, experts)), none, none, none, none)
        config = configs[0]
        fitted = config.model.fitted
        tau = torch.tensor(temperature, dtype=torch.float64)[:, None, None]
        gate = torch.zeros(lanes, experts, dtype=torch.float64)
        entropy = torch.zeros(lanes, dtype=torch.float64)
        loss = torch.zeros(lanes, dtype=torch.float64)
        for start in range(0, rows, _ROWS):
            part = slice(start, start + _ROWS)
            z = torch.from_numpy(logits[:, part]).double()
            if fitted:
                chosen = torch.from_numpy(routes[:, part].astype(np.int64))
                gates = one_hot(chosen, experts).double()
            else:
                gates = softmax_gate(z, tau)
            gate += gates.sum(1)
            entropy += torch.special.entr(gates).sum((1, 2))
            outputs = torch.from_numpy(split.outputs[part].astype(np.float64))
            mixed = mix(gates, outputs, config.model.mixing, regression=task.regression)
            labels = torch.from_numpy(np.array(split.labels[part]))
            loss += task_loss(mixed, labels, regression=task.regression) * len(labels)
        clean = config.loss_weights.auxiliary_gates == "clean" and not fitted
        seen = _mean_gate(logits) if clean else gate / rows
        costs = torch.tensor([_trained_costs(config) for config in configs], dtype=torch.float64)
        # importance is the mean gate times N, and the loss does not change with its scale
        balance = balance_of_lanes(seen.unsqueeze(1), config.loss_weights.balance_variance)
        cost = cost_loss(seen.unsqueeze(1), costs)
        return cls(
            *(
                values.numpy()
                for values in (gate / rows, entropy / rows, loss / rows, balance, cost)
            )
        )


def _trained_costs(config: TrialConfig) -> list[float]:
    """Gives the training costs by path: a gate weighs its experts', other kinds what runs."""
    costs = config.model.expert_costs
    if not config.model.fitted:
        return list(costs)
    return [sum(costs[expert] for expert in path) for path in config.paths]


def _mean_gate(logits: NDArray[np.float32]) -> Tensor:
    """Gives the mean over examples of softmax(z), (L, K), which balance and cost see if `clean`."""
    total: Tensor = torch.zeros(logits.shape[0], logits.shape[2], dtype=torch.float64)
    for start in range(0, logits.shape[1], _ROWS):
        part = torch.from_numpy(logits[:, start : start + _ROWS]).double()
        total += softmax_gate(part).sum(1)
    return total.div(logits.shape[1])
