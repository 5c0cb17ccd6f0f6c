from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mpc_router.data.tokens import batch_count, batches
from mpc_router.experts.finetune import (
    _DivergedError,
    _has_bfloat16,
    autocast,
    fine_tune,
    predict,
    resolve_device,
    schedule,
)
from mpc_router.model.encoders import weights_hash
from mpc_router.model.experts import BertExpert
from mpc_router.model.router import RouterStem
from mpc_router.model.sources import ModelError, Models
from mpc_router.tasks import TASKS
from tests.mpc_router.small_models import save_classifier, save_encoder, some_split

SST2, STSB = TASKS["sst2"], TASKS["stsb"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("models")
    save_encoder(folder / "net", layers=1)
    save_classifier(folder / "tuned", layers=1, id2label={0: "positive", 1: "negative"})
    return Models(folder)


def trained(models: Models, *, outputs: int = 2, seed: int = 0, **more: float) -> BertExpert:
    expert = BertExpert("net", outputs, pooling="mean", models=models)
    settings = {"epochs": 2, "learning_rate": 3e-3, "batch_size": 8} | more
    fine_tune(
        expert,
        some_split(outputs=outputs),
        SST2 if outputs == 2 else STSB,
        seed=seed,
        precision="float32",
        device="cpu",
        **settings,  # type: ignore[arg-type]
    )
    return expert


def test_a_fine_tuned_expert_has_learnt_its_task(models: Models) -> None:
    split = some_split(200)
    expert = BertExpert("net", pooling="mean", models=models)
    fine_tune(
        expert, split, SST2, epochs=6, learning_rate=1e-2, batch_size=16, seed=0, device="cpu"
    )
    fresh = some_split(200, seed=1)
    outputs, _ = predict(expert, fresh, device="cpu")
    assert (outputs.argmax(-1) == fresh.labels).mean() > 0.75
    assert not expert.training


def test_a_regression_starts_at_the_labels_mean_and_learns(models: Models) -> None:
    split = some_split(200, outputs=1)
    still = trained(models, outputs=1, learning_rate=1e-12)
    assert still.head.bias.item() == pytest.approx(some_split(outputs=1).labels.mean())
    expert = BertExpert("net", 1, pooling="mean", models=models)
    fine_tune(
        expert, split, STSB, epochs=6, learning_rate=1e-2, batch_size=16, seed=0, device="cpu"
    )
    values, _ = predict(expert, split, device="cpu")
    assert np.corrcoef(values[:, 0], split.labels)[0, 1] > 0.7


def test_the_same_call_gives_the_same_weights_whatever_the_global_state(models: Models) -> None:
    torch.manual_seed(1)
    first = weights_hash(trained(models))
    torch.manual_seed(2)
    assert weights_hash(trained(models)) == first
    assert weights_hash(trained(models, seed=1)) != first


def test_the_global_random_state_is_as_before(models: Models) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trained(models)
    assert torch.equal(torch.rand(3), expected)


def test_every_step_is_told(models: Models) -> None:
    told: list[int] = []
    expert = BertExpert("net", models=models)
    fine_tune(
        expert,
        some_split(37),
        SST2,
        epochs=3,
        learning_rate=1e-3,
        batch_size=8,
        seed=0,
        device="cpu",
        progress=told.append,
    )
    assert sum(told) == 3 * batch_count(37, 8)


def test_a_loss_that_is_no_number_names_expert_and_step(models: Models) -> None:
    with pytest.raises(_DivergedError, match="expert net is not finite in step 2") as caught:
        # one step of this size leaves the numbers; the gradient is clipped, the rate is not
        trained(models, learning_rate=1e38)
    assert (caught.value.expert, caught.value.step) == ("net", 2)


def test_labels_that_are_no_numbers_stop_a_regression_at_once(models: Models) -> None:
    split = some_split(outputs=1)
    split = replace(split, labels=np.full_like(split.labels, np.inf))
    with pytest.raises(_DivergedError, match="step 1"):
        fine_tune(
            BertExpert("net", 1, models=models),
            split,
            STSB,
            epochs=1,
            learning_rate=1e-3,
            batch_size=8,
            seed=0,
            device="cpu",
        )


def test_weight_decay_leaves_biases_and_norms_alone(models: Models) -> None:
    # a huge decay with a rate so small that gradients move nothing
    plain, decayed = (trained(models, learning_rate=1e-9, weight_decay=w) for w in (0.0, 1e8))
    before, after = plain.state_dict(), decayed.state_dict()
    for name, value in before.items():
        alike = torch.allclose(value, after[name], atol=1e-6)
        assert alike == (value.ndim <= 1 or value.abs().max() == 0), name


def test_the_rate_rises_to_its_full_height_and_falls_to_nearly_nothing() -> None:
    shares = [schedule(step, 100, 0.1) for step in range(1, 101)]
    assert shares[0] == pytest.approx(0.1)
    assert shares[9] == 1
    assert shares[:10] == sorted(shares[:10])
    assert shares[9:] == sorted(shares[9:], reverse=True)
    assert 0 < shares[-1] < 0.02
    assert schedule(1, 1, 0.1) == 1
    assert schedule(1, 5, 0.0) == 1


def test_a_constant_rate_rises_too_and_stays() -> None:
    shares = [schedule(step, 20, 0.2, "constant") for step in range(1, 21)]
    assert shares[:4] == [schedule(step, 20, 0.2) for step in range(1, 5)]
    assert set(shares[3:]) == {1.0}


def test_predictions_come_in_the_split_s_order_whatever_the_batches(models: Models) -> None:
    split = some_split(23)
    expert = BertExpert("net", pooling="mean", models=models).train()
    outputs, features = predict(expert, split, batch_size=4, device="cpu")
    assert expert.training
    assert {outputs.dtype, features.dtype} == {np.dtype(np.float32)}
    assert (outputs.shape, features.shape) == ((23, 2), (23, 16))
    expert.eval()
    for batch in batches(split, 1, generator=None):
        with torch.no_grad():
            said, felt = expert.examine(batch.input_ids, batch.attention_mask)
        row = int(batch.rows[0])
        np.testing.assert_allclose(outputs[row], said[0], atol=1e-5)
        np.testing.assert_allclose(features[row], felt[0], atol=1e-5)


def test_predictions_of_an_expert_with_its_own_head_are_in_the_task_s_order(
    models: Models,
) -> None:
    split = some_split(9)
    mapped = BertExpert("tuned", label_names=SST2.label_names, models=models)
    as_it_is = BertExpert("tuned", models=models)
    theirs, mine = (predict(expert, split, device="cpu")[0] for expert in (as_it_is, mapped))
    np.testing.assert_allclose(mine, theirs[:, ::-1])


def test_a_stem_says_live_what_was_kept_of_an_expert_of_the_same_encoder(models: Models) -> None:
    split = some_split(11)
    stem = RouterStem("net", pooling="mean", models=models)
    _, expected = predict(BertExpert("net", pooling="mean", models=models), split, device="cpu")
    for batch in batches(split, 3, generator=None):
        with torch.no_grad():
            found = stem(batch.input_ids, batch.attention_mask, batch.token_type_ids)
        np.testing.assert_allclose(found, expected[batch.rows], atol=1e-5)


def test_auto_is_float32_where_outputs_are_quoted(models: Models) -> None:
    expert, split = BertExpert("net", models=models), some_split(9)
    plain, auto, brain = (
        predict(expert, split, device="cpu", precision=precision)[0]
        for precision in ("float32", "auto", "bfloat16")
    )
    np.testing.assert_array_equal(plain, auto)
    assert not np.array_equal(plain, brain)
    np.testing.assert_allclose(plain, brain, atol=0.2)


def test_precision_says_when_bfloat16_is_used() -> None:
    cpu = torch.device("cpu")
    on = {}
    for precision in ("float32", "bfloat16", "auto"):
        with autocast(precision, cpu):
            on[precision] = torch.is_autocast_enabled("cpu")
    assert on == {"float32": False, "bfloat16": True, "auto": _has_bfloat16(cpu)}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_is_refused() -> None:
    with pytest.raises(ModelError, match=r"device is 'cuda'.*set device=cpu"):
        resolve_device("cuda")
    assert resolve_device("auto").type == "cpu"


def shared() -> Path:
    given = os.environ.get("MPC_ROUTER_SHARED")
    return Path(given) if given else Path(__file__).resolve().parents[4] / "shared"


def test_the_real_small_bert_loads_as_a_stand_in() -> None:
    folder = shared() / "models"
    if not (folder / "bert-tiny").is_dir():
        pytest.skip("shared/models/bert-tiny is not beside the checkout (MPC_ROUTER_SHARED)")
    models = Models(folder)
    stem = RouterStem("prajjwal1/bert-tiny", layers=2, pooling="mean", models=models).eval()
    assert stem.width == 128
    with torch.no_grad():
        features = stem(torch.tensor([[101, 7592, 2088, 102]]))
    assert features.isfinite().all()
