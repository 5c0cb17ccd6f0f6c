"""Which parameters of a pool train, at which rate, with or without decay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mpc_router.config.trial import TrialConfig
from mpc_router.model.experts import BertExpert
from mpc_router.model.gated_pool import GatedBertPool
from mpc_router.model.shared_stem import base_of, layers_of

STATE: tuple[str, ...] = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW keeps of a parameter."""


def choose(pool: GatedBertPool, trainable: str) -> None:
    """Lets train what `trainable` says: `all`, `head`, or `last_N`; the router always trains.

    Raises:
        ModelError: `last_N` of an encoder whose layers are not where BERT's are.
    """
    pool.requires_grad_(True)
    if trainable == "all":
        return
    last = int(trainable.removeprefix("last_")) if trainable != "head" else 0
    stem: Any = pool.stem
    encoders = [("the stem", stem.encoder)]
    for expert in pool.experts.experts:
        assert isinstance(expert, BertExpert)
        encoders.append((expert.name, base_of(expert)))
    for name, encoder in encoders:
        encoder.requires_grad_(False)
        pooler = getattr(encoder, "pooler", None)
        if pooler is not None:  # a head that was kept begins with it
            pooler.requires_grad_(True)
        if last:
            for layer in list(layers_of(encoder, name))[-last:]:
                layer.requires_grad_(True)


def optimizer_of(pool: GatedBertPool, config: TrialConfig) -> torch.optim.AdamW:
    """Builds AdamW over what trains; each group states its full `rate`, vectors do not decay."""
    training = config.training
    rates = {True: training.learning_rate, False: training.encoder_learning_rate}
    groups: list[dict[str, Any]] = []
    for of_router, rate in rates.items():
        parameters = [
            value
            for name, value in pool.named_parameters()
            if value.requires_grad and name.startswith("router.") == of_router
        ]
        for decay, chosen in (
            (training.weight_decay, [value for value in parameters if value.ndim > 1]),
            (0.0, [value for value in parameters if value.ndim <= 1]),
        ):
            if chosen:
                groups.append({"params": chosen, "weight_decay": decay, "lr": rate, "rate": rate})
    return torch.optim.AdamW(groups, fused=True)


def state_of(optimizer: torch.optim.AdamW, pool: nn.Module) -> dict[str, Tensor]:
    """Gives the optimizer's state by name: `exp_avg.<parameter>` and so on."""
    return {
        f"{kind}.{name}": optimizer.state[value][kind]
        for name, value in pool.named_parameters()
        if value in optimizer.state
        for kind in STATE
    }


def restore(optimizer: torch.optim.AdamW, pool: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Puts the state that `state_of` gave back into an optimizer of the same parameters."""
    for name, value in pool.named_parameters():
        if f"step.{name}" in state:
            optimizer.state[value] = {
                kind: state[f"{kind}.{name}"].to(value.device, copy=True) for kind in STATE
            }
