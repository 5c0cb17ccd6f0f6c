"""Tries a pool on a few rows of train: lengths in tokens, what heads know, what an epoch costs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mpc_router.data.columns import Columns
from mpc_router.data.tokens import Tokens
from mpc_router.experts.finetune import fine_tune, predict
from mpc_router.experts.label_order import judge
from mpc_router.model.experts import BertExpert
from mpc_router.model.sources import Models
from mpc_router.tasks import Task

_ROWS: Final = 1000
"""Rows whose lengths are counted, at most."""

_ASKED: Final = 100
"""Rows that a head without names is asked about, at most."""

_STEP: Final = 16
"""Rows of a step that is timed, at most."""

_MOST_ORDERS: Final = 6
"""Classes of which every order of a head's outputs is tried, at most."""

_LENGTHS: Final = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Limits of tokens that a study may be given."""

_KEPT: Final = 0.99
"""Share of examples that are not cut."""


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """Holds lengths of examples in tokens, by the tokenizer that makes the longest of them."""

    median: int
    most: int
    max_length: int
    """The limit that a study is given."""

    cut: float
    """Share of examples that are longer."""

    rows: int
    """Rows that were counted."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Holds some rows of train, spread evenly."""

    texts: tuple[list[str], ...]
    """A list for each text column."""

    labels: NDArray[np.float64]
    """(N,) class number or value."""

    def tokens(self, tokenizer: Any, *, max_length: int, rows: int) -> Tokens:
        """Gives the first of the rows as tokens."""
        encoded = [
            tokenizer(*texts, truncation=True, max_length=max_length, return_token_type_ids=True)
            for texts in list(zip(*self.texts, strict=True))[:rows]
        ]
        ids = [row["input_ids"] for row in encoded]
        return Tokens(
            ids=np.concatenate(ids).astype(np.int32),
            segments=np.concatenate([row["token_type_ids"] for row in encoded]).astype(np.uint8),
            offsets=np.cumsum([0, *map(len, ids)]).astype(np.int64),
            labels=self.labels[: len(ids)],
            example=np.arange(len(ids), dtype=np.int64),
            pad=getattr(tokenizer, "pad_token_id", None) or 0,
        )


def sample_of(columns: Columns) -> Sample:
    """Gives some rows of a split, in random order that is always the same."""
    count = min(_ROWS, len(columns))
    rows = np.unique(np.linspace(0, len(columns) - 1, count).astype(np.int64))
    order = np.random.default_rng(0).permutation(len(rows))
    texts = [list(texts) for texts in columns.texts(rows)]
    return Sample(
        texts=tuple([values[place] for place in order] for values in texts),
        labels=columns.labels[rows][order],
    )


def lengths_of(sample: Sample, tokenizers: Sequence[Any], *, limit: int) -> Lengths:
    """Counts tokens with each tokenizer, and chooses a number to keep, at most `limit`."""
    counted = [
        np.array(
            [
                len(tokenizer(*texts, truncation=False, verbose=False)["input_ids"])
                for texts in zip(*sample.texts, strict=True)
            ]
        )
        for tokenizer in tokenizers
    ]
    longest = max(counted, key=lambda lengths: float(lengths.mean()))
    wanted = float(np.quantile(longest, _KEPT))
    kept = next((length for length in _LENGTHS if length >= wanted), _LENGTHS[-1])
    kept = min(kept, limit)
    return Lengths(
        median=int(np.median(longest)),
        most=int(longest.max()),
        max_length=kept,
        cut=float(np.mean(longest > kept)),
        rows=len(longest),
    )


def knows_the_classes(
    folder: str, tokenizer: Any, task: Task, sample: Sample, *, max_length: int
) -> bool:
    """Says whether a head without names is better than chance on some rows, in its best order."""
    if task.outputs > _MOST_ORDERS or task.regression:
        return False
    expert = BertExpert(folder, task.outputs, label_names=task.label_names, models=Models())
    tokens = sample.tokens(tokenizer, max_length=max_length, rows=_ASKED)
    outputs, _ = predict(expert, tokens)
    return judge(outputs, np.asarray(tokens.labels)).above_chance


def seconds_an_example(
    folder: str,
    layers: int,
    tokenizer: Any,
    task: Task,
    sample: Sample,
    *,
    max_length: int,
    trains: bool,
) -> float:
    """Times one step of an expert on a few rows: of training, or only of asking it."""
    expert = BertExpert(
        folder,
        task.outputs,
        layers=layers,
        label_names=task.label_names,
        models=Models(),
        keep_head=not trains,
    )
    tokens = sample.tokens(tokenizer, max_length=max_length, rows=_STEP)

    def step(some: Tokens) -> None:
        if trains:
            fine_tune(
                expert, some, task, epochs=1, learning_rate=1e-5, batch_size=len(some), seed=0
            )
        else:
            predict(expert, some, batch_size=len(some))

    step(tokens.part(0, 2))  # the first step of a process loads libraries
    start = time.perf_counter()
    step(tokens)
    return (time.perf_counter() - start) / len(tokens)


def spread_seconds(costs: Sequence[float], first: float, last: float) -> list[float]:
    """Gives seconds for every expert, on the line through the cheapest and the dearest."""
    span = costs[-1] - costs[0]
    shares = [(cost - costs[0]) / span if span else 0.0 for cost in costs]
    return [first + share * (last - first) for share in shares]
