from __future__ import annotations

import pytest
import torch

from mpc_router.config.trial import trial_config
from mpc_router.joint._parameters import choose, optimizer_of, restore, state_of
from mpc_router.model.gated_pool import GatedBertPool
from tests.mpc_router.joint.test_loss import the_loss
from tests.mpc_router.joint_pools import small_pool, some_part

CONFIG = trial_config(
    {"learning_rate": 1e-2, "encoder_learning_rate": 1e-4, "weight_decay": 0.3, "experts": "joint"}
)


def training(pool: GatedBertPool) -> set[str]:
    return {name for name, value in pool.named_parameters() if value.requires_grad}


def test_all_is_everything() -> None:
    pool = small_pool()
    choose(pool, "all")
    assert training(pool) == {name for name, _ in pool.named_parameters()}


@pytest.mark.parametrize("shared", [False, True])
def test_heads_are_heads_poolers_and_the_router(shared: bool) -> None:
    pool = small_pool(shared=shared)
    choose(pool, "head")
    heads = {"router.hidden", "router.out", "experts.experts.0.head", "experts.experts.1.head"}
    heads |= {
        "experts.experts.2.body.bert.pooler.dense",
        "experts.experts.2.body.classifier",
    }
    assert training(pool) == {f"{name}.{part}" for name in heads for part in ("weight", "bias")}


@pytest.mark.parametrize("last", [1, 2, 9])
def test_the_last_layers_of_stem_and_experts_train_beside_the_heads(last: int) -> None:
    pool = small_pool()
    choose(pool, f"last_{last}")
    more = training(pool)
    choose(pool, "head")
    layers = {".".join(name.split(".layer.")[1].split(".")[:1]) for name in more - training(pool)}
    deepest = {name for name in more if name.startswith("experts.experts.2.body.bert.encoder")}
    numbers = {int(name.split(".layer.")[1].split(".")[0]) for name in deepest}
    assert layers
    assert numbers == set(range(3)[-last:])
    assert not any("embeddings" in name for name in more)


def test_what_does_not_train_stays_and_has_no_gradient() -> None:
    pool = small_pool().double().train()
    choose(pool, "head")
    before = {name: value.clone() for name, value in pool.state_dict().items()}
    optimizer = optimizer_of(pool, CONFIG)
    the_loss().backward(pool, [some_part(pool)])
    optimizer.step()
    moved = {
        name for name, value in pool.state_dict().items() if not torch.equal(value, before[name])
    }
    assert moved == training(pool)


def test_rates_and_decay_by_group() -> None:
    pool = small_pool()
    choose(pool, "all")
    found = {}
    for group in optimizer_of(pool, CONFIG).param_groups:
        for value in group["params"]:
            found[id(value)] = (group["lr"], group["weight_decay"])
    for name, value in pool.named_parameters():
        rate = 1e-2 if name.startswith("router.") else 1e-4
        assert found[id(value)] == (rate, 0.3 if value.ndim > 1 else 0.0), name
    assert found[id(pool.stem.encoder.embeddings.LayerNorm.weight)][1] == 0.0  # type: ignore[union-attr]


def test_an_optimizer_goes_on_as_if_it_had_never_stopped() -> None:
    def steps(pool: GatedBertPool, optimizer: torch.optim.AdamW, numbers: range) -> None:
        for number in numbers:
            optimizer.zero_grad()
            the_loss(torch.float32).backward(
                pool, [some_part(pool, dtype=torch.float32, seed=number)]
            )
            optimizer.step()

    whole = small_pool().train()
    first = optimizer_of(whole, CONFIG)
    steps(whole, first, range(3))
    again = small_pool().train()
    again.load_state_dict(whole.state_dict())
    second = optimizer_of(again, CONFIG)
    restore(second, again, {name: value.clone() for name, value in state_of(first, whole).items()})
    steps(whole, first, range(3, 6))
    steps(again, second, range(3, 6))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
