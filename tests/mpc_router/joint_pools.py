"""Small random pools for joint training, with separate experts or behind a shared stem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mpc_router.data.tokens import Batch
from mpc_router.joint._history import report_json
from mpc_router.joint._loss import Part
from mpc_router.model.encoders import seeded
from mpc_router.model.experts import BertExpert, ExpertPool
from mpc_router.model.gated_pool import GatedBertPool
from mpc_router.model.router import MLPRouter, RouterStem, gumbel_noise
from mpc_router.model.shared_stem import behind_stem
from mpc_router.results.records import EpochResult, LanesEnded
from tests.mpc_router.small_models import small_config, some_tokens

EXPERTS = 3


def small_pool(*, shared: bool = False, outputs: int = 2, **settings: Any) -> GatedBertPool:
    """Stem of one layer, experts of 1, 2 and 3; the last keeps the head of its checkpoint."""
    from transformers import BertForSequenceClassification, BertModel

    with seeded(0):
        stem = RouterStem(BertModel(small_config(layers=1), add_pooling_layer=False))
        experts = []
        for layers in range(1, EXPERTS):
            width = 16 if shared else 8 * layers
            encoder = BertModel(small_config(hidden=width, layers=layers), add_pooling_layer=False)
            experts.append(BertExpert(encoder, outputs, pooling="mean"))
        classifier = BertForSequenceClassification(small_config(layers=3, num_labels=outputs))
        experts.append(BertExpert(classifier, outputs))
        if shared:
            experts = [behind_stem(expert, 1) for expert in experts]
        router = MLPRouter(stem.width, EXPERTS, 12)
    return GatedBertPool.from_parts(
        stem,
        router,
        ExpertPool(experts),
        feature_mean=torch.full((16,), 0.125),
        feature_deviation=torch.full((16,), 0.75),
        regression=outputs == 1,
        shared_stem=shared,
        **settings,
    )


def some_part(
    pool: GatedBertPool, examples: int = 7, *, dtype: torch.dtype = torch.float64, seed: int = 0
) -> Part:
    """A batch with noise and a dropout mask."""
    ids, mask = some_tokens(examples, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (examples,), generator=generator).to(dtype)
    noise = gumbel_noise((examples, EXPERTS), generator).to(dtype)
    kept = (torch.rand(examples, 12, generator=generator) > 0.2).to(dtype) / 0.8
    return Part(
        Batch(ids, mask, torch.zeros_like(ids), labels, torch.arange(examples)),
        noise if pool.gate == "gumbel" else None,
        kept,
        lambda: torch.manual_seed(seed),
    )


def same_results(mine: Sequence[EpochResult], theirs: Sequence[EpochResult]) -> None:
    """Two trainings reported the same, to the last bit."""
    assert [each.epoch for each in mine] == [each.epoch for each in theirs]
    for one, other in zip(mine, theirs, strict=True):
        assert report_json(one.report) == report_json(other.report)
        assert one.steps is not None
        assert other.steps is not None
        assert np.array_equal(one.steps, other.steps)


def same_ended(mine: LanesEnded, theirs: LanesEnded) -> None:
    """Two trainings left the same, to the last bit."""
    assert (mine.reason, mine.epoch) == (theirs.reason, theirs.epoch)
    assert [report_json(each) for each in mine.reports] == [
        report_json(each) for each in theirs.reports
    ]
    for one, other in zip(mine.routing, theirs.routing, strict=True):
        assert np.array_equal(one.logits, other.logits)
        assert np.array_equal(one.routes, other.routes)
    for said, heard in zip(mine.experts, theirs.experts, strict=True):
        assert np.array_equal(said.outputs, heard.outputs)
    for kind in ("checkpoints", "best", "last"):
        for left, right in zip(getattr(mine, kind), getattr(theirs, kind), strict=True):
            assert (left.epoch, left.score, left.history) == (
                right.epoch,
                right.score,
                right.history,
            )
            assert left.weights.keys() == right.weights.keys()
            assert all(
                torch.equal(left.weights[name], right.weights[name]) for name in left.weights
            )
