"""Examples as token numbers: tokenised once, cached, batched by length.

Letters: N examples, B batch, T tokens of the longest example of a batch.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mpc_router.data.sources import Examples
from mpc_router.storage import cache as caching

_VERSION: Final = 1
"""Raised when the same text would be tokenised or stored differently."""

_CHUNK: Final = 1024
"""Examples tokenised at a time: bounds the memory that token lists take."""

_WINDOW: Final = 50
"""Batches of a window: examples are sorted by length within one, so that batches pad little and
the order stays nearly that of the shuffle."""


_Encoded = Tensor | tuple[Tensor, ...]

Inputs = tuple[_Encoded, _Encoded, _Encoded]
"""Token numbers, attention mask and segments, each (B, T); of several tokenizers a tuple of such,
the stem's first."""


@dataclass(frozen=True, kw_only=True)
class KeptTokens:
    """Says where tokens are kept: in an entry of a cache, of all its examples or of some.

    It is small where tokens are large, so it is what other processes are given.
    """

    folder: Path
    pad: int
    rows: NDArray[np.int64] | None = None
    """Which examples of the entry, in this order; None: all."""

    def take(self, rows: NDArray[np.int64]) -> KeptTokens:
        """Gives these examples of those that are meant."""
        return dataclasses.replace(self, rows=rows if self.rows is None else self.rows[rows])

    def open(self) -> Tokens:
        """Gives the tokens, memory-mapped; some of an entry's in memory of their own."""
        tokens = open_tokens(self.folder, pad=self.pad)
        return tokens if self.rows is None else tokens.take(self.rows)

    def lengths(self) -> NDArray[np.int64]:
        """Gives the number of tokens of each example, (N,)."""
        lengths = np.diff(caching.load(self.folder, "offsets"))
        return np.asarray(lengths if self.rows is None else lengths[self.rows])


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Holds a tokenised split; example n is `ids[offsets[n] : offsets[n + 1]]`. Memory-mapped.

    What lies outside these places belongs to no example.
    """

    ids: NDArray[np.int32]
    """Token numbers of all examples, one after the other, special tokens included."""

    segments: NDArray[np.uint8]
    """0 for the first text of a pair, 1 for the second; as long as `ids`."""

    offsets: NDArray[np.int64]
    """(N + 1,)"""

    labels: NDArray[np.float64]
    """(N,) class number or value."""

    example: NDArray[np.int64]
    """(N,) row number in the source file."""

    pad: int = 0
    """Token number that fills up a batch (its attention mask is 0 there)."""

    others: tuple[Tokens, ...] = ()
    """The same examples as further tokenizers of a pool give them."""

    kept: KeptTokens | None = None
    """Where they are kept; None where they are in memory alone."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Gives the number of tokens of each example, (N,)."""
        return np.diff(self.offsets)

    def part(self, start: int, stop: int) -> Tokens:
        """Gives examples `start` to `stop` - 1, in the same memory."""
        return dataclasses.replace(
            self,
            offsets=self.offsets[start : stop + 1],
            labels=self.labels[start:stop],
            example=self.example[start:stop],
            others=tuple(other.part(start, stop) for other in self.others),
            kept=None,
        )

    def take(self, rows: NDArray[np.int64]) -> Tokens:
        """Gives these examples, in this order, in memory of their own."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        index = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return dataclasses.replace(
            self,
            ids=self.ids[index],
            segments=self.segments[index],
            offsets=offsets,
            labels=self.labels[rows],
            example=self.example[rows],
            others=tuple(other.take(rows) for other in self.others),
            kept=None if self.kept is None else self.kept.take(rows),
        )


@dataclass(frozen=True)
class Batch:
    """Holds some examples, padded to the longest of them."""

    input_ids: Tensor
    """(B, T) int64"""

    attention_mask: Tensor
    """(B, T) int64, 1 where there is a token."""

    token_type_ids: Tensor
    """(B, T) int64"""

    labels: Tensor
    """(B,) float32: class numbers or values; `.long()` gives classes."""

    rows: Tensor
    """(B,) int64: which examples of the split these are, in 0..N-1."""

    others: tuple[Batch, ...] = ()
    """The same examples as further tokenizers give them."""

    @property
    def inputs(self) -> Inputs:
        """Gives token numbers, attention mask and segments, as a pool takes them."""
        if not self.others:
            return self.input_ids, self.attention_mask, self.token_type_ids
        encodings = (self, *self.others)
        return (
            tuple(batch.input_ids for batch in encodings),
            tuple(batch.attention_mask for batch in encodings),
            tuple(batch.token_type_ids for batch in encodings),
        )

    def take(self, rows: Tensor) -> Batch:
        """Gives these rows of the batch, as wide as it is."""
        return Batch(
            self.input_ids[rows],
            self.attention_mask[rows],
            self.token_type_ids[rows],
            self.labels[rows],
            self.rows[rows],
            tuple(other.take(rows) for other in self.others),
        )

    def to(self, device: torch.device | str) -> Batch:
        """Gives the same batch on a device; `rows` stays where it is."""
        return Batch(
            self.input_ids.to(device),
            self.attention_mask.to(device),
            self.token_type_ids.to(device),
            self.labels.to(device),
            self.rows,
            tuple(other.to(device) for other in self.others),
        )


def tokenise(
    examples: Examples, tokenizer: Any, *, max_length: int, fingerprint: str, cache: Path
) -> Tokens:
    """Turns the split into token numbers, cached below `cache`/tokens and memory-mapped.

    `fingerprint` stands for the examples' texts and rows (not for the tokenizer, whose serialised
    form is part of the entry's name). Examples longer than `max_length`, or than the tokenizer's
    models can take, are cut. Safe for several processes at once.
    """
    max_length = min(max_length, tokenizer.model_max_length)
    folder = tokens_folder(
        tokenizer, max_length=max_length, fingerprint=fingerprint, split=examples.split, cache=cache
    )

    def make(new_folder: Path) -> dict[str, Any]:
        _write_tokens(new_folder, examples, tokenizer, max_length)
        pad = getattr(tokenizer, "pad_token_id", None)
        return {"pad": pad or 0, "examples": len(examples.labels), "split": examples.split}

    description = caching.entry(folder, make)
    return open_tokens(folder, pad=int(description["pad"]))


def tokens_folder(
    tokenizer: Any, *, max_length: int, fingerprint: str, split: str, cache: Path
) -> Path:
    """Says where the tokens of a split are kept."""
    state = tokenizer_state(tokenizer, max_length)
    return cache / "tokens" / caching.digest(_VERSION, fingerprint, split, *state)


def tokenizer_state(tokenizer: Any, max_length: int) -> list[Any]:
    """Gives everything that decides the numbers of a text, as plain JSON."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    for passing in ("truncation", "padding"):  # what the last call asked for
        state.pop(passing, None)
    sides = [tokenizer.truncation_side, tokenizer.pad_token_id]
    return [state, sides, min(max_length, tokenizer.model_max_length)]


