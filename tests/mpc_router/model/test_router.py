from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, vmap

import mpc_router
from mpc_router.config.sections import ModelConfig
from mpc_router.config.trial import trial_config
from mpc_router.model.router import (
    MLPRouter,
    RouterShape,
    RouterStem,
    build_router,
    gumbel_gate,
    gumbel_noise,
    initial_weights,
    one_hot,
    softmax_gate,
    temperature_at,
)
from mpc_router.model.sources import ModelError, Models
from tests.mpc_router.small_models import save_encoder, some_tokens

LOGITS = torch.tensor([[1.0, 0.2, -0.7], [-3.0, 0.0, 2.5]])


def noise_for(logits: Tensor, seed: int = 0) -> Tensor:
    return gumbel_noise(tuple(logits.shape), torch.Generator().manual_seed(seed))


def a_mask(*shape: int) -> Tensor:
    """A dropout mask of probability a half."""
    return 2.0 * torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-45])
def test_a_temperature_near_zero_gives_a_one_hot_gate(temperature: float) -> None:
    expected = one_hot(LOGITS.argmax(-1), 3).float()
    assert torch.equal(softmax_gate(LOGITS, temperature), expected)
    noisy = LOGITS + noise_for(LOGITS)
    gate = gumbel_gate(LOGITS, noise_for(LOGITS), temperature)
    assert torch.equal(gate, one_hot(noisy.argmax(-1), 3).float())


def test_a_high_temperature_gives_a_uniform_gate() -> None:
    for gate in (softmax_gate(LOGITS, 1e8), gumbel_gate(LOGITS, noise_for(LOGITS), 1e8)):
        assert torch.allclose(gate, torch.full((2, 3), 1 / 3))


def test_a_gumbel_gate_without_noise_is_the_softmax_of_the_logits() -> None:
    assert torch.allclose(gumbel_gate(LOGITS, torch.zeros(2, 3), 0.7), (LOGITS / 0.7).softmax(-1))


def test_gates_do_not_see_a_constant_added_to_the_logits() -> None:
    noise = noise_for(LOGITS)
    assert torch.allclose(gumbel_gate(LOGITS + 5, noise, 0.5), gumbel_gate(LOGITS, noise, 0.5))


def test_the_argmax_under_gumbel_noise_is_distributed_as_the_softmax() -> None:
    draws = 20_000
    noise = gumbel_noise((draws, 3), torch.Generator().manual_seed(1))
    chosen = (LOGITS[0] + noise).argmax(-1)
    seen = torch.bincount(chosen, minlength=3).double()
    expected = draws * LOGITS[0].double().softmax(-1)
    chi_square = ((seen - expected) ** 2 / expected).sum().item()
    assert chi_square < 13.82  # 2 degrees of freedom: exceeded by chance once in a thousand


def test_gumbel_noise_has_the_mean_and_deviation_of_its_law() -> None:
    noise = gumbel_noise((200_000,), torch.Generator().manual_seed(2)).double()
    assert noise.isfinite().all()
    assert noise.mean().item() == pytest.approx(0.5772156649, abs=0.015)
    assert noise.std().item() == pytest.approx(math.pi / math.sqrt(6), abs=0.015)


def test_straight_through_is_one_hot_forward_and_soft_backward() -> None:
    noise, weights = noise_for(LOGITS), torch.tensor([1.0, 2.0, 3.0])
    slopes = []
    for straight in (True, False):
        logits = LOGITS.clone().requires_grad_()
        gate = gumbel_gate(logits, noise, 0.8, straight_through=straight)
        (gate * weights).sum().backward()  # type: ignore[no-untyped-call]
        slopes.append(logits.grad)
        if straight:
            assert torch.equal(gate.detach(), one_hot((LOGITS + noise).argmax(-1), 3).float())
    assert torch.equal(slopes[0], slopes[1])  # type: ignore[arg-type]
    assert slopes[0] is not None
    assert slopes[0].abs().sum() > 0


def test_a_gate_has_the_gradient_of_a_softmax() -> None:
    logits = LOGITS.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: softmax_gate(z, 0.6), (logits,))


@pytest.mark.parametrize("straight_through", [False, True])
def test_gates_under_vmap_take_a_temperature_a_lane(straight_through: bool) -> None:
    logits = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0))
    noise, temperatures = noise_for(logits), torch.tensor([0.1, 0.5, 1.0, 4.0])

    def gate(z: Tensor, g: Tensor, tau: Tensor) -> Tensor:
        return gumbel_gate(z, g, tau, straight_through=straight_through)

    stacked = vmap(gate)(logits, noise, temperatures)
    for lane, temperature in enumerate(temperatures):
        assert torch.allclose(stacked[lane], gate(logits[lane], noise[lane], temperature))


