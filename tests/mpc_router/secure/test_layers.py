"""Layers that are measured alone, and what is said of larger ones."""

from __future__ import annotations

import numpy as np
import pytest

from mpc_router.secure._usage import EXTRAPOLATED, MEASURED, Usage
from mpc_router.secure.environment import SecureError
from mpc_router.secure.layers import (
    LayerFit,
    LayerSize,
    layer_form,
    layer_weights,
    smaller_sizes,
)
from mpc_router.secure.networks import NETWORKS, Network, seconds
from mpc_router.secure.pool import NUMPY
from mpc_router.secure.programs.encoders import Form, answered

BASE = LayerSize(tokens=32, width=768, heads=12, inner=3072)


def usage(size: LayerSize, factors: tuple[float, ...]) -> Usage:
    """What a layer takes if each of its terms costs so much."""
    total = float(np.dot(factors, size.sending))
    seconds_here = float(np.dot(factors, size.working))
    return Usage(
        worked=seconds_here,
        elapsed=3 * seconds_here,
        sent_bytes=(total, 2 * total),
        rounds=200 + 10 * np.log2(size.width) + 8 * np.log2(size.tokens),
        memory_bytes=1000,
        error=0.1,
    )


def test_a_large_layer_is_measured_as_four_smaller_ones_of_the_same_heads() -> None:
    sizes = smaller_sizes(BASE)
    assert {(size.width, size.tokens) for size in sizes} == {
        *((192, 16), (192, 32), (384, 16), (384, 32)),
    }
    assert {size.width // size.heads for size in sizes} == {64}
    assert {size.inner / size.width for size in sizes} == {4.0}


@pytest.mark.parametrize("factors", [(8.0, 900.0, 500.0), (0.0, 3.0, 0.0), (16.0, 0.0, 70.0)])
def test_a_fit_finds_what_each_term_costs(factors: tuple[float, ...]) -> None:
    sizes = smaller_sizes(BASE)
    fit = LayerFit(tuple(sizes), tuple(usage(size, factors) for size in sizes))
    said, truth = fit.of(BASE), usage(BASE, factors)
    assert said.sent_bytes == pytest.approx(truth.sent_bytes, rel=1e-6)
    assert said.worked == pytest.approx(truth.worked, rel=1e-6)
    assert said.elapsed == pytest.approx(truth.elapsed, rel=1e-6)
    assert said.how == EXTRAPOLATED


def test_rounds_grow_with_every_doubling_of_width_and_tokens() -> None:
    sizes = smaller_sizes(BASE)
    fit = LayerFit(tuple(sizes), tuple(usage(size, (1, 1, 1)) for size in sizes))
    for size in (BASE, LayerSize(tokens=16, width=1024, heads=16, inner=4096)):
        assert fit.of(size).rounds == pytest.approx(usage(size, (1, 1, 1)).rounds)


@pytest.mark.parametrize(
    ("heads", "measured"), [(2, {1, 2}), (3, {1, 2}), (5, {1, 2}), (6, {1, 3})]
)
def test_layers_of_few_heads_are_measured_at_two_widths(heads: int, measured: set[int]) -> None:
    size = LayerSize(tokens=32, width=64 * heads, heads=heads, inner=256 * heads)
    sizes = smaller_sizes(size)
    assert {small.heads for small in sizes} == measured
    assert {small.width for small in sizes} == {64 * few for few in measured}
    factors = (8.0, 900.0, 500.0)
    fit = LayerFit(tuple(sizes), tuple(usage(small, factors) for small in sizes))
    assert fit.of(BASE).sent_bytes == pytest.approx(usage(BASE, factors).sent_bytes, rel=1e-6)


def test_layers_of_one_head_are_refused() -> None:
    with pytest.raises(SecureError, match=r"one head.*--largest"):
        smaller_sizes(LayerSize(tokens=32, width=64, heads=1, inner=256))


def test_a_fit_of_layers_of_one_width_and_length_gives_their_rounds_back() -> None:
    size = only = LayerSize(tokens=1, width=8, heads=1, inner=32)
    fit = LayerFit((only,), (usage(only, (1, 0, 1)),))
    assert fit.of(size).rounds == pytest.approx(usage(size, (1, 0, 1)).rounds)


def test_a_layer_alone_gives_hidden_states_of_its_width() -> None:
    size = LayerSize(tokens=5, width=8, heads=2, inner=16)
    whole = Form(
        layers=12, width=768, heads=12, inner=3072, epsilon=1e-12, pooling="cls", dense=("",)
    )
    form = layer_form(size, whole)
    weights = layer_weights(size, np.random.default_rng(0))
    hidden = np.random.default_rng(1).normal(size=(5, 8))
    assert answered(weights, hidden, np.ones(5), form, NUMPY).shape == (5, 8)


def test_layers_add_up_and_keep_the_largest_memory_and_error() -> None:
    one = usage(BASE, (1, 1, 1))
    three = one.times(2) + one
    assert three.worked == pytest.approx(3 * one.worked)
    assert three.sent_bytes == pytest.approx([3 * sent for sent in one.sent_bytes])
    assert three.rounds == 3 * one.rounds
    assert (three.memory_bytes, three.error, three.how) == (1000, 0.1, MEASURED)
    assert Usage.from_json(three.to_json()) == three


def test_seconds_are_work_and_rounds_and_bytes() -> None:
    network = Network(name="slow", latency=0.5, bandwidth=80)
    part = Usage(worked=3, elapsed=9, sent_bytes=(100, 40), rounds=4)
    assert seconds(part, network) == pytest.approx(3 + 4 * 0.5 + 8 * 100 / 80)


def test_a_network_without_delay_or_limit_leaves_the_work() -> None:
    part = Usage(worked=3, elapsed=9, sent_bytes=(100, 40), rounds=4)
    assert seconds(part, Network(name="none", latency=0, bandwidth=1e30)) == pytest.approx(3)
    lan, wan = (seconds(part, network) for network in NETWORKS)
    assert wan > lan > 3
