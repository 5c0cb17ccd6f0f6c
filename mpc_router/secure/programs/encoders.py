"""Runs encoders of BERT's form on arrays of numpy or of jax, and so under secure computation.

The Python that has `spu` runs this file, so it imports nothing but numpy. It runs one example at a
time, for a secure program is compiled for fixed shapes. Letters: T tokens, padded to a fixed
number, F width, A attention heads, U inner units of a layer, C outputs, V words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

Array = Any
"""An array of numpy, or one of jax, which may stand for shares."""

Weights = Mapping[str, Array]
"""The weights by name, as `mpc_router.secure._weights` writes them."""

EXACT: Final = "exact"
POLYNOMIAL: Final = "polynomial"
QUAD: Final = "quad"
GELUS: Final = (EXACT, POLYNOMIAL, QUAD)
SOFTMAXES: Final = (EXACT, QUAD)

_SHIFT: Final = 5.0
"""It is c of the quadratic softmax: arXiv:2211.01452, section 3.1."""


@dataclass(frozen=True)
class Library:
    """Holds what encoders take from an array library beside operators."""

    numpy: Any
    """It is numpy or jax.numpy."""

    erf: Callable[[Array], Array]
    rsqrt: Callable[[Array], Array]


@dataclass(frozen=True)
class Form:
    """Holds the sizes of an encoder with its head, and which functions it is computed with."""

    layers: int
    width: int
    heads: int
    inner: int
    epsilon: float
    """It is added to the variance in layer norms."""

    pooling: str
    """It is `cls`, `mean`, or empty where hidden states are given as they are."""

    dense: tuple[str, ...] = ()
    """It names the activation after each layer of the head: `tanh`, `relu`, or empty for none."""

    gelu: str = EXACT
    softmax: str = EXACT

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Form:
        """Makes the form of plain JSON data."""
        return cls(**{**plain, "dense": tuple(plain.get("dense", ()))})


def embedded(weights: Weights, ids: Array, segments: Array, form: Form, library: Library) -> Array:
    """Gives what the layers take, (T, F), of word numbers (T,) and segments (T,), in the clear."""
    rows = weights["word"][ids]
    if "segment" in weights:
        rows = rows + weights["segment"][segments]
    return _placed(weights, rows, form, library)


def looked_up(weights: Weights, words: Array, segments: Array, form: Form, lib: Library) -> Array:
    """Gives the same (T, F) of one-hot rows (T, V) and (T, 2): a lookup that may be secret."""
    rows = words @ weights["word"]
    if "segment" in weights:
        rows = rows + segments @ weights["segment"]
    return _placed(weights, rows, form, lib)


def _placed(weights: Weights, rows: Array, form: Form, library: Library) -> Array:
    """Adds positions and norms: (T, F) -> (T, F)."""
    placed = rows + weights["position"][: rows.shape[0]]
    return norm(placed, weights, "embedding_norm", form, library)


def answered(weights: Weights, hidden: Array, mask: Array, form: Form, library: Library) -> Array:
    """Gives outputs (C,) of embedded tokens (T, F); `mask` (T,) is 1 for tokens, 0 for padding.

    Without pooling it gives hidden states (T, F).
    """
    for number in range(form.layers):
        hidden = layer(weights, number, hidden, mask, form, library)
    if not form.pooling:
        return hidden
    values = hidden[0]
    if form.pooling == "mean":
        values = (mask @ hidden) / library.numpy.sum(mask)
    for number, activation in enumerate(form.dense):
        values = values @ weights[f"dense{number}.weight"] + weights[f"dense{number}.bias"]
        if activation == "tanh":
            values = library.numpy.tanh(values)
        elif activation == "relu":
            values = library.numpy.maximum(values, 0)
    return values


def layer(
    weights: Weights, number: int, hidden: Array, mask: Array, form: Form, library: Library
) -> Array:
    """Runs one layer: attention and inner units, each added to its input and normed; (T, F)."""
    place = f"layer{number}."
    attended = attention(weights, place, hidden, mask, form, library)
    hidden = norm(hidden + attended, weights, place + "attention_norm", form, library)
    inner = gelu(_linear(hidden, weights, place + "up"), form.gelu, library)
    rows = hidden + _linear(inner, weights, place + "down")
    return norm(rows, weights, place + "output_norm", form, library)


def attention(
    weights: Weights, place: str, hidden: Array, mask: Array, form: Form, library: Library
) -> Array:
    """Gives what every token takes from the others, (T, F)."""
    tokens, size = hidden.shape[0], form.width // form.heads

    def by_head(name: str) -> Array:
        rows = _linear(hidden, weights, place + name).reshape(tokens, form.heads, size)
        return rows.transpose(1, 0, 2)  # (A, T, F / A)

    query, key, value = by_head("query"), by_head("key"), by_head("value")
    scores = (query @ key.transpose(0, 2, 1)) * (1 / math.sqrt(size))
    mixed = softmax(scores, mask, form.softmax, library) @ value
    return _linear(mixed.transpose(1, 0, 2).reshape(tokens, form.width), weights, place + "mix")


def softmax(scores: Array, mask: Array, kind: str, library: Library) -> Array:
    """Gives the softmax over the last axis of scores (A, T, T) where `mask` (T,) is 1; 0 elsewhere.

    exact:  exp(x - max x) m / sum exp(x - max x) m. The mask multiplies, for an addition of -inf
            has no place in a ring of fixed-point numbers; the largest is taken over padding too.
    quad:   (x + 5)^2 m / sum (x + 5)^2 m, MPCFormer's 2Quad (arXiv:2211.01452, section 3.1), for
            models that were distilled with it.
    """
    if kind == QUAD:
        raised = scores + _SHIFT
        powers = raised * raised * mask
    else:
        powers = library.numpy.exp(scores - scores.max(axis=-1, keepdims=True)) * mask
    return powers / powers.sum(axis=-1, keepdims=True)


def gelu(values: Array, kind: str, library: Library) -> Array:
    """Gives the Gaussian error linear unit of every value.

    exact:       x/2 (1 + erf(x / sqrt 2))
    polynomial:  PUMA's four pieces (arXiv:2307.12533, section 4.1), within .02 of the exact
    quad:        x^2/8 + x/4 + 1/2, MPCFormer's Quad (arXiv:2211.01452, section 3.1), for models
                 that were distilled with it
    """
    if kind == QUAD:
        return 0.125 * values * values + 0.25 * values + 0.5
    if kind == POLYNOMIAL:
        return _polynomial(values, library)
    return 0.5 * values * (1 + library.erf(values * (1 / math.sqrt(2))))


def _polynomial(values: Array, library: Library) -> Array:
    """Gives 0 below -4, a cubic below -1.95, a polynomial of degree 6 up to 3, x above."""
    square = values * values
    cube = square * values
    fourth = square * square
    low = (
        -0.011034134030615728 * cube
        - 0.11807612951181953 * square
        - 0.42226581151983866 * values
        - 0.5054031199708174
    )
    middle = (
        0.0018067462606141187 * (fourth * square)
        - 0.037688200365904236 * fourth
        + 0.3603292692789629 * square
        + 0.5 * values
        + 0.008526321541038084
    )
    where = library.numpy.where
    left = where(values < -1.95, where(values < -4, 0.0, low), middle)
    return where(values > 3, values, left)


def norm(rows: Array, weights: Weights, name: str, form: Form, library: Library) -> Array:
    """Gives rows (T, F) with mean 0 and variance 1, scaled and shifted by the weights."""
    centred = rows - rows.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    standard = centred * library.rsqrt(variance + form.epsilon)
    return standard * weights[name + ".scale"] + weights[name + ".shift"]


def _linear(rows: Array, weights: Weights, name: str) -> Array:
    return rows @ weights[name + ".weight"] + weights[name + ".bias"]