@pytest.mark.parametrize("schedule", ["linear", "exponential"])
def test_a_schedule_runs_from_first_to_last_temperature(schedule: str) -> None:
    model = ModelConfig(temperature=4.0, temperature_end=1.0, temperature_schedule=schedule)
    values = [temperature_at(model, step, 5) for step in range(5)]
    assert values[0] == pytest.approx(4)
    assert values[-1] == pytest.approx(1)
    assert values[2] == pytest.approx(2.5 if schedule == "linear" else 2)
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("schedule", ["linear", "exponential"])
def test_an_end_of_zero_keeps_the_temperature(schedule: str) -> None:
    model = ModelConfig(temperature=0.7, temperature_end=0, temperature_schedule=schedule)
    assert [temperature_at(model, step, 9) for step in range(9)] == pytest.approx([0.7] * 9)


def test_a_single_step_has_the_first_temperature() -> None:
    assert temperature_at(ModelConfig(temperature=2.0, temperature_end=1.0), 0, 1) == 2


def test_a_router_is_the_formula_of_its_docstring() -> None:
    router = MLPRouter(6, 3, hidden_size=8).eval()
    features, mask = torch.randn(5, 6), a_mask(5, 8)
    hidden = (features @ router.hidden.weight.T + router.hidden.bias).clamp_min(0) * mask
    expected = hidden @ router.out.weight.T + router.out.bias
    assert torch.allclose(router(features, mask), expected, atol=1e-6)
    assert torch.equal(router(features), router(features, torch.ones(5, 8)))


def test_a_router_is_built_as_its_configuration_says() -> None:
    config = trial_config({"pool": "sample", "router_hidden_size": 5, "router_dropout": 0.25})
    router = build_router(config, 7)
    assert {name: tuple(value.shape) for name, value in router.named_parameters()} == {
        "hidden.weight": (5, 7),
        "hidden.bias": (5,),
        "out.weight": (config.experts, 5),
        "out.bias": (config.experts,),
    }
    shape = RouterShape(experts=config.experts, hidden_size=5, dropout=0.25)
    assert repr(build_router(shape, 7)) == repr(router)
    assert build_router(shape, 7).dropout == router.dropout == 0.25


def test_no_other_place_of_the_package_makes_a_router() -> None:
    package = Path(mpc_router.__file__).parent
    makers = [path for path in package.rglob("*.py") if "MLPRouter(" in path.read_text("utf-8")]
    assert [path.relative_to(package).as_posix() for path in makers] == ["model/router.py"]


def test_a_router_drops_out_by_itself_only_in_training() -> None:
    router = MLPRouter(6, 3, hidden_size=64, dropout=0.5)
    features = torch.randn(5, 6)
    assert not torch.equal(router(features), router(features))
    router.eval()
    assert torch.equal(router(features), router(features))


def test_stacked_routers_say_under_vmap_what_each_says_alone() -> None:
    router = MLPRouter(6, 3, hidden_size=8)
    lanes = [initial_weights(6, 8, 3, torch.Generator().manual_seed(seed)) for seed in range(4)]
    stacked = {name: torch.stack([lane[name] for lane in lanes]) for name in lanes[0]}
    features = torch.randn(4, 5, 6)
    masks = a_mask(4, 5, 8)

    def call(weights: dict[str, Tensor], x: Tensor, mask: Tensor) -> Tensor:
        logits: Tensor = functional_call(router, weights, (x, mask))
        return logits

    together = vmap(call)(stacked, features, masks)
    for lane, weights in enumerate(lanes):
        alone = call(weights, features[lane], masks[lane])
        assert torch.allclose(together[lane], alone, atol=1e-6)


def test_initial_weights_come_from_the_generator_alone() -> None:
    first = initial_weights(6, 8, 3, torch.Generator().manual_seed(5))
    torch.manual_seed(123)
    again = initial_weights(6, 8, 3, torch.Generator().manual_seed(5))
    assert all(torch.equal(first[name], again[name]) for name in first)
    MLPRouter(6, 3, hidden_size=8).load_state_dict(first)


def test_initial_weights_have_the_bounds_of_a_linear_layer() -> None:
    weights = initial_weights(100, 400, 3, torch.Generator().manual_seed(0))
    for name, columns in (("hidden", 100), ("out", 400)):
        bound = 1 / math.sqrt(columns)
        assert weights[f"{name}.weight"].abs().max() <= bound
        assert weights[f"{name}.weight"].std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_a_stem_sums_up_the_first_layers_of_its_encoder(tmp_path: Path) -> None:
    whole = save_encoder(tmp_path / "org" / "stem", layers=3)
    stem = RouterStem("org/stem", layers=2, pooling="mean", models=Models(tmp_path)).eval()
    ids, mask = some_tokens()
    with torch.no_grad():
        states = whole(ids, attention_mask=mask, output_hidden_states=True).hidden_states[2]
        expected = torch.stack([states[row, : mask[row].sum()].mean(0) for row in range(5)])
        assert stem.width == 16
        assert torch.allclose(stem(ids, mask), expected, atol=1e-5)


def test_a_stem_refuses_an_unknown_pooling(tmp_path: Path) -> None:
    save_encoder(tmp_path / "stem")
    with pytest.raises(ModelError, match="pooling is 'max', allowed are cls, mean"):
        RouterStem("stem", pooling="max", models=Models(tmp_path))
