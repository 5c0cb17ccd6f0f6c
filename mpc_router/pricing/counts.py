"""What experts and router cost, counted from their shapes: `parameters` and `flops`.

Models are built on torch's meta device from their configuration alone: no weights are read, no
number is computed. Letters: F features (an encoder's width), H hidden units, K experts, T tokens.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mpc_router.config.trial import TrialConfig
from mpc_router.costs import FLOPS, PARAMETERS, CostVector
from mpc_router.model.encoders import blank_encoder, cut, depth_of, load_config, width_of
from mpc_router.model.experts import comes_with_head
from mpc_router.model.router import RouterShape, build_router
from mpc_router.model.sources import SAMPLE_PREFIX, ModelError, Models, whatever_is_raised

_MILLION: Final = 1e6
_GIGA: Final = 1e9
_FEW_TOKENS: Final = 8
"""Every encoder takes so many; whether products can be counted does not depend on the length."""


@dataclass(frozen=True, slots=True)
class _Counts:
    """Holds what one example takes to run through a module."""

    parameters: int
    """Weights of everything that runs; tables of embeddings whole, though an example looks up one
    row a token."""

    flops: int
    """A multiplication and an addition are two; matrix products alone count, as in torch."""

    def __add__(self, other: _Counts) -> _Counts:
        return _Counts(self.parameters + other.parameters, self.flops + other.flops)

    def __sub__(self, other: _Counts) -> _Counts:
        return _Counts(self.parameters - other.parameters, self.flops - other.flops)


@dataclass(frozen=True)
class Counted:
    """Holds the cost vectors that are counted from models, as far as they can be."""

    vectors: dict[str, CostVector]
    """`parameters` (millions) and `flops` (GFLOP of one example), by name."""

    notes: tuple[str, ...] = ()
    """A sentence for each vector that is left out: which model it is for, and why."""


class _Uncountable(Exception):
    """Says that a model cannot be built without its numbers, or cannot run without them."""


def counted(config: TrialConfig, models: Models, *, tokens: float | Sequence[float]) -> Counted:
    """Gives what experts and router cost by their parameters and by their products.

    `parameters` needs no forward pass; `flops` needs one on the meta device, which an encoder that
    looks into its numbers cannot make: then the vector is left out.

    `tokens` is the mean length of the task's examples, rounded to whole tokens: one for all, or
    (1 + K,) the stem's and each expert's, where their tokenizers differ. An expert is its encoder
    and head, the router its stem and MLP, if its kind has one. Where the stem is the cheapest
    expert, the router costs that expert and the MLP, and a route to it costs nothing more. Where
    experts share the stem (`shared_stem` with `experts: joint`), an expert is its layers after the
    stem's, and its head.

    Raises:
        ModelError: a model cannot be found, or is cut deeper than it is.
    """
    means = (1 + config.experts) * [tokens] if isinstance(tokens, int | float) else tokens
    lengths = [max(1, round(mean)) for mean in means]
    vectors, notes = {}, []
    for name, unit, scale, ids in (
        (PARAMETERS, "million parameters", _MILLION, [0] * len(lengths)),
        (FLOPS, "GFLOP", _GIGA, lengths),
    ):
        try:
            router, experts = _sizes(config, models, tokens=ids)
        except _Uncountable as error:
            notes.append(f"Costs in {name} are left out: {error}.")
            continue
        vectors[name] = CostVector(
            name=name,
            unit=unit,
            router=router / scale,
            experts=tuple(cost / scale for cost in experts),
            stem_is_expert=config.model.stem == "expert",
        )
    return Counted(vectors, tuple(notes))


def check_counted(config: TrialConfig, models: Models, name: str) -> None:
    """Makes sure that a counted vector can be had before anything is trained.

    Raises:
        ModelError: it is counted from the models, and one of them cannot be counted.
    """
    if name not in (PARAMETERS, FLOPS):
        return
    counted_costs = counted(config, models, tokens=_FEW_TOKENS)
    if name not in counted_costs.vectors:
        reason = next(note for note in counted_costs.notes if f" in {name} " in note)
        raise ModelError(
            f"cost vector {name} is asked for, but cannot be had. {reason} Name another cost "
            "vector, or another model"
        )


def _sizes(config: TrialConfig, models: Models, *, tokens: Sequence[int]) -> tuple[int, list[int]]:
    """Counts router and each expert: parameters, or FLOPs of so many tokens (if any).

    `tokens` (1 + K,) are the stem's, then each expert's.
    """
    model = config.model

    def size(counts: _Counts) -> int:
        return counts.flops if any(tokens) else counts.parameters

    experts = [
        _expert(config, models, name, layers, tokens=length)
        for name, layers, length in zip(
            model.expert_model_names, model.expert_layers, tokens[1:], strict=True
        )
    ]
    if model.stem == "expert":
        shape = _shape(models, model.expert_model_names[0], model.expert_layers[0])
        stem = experts[0]
    else:
        name = model.router_model_name
        shape = _shape(models, name, model.router_stem_layers)
        stem = _encoder(shape, name, tokens=tokens[0])
    router = stem + _router(config, shape.hidden_size)
    return size(router), [size(expert) for expert in experts]


def _counts_of(module: nn.Module, run: Callable[[], Any]) -> _Counts:
    """Counts a module while `run` runs it once; each of its parameters counts once."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return _Counts(
        parameters=sum(weights.numel() for weights in module.parameters()),
        flops=int(counter.get_total_flops()),
    )


