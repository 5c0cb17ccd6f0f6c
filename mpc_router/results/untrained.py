"""Puts the pool of a configuration together without training: what costs but knows nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpc_router.config.trial import trial_config
from mpc_router.model.encoders import load_tokenizer
from mpc_router.model.gated_pool import GatedBertPool
from mpc_router.model.sources import Models
from mpc_router.recipes.pool_tokenizers import tokenizers_of
from mpc_router.results.assembled import Assembled


def untrained(settings: Mapping[str, Any], models: Models) -> Assembled:
    """Gives the pool of settings by leaf name, its heads and router drawn at random.

    Raises:
        ConfigError: the settings are no configuration.
        ModelError: an encoder or tokenizer cannot be read.
    """
    config = trial_config(settings)
    model, task = config.model, config.data.definition
    tokenizers = tokenizers_of(config, models)
    pool = GatedBertPool(
        model.router_model_name,
        model.expert_model_names,
        task.outputs,
        router_stem_layers=model.router_stem_layers,
        stem_pooling=model.stem_pooling,
        router_hidden_size=model.router_hidden_size,
        expert_layers=model.expert_layers,
        expert_pooling=model.expert_pooling,
        label_names=task.label_names,
        encodings=tokenizers.experts,
        models=models,
    )
    return Assembled(
        model=pool.eval(),
        tokenizers=tuple(load_tokenizer(name, models) for name in tokenizers.names),
        config=config,
        vectors=config.vectors(),
        kind="untrained",
        origin={},
        summary=None,
        note=None,
    )
