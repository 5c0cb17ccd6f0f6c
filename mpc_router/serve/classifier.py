"""RoutedClassifier: an exported router that answers texts, with the expert and cost of each answer.

Letters: N examples, K experts, C outputs of an expert.
"""

from __future__ import annotations

import dataclasses
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import islice
from pathlib import Path
from typing import Any, Final, overload

import numpy as np
import torch
from huggingface_hub import ModelCard, ModelHubMixin
from numpy.typing import NDArray
from torch import Tensor

from mpc_router.costs import CONSTANTS, CostVector
from mpc_router.data.tokens import Tokens, batches, gather
from mpc_router.messages import quoted
from mpc_router.model.routed_run import RoutedRun, joined, run_routed
from mpc_router.model.seen import Seen
from mpc_router.results.assembled import Assembled
from mpc_router.results.assembly import assemble_export
from mpc_router.serve._card import LIBRARY, card_of
from mpc_router.serve._hub import exported_folder
from mpc_router.serve.answers import Answer, answers_of
from mpc_router.serve.export import write_export
from mpc_router.serve.texts import Excess, Text, TextError, checked, excess_of, tokens_of
from mpc_router.tasks import Task

_BATCH: Final = 32


class RoutedClassifier(ModelHubMixin, library_name=LIBRARY):
    """Answers texts with a router and its experts; several threads may ask it at once.

    `router("a text")` gives one `Answer`, of a list it gives a list in the same order, and an
    iterator is answered as it comes, `batch_size` examples at a time. The two texts of a pair are a
    tuple. Texts are sorted by length; the router runs over all of them, then each expert that is
    chosen over its group. Where the router decides again of what an expert said, only those go on
    whose path does.

    The route is argmax(z - bias * c): z are the router's logits, with the bias that was folded into
    the export, and c what a route to each expert costs under `vector`, which is also what `cost` of
    an answer is in. It runs on a GPU where there is one, unless `device` names another.

    Raises:
        ValueError: there is no such cost vector, or the bias or batch size cannot be.
    """

    _hub_mixin_config: dict[str, Any] | None = {}  # noqa: RUF012
    """Anything but None: else the mixin copies the arguments, and with them the models."""

    def __init__(
        self,
        assembled: Assembled,
        *,
        bias: float = 0.0,
        vector: str | None = None,
        batch_size: int = _BATCH,
        strict: bool | None = None,
        device: str | None = None,
    ) -> None:
        if not np.isfinite(bias):
            raise ValueError(f"bias is {bias}, but must be a finite number")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, but must be at least 1")
        if vector is None:
            vector = assembled.biases[0].vector.name if assembled.biases else CONSTANTS
        if vector not in assembled.vectors:
            raise ValueError(
                f"vector is {quoted(vector)}; this router has {', '.join(assembled.vectors)}"
            )
        self.assembled = assembled
        self.bias = float(bias)
        self.vector: CostVector = assembled.vectors[vector]
        self.batch_size = batch_size
        self.strict = assembled.strict if strict is None else strict
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._pool = assembled.model.to(self.device).eval()
        decisions = self._pool.decisions
        self._route_vector = self.vector.on(decisions.paths)
        self._price = self.bias * decisions.price(self._route_vector.routed)
        self._limits = assembled.limits
        self._tokenizing = threading.Lock()
        """Tokenizers of transformers keep the last call's settings and bear one thread at a time.
        """
        self._has_warned = False
        self._hub_mixin_config = None  # what there is to say stands in trial.json

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        bias: float = 0.0,
        vector: str | None = None,
        batch_size: int = _BATCH,
        strict: bool | None = None,
        lazy: bool = False,
        device: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
    ) -> RoutedClassifier:
        """Loads the folder that `mpc-router-export` wrote, or a model of this id on the hub.

        Args:
            pretrained_model_name_or_path: a folder, or `org/name` on the hub.
            revision: a branch, tag or commit on the hub.
            bias: a price on cost beside what the export has folded in; more of it saves.
            vector: the cost vector of bias and costs; by default the one that the export was made
                with.
            batch_size: examples that an encoder takes at a time.
            strict: refuse text that is longer than the model takes; else it is cut, and a warning
                says so once. By default as the export was made.
            lazy: read the weights of an expert when it is chosen for the first time.
            device: `cpu`, `cuda` or `cuda:1`.
            token: as `huggingface_hub.snapshot_download` takes it.
            cache_dir: the same.
            local_files_only: the same.
            force_download: the same.

        Raises:
            ModelError: there is no such folder, and the hub does not give it.
            CheckpointError: the folder holds no exported router, or a damaged one.
            ValueError: a setting cannot be (both errors above are ValueErrors too).
        """
        folder = exported_folder(
            pretrained_model_name_or_path,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            force_download=force_download,
        )
        return cls(
            assemble_export(folder, lazy=lazy),
            bias=bias,
            vector=vector,
            batch_size=batch_size,
            strict=strict,
            device=device,
        )

    def save_pretrained(self, save_directory: str | Path, **more: Any) -> str | None:
        """Writes the folder that `from_pretrained` loads, as `mpc-router-export` does.

        `more` is passed on to `huggingface_hub.ModelHubMixin.save_pretrained`.

        Raises:
            ValueError: the folder holds something, or the router runs with a bias of its own.
        """
        folder = Path(save_directory)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ValueError(f"{folder} exists; give a new or an empty folder")
        if self.bias:
            raise ValueError(
                f"this router runs with bias={self.bias:g}, which no folder would hold; export the "
                "checkpoint with mpc-router-export --bias, or load the router without bias="
            )
        return super().save_pretrained(folder, **more)

    def _save_pretrained(self, save_directory: Path) -> None:
        write_export(self.assembled, save_directory)

    def generate_model_card(self, *_: Any, **__: Any) -> ModelCard:
        """Gives the card that `save_pretrained` writes."""
        return ModelCard(card_of(self.assembled))

    @property
    def task(self) -> Task:
        """Gives the task: its text columns and its label words among others."""
        return self.assembled.task

    @property
    def experts(self) -> tuple[str, ...]:
        """Names the experts, cheapest first: `Answer.expert` is a number of one of them."""
        model = self.assembled.config.model
        return tuple(
            f"{name} [{layers} layers]" if layers else name
            for name, layers in zip(model.expert_model_names, model.expert_layers, strict=True)
        )

    @property
    def paths(self) -> tuple[tuple[int, ...], ...]:
        """Gives what the router chooses between: single experts, or the experts of a path."""
        return self._pool.decisions.paths

    @overload
    def __call__(self, texts: Text) -> Answer: ...  # type: ignore[overload-overlap]  # str is one

    @overload
    def __call__(self, texts: Iterator[Text]) -> Iterator[Answer]: ...

    @overload
    def __call__(self, texts: Sequence[Text]) -> list[Answer]: ...

    def __call__(
        self, texts: Text | Iterator[Text] | Sequence[Text]
    ) -> Answer | Iterator[Answer] | list[Answer]:
        """Answers a text, a list of texts, or texts of an iterator as they come.

        Raises:
            TextError: one of them is no text, empty, too long for a `strict` router, or a pair for
                a task of single texts and the other way round. Then none of a list is answered. It
                is a ValueError.
        """
        if isinstance(texts, str | tuple):
            return self._answers([checked(self.task, texts)])[0]
        if isinstance(texts, Iterator):
            return self._stream(texts)
        if isinstance(texts, Iterable) and isinstance(texts, Sized):
            return self._answers(self._checked(texts))
        raise TextError(
            f"{quoted(texts)} is no text; give text, a tuple of two for a pair, a list of such, or "
            "an iterator over them"
        )

    def _stream(self, texts: Iterator[Text]) -> Iterator[Answer]:
        """Answers `batch_size` examples at a time, so that more are read when these are taken."""
        place = 0
        while batch := list(islice(texts, self.batch_size)):
            yield from self._answers(self._checked(batch, place))
            place += len(batch)

    def _checked(self, texts: Iterable[object], start: int = 0) -> list[tuple[str, ...]]:
        return [
            checked(self.task, example, f"example {number}")
            for number, example in enumerate(texts, start)
        ]

    def _answers(self, examples: Sequence[tuple[str, ...]]) -> list[Answer]:
        if not examples:
            return []
        tokens = self._tokens(examples)
        pool = self._pool
        with torch.inference_mode():
            run = self._routed(tokens)
            outputs = run.answers(pool.paths, regression=self.task.regression).cpu().numpy()
        return answers_of(
            self.task, self._route_vector, pool.decisions, run.logits, run.routes, outputs
        )

    def _tokens(self, examples: Sequence[tuple[str, ...]]) -> Tokens:
        """Gives examples as the pool takes them; says or refuses what has to be cut."""
        pairs = list(zip(self.assembled.tokenizers, self._limits, strict=True))
        with self._tokenizing:
            encodings = [tokens_of(examples, tokenizer, limit) for tokenizer, limit in pairs]
            if self.strict or not self._has_warned:
                for encoding, (tokenizer, limit) in zip(encodings, pairs, strict=True):
                    excess = excess_of(examples, encoding, tokenizer, limit)
                    if excess is not None:
                        self._heed(excess)
        first, *others = encodings
        return dataclasses.replace(first, others=tuple(others))

    def _heed(self, excess: Excess) -> None:
        """Refuses text that has to be cut, or warns of it, once.

        Raises:
            TextError: the router is `strict`.
        """
        if self.strict:
            raise TextError(
                f"example {excess.number} has {excess.tokens} tokens, the model takes "
                f"{excess.limit}; shorten it, or load the router with strict=False to have it cut"
            )
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"text is cut: example {excess.number} has {excess.tokens} tokens, the model takes "
                f"{excess.limit}; shorten it, or load the router with strict=True to have such "
                "text refused (said once)",
                stacklevel=5,  # the line that asked, of `__call__` and of a stream alike
            )

    def _routed(self, tokens: Tokens) -> RoutedRun:
        """Sends examples through the router and the experts on their paths."""
        pool = self._pool
        if pool.shared_stem:
            return self._routed_by_batch(tokens)
        features, first = self._look(tokens)

        def ask(expert: int, rows: NDArray[np.intp]) -> Tensor:
            if expert == 0 and first is not None:
                return first[torch.from_numpy(rows).to(self.device)]
            return self._ask(tokens, expert, rows)

        return run_routed(
            pool.router, pool.decisions, features, ask, rows=len(tokens), price=self._price
        )

    def _routed_by_batch(self, tokens: Tokens) -> RoutedRun:
        """Does so batch by batch: these experts take what the stem made of the same batch."""
        pool, runs, rows = self._pool, [], []
        for batch in batches(tokens, self.batch_size, generator=None):
            seen = pool.look(*batch.to(self.device).inputs)

            def ask(expert: int, wanted: NDArray[np.intp], seen: Seen = seen) -> Tensor:
                return seen.ask(pool.experts, expert, torch.from_numpy(wanted).to(self.device))

            count = len(batch.rows)
            runs.append(
                run_routed(
                    pool.router, pool.decisions, seen.features, ask, rows=count, price=self._price
                )
            )
            rows.append(batch.rows.numpy())
        return joined(runs, rows)

    def _look(self, tokens: Tokens) -> tuple[Tensor | None, Tensor | None]:
        """Gives features (N, F) and outputs (N, C) of the cheapest expert; see `Seen`."""
        looks: list[tuple[Tensor, Seen]] = []
        for batch in batches(tokens, self.batch_size, generator=None):
            looks.append((batch.rows, self._pool.look(*batch.to(self.device).inputs)))
        order = torch.cat([rows for rows, _ in looks]).argsort().to(self.device)
        features = [seen.features for _, seen in looks if seen.features is not None]
        first = [seen.first for _, seen in looks if seen.first is not None]
        return (
            torch.cat(features)[order] if features else None,
            torch.cat(first)[order] if first else None,
        )

    def _ask(self, tokens: Tokens, number: int, rows: NDArray[np.intp]) -> Tensor:
        """Runs an expert over examples, those of like length together: outputs (n, C)."""
        experts = self._pool.experts
        encoding = experts.encodings[number]
        lengths = (tokens, *tokens.others)[encoding].lengths[rows]
        order = np.argsort(-lengths, kind="stable")
        outputs = []
        for start in range(0, len(rows), self.batch_size):
            part = rows[order[start : start + self.batch_size]]
            outputs.append(experts.ask(number, *gather(tokens, part).to(self.device).inputs))
        back = torch.from_numpy(np.argsort(order)).to(self.device)
        return torch.cat(outputs)[back]
