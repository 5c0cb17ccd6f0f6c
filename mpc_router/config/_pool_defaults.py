"""What the pool decides of a configuration, filled in: experts, prices, stem, recipe."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, Final

from mpc_router.config.own_pools import pool_of
from mpc_router.config.pools import POOLS, Pool
from mpc_router.config.sections import ModelConfig, TrainingConfig
from mpc_router.messages import quoted, shown
from mpc_router.settings.rules import ConfigError, one_of


def with_pool(
    model: ModelConfig, training: TrainingConfig, task: str
) -> tuple[ModelConfig, TrainingConfig]:
    """Fills in every value that the pool decides, in both sections."""
    pool = pool_of(model.pool)
    filled = _spelled_out(model) if pool is None else _filled(model, pool, task)
    return filled, _trained(training, pool)


_SECTIONS: Final = 1024
"""Sections that are remembered: points of a study differ in a few settings, and so in a section."""

_SPELLED_OUT: Final[dict[str, Any]] = {
    "expert_batch_size": 32,
    "expert_epochs": 3,
    "expert_learning_rate": 3e-5,
    "encoder_learning_rate": 3e-5,
}
"""How encoders are trained where the pool has no name, and unless a configuration says it."""


@functools.lru_cache(_SECTIONS)
def _trained(training: TrainingConfig, pool: Pool | None) -> TrainingConfig:
    """Fills in how encoders are trained."""
    recipe = {
        name: usual if pool is None else getattr(pool, name) for name, usual in _SPELLED_OUT.items()
    }
    return dataclasses.replace(
        training, **{name: getattr(training, name) or value for name, value in recipe.items()}
    )


@functools.lru_cache(_SECTIONS)
def _filled(model: ModelConfig, pool: Pool, task: str) -> ModelConfig:
    """Fills in the experts and the stem that a named pool decides."""
    names, layers, costs = _members(model, pool, task)
    _size(model, len(names))
    filled = dataclasses.replace(
        model,
        pool_size=len(names),
        expert_model_names=names,
        expert_layers=layers,
        expert_costs=costs,
        expert_pooling=model.expert_pooling or pool.expert_pooling,
        expert_fine_tuned=(
            pool.fine_tuned if model.expert_fine_tuned is None else model.expert_fine_tuned
        ),
        tokenizer_model_name=model.tokenizer_model_name or _tokenizer(model, pool, names, task),
        router_model_name=model.router_model_name or pool.stem,
        router_stem_layers=(
            pool.stem_layers if model.router_stem_layers < 0 else model.router_stem_layers
        ),
        stem_pooling=model.stem_pooling or pool.stem_pooling,
    )
    _poolings(filled)
    members = [pool.find(name, cut, task) for name, cut in zip(names, layers, strict=False)]
    prices = [member.cost for member in members if member]
    if prices != sorted(prices):
        raise ConfigError(
            f"experts stand cheapest first, but the costs of {quoted(list(names))} "
            "with expert_layers "
            f"{quoted(list(layers))} are {quoted(prices)} in pool {pool.name!r}; put them in order"
        )
    return dataclasses.replace(filled, router_cost=_router_cost(filled, pool, task))


def has_stem(model: ModelConfig, pool: Pool) -> bool:
    """Says whether the router looks through the pool's own stem, whose price is known."""
    return (model.router_model_name, model.router_stem_layers) == (pool.stem, pool.stem_layers)


def _tokenizer(model: ModelConfig, pool: Pool, names: tuple[str, ...], task: str) -> str:
    """Names the pool's tokenizer where all encoders are the pool's own; else each has its own."""
    encoders = set(names)
    if model.stem == "model" and model.router_model_name:
        encoders.add(model.router_model_name)
    of_pool = {pool.stem, *(member.model.format(task=task) for member in pool.members)}
    return pool.tokenizer if encoders <= of_pool else ""


def _router_cost(model: ModelConfig, pool: Pool, task: str) -> float:
    """Prices stem and router: as given, the pool's, or what the stem costs as an expert."""
    if model.router_cost >= 0:
        return model.router_cost
    if model.stem == "expert" or has_stem(model, pool):
        return pool.router_cost
    member = pool.find(model.router_model_name, model.router_stem_layers, task)
    if member is None:
        raise ConfigError(
            f"pool {pool.name!r} knows no cost of router_model_name "
            f"{shown(model.router_model_name)} with router_stem_layers "
            f"{model.router_stem_layers}; give router_cost"
        )
    return member.cost


def _members(
    model: ModelConfig, pool: Pool, task: str
) -> tuple[tuple[str, ...], tuple[int, ...], tuple[float, ...]]:
    """Names, layers and training costs of the experts."""
    names, layers = model.expert_model_names, model.expert_layers
    if not names and not layers:
        if model.pool_size and model.pool_size not in pool.sizes:
            raise ConfigError(
                f"pool_size is {model.pool_size}, but pool {pool.name!r} comes with "
                f"{', '.join(map(str, pool.sizes))} experts; take one of these"
            )
        default = pool.of_size(model.pool_size)
        names = tuple(member.model.format(task=task) for member in default)
        layers = tuple(member.layers for member in default)
    elif not names:
        if len({member.model for member in pool.members}) > 1:
            raise ConfigError(
                f"expert_layers={quoted(list(layers))} cuts one model at several depths, and pool "
                f"{pool.name!r} has several models; name them with expert_model_names"
            )
        names = (pool.members[0].model.format(task=task),) * len(layers)
    layers = layers or (0,) * len(names)
    if model.expert_costs or len(names) != len(layers):
        return names, layers, model.expert_costs
    members = [pool.find(name, cut, task) for name, cut in zip(names, layers, strict=True)]
    costs = tuple(float(member.cost) for member in members if member)
    if len(costs) < len(names):
        missing = [name for name, member in zip(names, members, strict=True) if member is None]
        raise ConfigError(
            f"expert_model_names: pool {pool.name!r} knows no cost of "
            f"{quoted(missing)}; give expert_costs"
        )
    return names, layers, costs


@functools.lru_cache(_SECTIONS)
def _spelled_out(model: ModelConfig) -> ModelConfig:
    """Refuses a pool without a name that leaves out what has no default."""
    for name in ("expert_model_names", "expert_costs"):
        if not getattr(model, name):
            raise ConfigError(
                f"pool={model.pool} needs {name}; give it, or name one of {list(POOLS)}"
            )
    if not model.router_model_name:
        model = dataclasses.replace(model, stem="expert")  # the cheapest; `notes_of` says so
    if model.router_cost < 0 and model.stem == "model":
        raise ConfigError("pool=custom needs router_cost, what stem and router cost; 0 is free")
    _size(model, len(model.expert_model_names))
    filled = dataclasses.replace(
        model,
        pool_size=len(model.expert_model_names),
        expert_layers=model.expert_layers or (0,) * len(model.expert_model_names),
        expert_pooling=model.expert_pooling or "cls",
        expert_fine_tuned=bool(model.expert_fine_tuned),
        router_stem_layers=max(0, model.router_stem_layers),
        stem_pooling=model.stem_pooling or "cls",
        router_cost=max(0.0, model.router_cost),
    )
    _poolings(filled)
    return filled


def _size(model: ModelConfig, experts: int) -> None:
    if model.pool_size not in (0, experts):
        raise ConfigError(
            f"pool_size is {model.pool_size}, but {experts} experts are given by name or layers; "
            "leave one of the two out"
        )


def _poolings(model: ModelConfig) -> None:
    one_of("expert_pooling", model.expert_pooling, ["cls", "mean"])
    one_of("stem_pooling", model.stem_pooling, ["cls", "mean"])
