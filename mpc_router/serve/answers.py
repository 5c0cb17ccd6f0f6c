"""What a router answers to a text: the label, how sure it is, who answered, and the price.

Letters: N examples, K experts, C outputs of an expert.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc_router.costs import CostVector
from mpc_router.tasks import Task

Values = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Holds the answer to one example."""

    label: str | float
    """The task's word for the class, or the value of a regression."""

    probability: float | None
    """The answering expert's, for the label; None for a regression."""

    expert: int
    """Number of the expert that answered, from 0, the cheapest first."""

    cost: float
    """What the example cost, the router's own cost included, in the unit of the cost vector."""

    scores: tuple[float, ...]
    """(K,) softmax of the router's logits less the biased costs; the largest is the expert's."""


def biased(logits: Values, bias: float, vector: CostVector) -> NDArray[np.float64]:
    """Gives z - bias * c of logits z (N, K), in float64; c is what a route adds (`routed`)."""
    price = np.asarray(vector.routed, np.float64)
    return np.asarray(logits, np.float64) - bias * price


def answers_of(task: Task, vector: CostVector, logits: Values, outputs: Values) -> list[Answer]:
    """Puts answers together of the router's logits (N, K) and the chosen experts' outputs (N, C).

    The route is the logits' argmax, the cheapest expert of a tie.
    """
    routes = logits.argmax(-1)
    scores = softmax(logits)
    costs = vector.of_routes(routes)
    shares = softmax(outputs)
    classes = outputs.argmax(-1)
    return [
        Answer(
            label=float(outputs[row, 0]) if task.regression else task.label_names[classes[row]],
            probability=None if task.regression else float(shares[row, classes[row]]),
            expert=int(routes[row]),
            cost=float(costs[row]),
            scores=tuple(map(float, scores[row])),
        )
        for row in range(len(logits))
    ]


def softmax(values: Values) -> NDArray[np.float64]:
    """Gives softmax over the last axis, in float64."""
    shifted = np.asarray(values, np.float64)
    exponentials = np.exp(shifted - shifted.max(-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(-1, keepdims=True), np.float64)
