"""How much an errand is to do, estimated before it is begun: steps, seconds, memory.

Letters: F features of an encoder (its width), T tokens.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Final

from mpc_router.data.tokens import batch_count
from mpc_router.experts.encoder_runs import PASS_BATCH
from mpc_router.experts.errands import Errand
from mpc_router.model.encoders import blank_encoder, cut, depth_of, load_config, width_of
from mpc_router.model.sources import Models

_FLOPS: Final = 5e10
"""Products a second of a core, about: what two cores of a server gave lay between 2e10 and 1.4e11.
"""

_STEP: Final = 0.004
"""Seconds of a step beside its products, which is most of a very small encoder's."""

_TRAINED: Final = 20
"""Bytes a parameter while it trains: weight, gradient, two moments, and a copy of the weight."""

_ASKED: Final = 8
"""Bytes a parameter while an encoder is only asked: as read from its file, and as it runs."""

_ACTIVATIONS: Final = 100
"""Bytes a token, layer and feature that training keeps for the backward pass, in float32; a pass
keeps those of one layer."""

_PROCESS: Final = 500e6
"""Bytes of a process with torch and transformers."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Estimates what an errand takes on one core of a processor."""

    steps: int
    """Batches, of training and of passes: as many as the progress hears of."""

    seconds: float
    memory: float
    """Bytes of a process of its own."""


@dataclass(frozen=True)
class _Size:
    """Holds the size of an encoder."""

    parameters: int
    active: int
    """Parameters that every token meets: all but the table of words."""

    layers: int
    width: int


def work_of(errand: Errand) -> Work:
    """Estimates the work of an errand from its encoder's shape and the lengths of its examples.

    Training meets a token with three products for each one of a pass; a product is two FLOP.

    Raises:
        ModelError: the model cannot be read.
    """
    recipe, trains = errand.recipe, errand.trains
    size = _size(recipe.name, recipe.layers, errand.models)
    asked = [split.tokens.lengths() for split in errand.unasked.values()]
    trained = errand.train.tokens.lengths()
    epochs = recipe.epochs if trains else 0
    steps = sum(batch_count(len(lengths), PASS_BATCH) for lengths in asked)
    steps += epochs * batch_count(len(trained), recipe.batch_size) if epochs else 0
    tokens = sum(int(lengths.sum()) for lengths in asked) + 3 * epochs * int(trained.sum())
    longest = max(int(lengths.max(initial=1)) for lengths in (*asked, trained))
    examples = max(PASS_BATCH, recipe.batch_size * size.layers if trains else 0)
    return Work(
        steps=steps,
        seconds=steps * _STEP + 2 * size.active * tokens / _FLOPS,
        memory=_PROCESS
        + size.parameters * (_TRAINED if trains else _ASKED)
        + examples * longest * size.width * _ACTIVATIONS,
    )


@functools.lru_cache(64)
def _size(name: str, layers: int, models: Models) -> _Size:
    """Gives the size of an encoder's first `layers` layers (0: all), from its configuration."""
    shape = load_config(models.resolve(name))
    cut(shape, layers, name)
    blank: Any = blank_encoder(shape)
    parameters = sum(weights.numel() for weights in blank.parameters())
    words = blank.get_input_embeddings().weight.numel()
    return _Size(
        parameters=parameters,
        active=parameters - words,
        layers=depth_of(shape),
        width=width_of(blank),
    )
