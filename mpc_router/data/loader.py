"""Holds the published loader, which gives batches of a task's split."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from platformdirs import user_cache_path
from torch import Tensor

from mpc_router.config.trial import trial_config
from mpc_router.data.sources import Source, SourceError, cut, read, split_fingerprints
from mpc_router.data.tokens import batch_count, batches, tokenise
from mpc_router.model.sources import Models
from mpc_router.run_names import TRAIN
from mpc_router.tasks import TASKS


class GLUEDataLoader:
    """Gives batches of a task's split, as dictionaries that models take.

    Each has `input_ids`, `attention_mask` and `token_type_ids`, (B, T) int64, and `labels`, (B,)
    int64 classes or float32 values. Splits are `train` (without the tenth that is `selection`),
    `selection` and the task's quoted ones. Train is shuffled, differently in every pass; the others
    come sorted by length. Tokens are kept below `cache`.

    Raises:
        SourceError: the data are missing or bad, or the task has no such split.
        ModelError: there is no such tokenizer.
    """

    def __init__(
        self,
        task_name: str = "mrpc",
        tokenizer_name: str = "bert-base-uncased",
        batch_size: int = 32,
        max_length: int = 128,
        split: str = TRAIN,
        *,
        source: Source | None = None,
        models: Models | None = None,
        cache: Path | None = None,
        shuffle: bool | None = None,
        seed: int = 0,
    ) -> None:
        from mpc_router.model.encoders import load_tokenizer  # loads transformers

        config = trial_config(
            {"task": task_name, "max_length": max_length, "expert_fine_tuned": False}
        )
        files = read(config, source or Source(kind="hub"))
        prints = split_fingerprints(config, files)
        if split not in prints:
            raise SourceError(f"{task_name} has no split {split!r}, it has {', '.join(prints)}")
        self.task = TASKS[task_name]
        self.batch_size = batch_size
        self.shuffle = split == TRAIN if shuffle is None else shuffle
        self.tokens = tokenise(
            cut(config, files)[split],
            load_tokenizer(tokenizer_name, models or Models()),
            max_length=max_length,
            fingerprint=prints[split],
            cache=cache or user_cache_path("mpc-router"),
        )
        self._order = torch.Generator().manual_seed(seed) if self.shuffle else None

    def __len__(self) -> int:
        return batch_count(len(self.tokens), self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for batch in batches(self.tokens, self.batch_size, generator=self._order):
            yield {
                "input_ids": batch.input_ids,
                "attention_mask": batch.attention_mask,
                "token_type_ids": batch.token_type_ids,
                "labels": batch.labels if self.task.regression else batch.labels.long(),
            }
