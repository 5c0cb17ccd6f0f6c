"""Small random encoders in the layout of `--models`, and a split of random tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mpc_router.data.tokens import Tokens
from mpc_router.model.encoders import seeded

VOCABULARY = 40


def small_config(*, hidden: int = 16, layers: int = 2, words: int = VOCABULARY, **more: Any) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=words,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * hidden,
        max_position_embeddings=32,
        initializer_range=0.3,  # far from 0, so that different models say different things
        **more,
    )


def save_classifier(folder: Path, *, seed: int = 0, **config: Any) -> Any:
    """A random classifier with its head in `folder`, as transformers writes it."""
    from transformers import BertForSequenceClassification

    with seeded(seed):
        model = BertForSequenceClassification(small_config(**config)).eval()
    model.save_pretrained(folder)
    return model


def save_encoder(folder: Path, *, seed: int = 0, **config: Any) -> Any:
    """A random encoder without a head in `folder`."""
    from transformers import BertModel

    with seeded(seed):
        model = BertModel(small_config(**config)).eval()
    model.save_pretrained(folder)
    return model


def some_tokens(examples: int = 5, length: int = 9, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Token numbers and a mask, both (B, T); every example has another number of tokens."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, VOCABULARY, (examples, length), generator=generator)
    lengths = length - torch.arange(examples) % (length - 1)
    mask = (torch.arange(length) < lengths[:, None]).long()
    return ids * mask, mask


def some_split(examples: int = 40, *, outputs: int = 2, seed: int = 0) -> Tokens:
    """A split whose label can be read off the tokens: the share of words from the upper half."""
    random = np.random.default_rng(seed)
    lengths = random.integers(4, 12, examples)
    upper = random.random(examples)
    rows = []
    for length, share in zip(lengths, upper, strict=True):
        high = random.random(length) < share
        rows.append(np.where(high, random.integers(22, 40, length), random.integers(3, 22, length)))
    labels = upper * 5 if outputs == 1 else np.floor(upper * outputs)
    return Tokens(
        ids=np.concatenate(rows).astype(np.int32),
        segments=np.zeros(int(lengths.sum()), np.uint8),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        labels=labels.astype(np.float64),
        example=np.arange(examples, dtype=np.int64),
    )
