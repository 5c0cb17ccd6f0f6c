"""What decides the key of an expert, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mpc_router.config.trial import trial_config
from mpc_router.model.sources import ModelError, Models
from mpc_router.recipes.recipes import recipes
from tests.mpc_router.prepare.frozen_pools import (
    config,
    custom,
    models_folder,
)


@pytest.mark.parametrize(
    "change",
    [
        {"expert_seed": 1},
        {"expert_epochs": 2},
        {"expert_learning_rate": 0.5},
        {"expert_pooling": "cls"},
        {"max_length": 16},
        {"task": "rte"},
        {"precision": "bfloat16"},
    ],
)
def test_what_decides_the_weights_is_in_the_id(change: dict[str, Any]) -> None:
    found = recipes(config(**change), Models(), trained_on="rows")
    assert found.experts_id != recipes(config(), Models(), trained_on="rows").experts_id


@pytest.mark.parametrize(
    "change",
    [{"alpha": 0.5}, {"batch_size": 8}, {"device": "cpu"}, {"router_hidden_size": 3}],
)
def test_what_decides_no_weight_is_not(change: dict[str, Any]) -> None:
    found = recipes(config(**change), Models(), trained_on="rows")
    assert found.experts_id == recipes(config(), Models(), trained_on="rows").experts_id


def test_other_weights_under_the_same_name_are_other_experts(tmp_path: Path) -> None:
    models = models_folder(tmp_path / "models", tuned=False)
    first = recipes(custom(), Models(models), trained_on="x", memory=tmp_path / "hashes")
    again = recipes(custom(), Models(models), trained_on="x", memory=tmp_path / "hashes")
    weights = models / "org" / "small" / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    second = recipes(custom(), Models(models), trained_on="x", memory=tmp_path / "hashes")
    assert first.experts_id == again.experts_id
    assert first.experts[0].key != second.experts[0].key
    assert first.experts[1].key == second.experts[1].key


def test_moved_models_are_the_same_experts(tmp_path: Path) -> None:
    models = models_folder(tmp_path / "models", tuned=False)
    first = recipes(custom(), Models(models), trained_on="x")
    models.rename(tmp_path / "moved")
    assert recipes(custom(), Models(tmp_path / "moved"), trained_on="x") == first


def test_an_expert_that_nobody_trains_is_refused() -> None:
    with pytest.raises(ModelError, match="expert_epochs"):
        recipes(
            trial_config(
                {
                    "pool": "sample",
                    "expert_model_names": ["sample/tiny", "sample/stem"],
                    "expert_costs": [1, 2],
                }
            ),
            Models(),
            trained_on="",
        )
