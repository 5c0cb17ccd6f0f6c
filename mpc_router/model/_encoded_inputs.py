"""What a pool asks of the tokens that it is given: a tensor a tokenizer, and segments of pairs."""

from __future__ import annotations

import warnings

from torch import nn

from mpc_router.model.encoders import takes_segments
from mpc_router.model.experts import Encoded, encoded


def check_count(values: Encoded | None, tokenizers: int) -> None:
    """Refuses another number of tensors than there are tokenizers.

    Raises:
        ValueError: it gives both numbers.
    """
    count = len(values) if isinstance(values, tuple | list) else 1
    if values is not None and count != tokenizers:
        raise ValueError(
            f"this pool has {tokenizers} tokenizers and was given {count} of each tensor; "
            "give a tuple with one for each tokenizer, the stem's first"
        )


def hold_pairs(token_type_ids: Encoded, tokenizers: int) -> bool:
    """Tells whether segments (B, T), of any tokenizer, mark second texts."""
    segments = [encoded(token_type_ids, number) for number in range(tokenizers)]
    return any(bool(ids.any()) for ids in segments if ids is not None)


def warn_without_segments(pool: nn.Module) -> None:
    """Warns that a pool cannot tell two texts apart, if one of its encoders takes segments."""
    if any(takes_segments(part) for part in pool.modules() if hasattr(part, "config")):
        warnings.warn(
            "this pool was trained on pairs, but token_type_ids are missing, so that it cannot "
            "tell the two texts apart: give those of tokenizer(first, second, "
            "return_token_type_ids=True) as the third argument",
            stacklevel=6,  # of `forward_inference`: the line that called it
        )