def open_tokens(folder: Path, *, pad: int) -> Tokens:
    """Gives the tokens in a whole entry of the cache, memory-mapped."""
    names = ("ids", "segments", "offsets", "labels", "example")
    arrays: dict[str, Any] = {name: caching.load(folder, name) for name in names}
    return Tokens(**arrays, pad=pad, kept=KeptTokens(folder=folder.absolute(), pad=pad))


def _write_tokens(new_folder: Path, examples: Examples, tokenizer: Any, max_length: int) -> None:
    """Writes the arrays of `Tokens` as they come."""
    at = 0
    with (
        caching.Growing(new_folder, "ids", np.int32) as ids,
        caching.Growing(new_folder, "segments", np.uint8) as segments,
        caching.Growing(new_folder, "offsets", np.int64) as offsets,
    ):
        offsets.append([0])
        for texts in _chunks(examples.texts):
            encoded = tokenizer(
                *texts,
                truncation=True,
                max_length=max_length,
                padding=False,
                return_token_type_ids=True,
                return_attention_mask=False,
            )
            rows = encoded["input_ids"]
            ends = at + np.cumsum(np.fromiter(map(len, rows), np.int64, len(rows)))
            offsets.append(ends)
            at = int(ends[-1])
            count = at - int(ends[0]) + len(rows[0])
            chain = itertools.chain.from_iterable
            ids.append(np.fromiter(chain(rows), np.int32, count))
            segments.append(np.fromiter(chain(encoded["token_type_ids"]), np.uint8, count))
            del encoded, rows  # else two chunks are in memory while the next one is made
    caching.save(new_folder, {"labels": np.asarray(examples.labels, np.float64)})
    caching.save(new_folder, {"example": np.asarray(examples.example, np.int64)})


