"""Texts as a router takes them: checked, and turned into tokens in memory.

Letters: N examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpc_router.data.tokens import Tokens
from mpc_router.messages import quoted
from mpc_router.tasks import Task

Text = str | tuple[str, str]
"""An example: a text, or the two of a pair."""


class TextError(ValueError):
    """Says which text cannot be answered, why, and what to give instead."""


@dataclass(frozen=True, kw_only=True)
class Excess:
    """Holds an example that is longer than a model takes."""

    number: int
    """Its place among the examples, from 0."""

    tokens: int
    limit: int


def checked(task: Task, example: object, place: str = "the text") -> tuple[str, ...]:
    """Gives an example's texts, one for each text column of the task; `place` names it in messages.

    Raises:
        TextError: it is no text, empty, or a pair where one text is taken and the other way round.
    """
    width = len(task.columns)
    texts = example if isinstance(example, tuple) else (example,)
    if len(texts) != width:
        if width == 1:
            raise TextError(
                f"{place} is a tuple of {len(texts)}, and {task.name} takes one text an example "
                f"({task.columns[0]}); give a text, or a list of texts"
            )
        given = "one text" if isinstance(example, str) else quoted(example)
        raise TextError(
            f"{place} is {given}, and {task.name} takes pairs ({' and '.join(task.columns)}); give "
            "a tuple of two texts, or a list of such tuples"
        )
    for text in texts:
        _check_text(text, place)
    return tuple(texts)


def _check_text(text: object, place: str) -> None:
    """Refuses what is no text with characters in it.

    Raises:
        TextError: it is of another type, empty, or holds what no UTF-8 can.
    """
    if not isinstance(text, str):
        raise TextError(
            f"{place} is {quoted(text)}, of type {type(text).__name__}; give text (str), a pair as "
            "a tuple of two"
        )
    if not text.strip():
        raise TextError(f"{place} is empty; give text with characters other than white space")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TextError(f"{place} holds characters that are no UTF-8; give text") from error


def tokens_of(examples: Sequence[tuple[str, ...]], tokenizer: Any, limit: int) -> Tokens:
    """Gives examples as tokens in memory, each cut at `limit` tokens, special ones included."""
    encoded = tokenizer(
        *_columns_of(examples),
        truncation=True,
        max_length=limit,
        padding=False,
        return_token_type_ids=True,
        return_attention_mask=False,
    )
    rows = encoded["input_ids"]
    return Tokens(
        ids=np.concatenate([np.asarray(row, np.int32) for row in rows]),
        segments=np.concatenate([np.asarray(row, np.uint8) for row in encoded["token_type_ids"]]),
        offsets=np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64),
        labels=np.zeros(len(rows)),
        example=np.arange(len(rows)),
        pad=getattr(tokenizer, "pad_token_id", None) or 0,
    )


def excess_of(
    examples: Sequence[tuple[str, ...]], tokens: Tokens, tokenizer: Any, limit: int
) -> Excess | None:
    """Gives the longest example of those that `tokens_of` cut; None where it cut none."""
    full = np.flatnonzero(tokens.lengths >= limit).tolist()
    if not full:
        return None
    suspects = [examples[row] for row in full]
    uncut = tokenizer(*_columns_of(suspects), truncation=False, verbose=False)["input_ids"]
    lengths = [len(row) for row in uncut]
    longest = int(np.argmax(lengths))
    if lengths[longest] <= limit:
        return None
    return Excess(number=full[longest], tokens=lengths[longest], limit=limit)


def _columns_of(examples: Sequence[tuple[str, ...]]) -> list[list[str]]:
    """Gives a list of N texts for each text column."""
    return [list(column) for column in zip(*examples, strict=True)]