def _shape(models: Models, name: str, layers: int) -> Any:
    """Gives the configuration of a model's first `layers` layers (0: all), attention in the open.

    Fused kernels of attention need not have a formula; eager attention is plain products, and does
    the same work.
    """
    shape = copy.deepcopy(load_config(models.resolve(name)))
    kept = comes_with_head(shape, layers)
    cut(shape, layers, name)
    if not kept:
        shape.architectures = None  # the head of a last layer that is cut off is of no use
    shape._attn_implementation = "eager"
    return shape


def _expert(config: TrialConfig, models: Models, name: str, layers: int, *, tokens: int) -> _Counts:
    shape = _shape(models, name, layers)
    kept = bool(config.model.expert_fine_tuned) and not name.startswith(SAMPLE_PREFIX)
    if kept and comes_with_head(shape, 0):
        encoder = _encoder(shape, name, tokens=tokens, head=True)
    else:
        head = _linear(shape.hidden_size, config.data.definition.outputs)
        encoder = _encoder(shape, name, tokens=tokens) + head
    if not (config.model.shared_stem and config.training.experts == "joint"):
        return encoder
    return encoder - _shared(config, models, name, shape, tokens=tokens)


def _shared(config: TrialConfig, models: Models, name: str, shape: Any, *, tokens: int) -> _Counts:
    """Gives the embeddings and first layers of an expert: what the stem has done for it already."""
    stem = config.model.router_model_name
    depth = depth_of(_shape(models, stem, config.model.router_stem_layers))
    if depth > depth_of(shape):
        raise ModelError(
            f"expert {name} has {depth_of(shape)} layers, the stem {stem} that it shares has "
            f"{depth}; lower router_stem_layers, or set shared_stem=false"
        )
    below = copy.deepcopy(shape)
    below.num_hidden_layers = depth
    return _encoder(below, name, tokens=tokens)


def _encoder(shape: Any, name: str, *, tokens: int, head: bool = False) -> _Counts:
    """Counts embeddings and layers without a pooler; with its `head` as transformers does."""

    def refusal(reason: str) -> ModelError:
        return ModelError(f"{name} does not run on shapes alone ({reason})")

    try:
        with whatever_is_raised(refusal):
            settings = shape.to_json_string(use_diff=False)
            return _counted_once(_Shape(type(shape), settings, shape), tokens, head)
    except ModelError as error:
        raise _Uncountable(str(error)) from error


@dataclass(frozen=True, slots=True)
class _Shape:
    """Holds a configuration, equal to another one of the same class and settings."""

    kind: type
    settings: str
    """As JSON."""

    of_model: Any = field(compare=False)


@functools.lru_cache(maxsize=64)
def _counted_once(shape: _Shape, tokens: int, head: bool) -> _Counts:
    """Builds an encoder and counts it, once a process: prepared sets share their encoders."""
    model = blank_encoder(shape.of_model, head=head)
    width_of(model)
    if not tokens:
        return _Counts(sum(weights.numel() for weights in model.parameters()), 0)
    with torch.device("meta"):
        # without a mask: all tokens count, and the meta device could not look into one
        return _counts_of(model, lambda: model(input_ids=_ids(tokens)))


def _linear(features: int, outputs: int) -> _Counts:
    with torch.device("meta"):
        head = nn.Linear(features, outputs)
        return _counts_of(head, lambda: head(torch.empty(1, features)))


def _router(config: TrialConfig, features: int) -> _Counts:
    """Counts the network behind the stem, if the router has one: that of a gated router.

    Networks of other kinds are counted as a gated one's too, for beside an encoder none matters.
    """
    model = config.model
    if not model.has_network(stem=model.stem):
        return _Counts(parameters=0, flops=0)
    shape = RouterShape(
        experts=config.experts, hidden_size=model.router_hidden_size, dropout=model.router_dropout
    )
    with torch.device("meta"):
        router = build_router(shape, features).eval()
        return _counts_of(router, lambda: router(torch.empty(1, features)))


def _ids(tokens: int) -> Tensor:
    """Gives token numbers (1, T) on the meta device: a shape, no values."""
    return torch.zeros(1, tokens, dtype=torch.long, device="meta")
