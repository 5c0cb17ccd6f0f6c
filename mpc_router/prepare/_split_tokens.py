"""The splits of joint training as tokens: made once by each tokenizer, then only opened.

Letters: N examples, K experts.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpc_router.config.trial import TrialConfig
from mpc_router.data.sources import Examples
from mpc_router.data.tokens import Tokens, open_tokens, tokenise, tokens_folder
from mpc_router.model.encoders import load_tokenizer
from mpc_router.prepare.inputs import Places
from mpc_router.recipes.pool_tokenizers import Tokenizers
from mpc_router.storage import cache as caching
from mpc_router.terminal.progress import Progress


@dataclass(frozen=True, kw_only=True)
class SplitTokens:
    """Holds a split as encoders in training see it; memory-mapped and read-only."""

    split: str
    content: Tokens
    """As the stem's tokenizer gives them; those of further tokenizers are its `others`."""

    fingerprint: str
    tokenizers: Tokenizers

    @property
    def labels(self) -> NDArray[np.float64]:
        """Gives the class number or value of each example, (N,)."""
        return self.content.labels

    @property
    def example(self) -> NDArray[np.int64]:
        """Gives each example's row number in the source file, (N,)."""
        return self.content.example

    @property
    def tokens(self) -> NDArray[np.int64]:
        """Gives the number of tokens of each example, (N,): the most that an expert is given."""
        by_expert = self.tokens_by_expert
        if by_expert is None:
            return self.encodings[self.tokenizers.experts[0]].lengths
        return np.asarray(by_expert.max(axis=1))

    @property
    def tokens_by_expert(self) -> NDArray[np.int64] | None:
        """Gives the number of tokens to each expert, (N, K); None where tokenizers agree."""
        return self.tokenizers.by_expert([tokens.lengths for tokens in self.encodings])

    @property
    def encodings(self) -> tuple[Tokens, ...]:
        """Gives the split as each tokenizer gives it, the stem's first."""
        return dataclasses.replace(self.content, others=()), *self.content.others

    def __len__(self) -> int:
        return len(self.content)


def tokenised(
    config: TrialConfig,
    places: Places,
    splits: dict[str, Examples],
    prints: dict[str, str],
    progress: Progress,
    tokenizers: Tokenizers,
) -> dict[str, dict[str, Any]]:
    """Says where each split's tokens lie in the cache: the stem's, and `others` of the experts."""
    kept: dict[str, list[dict[str, Any]]] = {split: [] for split in splits}
    progress.start("tokens", len(splits) * len(tokenizers.names))
    for name in tokenizers.names:
        tokenizer = load_tokenizer(name, places.models)
        length = min(config.data.max_length, tokenizer.model_max_length)
        for split, examples in splits.items():
            tokens = tokenise(
                examples,
                tokenizer,
                max_length=length,
                fingerprint=prints[split],
                cache=places.cache,
            )
            folder = tokens_folder(
                tokenizer,
                max_length=length,
                fingerprint=prints[split],
                split=split,
                cache=places.cache,
            )
            kept[split].append(
                {
                    "tokens": str(folder.relative_to(places.cache)),
                    "pad": tokens.pad,
                    "fingerprint": prints[split],
                    "mean_tokens": float(tokens.lengths.mean()),
                }
            )
            progress.advance()
    progress.finish()
    return {
        split: facts[0] | ({"others": facts[1:]} if facts[1:] else {})
        for split, facts in kept.items()
    }


def opened(
    cache: Path, facts: dict[str, Any], *, split: str, tokenizers: Tokenizers
) -> SplitTokens:
    """Opens the tokens of a split that `tokenised` left in the cache; memory-mapped."""
    first, *others = (
        open_tokens(cache / encoding["tokens"], pad=int(encoding["pad"]))
        for encoding in encodings(facts)
    )
    return SplitTokens(
        split=split,
        content=dataclasses.replace(first, others=tuple(others)),
        fingerprint=facts["fingerprint"],
        tokenizers=tokenizers,
    )


def is_whole(cache: Path, split: dict[str, Any]) -> bool:
    """Tells whether the cache holds the tokens that these facts of a split name."""
    return all(
        caching.description(cache / facts["tokens"]) is not None for facts in encodings(split)
    )


def encodings(split: dict[str, Any]) -> list[dict[str, Any]]:
    """Gives what is said of a split's tokens by each tokenizer, the stem's first."""
    return [split, *split.get("others", ())]
