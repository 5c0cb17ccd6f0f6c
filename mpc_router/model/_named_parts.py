"""Makes the parts of a pool whose encoders are named: stem, router and experts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mpc_router.model._vocabularies import check_one_vocabulary
from mpc_router.model.experts import BertExpert, ExpertPool
from mpc_router.model.router import RouterShape, RouterStem, build_router, initial_weights
from mpc_router.model.shared_stem import behind_stem, layers_of
from mpc_router.model.sources import ModelError, Models


def named_parts(
    router_model_name: str,
    expert_model_names: Sequence[str],
    num_labels: int,
    *,
    stem_layers: int,
    stem_pooling: str,
    hidden_size: int,
    dropout: float,
    expert_layers: Sequence[int],
    expert_pooling: str,
    label_names: Sequence[str],
    shared_stem: bool,
    encodings: Sequence[int],
    models: Models,
    seed: int,
) -> tuple[RouterStem, nn.Module, ExpertPool]:
    """Makes stem, router and experts, as `GatedBertPool` describes its arguments.

    Raises:
        ModelError: a model cannot be found, read or used.
    """
    layers = tuple(expert_layers) or (0,) * len(expert_model_names)
    if len(layers) != len(expert_model_names):
        raise ModelError(
            f"expert_layers has {len(layers)} values for {len(expert_model_names)} experts; "
            "give one an expert"
        )
    stem = RouterStem(
        router_model_name,
        layers=stem_layers,
        pooling=stem_pooling,
        models=models,
        seed=seed,
    )
    experts = [
        BertExpert(
            name,
            num_labels,
            layers=depth,
            pooling=expert_pooling,
            label_names=label_names,
            models=models,
            seed=seed,
        )
        for name, depth in zip(expert_model_names, layers, strict=True)
    ]
    if not encodings:
        check_one_vocabulary(stem, router_model_name, experts, expert_model_names)
    elif shared_stem and any(encodings):
        raise ModelError(
            "shared_stem=True gives the experts what the stem made of its tokens, so that all "
            "have its tokenizer; leave encodings out"
        )
    if shared_stem:
        after = len(layers_of(stem.encoder, router_model_name))
        experts = [behind_stem(expert, after) for expert in experts]
    shape = RouterShape(experts=len(experts), hidden_size=hidden_size, dropout=dropout)
    router = build_router(shape, stem.width)
    generator = torch.Generator().manual_seed(seed)
    router.load_state_dict(initial_weights(stem.width, hidden_size, len(experts), generator))
    return stem, router, ExpertPool(experts, encodings)
