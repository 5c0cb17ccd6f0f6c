"""The named pools: which encoders, cut where, at what cost. Names and numbers only, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

CUSTOM: Final = "custom"
"""Name of a pool that is spelled out: model names, layers and costs given one by one."""

OUTPUTS: Final = "outputs"
"""Name of a pool whose experts' outputs are handed in as tables (`outputs:` of a study)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """Describes an encoder that a pool can hold."""

    model: str
    """`org/name`; `{task}` in it stands for the task's name."""

    cost: float
    layers: int = 0
    """Encoder layers kept, from the input on; 0 is all of them."""

    size: str | None = None
    """The size of the paper's table 4 that this encoder is: tiny, base or large."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pool:
    """Describes a named pool: what it can hold, what it holds unless told, how it is trained."""

    name: str
    members: tuple[Member, ...]
    """Everything with a known cost, cheapest first."""

    sizes: Mapping[int, tuple[int, ...]]
    """By K: indices into `members` of the experts of the pool of that size."""

    router_cost: float
    """Cost of stem and router in the units of `Member.cost`."""

    stem: str
    """Names the encoder that routers look through."""

    stem_layers: int = 0
    """Layers kept of the stem; 0 is all of them."""

    stem_pooling: str = "cls"
    expert_pooling: str = "cls"
    tokenizer: str = ""
    """Names the model whose tokenizer all encoders are read with; empty reads each with its own."""

    fine_tuned: bool = False
    """The experts come fine-tuned: they have seen all of train."""

    expert_epochs: int = 3
    expert_learning_rate: float = 3e-5
    encoder_learning_rate: float = 3e-5
    """Of stem and experts where all trains together."""

    expert_batch_size: int = 32
    usual_size: int = 3
    """The K that a study takes unless it names another."""

    def of_size(self, experts: int = 0) -> tuple[Member, ...]:
        """Gives the pool of this many experts, cheapest first; 0 is its usual size.

        Raises:
            KeyError: the pool has no such size.
        """
        return tuple(self.members[index] for index in self.sizes[experts or self.usual_size])

    def find(self, model: str, layers: int, task: str) -> Member | None:
        """Gives the member that is this model cut at this depth, if the pool has it."""
        for member in self.members:
            if member.model.format(task=task) == model and member.layers == layers:
                return member
        return None


_BERT: Final = Pool(
    name="bert",
    members=(
        Member(model="M-FAC/bert-tiny-finetuned-{task}", cost=2, size="tiny"),
        Member(model="M-FAC/bert-mini-finetuned-{task}", cost=3),
        Member(model="prajjwal1/bert-small", cost=4),
        Member(model="howey/bert-base-uncased-{task}", cost=7, size="base"),
        Member(model="yoshitomo-matsubara/bert-large-uncased-{task}", cost=13, size="large"),
    ),
    sizes={2: (0, 4), 3: (0, 3, 4), 4: (0, 2, 3, 4), 5: (0, 1, 2, 3, 4)},  # as in the paper
    router_cost=0.0,
    stem="prajjwal1/bert-tiny",
    stem_layers=2,
    stem_pooling="cls",
    expert_pooling="cls",
    tokenizer="bert-base-uncased",
    fine_tuned=True,
    expert_epochs=3,
    expert_learning_rate=3e-5,
    encoder_learning_rate=3e-5,
)

MINILM_MODEL: Final = "sentence-transformers/all-MiniLM-L6-v2"

_MINILM: Final = Pool(
    name="minilm",
    members=tuple(Member(model=MINILM_MODEL, cost=n, layers=n) for n in range(1, 7)),
    sizes={2: (1, 5), 3: (1, 3, 5), 4: (1, 2, 3, 5), 5: (1, 2, 3, 4, 5)},
    router_cost=0.22,
    stem="prajjwal1/bert-tiny",
    stem_layers=2,
    stem_pooling="mean",
    expert_pooling="mean",
    tokenizer=MINILM_MODEL,
    fine_tuned=False,
    expert_epochs=3,
    expert_learning_rate=1e-4,
    encoder_learning_rate=1e-4,
)

_SAMPLE: Final = Pool(
    name="sample",
    members=(
        Member(model="sample/tiny", cost=2),
        Member(model="sample/base", cost=7),
        Member(model="sample/large", cost=13),
    ),
    sizes={2: (0, 2), 3: (0, 1, 2)},
    router_cost=0.3,
    stem="sample/stem",
    stem_layers=0,
    stem_pooling="mean",
    expert_pooling="mean",
    tokenizer="sample/tokenizer",
    fine_tuned=False,
    expert_epochs=0,
    expert_learning_rate=0.0,
    encoder_learning_rate=1e-3,
    expert_batch_size=0,
)
"""Its experts are trained by the recipes of `mpc_router.sample.examples`, so none is stated
here."""

POOLS: Final = {pool.name: pool for pool in (_BERT, _MINILM, _SAMPLE)}