def _chunks(texts: Sequence[Sequence[str]]) -> Iterator[list[list[str]]]:
    """Gives some examples' texts at a time, a list for each text column."""
    columns = [iter(column) for column in texts]
    while (chunk := [list(itertools.islice(column, _CHUNK)) for column in columns])[0]:
        yield chunk


def batch_count(examples: int, batch_size: int) -> int:
    """Counts the batches that `batches` gives for this many examples."""
    return -(-examples // batch_size)


def batches(
    tokens: Tokens, batch_size: int, *, generator: torch.Generator | None, multiple: int = 1
) -> Iterator[Batch]:
    """Gives every example once, in batches of like lengths.

    With a generator the order is shuffled: examples, then batches; within a window of `_WINDOW`
    batches examples are sorted by length. Without, the split comes sorted, longest first. T is
    rounded up to `multiple`. Only the last batch of the sorted order, or one of the shuffled
    batches, is smaller than `batch_size`.
    """
    for rows in _row_groups(tokens.lengths, batch_size, generator):
        yield gather(tokens, rows, multiple=multiple)


def gather(tokens: Tokens, rows: NDArray[np.int64], *, multiple: int = 1) -> Batch:
    """Gives the batch of exactly these examples, in this order."""
    starts = tokens.offsets[rows]
    lengths = tokens.offsets[rows + 1] - starts
    width = -(-int(lengths.max()) // multiple) * multiple
    places = np.arange(width)
    mask = places < lengths[:, None]
    index = (starts[:, None] + places)[mask]
    ids = np.full(mask.shape, tokens.pad, np.int64)
    ids[mask] = tokens.ids[index]
    segments = np.zeros(mask.shape, np.int64)
    segments[mask] = tokens.segments[index]
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(mask.astype(np.int64)),
        torch.from_numpy(segments),
        torch.from_numpy(tokens.labels[rows].astype(np.float32)),
        torch.from_numpy(np.asarray(rows, np.int64)),
        tuple(gather(other, rows, multiple=multiple) for other in tokens.others),
    )


def _row_groups(
    lengths: NDArray[np.int64], batch_size: int, generator: torch.Generator | None
) -> list[NDArray[np.int64]]:
    count = len(lengths)
    if generator is None:
        order = np.argsort(-lengths, kind="stable")
        return [order[at : at + batch_size] for at in range(0, count, batch_size)]
    order = torch.randperm(count, generator=generator).numpy()
    groups: list[NDArray[np.int64]] = []
    for start in range(0, count, batch_size * _WINDOW):
        window = order[start : start + batch_size * _WINDOW]
        window = window[np.argsort(-lengths[window], kind="stable")]
        groups += [window[at : at + batch_size] for at in range(0, len(window), batch_size)]
    return [groups[at] for at in torch.randperm(len(groups), generator=generator).tolist()]
