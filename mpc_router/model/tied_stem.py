"""A stem that is the cheapest expert's encoder: one pass of it serves router and expert."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn

from mpc_router.model.encoders import PooledEncoder
from mpc_router.model.experts import BertExpert, ExpertPool
from mpc_router.model.lazy_expert import LazyExpert
from mpc_router.model.shared_stem import base_of, layers_before

_NO_ARITHMETIC: Final = (
    *("architectures", "dtype", "id2label", "label2id", "problem_type", "transformers_version"),
    *("_name_or_path", "output_hidden_states", "num_labels", "finetuning_task"),
)
"""Settings of a configuration that change no number of the encoder's hidden states."""


def is_first_expert(stem: nn.Module, experts: ExpertPool) -> bool:
    """Says whether a stem is the encoder of the first expert itself, whose tokens it takes."""
    expert = experts.experts[0]
    return (
        isinstance(expert, BertExpert)
        and _fits(stem, expert, experts)
        and base_of(expert) is stem.encoder
    )


def tie(stem: nn.Module, experts: ExpertPool, stored: Callable[[str], Tensor]) -> None:
    """Makes the first expert's encoder the stem, where both have the same weights.

    A file of a pool holds such a stem twice. An expert that is not loaded yet is then, for it runs
    for every example.

    Args:
        stem: with its weights.
        experts: the pool's.
        stored: gives the tensor of this name of the first expert's state dict.
    """
    expert: Any = experts.experts[0]
    looked_through: Any = stem
    shape = expert.skeleton if isinstance(expert, LazyExpert) else expert
    if not isinstance(shape, BertExpert) or not _fits(stem, shape, experts):
        return
    base = base_of(shape)
    (prefix,) = [f"{name}." for name, module in shape.named_modules() if module is base]
    weights = looked_through.encoder.state_dict()
    of_expert = base.state_dict()
    if not _alike(looked_through.encoder, base) or weights.keys() != of_expert.keys():
        return
    if any(weights[name].shape != of_expert[name].shape for name in weights):
        return
    if not all(torch.equal(weights[name], stored(f"{prefix}{name}")) for name in weights):
        return
    if isinstance(expert, LazyExpert):
        expert = experts.experts[0] = expert.loaded()
    looked_through.encoder = base_of(expert)


def _alike(encoder: Any, base: Any) -> bool:
    """Says whether two encoders compute the same from the same weights."""
    shapes = [module.config.to_dict() for module in (encoder, base)]
    for shape in shapes:
        for name in _NO_ARITHMETIC:
            shape.pop(name, None)
    return type(encoder) is type(base) and shapes[0] == shapes[1]


def _fits(stem: nn.Module, expert: BertExpert, experts: ExpertPool) -> bool:
    """Says whether stem and first expert read the same tokens, and sum them up alike."""
    return (
        isinstance(stem, PooledEncoder)
        and stem.pooling == expert.pooling
        and layers_before(expert) is None
        and experts.encodings[0] == 0
    )
