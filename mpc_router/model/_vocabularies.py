"""Tells by the number of tokens that encoders know whether one tokenizer can serve them all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from torch import nn

from mpc_router.model.experts import BertExpert
from mpc_router.model.router import RouterStem
from mpc_router.model.sources import ModelError

_SPARE_TOKENS: Final = 1024
"""The most tokens by which vocabularies differ that are padded to a round number."""


def check_one_vocabulary(
    stem: RouterStem, stem_name: str, experts: Sequence[BertExpert], names: Sequence[str]
) -> None:
    """Refuses experts whose number of tokens says that they have another vocabulary than the stem.

    Vocabularies of one family differ by a few tokens that are never used.

    Raises:
        ModelError: there is one.
    """
    tokens = _vocabulary(stem.encoder)
    for expert, name in zip(experts, names, strict=True):
        others = _vocabulary(expert)
        if tokens and others and abs(tokens - others) > _SPARE_TOKENS:
            raise ModelError(
                f"{name} knows {others} tokens and the stem {stem_name} {tokens}, so that they are "
                "read with different tokenizers; say which expert has which with encodings, such "
                "as encodings=[0, 1] (the stem's is 0), and give a tuple of tensors, one for each "
                "tokenizer"
            )


def _vocabulary(module: nn.Module) -> int:
    """Gives how many tokens the encoder in a module knows; 0 where it does not say so."""
    for part in module.modules():
        if hasattr(part, "config"):
            return int(getattr(part.config, "vocab_size", None) or 0)
    return 0
