"""Tiny random models of three families, each with its own vocabulary, and a pool of them."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, Final

from mpc_router.model.encoders import seeded
from mpc_router.sample import examples

FAMILIES: Final = ("distilbert", "bert", "roberta")
"""In the order of the pool's experts."""

POOL: Final[dict[str, Any]] = {
    "pool": "custom",
    "expert_model_names": [f"org/{family}" for family in FAMILIES],
    "expert_costs": [1, 2, 3],
    "expert_fine_tuned": True,
    "router_model_name": "org/stem",
    "router_cost": 0.1,
    "router_hidden_size": 8,
    "max_length": 40,
    "train_rows": 60,
    "validation_rows": 40,
}
"""The stem reads as the BERT does."""


@functools.cache
def texts() -> tuple[str, ...]:
    """Texts that vocabularies are made of."""
    return tuple(examples.table("mrpc", "train").slice(0, 200)["sentence1"].to_pylist())


def word_pieces(family: str) -> Any:
    """A WordPiece tokenizer: BERT's of whole words, DistilBERT's of letters in another order."""
    from transformers import BertTokenizerFast

    words = sorted({word for text in texts() for word in text.lower().replace(".", "").split()})
    letters = sorted({letter for word in words for letter in word})
    pieces = [*letters, *(f"##{letter}" for letter in letters)]
    listed = [".", *words, *pieces] if family == "bert" else [*reversed(pieces), ".", *words[::7]]
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys([*specials, *listed]))}
    return BertTokenizerFast(vocab=vocabulary, model_max_length=64)


def byte_pairs(words: int = 300) -> Any:
    """A byte-level BPE tokenizer, as RoBERTa has: padding is token 1."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import RobertaTokenizerFast

    trained = ByteLevelBPETokenizer(lowercase=True)
    trained.train_from_iterator(
        texts(),
        vocab_size=words,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        show_progress=False,
    )
    tree = json.loads(trained.to_str())["model"]
    merges = [tuple(merge) for merge in tree["merges"]]
    return RobertaTokenizerFast(vocab=tree["vocab"], merges=merges, model_max_length=64)


def tokenizer_of(family: str) -> Any:
    """The family's own tokenizer."""
    return byte_pairs() if family == "roberta" else word_pieces(family)


def save_families(folder: Path, *, layers: int = 1) -> Path:
    """Four classifiers into `folder`/org, the layout of `--models`."""
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        DistilBertConfig,
        DistilBertForSequenceClassification,
        RobertaConfig,
        RobertaForSequenceClassification,
    )

    names = {"id2label": {0: "not_equivalent", 1: "equivalent"}}
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
    }
    sizes |= {"intermediate_size": 16, "initializer_range": 0.3}
    distil = {"dim": 16, "n_layers": layers, "n_heads": 2, "hidden_dim": 16}
    for number, name in enumerate((*FAMILIES, "stem")):
        family = "bert" if name == "stem" else name
        words = tokenizer_of(family)
        more = {"vocab_size": len(words), "pad_token_id": words.pad_token_id, **names}
        shapes: dict[str, Any] = {
            "bert": lambda more: BertForSequenceClassification(
                BertConfig(**sizes, **more, max_position_embeddings=64)
            ),
            "distilbert": lambda more: DistilBertForSequenceClassification(
                DistilBertConfig(
                    **distil, **more, initializer_range=0.3, max_position_embeddings=64
                )
            ),
            "roberta": lambda more: RobertaForSequenceClassification(
                RobertaConfig(**sizes, **more, type_vocab_size=1, max_position_embeddings=66)
            ),
        }
        with seeded(number):
            shapes[family](more).save_pretrained(folder / "org" / name)
        words.save_pretrained(folder / "org" / name)
    return folder
