"""A bias on cost as a part of a router: route = argmax(z - b c).

The logits z are the router's last layer plus its bias vector, so that b c taken once from that
vector is b c taken from the logits of every example.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import torch

from mpc_router.costs import Bias, from_json, to_json
from mpc_router.model.router import logit_offset
from mpc_router.results.assembled import Assembled
from mpc_router.storage.tensor_files import CheckpointError

_VALUE: Final = "value"
_VECTOR: Final = "vector"


def fold(assembled: Assembled, bias: Bias) -> Assembled:
    """Folds a bias into a router that has none, and records it.

    Raises:
        CheckpointError: a bias is folded into it already.
    """
    if assembled.biases:
        folded = assembled.biases[0]
        raise CheckpointError(
            f"a bias of {folded.value:.4g} in {folded.vector.name} is folded into this router "
            "already; export the checkpoint that it came from, or add to the bias where it runs "
            "(--bias of mpc-router-eval and -demo, bias= of forward_inference)"
        )
    return add(assembled, bias)


def add(assembled: Assembled, bias: Bias) -> Assembled:
    """Adds a bias to what the router has; its last layer is changed in place.

    Raises:
        CheckpointError: the vector has another number of experts.
    """
    decisions = assembled.model.decisions
    if len(bias.vector.experts) != assembled.config.experts:
        raise CheckpointError(
            f"the cost vector {bias.vector.name} has {len(bias.vector.experts)} experts, the "
            f"router {assembled.config.experts}; take a vector of its own pool"
        )
    price = decisions.price(bias.vector.on(decisions.paths).routed)
    offset = logit_offset(assembled.model.router)
    with torch.no_grad():
        exact = offset.double() - bias.value * torch.from_numpy(price)
        offset.copy_(exact)
    vectors = {**assembled.vectors, bias.vector.name: bias.vector}
    return replace(assembled, biases=(*assembled.biases, bias), vectors=vectors)


def recorded(bias: Bias) -> dict[str, Any]:
    """Gives a bias as plain JSON."""
    return {_VALUE: bias.value, _VECTOR: to_json({bias.vector.name: bias.vector})}


def read_biases(trial: Mapping[str, Any]) -> tuple[Bias, ...]:
    """Reads what an export recorded: one bias or none.

    Raises:
        ValueError, TypeError, LookupError: it is no bias.
    """
    record = trial.get("bias")
    if record is None:
        return ()
    (vector,) = from_json(record[_VECTOR]).values()
    return (Bias(value=float(record[_VALUE]), vector=vector),)
