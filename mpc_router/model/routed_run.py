"""Runs examples through a router and the experts on their paths, and no others.

Letters: N examples, K experts, C outputs of an expert, P paths, M numbers of a router.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mpc_router.model.router import router_logits, sees_outputs
from mpc_router.routes import Decisions, Paths, walk

_Ask = Callable[[int, NDArray[np.intp]], Tensor]
"""Runs an expert on the examples named: outputs (n, C)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RoutedRun:
    """Holds where examples went, and what was said on the way."""

    routes: NDArray[np.uint8]
    """(N,) paths' numbers: experts', where a path is one expert."""

    logits: NDArray[np.float64]
    """(N, M) the router's numbers as they were last, the bias taken off; those of states that an
    example did not reach mean nothing."""

    outputs: Tensor
    """(N, K, C), 0 where an expert did not run."""

    ran: NDArray[np.bool_]
    """(N, K)"""

    def answers(self, paths: Paths | None, *, regression: bool) -> Tensor:
        """Gives what the paths taken answer, (N, C); without paths a route is one expert."""
        if paths is None:
            routes = torch.from_numpy(self.routes.astype(np.int64)).to(self.outputs.device)
            return self.outputs[torch.arange(len(routes), device=routes.device), routes]
        answers = torch.zeros_like(self.outputs[:, 0])
        for path in np.unique(self.routes):
            rows = torch.from_numpy(np.flatnonzero(self.routes == path)).to(answers.device)
            spoken = self.outputs[rows].float().cpu().numpy()
            answer = torch.from_numpy(paths.answer(int(path), spoken, regression=regression))
            answers[rows] = answer.to(answers)
        return answers


def joined(runs: Sequence[RoutedRun], rows: Sequence[NDArray[np.intp]]) -> RoutedRun:
    """Joins the runs of batches into one; `rows` say which examples each batch had."""
    order = np.argsort(np.concatenate(rows))
    outputs = torch.cat([run.outputs for run in runs])
    return RoutedRun(
        routes=np.concatenate([run.routes for run in runs])[order],
        logits=np.concatenate([run.logits for run in runs])[order],
        outputs=outputs[torch.from_numpy(order).to(outputs.device)],
        ran=np.concatenate([run.ran for run in runs])[order],
    )


def run_routed(
    router: nn.Module,
    decisions: Decisions,
    features: Tensor | None,
    ask: _Ask,
    *,
    rows: int,
    price: NDArray[np.float64] | None = None,
) -> RoutedRun:
    """Routes N examples step by step; an expert runs once for those whose path has it.

    `features` (N, F) are standardised, None where the router sees none; `price` (M,) is taken off
    the router's numbers.
    """
    outputs: list[Tensor] = []
    experts = 1 + max(expert for path in decisions.paths for expert in path)
    numbers = np.zeros((rows, decisions.width))
    done = np.zeros((rows, experts), np.bool_)
    listening = sees_outputs(router)

    def run(expert: int, wanted: NDArray[np.intp]) -> None:
        asked = wanted[~done[wanted, expert]]
        if not len(asked):
            return
        done[asked, expert] = True
        answers = ask(expert, asked)
        if not outputs:
            outputs.append(answers.new_zeros((rows, experts, answers.shape[-1])))
        outputs[0][torch.from_numpy(asked).to(answers.device), expert] = answers

    def logits(wanted: NDArray[np.intp]) -> NDArray[np.float64]:
        where = features if features is not None else outputs[0]
        index = torch.from_numpy(wanted).to(where.device)
        given = router_logits(
            router,
            None if features is None else features[index],
            outputs[0][index] if listening else None,
        )
        numbers[wanted] = given.double().cpu().numpy() - (0 if price is None else price)
        return numbers[wanted]

    if listening:
        run(0, np.arange(rows))
    routes = walk(decisions, rows, logits=logits, run=run)
    return RoutedRun(routes=routes, logits=numbers, outputs=outputs[0], ran=done)


def price_of(
    bias: float, decisions: Decisions, route_costs: Sequence[float], routes_are: str
) -> NDArray[np.float64] | None:
    """Gives what a bias takes from the router's numbers, (M,); None without one.

    Raises:
        ValueError: the bias is no finite number, or the cost of a route is not known.
    """
    if not bias:
        return None
    if not math.isfinite(bias):
        raise ValueError(f"bias is {bias}, but must be a finite number")
    ways = len(decisions.paths)
    if len(route_costs) != ways:
        raise ValueError(
            f"this pool knows the costs of {len(route_costs)} of its {ways} {routes_are}, so a "
            "bias means nothing; set route_costs to what a route to each costs"
        )
    return bias * decisions.price(route_costs)
