"""The embedded sample: synthetic data for all eight tasks, its tokenizer and its tiny encoders.

It is there so that everything runs in seconds without a network: nobody should read a number off it
as if it were one about language. `mpc_router.sample.language` says what the examples are made of.
Importing it loads neither torch nor transformers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa

from mpc_router.run_names import TRAIN, VALIDATION
from mpc_router.sample import language
from mpc_router.sample.language import Draw
from mpc_router.tasks import TASKS

NOTICE: Final = "embedded synthetic sample: its numbers say nothing about language"
VERSION: Final = 2
"""Raised with every change of the rows or of the recipes."""

_SEED: Final = 20260415
_ROWS: Final = {TRAIN: 8000, VALIDATION: 1500, "validation_mismatched": 1500}
PLAIN, TURNED = 0.4, 0.7
"""Bounds of the kinds on [0, 1): plain below the first, turned below the second, else nested."""

_CHOICES: Final = 24
_HELD_OUT: Final = 4
"""One text in four belongs to the quoted splits by its hash, so no split shares a text."""

_Row = tuple[tuple[str, ...], float]


def table(task: str, split: str, *, rows: int | None = None) -> pa.Table:
    """Gives rows of a task in the hub's GLUE schema, alike on every machine; no text twice.

    Args:
        task: one of the eight tasks.
        split: train, or a split of the task that is quoted.
        rows: how many; a shorter table is the beginning of a longer one.

    Raises:
        ValueError: there is no such task or split, or fewer than one row is asked for.
    """
    if task not in TASKS:
        raise ValueError(f"the sample has no task {task!r}, allowed are {', '.join(TASKS)}")
    splits = (TRAIN, *TASKS[task].quoted)
    if split not in splits:
        raise ValueError(f"the sample's {task} has no split {split!r}, but {', '.join(splits)}")
    count = _ROWS[split] if rows is None else rows
    if count < 1:
        raise ValueError(f"rows is {count}, but must be at least 1")
    drawn = _rows(task, split, count)
    texts = {
        name: pa.array([row[0][index] for row in drawn], pa.string())
        for index, name in enumerate(TASKS[task].columns)
    }
    kind = pa.float32() if TASKS[task].regression else pa.int64()
    labels = [row[1] if TASKS[task].regression else int(row[1]) for row in drawn]
    numbers = {"label": pa.array(labels, kind), "idx": pa.array(range(count), pa.int32())}
    return pa.table(texts | numbers)


def _rows(task: str, split: str, count: int) -> list[_Row]:
    """Draws the first rows of a split, until enough of them are new and belong to it."""
    streams = [_SEED, list(TASKS).index(task), list(_ROWS).index(split)]
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(streams)))
    make = _MAKERS[task]
    elsewhere = split == "validation_mismatched"
    rows: list[_Row] = []
    seen: set[str] = set()
    while len(rows) < count:
        for numbers in generator.random((2048, _CHOICES)).tolist():
            row = make(Draw(numbers), elsewhere)
            text = "\t".join(row[0])
            held_out = hashlib.sha256(text.encode()).digest()[0] % _HELD_OUT == 0
            if text in seen or held_out == (split == TRAIN):
                continue
            seen.add(text)
            rows.append(row)
            if len(rows) == count:
                break
    return rows


def _single(
    plain: Callable[..., str],
    turned: Callable[[Draw], tuple[str, bool]],
    nested: Callable[[Draw], tuple[str, bool]],
) -> Callable[[Draw, bool], _Row]:
    """Makes rows of one sentence: label 1 is good."""

    def make(draw: Draw, elsewhere: bool) -> _Row:
        kind = draw.unit()
        if kind < PLAIN:
            good = draw.on(0.5)
            text = plain(draw, good=good)
        else:
            text, good = (turned if kind < TURNED else nested)(draw)
        return (text,), float(good)

    return make


def _paired(
    label: Callable[[Draw, bool], float],
    plain: Callable[[Draw], tuple[language.Words, bool, float]],
    spoken: Callable[[language.Pair], language.Pair] | None = None,
) -> Callable[[Draw, bool], _Row]:
    """Makes rows of two sentences.

    `label` is that of turned and nested pairs, by whether they mean the same; `plain` draws a plain
    pair's cues, whether it is close, and its label; `spoken` words the pair.
    """

    def make(draw: Draw, elsewhere: bool) -> _Row:
        kind = draw.unit()
        if kind < PLAIN:
            cues, close, value = plain(draw)
            pair = language.plain_pair(draw, cues, close=close, elsewhere=elsewhere)
        else:
            turn = language.turned_pair if kind < TURNED else language.nested_pair
            pair, same = turn(draw, elsewhere=elsewhere)
            value = label(draw, same)
        return (spoken(pair) if spoken else pair), value

    return make


def _two_way(same: int) -> tuple[Callable[..., float], Callable[..., Any]]:
    """Gives labels of two classes, where `same` is the class of pairs that mean the same."""

    def plain(draw: Draw) -> tuple[language.Words, bool, float]:
        close = draw.on(0.5)
        return (language.SAME if close else language.APART), close, float(close == bool(same))

    return lambda _, agree: float(agree == bool(same)), plain


def _inference(draw: Draw) -> tuple[language.Words, bool, float]:
    """Gives plain pairs of MNLI: mostly neutral, since turned and nested ones never are."""
    kind = draw.unit()
    if kind < 0.7:
        return language.PERHAPS, True, 1.0
    close = kind < 0.85
    return (language.SAME if close else language.APART), close, 0.0 if close else 2.0


def _near(draw: Draw, level: float) -> float:
    """Gives a value about the level, in tenths, within 0 to 5."""
    return round(min(5.0, max(0.0, level + 1.6 * draw.unit() - 0.8)), 1)


def _similarity(draw: Draw) -> tuple[language.Words, bool, float]:
    """Gives plain pairs of STS-B: apart, partly, or the same."""
    level = int(3 * draw.unit())
    cues = (language.APART, language.PARTLY, language.SAME)[level]
    return cues, level > 0, _near(draw, (0.8, 2.5, 4.2)[level])


_MAKERS: Final[dict[str, Callable[[Draw, bool], _Row]]] = {
    "cola": _single(language.plain_grammar, language.turned_grammar, language.nested_grammar),
    "sst2": _single(language.plain_sentiment, language.turned_sentiment, language.nested_sentiment),
    "mrpc": _paired(*_two_way(1)),
    "stsb": _paired(lambda draw, same: _near(draw, 4.2 if same else 0.8), _similarity),
    "qqp": _paired(*_two_way(1), language.as_questions),
    "mnli": _paired(lambda _, same: 0.0 if same else 2.0, _inference),
    "qnli": _paired(*_two_way(0), language.as_question_and_sentence),
    "rte": _paired(*_two_way(0)),
}
