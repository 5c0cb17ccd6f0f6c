"""A stem is the cheapest expert's encoder only where both compute the same."""

from __future__ import annotations

import copy

import pytest
from transformers import BertConfig, BertModel

from mpc_router.model.experts import BertExpert, ExpertPool
from mpc_router.model.router import RouterStem
from mpc_router.model.tied_stem import is_first_expert, tie

SHAPE = {
    "num_hidden_layers": 1,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 50,
}


@pytest.mark.parametrize(
    ("changed", "tied"),
    [
        ({}, True),
        ({"id2label": {0: "no", 1: "yes"}}, True),
        ({"num_attention_heads": 4}, False),
        ({"hidden_act": "relu"}, False),
        ({"layer_norm_eps": 1e-5}, False),
    ],
    ids=str,
)
def test_equal_weights_are_tied_where_the_configuration_is_the_same(
    changed: dict[str, object], tied: bool
) -> None:
    encoder = BertModel(BertConfig(**SHAPE), add_pooling_layer=False)
    expert = BertExpert(copy.deepcopy(encoder), 2)
    other = BertModel(BertConfig(**{**SHAPE, **changed}), add_pooling_layer=False)
    other.load_state_dict(encoder.state_dict())
    stem, pool = RouterStem(other), ExpertPool([expert])
    tie(stem, pool, expert.state_dict().__getitem__)
    assert is_first_expert(stem, pool) is tied
