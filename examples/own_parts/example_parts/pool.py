"""Defines a pool: one encoder cut at two depths."""

from __future__ import annotations

from typing import Final

from mpc_router.config.pools import Member, Pool

_MODEL: Final = "sentence-transformers/all-MiniLM-L6-v2"

two_depths: Final = Pool(
    name="two_depths",
    members=(
        Member(model=_MODEL, layers=1, cost=1.0),
        Member(model=_MODEL, layers=3, cost=2.5),
        Member(model=_MODEL, layers=6, cost=5.0),
    ),
    sizes={2: (0, 2), 3: (0, 1, 2)},
    usual_size=2,
    router_cost=0.2,
    stem="prajjwal1/bert-tiny",
    stem_pooling="mean",
    expert_pooling="mean",
    tokenizer=_MODEL,
    expert_learning_rate=1e-4,
)
"""Holds two experts by default, with three as `pool_size=3`; the study fine-tunes them."""
