"""A model that can be asked, put together from a checkpoint, and texts as it takes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mpc_router.config.trial import TrialConfig
from mpc_router.costs import Bias, CostVector
from mpc_router.data.sources import Examples
from mpc_router.data.tokens import Inputs, Tokens, tokenise
from mpc_router.model.encoders import places_of
from mpc_router.model.gated_pool import GatedBertPool
from mpc_router.tasks import Task

_INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")


def tokenizer_folder(number: int) -> str:
    """Gives the name, in an exported folder, of the folder with a tokenizer; the stem's is 0."""
    return f"tokenizer-{number}" if number else "tokenizer"


@dataclass(frozen=True, kw_only=True, eq=False)
class Assembled:
    """Holds a trained router with everything it routes to."""

    model: GatedBertPool
    """In evaluation mode, on the CPU."""

    tokenizers: tuple[Any, ...]
    """Fast tokenizers of transformers: one for all encoders, or several, the stem's first
    (`model.experts.encodings` says which each expert takes)."""

    config: TrialConfig
    vectors: dict[str, CostVector]
    """What costs are reported under; the pool's constants at least."""

    kind: str
    """What it was put together from: `frozen`, `joint` or `exported`."""

    origin: dict[str, Any]
    """Plain JSON: `seed`, `epoch`, and `stem` and `experts` by name and hash."""

    summary: dict[str, Any] | None
    """What the training found, where it left that beside the checkpoint."""

    note: str | None
    """What a person should know of the path that was given."""

    biases: tuple[Bias, ...] = ()
    """What is added up in the router: of an export the one that was folded in, if any."""

    strict: bool = False
    """Whether text that is longer than the model takes is refused where the router is used."""

    @property
    def task(self) -> Task:
        """Gives the task that it was trained for."""
        return self.config.data.definition

    @property
    def limits(self) -> tuple[int, ...]:
        """Gives, by tokenizer, the tokens that are taken of an example.

        They are no more than was trained on, and than its encoders have positions for.
        """
        limits = [
            int(min(self.config.data.max_length, tokenizer.model_max_length))
            for tokenizer in self.tokenizers
        ]
        parts = [(0, self.model.stem)]
        parts += zip(self.model.experts.encodings, self.model.experts.experts, strict=True)
        for number, part in parts:
            places = [places_of(module) for module in part.modules()]
            limits[number] = min([limits[number], *(most for most in places if most is not None)])
        return tuple(limits)

    def lengths(self, texts: Sequence[str]) -> tuple[int, ...]:
        """Counts, by tokenizer, all tokens of an example, special ones included."""
        return tuple(
            len(tokenizer(*texts, truncation=False, verbose=False)["input_ids"])
            for tokenizer in self.tokenizers
        )

    def encode(self, texts: Sequence[str]) -> Inputs:
        """Gives an example as the model takes it, cut at `limits`."""
        batches = []
        for tokenizer, limit in zip(self.tokenizers, self.limits, strict=True):
            encoding = tokenizer(
                *texts,
                truncation=True,
                max_length=limit,
                return_tensors="pt",
                return_token_type_ids=True,
            )
            batches.append(tuple(encoding[name] for name in _INPUTS))
        if len(batches) == 1:
            (ids, mask, segments) = batches[0]
            return ids, mask, segments
        ids, mask, segments = zip(*batches, strict=True)
        return ids, mask, segments

    def tokenise(self, examples: Examples, *, fingerprint: str, cache: Path) -> Tokens:
        """Gives a split as the model takes it; the stem's tokens have those of others beside them.

        `fingerprint` stands for the examples' texts and rows.
        """
        first, *others = (
            tokenise(examples, tokenizer, max_length=limit, fingerprint=fingerprint, cache=cache)
            for tokenizer, limit in zip(self.tokenizers, self.limits, strict=True)
        )
        return dataclasses.replace(first, others=tuple(others))
