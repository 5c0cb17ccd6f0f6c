"""Experts that come fine-tuned, with a head or without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mpc_router.data.tokens import gather
from mpc_router.prepare.frozen import check_inputs, prepare
from tests.mpc_router.prepare.frozen_pools import (
    custom,
    models_folder,
    places_at,
    split_tokens,
)


def test_experts_that_come_tuned_are_taken_as_they_are(tmp_path: Path) -> None:
    from transformers import BertForSequenceClassification

    models = models_folder(tmp_path / "models", tuned=True)
    chosen = custom(expert_fine_tuned=True)
    places = places_at(tmp_path / "cache", models)
    check_inputs(chosen, places)
    prepared = prepare(chosen, places)
    assert not (tmp_path / "cache" / "experts").exists()
    assert prepared.split_origin["selection"] == "validation"
    assert "half of validation" in str(prepared.split_notes["selection"])
    model = BertForSequenceClassification.from_pretrained(models / "org" / "large").eval()
    batch = gather(split_tokens(chosen, "validation", tmp_path / "cache", models), np.arange(5))
    with torch.inference_mode():
        logits = model(batch.input_ids, batch.attention_mask, batch.token_type_ids).logits
    kept = torch.tensor(prepared.splits["validation"].outputs[:5, 1])
    torch.testing.assert_close(kept, logits, atol=1e-4, rtol=1e-4)


def test_an_expert_of_a_tuned_pool_that_comes_without_a_head_is_noted(tmp_path: Path) -> None:
    from transformers import BertModel

    models = models_folder(tmp_path / "models", tuned=True)
    BertModel.from_pretrained(models / "org" / "large").save_pretrained(models / "org" / "large")
    prepared = prepare(custom(expert_fine_tuned=True), places_at(tmp_path / "cache", models))
    noted = [note for note in prepared.notes if "org/large" in note]
    assert len(noted) == 1
    assert "without a head" in noted[0]
    assert "expert_seed 0" in noted[0]
    assert "org/small" not in noted[0]
    assert len(list((tmp_path / "cache" / "experts").glob("*/model.safetensors"))) == 1


def test_heads_are_trained_anew_where_experts_do_not_come_tuned(tmp_path: Path) -> None:
    places = places_at(tmp_path / "cache", models_folder(tmp_path / "models", tuned=True))
    prepared = prepare(custom(), places)
    assert len(list((tmp_path / "cache" / "experts").glob("*/model.safetensors"))) == 2
    assert prepared.split_origin["selection"] == "train"
