"""Extrapolates from layers that are measured alone to encoders that are too large to measure.

What a layer takes does not depend on its weights' values, so layers of random weights are measured
at two widths and two lengths. Letters: M measurements, T tokens, F width.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from mpc_router.secure._usage import EXTRAPOLATED, Usage
from mpc_router.secure.environment import SecureError
from mpc_router.secure.programs.encoders import Form

_Values = NDArray[np.float32]

_SHARES: Final = (4, 2)
"""Layers are measured at a fourth and at half of the heads, and of the tokens at half and all."""


@dataclass(frozen=True, kw_only=True)
class LayerSize:
    """Holds the sizes that decide what a layer takes."""

    tokens: int
    width: int
    heads: int
    inner: int

    @classmethod
    def of(cls, form: Form, tokens: int) -> LayerSize:
        """Gives the sizes of an encoder's layers."""
        return cls(tokens=tokens, width=form.width, heads=form.heads, inner=form.inner)

    @property
    def weights(self) -> float:
        """Counts its weights, 4 F^2 + 2 F U, which products open masked."""
        return 4.0 * self.width**2 + 2.0 * self.width * self.inner

    @property
    def values(self) -> float:
        """Counts the values between products, T (F + U)."""
        return float(self.tokens * (self.width + self.inner))

    @property
    def sending(self) -> tuple[float, ...]:
        """Gives what bytes grow with: weights, values, and scores of attention, heads x T^2."""
        return self.weights, self.values, float(self.heads * self.tokens**2)

    @property
    def working(self) -> tuple[float, ...]:
        """Gives what seconds grow with: the calls of every layer, weights and values.

        Scores are left out: beside the others four measurements do not tell them from calls.
        """
        return 1.0, self.weights, self.values


def smaller_sizes(size: LayerSize) -> list[LayerSize]:
    """Gives the four smaller layers that are measured for a large one: two widths, two lengths.

    Heads keep their width, and inner units their share. Two and three heads become one and two.

    Raises:
        SecureError: the layer has one head, and so one width.
    """
    if size.heads < 2:
        raise SecureError(
            f"an encoder of width {size.width} is beyond --largest, and its layers have one head: "
            "they cannot be measured at two smaller widths; give a --largest that measures it whole"
        )
    head, share = size.width // size.heads, size.inner / size.width
    fewest, fewer = (size.heads // divisor for divisor in _SHARES)
    fewest = max(1, fewest)
    heads = (fewest, max(fewest + 1, fewer))
    lengths = sorted({max(1, size.tokens // 2), size.tokens})
    return [
        LayerSize(tokens=tokens, width=head * few, heads=few, inner=round(head * few * share))
        for few in heads
        for tokens in lengths
    ]


@dataclass(frozen=True)
class LayerFit:
    """Predicts what a layer takes, from measurements of other ones."""

    sizes: tuple[LayerSize, ...]
    """(M,)"""

    usages: tuple[Usage, ...]
    """(M,) of one layer each."""

    def of(self, size: LayerSize) -> Usage:
        """Gives what a layer of these sizes takes.

        Seconds and bytes: the sum of a_i x what they grow with, a >= 0, by least squares of
        relative errors.
        Rounds: a + b log2 F + c log2 T, for sums and maxima are taken by halves; least squares.
        """
        return Usage(
            worked=self._seconds(size, [usage.worked for usage in self.usages]),
            elapsed=self._seconds(size, [usage.elapsed for usage in self.usages]),
            sent_bytes=(
                self._bytes(size, [usage.sent_bytes[0] for usage in self.usages]),
                self._bytes(size, [usage.sent_bytes[1] for usage in self.usages]),
            ),
            rounds=self._rounds(size),
            how=EXTRAPOLATED,
        )

    def _rounds(self, size: LayerSize) -> float:
        def halvings(known: LayerSize) -> tuple[float, float, float]:
            return 1.0, math.log2(known.width), math.log2(known.tokens)

        measured = np.array([usage.rounds for usage in self.usages])
        factors = np.linalg.lstsq(np.array([*map(halvings, self.sizes)]), measured, rcond=None)[0]
        return float(max(0.0, factors @ halvings(size)))

    def _seconds(self, size: LayerSize, measured: Sequence[float]) -> float:
        return _fitted([known.working for known in self.sizes], measured, size.working)

    def _bytes(self, size: LayerSize, measured: Sequence[float]) -> float:
        return _fitted([known.sending for known in self.sizes], measured, size.sending)


def _fitted(
    terms: Sequence[tuple[float, ...]], measured: Sequence[float], wanted: tuple[float, ...]
) -> float:
    """Fits measurements (M,) to their terms, and gives what the fit says of the terms `wanted`."""
    rows, targets = np.array(terms), np.asarray(measured, np.float64)
    scale = rows.max(axis=0)
    factors, _ = nnls(rows / scale / targets[:, None], np.ones(len(targets)))
    return float(factors @ (np.array(wanted) / scale))


def layer_form(size: LayerSize, form: Form) -> Form:
    """Gives the form of one layer of these sizes alone, with the functions of `form`."""
    return dataclasses.replace(
        form,
        layers=1,
        width=size.width,
        heads=size.heads,
        inner=size.inner,
        pooling="",
        dense=(),
    )


def layer_weights(size: LayerSize, generator: np.random.Generator) -> dict[str, _Values]:
    """Draws weights of one layer, normal with BERT's deviation .02."""
    shapes: dict[str, tuple[int, ...]] = {}
    square = (size.width, size.width)
    for name in ("query", "key", "value", "mix"):
        shapes |= {f"layer0.{name}.weight": square, f"layer0.{name}.bias": square[:1]}
    shapes |= {
        "layer0.up.weight": (size.width, size.inner),
        "layer0.up.bias": (size.inner,),
        "layer0.down.weight": (size.inner, size.width),
        "layer0.down.bias": (size.width,),
    }
    weights = {
        name: generator.normal(0, 0.02, shape).astype(np.float32) for name, shape in shapes.items()
    }
    for name in ("attention_norm", "output_norm"):
        weights[f"layer0.{name}.scale"] = np.ones(size.width, np.float32)
        weights[f"layer0.{name}.shift"] = np.zeros(size.width, np.float32)
    return weights
