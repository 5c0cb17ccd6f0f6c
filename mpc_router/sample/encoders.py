"""The sample's tokenizer, and the recipes of its tiny encoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mpc_router.sample import language

if TYPE_CHECKING:
    from transformers import BertConfig, BertTokenizerFast


_MAX_LENGTH: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoder:
    """Holds the shape of one of the sample's encoders."""

    layers: int
    hidden: int
    heads: int
    intermediate: int
    initializer_range: float = 0.1
    """Wider than BERT's 0.02: from nothing, small embeddings are slow to tell words apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    """Says how an encoder is fine-tuned, in the words of `experts.fine_tune`."""

    learning_rate: float
    epochs: int
    batch_size: int = 32
    weight_decay: float = 0.01
    warmup: float = 0.1
    precision: str = "float32"
    """At these widths autocast costs more than it saves."""

    pooling: str = "mean"


ENCODERS: Final = {
    "sample/tiny": _Encoder(layers=0, hidden=16, heads=1, intermediate=16),
    "sample/base": _Encoder(layers=1, hidden=32, heads=2, intermediate=8),
    "sample/large": _Encoder(layers=2, hidden=64, heads=8, intermediate=128),
    "sample/stem": _Encoder(layers=0, hidden=128, heads=1, intermediate=16, initializer_range=1.0),
}
"""Tiny and stem have no attention layer: mean-pooled, they are bags of words.

Base has the attention for turned examples, but few intermediate units to count with, so that it
learns a part of the nested ones whatever its seed. Large has heads and steps to spare for them.

The stem is not trained. Its features are a random projection of the words' counts, from which a
router's two layers can read what kind of example it looks at.
"""

RECIPES: Final = {
    "sample/tiny": _Recipe(learning_rate=1e-2, epochs=1),
    "sample/base": _Recipe(learning_rate=4e-3, epochs=3),
    "sample/large": _Recipe(learning_rate=1e-3, epochs=6, warmup=0.2),
}
"""Recipes of the experts, which are trained from nothing.

A parity is learnt late and at once, or not in time: large's warm-up is long and its rate low
because at 1.5e-3 some seeds never got to the nested examples.
"""

_NAMES: Final = tuple(ENCODERS)


def tokenizer() -> BertTokenizerFast:
    """Gives the sample's tokenizer, one token a word, built in memory."""
    from transformers import BertTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: number for number, word in enumerate([*special, *language.words()])}
    return BertTokenizerFast(vocab=vocabulary, model_max_length=_MAX_LENGTH)


def shape_of(name: str) -> _Encoder:
    """Gives the shape of a sample encoder; it imports no library.

    Raises:
        ValueError: the sample has no encoder of this name.
    """
    if name not in ENCODERS:
        raise ValueError(f"the sample has no encoder {name!r}, allowed are {', '.join(_NAMES)}")
    return ENCODERS[name]


def encoder_config(name: str) -> BertConfig:
    """Gives the configuration of a sample encoder, which starts from random weights.

    Raises:
        ValueError: the sample has no encoder of this name.
    """
    from transformers import BertConfig

    shape = shape_of(name)
    return BertConfig(
        vocab_size=len(language.words()) + 5,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate,
        max_position_embeddings=_MAX_LENGTH,
        initializer_range=shape.initializer_range,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=0,
    )
