"""The experts: encoders with a head for the task, and the pool that holds K of them.

How one is fine-tuned and asked for a whole split is in `mpc_router.experts.finetune`. Letters: B
examples, T tokens, F features, C outputs (classes, or 1 for a regression), K experts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from mpc_router.messages import quoted
from mpc_router.model.encoders import (
    HEAD_SUFFIX,
    PooledEncoder,
    check_pooling,
    cut,
    depth_of,
    load_classifier,
    load_config,
    load_encoder,
    load_resolved,
    load_tokenizer,
    seeded,
    summarise,
    takes_segments,
    weights_hash,
    width_of,
)
from mpc_router.model.sources import ModelError, Models, Resolved
from mpc_router.tasks.labels import number_of, word_of

__all__ = [
    "BertExpert",
    "ExpertPool",
    "ModelError",
    "Models",
    "Resolved",
    "comes_with_head",
    "head_order",
    "label_order",
    "load_encoder",
    "load_tokenizer",
    "names_labels",
    "weights_hash",
]

Encoded = Tensor | Sequence[Tensor]
"""A batch (B, T); of several tokenizers a tensor for each, the stem's first."""

_HEAD_DEVIATION: Final = 0.02
"""Of a fresh head's weights, as in BERT."""


class BertExpert(nn.Module):
    """Runs a BERT-like encoder with a head: logits (B, C), or values (B, 1) of a regression.

    A checkpoint that comes with a classification head keeps it, computed by transformers itself
    (pooler, dropout, classifier), its outputs put into the task's order; anything else gets a
    fresh head (dropout, linear) on the pooled tokens, drawn from `seed`. A model that is cut has
    no use for the head of its last layer and gets a fresh one.

    Raises:
        ModelError: the model cannot be loaded or cut so, or its head does not fit the task.
    """

    label_order: Tensor
    """(C,) int64: the checkpoint's number of each of the task's classes."""

    def __init__(
        self,
        model_name_or_encoder: str | nn.Module,
        num_labels: int = 2,
        *,
        layers: int = 0,
        pooling: str = "cls",
        label_names: Sequence[str] = (),
        models: Models | None = None,
        seed: int = 0,
        keep_head: bool = True,
    ) -> None:
        super().__init__()
        check_pooling(pooling)
        self.stand_in: str | None = None
        self.layers = layers
        self.pooling = pooling
        self.num_labels = num_labels
        if isinstance(model_name_or_encoder, str):
            self.name = model_name_or_encoder
            resolved = (models or Models()).resolve(self.name)
            self.stand_in = resolved.stand_in
            loaded = _load(resolved, layers, seed=seed, keep_head=keep_head)
        else:
            self.name = type(model_name_or_encoder).__name__
            loaded = model_name_or_encoder
        self.fine_tuned = _has_head(loaded)
        self.body: nn.Module = loaded if self.fine_tuned else PooledEncoder(loaded, pooling)
        self.width = width_of(loaded)
        self._segments = takes_segments(loaded)
        config: Any = loaded.config
        self.labels_named = self.fine_tuned and names_labels(config.id2label)
        if self.fine_tuned:
            order = head_order(self.name, config, num_labels, label_names)
            self.register_buffer("label_order", torch.tensor(order))
        else:
            self.dropout = nn.Dropout(_head_dropout(config))
            self.head = _fresh_head(self.width, num_labels, seed)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:
        """Gives outputs (B, C) of tokens (B, T), classes in the task's order."""
        if not self.fine_tuned:
            return self.examine(input_ids, attention_mask, token_type_ids)[0]
        logits: Tensor = self._classify(input_ids, attention_mask, token_type_ids).logits
        return logits[:, self.label_order]

    def examine(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Gives outputs (B, C) and the pooled features (B, F) behind them, in one pass."""
        if not self.fine_tuned:
            features = self.body(input_ids, attention_mask, token_type_ids)
            return self.head(self.dropout(features)), features
        classified = self._classify(
            input_ids, attention_mask, token_type_ids, output_hidden_states=True
        )
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        features = summarise(classified.hidden_states[-1], mask, self.pooling)
        return classified.logits[:, self.label_order], features

    def _classify(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        **more: bool,
    ) -> Any:
        segments = {"token_type_ids": token_type_ids} if self._segments else {}
        return self.body(input_ids, attention_mask=attention_mask, **segments, **more)


class ExpertPool(nn.Module):
    """Holds K experts, cheapest first.

    Where experts have several tokenizers, a batch is a tensor (B, T) for each of these, and
    `encodings` says which of them each expert takes.
    """

    encodings: tuple[int, ...]
    """(K,) numbers of tokenizers; the stem's is 0."""

    def __init__(self, experts: Iterable[nn.Module], encodings: Sequence[int] = ()) -> None:
        super().__init__()
        self.experts = nn.ModuleList(experts)
        if not self.experts:
            raise ModelError("a pool needs at least one expert")
        self.encodings = tuple(encodings) or (0,) * len(self.experts)
        known = {0, *self.encodings}
        if len(self.encodings) != len(self.experts) or known != set(range(len(known))):
            raise ModelError(
                f"encodings are {quoted(list(self.encodings))} for {len(self.experts)} experts; "
                "give the number of a tokenizer, from 0, for each expert"
            )

    def __len__(self) -> int:
        return len(self.experts)

    def forward(
        self,
        input_ids: Encoded,
        attention_mask: Encoded | None = None,
        token_type_ids: Encoded | None = None,
    ) -> Tensor:
        """Runs every expert on every example: outputs (B, K, C)."""
        inputs = (input_ids, attention_mask, token_type_ids)
        return torch.stack([self.ask(number, *inputs) for number in range(len(self))], dim=1)

    def ask(
        self,
        number: int,
        input_ids: Encoded,
        attention_mask: Encoded | None = None,
        token_type_ids: Encoded | None = None,
        *,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Runs expert `number` on every example, or on some `rows` (R,): outputs (B or R, C)."""
        encoding = self.encodings[number]
        inputs = [
            encoded(values, encoding) for values in (input_ids, attention_mask, token_type_ids)
        ]
        if rows is not None:
            inputs = [values if values is None else values[rows] for values in inputs]
        outputs: Tensor = self.experts[number](*inputs)
        return outputs

    def route(
        self,
        routes: Tensor,
        input_ids: Encoded,
        attention_mask: Encoded | None = None,
        token_type_ids: Encoded | None = None,
        *,
        first: Tensor | None = None,
    ) -> Tensor:
        """Runs each example through its own expert, `routes` (B,) in 0..K-1: outputs (B, C).

        Each expert runs once, over its group of examples only; one without examples not at all.
        `first` (B, C) are outputs of the first expert where it has run already.

        Raises:
            ValueError: a route to no expert.
        """
        if routes.numel() and not 0 <= int(routes.min()) <= int(routes.max()) < len(self):
            raise ValueError(
                f"routes reach to {int(routes.max())}, the pool has {len(self)} experts"
            )
        groups: list[Tensor] = []
        outputs: list[Tensor] = []
        for number in range(len(self)):
            rows = (routes == number).nonzero().squeeze(-1)
            if rows.numel():
                inputs = (input_ids, attention_mask, token_type_ids)
                if number == 0 and first is not None:
                    outputs.append(first[rows])
                else:
                    outputs.append(self.ask(number, *inputs, rows=rows))
                groups.append(rows)
        if not groups:
            raise ValueError("there is no example to route; give a batch of at least one")
        return torch.cat(outputs)[torch.cat(groups).argsort()]


def encoded(values: Encoded | None, number: int) -> Tensor | None:
    """Gives what tokenizer `number` made of a batch; a single tensor is every tokenizer's."""
    if values is None or isinstance(values, Tensor):
        return values
    return values[number]


def _has_head(model: nn.Module) -> bool:
    """Tells whether a module is one of transformers' classifiers."""
    return type(model).__name__.endswith(HEAD_SUFFIX)


def label_order(id2label: Mapping[int, str], label_names: Sequence[str]) -> list[int] | None:
    """Gives the checkpoint's number of each task label; None where the words do not fit.

    Words are compared without case, with `-` and blanks as `_`. Unnamed labels (`LABEL_0`, `0`),
    or a task without names, leave the order as it is; `mpc_router.experts.label_order` finds a
    better one.
    """
    words = [word_of(id2label[number]) for number in sorted(id2label)]
    if not label_names or not names_labels(id2label):
        return list(range(len(words)))
    wanted = [word_of(name) for name in label_names]
    if sorted(wanted) != sorted(words):
        return None
    return [words.index(word) for word in wanted]


def names_labels(id2label: Mapping[int, str]) -> bool:
    """Tells whether a head's labels have words, not `LABEL_0`, `class 0` or numbers alone."""
    return not all(number_of(word) is not None for word in id2label.values())


def comes_with_head(config: Any, layers: int) -> bool:
    """Tells whether a checkpoint has a head that can be used at this depth (0: all layers)."""
    architectures = config.architectures or ()
    return layers in (0, depth_of(config)) and any(
        architecture.endswith(HEAD_SUFFIX) for architecture in architectures
    )


def head_order(name: str, config: Any, num_labels: int, label_names: Sequence[str]) -> list[int]:
    """Gives the number, in a checkpoint's head, of each of the task's C outputs.

    Raises:
        ModelError: the head has another size, or labels that are not the task's.
    """
    if config.num_labels != num_labels:
        raise ModelError(
            f"{name} comes with a head of {config.num_labels} outputs, the task has {num_labels}; "
            "name a model tuned for this task, or set expert_fine_tuned=false for a fresh head"
        )
    order = label_order(config.id2label, label_names)
    if order is None:
        raise ModelError(
            f"{name} names its labels {list(config.id2label.values())}, the task "
            f"{list(label_names)}; mend id2label in its config.json (LABEL_0, LABEL_1, ... leaves "
            "the order to be found on train)"
        )
    return order


def _load(resolved: Resolved, layers: int, *, seed: int, keep_head: bool) -> nn.Module:
    if keep_head and resolved.kind != "sample":
        config = load_config(resolved)
        if comes_with_head(config, layers):
            cut(config, layers, resolved.name)
            return load_classifier(resolved, config)
    return load_resolved(resolved, layers, seed=seed)


def _head_dropout(config: Any) -> float:
    chosen = getattr(config, "classifier_dropout", None)
    return float(getattr(config, "hidden_dropout_prob", 0.1) if chosen is None else chosen)


def _fresh_head(width: int, outputs: int, seed: int) -> nn.Linear:
    with seeded(seed):
        head = nn.Linear(width, outputs)
        nn.init.normal_(head.weight, std=_HEAD_DEVIATION)
    nn.init.zeros_(head.bias)
    return head
