"""Takes the weights of an encoder with its head out of torch, in the form that shares are made of.

All families become one: `mpc_router.secure.programs.encoders` has it. Letters: F width, C outputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mpc_router.messages import quoted
from mpc_router.model.encoders import PooledEncoder
from mpc_router.model.experts import BertExpert
from mpc_router.model.gated_pool import GatedBertPool
from mpc_router.model.router import MLPRouter
from mpc_router.model.sources import ModelError
from mpc_router.secure.programs.encoders import Form

_Values = NDArray[np.float32]

_BERT: Final = {
    "word": "embeddings.word_embeddings.weight",
    "position": "embeddings.position_embeddings.weight",
    "segment": "embeddings.token_type_embeddings.weight",
    "embedding_norm": "embeddings.LayerNorm",
    "layer": "encoder.layer",
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "mix": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "output_norm": "output.LayerNorm",
}
_DISTILBERT: Final = {
    "word": "embeddings.word_embeddings.weight",
    "position": "embeddings.position_embeddings.weight",
    "embedding_norm": "embeddings.LayerNorm",
    "layer": "transformer.layer",
    "query": "attention.q_lin",
    "key": "attention.k_lin",
    "value": "attention.v_lin",
    "mix": "attention.out_lin",
    "attention_norm": "sa_layer_norm",
    "up": "ffn.lin1",
    "down": "ffn.lin2",
    "output_norm": "output_layer_norm",
}
FAMILIES: Final = {"bert": _BERT, "distilbert": _DISTILBERT}
"""It names the parts of the encoders whose secure form is known, by transformers' `model_type`.
MiniLM is of type `bert`."""

_LINEAR: Final = ("query", "key", "value", "mix", "up", "down")
_NORMS: Final = ("attention_norm", "output_norm")
_ENDS: Final = ("weight", "bias")


@dataclass(frozen=True, eq=False)
class SecureEncoder:
    """Holds an encoder with its head as the other Python takes it."""

    form: Form
    weights: Mapping[str, _Values]
    """By the names of `programs.encoders`; matrices are (inputs, outputs)."""

    places: int
    """It is the number of tokens that the encoder has positions for."""

    def plain_form(self) -> dict[str, Any]:
        """Gives the form as plain JSON."""
        return dataclasses.asdict(self.form)


def secure_expert(expert: nn.Module) -> SecureEncoder:
    """Gives an expert with its head, classes in the task's order.

    Raises:
        ModelError: the secure form of its family is not known, or a part of it differs.
    """
    if not isinstance(expert, BertExpert):
        raise ModelError(f"an expert is a {type(expert).__name__}, and must be a whole encoder")
    if not expert.fine_tuned:
        encoder: Any = expert.body.encoder
        return _secure(encoder, expert.pooling, [("", expert.head)], expert.name)
    order = expert.label_order
    body: Any = expert.body
    if body.config.model_type == "distilbert":
        head = [("relu", body.pre_classifier), ("", _ordered(body.classifier, order))]
    elif body.config.model_type == "bert":
        head = [("tanh", body.bert.pooler.dense), ("", _ordered(body.classifier, order))]
    else:
        raise _unknown(expert.name, body.config)
    encoder = getattr(body, body.base_model_prefix)
    return _secure(encoder, "cls", head, expert.name)


def secure_router(pool: GatedBertPool, name: str) -> SecureEncoder:
    """Gives the stem with the router's network, the standardisation of features folded in.

    W' = diag(1 / deviation) W and b' = b - mean / deviation W.

    Raises:
        ModelError: the stem's family is not known, or the router is no network over its features.
    """
    router, stem = pool.router, pool.stem
    if pool.shared_stem or not isinstance(stem, PooledEncoder):
        raise ModelError(
            "the experts are layers after a shared stem, and the secure form is known of whole "
            "encoders; price a router with shared_stem=false"
        )
    if not isinstance(router, MLPRouter):
        raise ModelError(
            f"the router is of kind {quoted(getattr(router, 'kind', type(router).__name__))}, and "
            "the secure form of a gated router alone is known; price one behind the same stem, "
            "whose file holds for all kinds"
        )
    hidden = _copied(router.hidden)
    scaled = hidden.weight.double() / pool.feature_deviation.double()
    hidden.bias = nn.Parameter((hidden.bias.double() - scaled @ pool.feature_mean.double()).float())
    hidden.weight = nn.Parameter(scaled.float())
    return _secure(stem.encoder, stem.pooling, [("relu", hidden), ("", router.out)], name)


def _secure(
    encoder: Any, pooling: str, head: list[tuple[str, nn.Linear]], name: str
) -> SecureEncoder:
    config = encoder.config
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise _unknown(name, config)
    distil = config.model_type == "distilbert"
    activation = config.activation if distil else config.hidden_act
    if activation != "gelu":
        raise ModelError(
            f"{name} has the activation {quoted(activation)}, and the secure form knows gelu; "
            "price another encoder"
        )
    state = encoder.state_dict()
    layers = config.n_layers if distil else config.num_hidden_layers
    weights = dict(_body(state, family, layers, name))
    for number, (_, linear) in enumerate(head):
        weights[f"dense{number}.weight"] = _numbers(linear.weight.T)
        weights[f"dense{number}.bias"] = _numbers(linear.bias)
    form = Form(
        layers=layers,
        width=weights["word"].shape[1],
        heads=config.n_heads if distil else config.num_attention_heads,
        inner=weights["layer0.up.weight"].shape[1] if layers else 0,
        epsilon=1e-12 if distil else config.layer_norm_eps,
        pooling=pooling,
        dense=tuple(activation for activation, _ in head),
    )
    return SecureEncoder(form, weights, places=len(weights["position"]))


def _body(
    state: Mapping[str, Tensor], family: Mapping[str, str], layers: int, name: str
) -> dict[str, _Values]:
    """Gives the weights of embeddings and layers under their new names.

    Raises:
        ModelError: a tensor is missing, or there is one that the form has no place for.
    """
    places = {new: family[new] for new in ("word", "position", "segment") if new in family}
    norms = {"embedding_norm": family["embedding_norm"]}
    linear: dict[str, str] = {}
    for number in range(layers):
        for part in (*_LINEAR, *_NORMS):
            kind = norms if part in _NORMS else linear
            kind[f"layer{number}.{part}"] = f"{family['layer']}.{number}.{family[part]}"
    try:
        weights = {new: _numbers(state[old]) for new, old in places.items()}
        for new, old in norms.items():
            weights[f"{new}.scale"] = _numbers(state[f"{old}.weight"])
            weights[f"{new}.shift"] = _numbers(state[f"{old}.bias"])
        for new, old in linear.items():
            weights[f"{new}.weight"] = _numbers(state[f"{old}.weight"].T)
            weights[f"{new}.bias"] = _numbers(state[f"{old}.bias"])
        known = {*places.values()}
        known |= {f"{old}.{end}" for old in (*norms.values(), *linear.values()) for end in _ENDS}
        strange = [key for key in state if key not in known and not key.startswith("pooler.")]
        if strange:
            raise ModelError(
                f"{name} has a tensor {quoted(strange[0])} that the secure form has no place for; "
                "price another encoder"
            )
    except KeyError as error:
        raise ModelError(
            f"{name} has no tensor {quoted(error.args[0])}, so its secure form is not known; price "
            "another encoder"
        ) from error
    return weights


def _ordered(classifier: nn.Linear, order: Tensor) -> nn.Linear:
    """Gives a classifier whose outputs stand in the task's order."""
    ordered = _copied(classifier)
    ordered.weight = nn.Parameter(classifier.weight[order])
    ordered.bias = nn.Parameter(classifier.bias[order])
    return ordered


def _copied(linear: nn.Linear) -> nn.Linear:
    copy = nn.Linear(linear.in_features, linear.out_features)
    copy.load_state_dict(linear.state_dict())
    return copy


def _numbers(tensor: Tensor) -> _Values:
    return np.ascontiguousarray(tensor.detach().to(torch.float32).cpu().numpy())


def _unknown(name: str, config: Any) -> ModelError:
    kind = quoted(getattr(config, "model_type", None))
    return ModelError(
        f"{name} is of the family {kind}, and the secure form is known of {', '.join(FAMILIES)} "
        "(MiniLM is of family bert); price another encoder"
    )
