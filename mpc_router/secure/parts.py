"""Gives the parts of a pool in their secure form, stem with router first, and checks their lengths.

Letters: T tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpc_router.results.assembled import Assembled
from mpc_router.secure._weights import SecureEncoder, secure_expert, secure_router
from mpc_router.secure.environment import SecureError
from mpc_router.secure.programs import encoders


@dataclass(frozen=True, kw_only=True)
class Options:
    """Holds how a pool is measured."""

    tokens: tuple[int, ...]
    """Lengths T; costs are those of the first."""

    largest: float
    """Weights in the layers of the largest encoder that is measured whole, in millions."""

    gelu: str = encoders.EXACT
    softmax: str = encoders.EXACT
    lookups: bool = False
    """Whether the secret lookup of words is measured too."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SecurePart:
    """Holds a part of a pool in its secure form."""

    label: str
    name: str
    layers: int
    tokenizer: int
    """The number of the tokenizer that its tokens are of."""

    encoder: SecureEncoder

    @property
    def millions(self) -> float:
        """Counts the weights of its layers, in millions."""
        sizes = (
            values.size for name, values in self.encoder.weights.items() if name.startswith("layer")
        )
        return sum(sizes) / 1e6


def secure_parts(assembled: Assembled, options: Options) -> list[SecurePart]:
    """Gives stem with router, then every expert.

    Raises:
        ModelError: the secure form of one is not known.
    """
    model, config = assembled.model, assembled.config.model
    stem = (config.router_model_name, config.router_stem_layers)
    if config.stem == "expert":
        stem = (config.expert_model_names[0], config.expert_layers[0])
    named = [(*stem, 0, "stem with router", secure_router(model, stem[0]))]
    experts = zip(
        config.expert_model_names,
        config.expert_layers,
        model.experts.encodings,
        model.experts.experts,
        strict=True,
    )
    for number, (name, layers, encoding, expert) in enumerate(experts):
        encoder = secure_expert(expert)
        label = f"expert {number} ({encoder.form.layers} layers of {encoder.form.width})"
        named.append((name, layers, encoding, label, encoder))
    return [
        SecurePart(
            label=label,
            name=name,
            layers=layers,
            tokenizer=encoding,
            encoder=dataclasses.replace(
                encoder,
                form=dataclasses.replace(encoder.form, gelu=options.gelu, softmax=options.softmax),
            ),
        )
        for name, layers, encoding, label, encoder in named
    ]


def check_lengths(
    assembled: Assembled, parts: Sequence[SecurePart], lengths: Sequence[int]
) -> None:
    """Refuses lengths that special tokens fill, or that an encoder has no positions for.

    Raises:
        SecureError: it gives the range of lengths.
    """
    is_pair = len(assembled.task.columns) > 1
    least = 1 + max(
        assembled.tokenizers[part.tokenizer].num_special_tokens_to_add(pair=is_pair)
        for part in parts
    )
    part = min(parts, key=lambda part: part.encoder.places)
    for tokens in lengths:
        if not least <= tokens <= part.encoder.places:
            raise SecureError(
                f"--tokens is {tokens}, and lengths are {least} (special tokens and one of text) "
                f"to {part.encoder.places} (the positions of {part.name}); give lengths in this "
                "range"
            )


def checked_length(numbers: NDArray[np.int64], tokens: int) -> NDArray[np.int64]:
    """Gives token numbers (..., T) back if they have this length T.

    Raises:
        SecureError: the tokenizer has not cut or padded to it.
    """
    if numbers.shape[-1] != tokens:
        raise SecureError(
            f"--tokens is {tokens}, and the tokenizer made {numbers.shape[-1]} tokens of a text; "
            "give another length"
        )
    return numbers
