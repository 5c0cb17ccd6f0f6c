"""Which output of an expert that comes fine-tuned stands for which of the task's classes.

A head that names its labels is taken at its word (`experts.label_order`). Many on the hub do not
(`LABEL_0`, `LABEL_1`) and disagree on the order, so theirs is found on rows of train: of all orders
the one in which most rows are right. Letters: N rows, C classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from mpc_router.data.tokens import Tokens, gather
from mpc_router.experts.finetune import resolve_device, threads_for
from mpc_router.model.experts import BertExpert
from mpc_router.storage import cache as caching

VERSION: Final = 1
"""Raised when the same expert and rows would be judged differently."""

ROWS: Final = 1000
"""Rows of train, at most, that an expert is asked about."""

_DOUBT: Final = 0.01
"""An expert is better than chance if chance does as well less often than this, in any order."""

_WRONG_WORDS: Final = 0.1
"""Accuracy that another order must gain before a head's own words are doubted."""

_BATCH: Final = 50


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Says how an expert's outputs fit the labels of some rows."""

    rows: int
    order: tuple[int, ...]
    """(C,) the output that stands for each class, where most rows are right; their own order where
    no other is better."""

    accuracy: float
    """Share of rows right in that order."""

    own: float
    """Share of rows right if output c stands for class c."""

    majority: float
    """Share of the most frequent class: what chance reaches."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", tuple(self.order))

    @property
    def above_chance(self) -> bool:
        """Says whether always saying the most frequent class would hardly do as well."""
        from scipy.stats import binom  # half a second to import

        right = round(self.accuracy * self.rows)
        tail = float(binom.sf(right - 1, self.rows, self.majority))
        orders = len(list(itertools.permutations(self.order)))
        return tail < _DOUBT / orders

    @property
    def taken(self) -> tuple[int, ...]:
        """Gives the order that is taken: its own where none beats chance."""
        return self.order if self.above_chance else tuple(range(len(self.order)))


def judge(outputs: NDArray[Any], labels: NDArray[np.float64]) -> Judgement:
    """Gives the best order of an expert's outputs (N, C) for labels (N,), and how good it is."""
    classes = outputs.shape[1]
    answers = np.asarray(outputs).argmax(axis=1)
    counts = np.zeros((classes, classes))
    np.add.at(counts, (answers, labels.astype(np.int64)), 1)
    as_named = tuple(range(classes))
    # a class is said by output order[c]; ties leave their own order, which comes first
    order = max(
        itertools.permutations(as_named),
        key=lambda candidate: counts[list(candidate), as_named].sum(),
    )
    return Judgement(
        rows=len(labels),
        order=order,
        accuracy=float(counts[list(order), as_named].sum() / len(labels)),
        own=float(np.trace(counts) / len(labels)),
        majority=float(counts.sum(axis=0).max() / len(labels)),
    )


def some_rows(count: int) -> NDArray[np.int64]:
    """Gives at most `ROWS` of so many rows, spread evenly."""
    return np.unique(np.linspace(0, count - 1, min(ROWS, count)).astype(np.int64))


def judged(
    folder: Path, expert: Callable[[], BertExpert], tokens: Tokens, *, device: str
) -> Judgement:
    """Gives what an expert, as it comes, makes of some rows of train.

    Kept in the cache at `folder`; the expert is loaded only where nothing is kept.
    """

    def make(_: Path) -> dict[str, Any]:
        return asdict(_ask(expert(), tokens, device))

    return Judgement(**caching.entry(folder, make))


def note(name: str, judgement: Judgement, label_names: Sequence[str], *, named: bool) -> str | None:
    """Gives what a reader must know of an expert's labels; None if nothing.

    `named`: the head names its labels, and the judgement is of outputs put in order by the words.
    """
    rows = f"{judgement.rows:,} rows of train"
    best = f"{judgement.accuracy:.1%}"
    if not judgement.above_chance:
        return (
            f"{name} is no better than chance: under the best order of its labels it is right on "
            f"{best} of {rows}, always saying the most frequent class on {judgement.majority:.1%}; "
            "it may be tuned for another task."
        )
    taken = ", ".join(
        f"{number} for {label}" for number, label in zip(judgement.order, label_names, strict=True)
    )
    if not named:
        return (
            f"{name} does not name its labels: its outputs are taken as {taken}, the order in "
            f"which it is right on {best} of {rows}."
        )
    if judgement.accuracy - judgement.own > _WRONG_WORDS:
        return (
            f"{name} names its labels, which is believed, but is right on {judgement.own:.1%} of "
            f"{rows} so, and on {best} if its outputs were taken as {taken}: mend id2label in its "
            "config.json if the words are wrong."
        )
    return None


def _ask(expert: BertExpert, tokens: Tokens, device: str) -> Judgement:
    rows = some_rows(len(tokens))
    place = resolve_device(device)
    expert.to(place).eval()
    outputs = []
    with torch.inference_mode(), threads_for(expert.width):
        for start in range(0, len(rows), _BATCH):
            batch = gather(tokens, rows[start : start + _BATCH]).to(place)
            output = expert(batch.input_ids, batch.attention_mask, batch.token_type_ids)
            outputs.append(output.float().cpu().numpy())
    expert.cpu()
    return judge(np.concatenate(outputs), np.asarray(tokens.labels[rows]))
