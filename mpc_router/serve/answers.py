"""What a router answers to a text: the label, how sure it is, who answered, and the price.

Letters: N examples, K experts, P paths, M numbers of a router, C outputs of an expert.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc_router.costs import CostVector
from mpc_router.routes import Decisions
from mpc_router.tasks import Task

_Values = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Holds the answer to one example."""

    label: str | float
    """The task's word for the class, or the value of a regression."""

    probability: float | None
    """The answering expert's, for the label; None for a regression."""

    expert: int
    """Number of the expert that answered, from 0, the cheapest first: the last one that ran."""

    path: tuple[int, ...]
    """The experts that ran for the example, in their order; the cheapest first where it is the
    router's stem."""

    cost: float
    """What the example cost, the router's own cost included, in the unit of the cost vector."""

    scores: tuple[float, ...]
    """(K,) softmax of the router's logits less the biased costs; the largest is the expert's. Of a
    router that chooses between paths by path, (P,), as it was decided last."""


def answers_of(
    task: Task,
    vector: CostVector,
    decisions: Decisions,
    logits: _Values,
    routes: NDArray[np.uint8],
    outputs: _Values,
) -> list[Answer]:
    """Puts answers together of where examples went and what was answered there.

    `logits` (N, M) are the router's, the bias taken off, `routes` (N,) the paths taken, `outputs`
    (N, C) what these answer, and `vector` prices paths.
    """
    scores = _scores(decisions, logits, routes)
    costs = vector.of_routes(routes)
    shares = softmax(outputs)
    classes = outputs.argmax(-1)
    return [
        Answer(
            label=float(outputs[row, 0]) if task.regression else task.label_names[classes[row]],
            probability=None if task.regression else float(shares[row, classes[row]]),
            expert=decisions.paths[route][-1],
            path=_ran(decisions, vector, int(route)),
            cost=float(costs[row]),
            scores=tuple(map(float, scores[row])),
        )
        for row, route in enumerate(routes)
    ]


def _ran(decisions: Decisions, vector: CostVector, route: int) -> tuple[int, ...]:
    """Gives the experts of a route: before a single one the cheapest, where that is the stem."""
    path = decisions.paths[route]
    return path if not vector.stem_is_expert or path[0] == 0 else (0, *path)


def _scores(decisions: Decisions, logits: _Values, routes: NDArray[np.uint8]) -> _Values:
    """Gives softmax of the numbers of the state in which each route was decided, (N, P)."""
    scores = np.zeros((len(routes), len(decisions.paths)))
    for route in np.unique(routes):
        state = decisions.last_state(int(route))
        rows = np.flatnonzero(routes == route)
        shares = softmax(logits[rows, decisions.columns[state]])
        scores[np.ix_(rows, np.array(decisions.open_paths[state]))] = shares
    return scores


def softmax(values: _Values) -> NDArray[np.float64]:
    """Gives softmax over the last axis, in float64."""
    shifted = np.asarray(values, np.float64)
    exponentials = np.exp(shifted - shifted.max(-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(-1, keepdims=True), np.float64)
