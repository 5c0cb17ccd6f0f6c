from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from analysis.stats.seed_blocks import _least_p, block_test

Values = NDArray[np.float64]


def _values(seed: int, points: int, seeds: int, *, apart: float = 0.0) -> Values:
    rng = np.random.default_rng(seed)
    own = apart * np.arange(points)[:, None]
    return np.asarray(own + rng.normal(0, 0.02, seeds) + rng.normal(0, 0.01, (points, seeds)))


@pytest.mark.parametrize(("points", "seeds"), [(2, 3), (2, 5), (3, 3)])
def test_the_least_p_is_that_of_all_permutations_where_every_seed_agrees(
    points: int, seeds: int
) -> None:
    apart = _values(0, points, seeds, apart=10.0)
    orders = list(itertools.permutations(range(points)))
    spreads = [
        np.mean([apart[list(order), s] for s, order in enumerate(each)], axis=0).var()
        for each in itertools.product(orders, repeat=seeds)
    ]
    as_far = np.mean(np.asarray(spreads) >= apart.mean(axis=1).var() * (1 - 1e-12))
    assert as_far == pytest.approx(_least_p(points, seeds))


def test_two_points_and_five_seeds_cannot_reach_a_twentieth_by_permutation() -> None:
    assert _least_p(2, 5) == pytest.approx(1 / 16)
    assert _least_p(2, 6) == pytest.approx(1 / 32)
    assert block_test(_values(0, 2, 5, apart=0.2)).p < 0.001


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("seeds", [2, 3, 8])
def test_of_two_points_it_is_the_paired_t_test(seed: int, seeds: int) -> None:
    values = _values(seed, 2, seeds, apart=0.01)
    found, known = block_test(values), stats.ttest_rel(values[1], values[0])
    assert found.f == pytest.approx(known.statistic**2)
    assert found.p == pytest.approx(known.pvalue)
    ends = np.sort(np.sign(known.statistic) * np.array(known.confidence_interval()))
    assert found.span_high == pytest.approx(ends[1], rel=1e-4)
    assert found.span_low == pytest.approx(max(0, ends[0]), rel=1e-3, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_f_is_that_of_two_regressions_with_and_without_points(seed: int) -> None:
    points, seeds = 4, 5
    values = _values(seed, points, seeds, apart=0.005)
    point, block = np.divmod(np.arange(points * seeds), seeds)
    blocks = np.eye(seeds)[block]
    both = np.hstack([blocks, np.eye(points)[point][:, 1:]])

    def unexplained(design: Values) -> float:
        return float(np.linalg.lstsq(design, values.ravel(), rcond=None)[1][0])

    free = (points - 1) * (seeds - 1)
    rest = unexplained(both)
    expected = ((unexplained(blocks) - rest) / (points - 1)) / (rest / free)
    found = block_test(values)
    assert found.f == pytest.approx(expected)
    assert found.residual == pytest.approx(np.sqrt(rest / free))
    assert found.p == pytest.approx(stats.f.sf(expected, points - 1, free))


def test_what_a_seed_adds_to_all_points_changes_nothing() -> None:
    values = _values(1, 3, 5, apart=0.01)
    moved = values + np.random.default_rng(2).normal(size=5)
    one, other = block_test(values), block_test(moved)
    assert (one.f, one.span, one.span_high) == pytest.approx((other.f, other.span, other.span_high))


@pytest.mark.parametrize("factor", [0.001, 60.0])
def test_a_unit_scales_the_span_and_leaves_the_test(factor: float) -> None:
    values = _values(3, 3, 5, apart=0.01)
    one, other = block_test(values), block_test(factor * values)
    assert one.p == pytest.approx(other.p)
    assert other.span_high == pytest.approx(factor * one.span_high)


@pytest.mark.parametrize(("points", "seeds"), [(2, 5), (4, 5), (6, 3)])
def test_points_that_do_not_differ_are_found_to_in_one_of_twenty(points: int, seeds: int) -> None:
    found = [block_test(_values(seed, points, seeds)).p for seed in range(2000)]
    assert np.mean(np.array(found) < 0.05) == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize("points", [2, 4])
def test_the_interval_covers_the_span_of_the_two_that_are_apart(points: int) -> None:
    truth = 0.03 * (points - 1)
    held = [
        one.span_low <= truth <= one.span_high
        for one in (block_test(_values(seed, points, 5, apart=0.03)) for seed in range(1000))
    ]
    assert np.mean(held) >= 0.93


def test_points_that_differ_with_nothing_left_are_certain_and_equal_ones_are_not() -> None:
    apart = np.array([[1.0, 2.0, 3.0], [1.5, 2.5, 3.5]])
    found = block_test(apart)
    assert (found.p, found.span_low, found.span_high) == pytest.approx((0.0, 0.5, 0.5))
    assert np.isinf(found.f)
    same = block_test(np.full((3, 4), 0.7))
    assert (same.f, same.p, same.span) == (0.0, 1.0, 0.0)


@pytest.mark.parametrize("shape", [(1, 5), (3, 1), (4,)])
def test_too_few_points_or_seeds_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least 2 points and 2 seeds"):
        block_test(np.zeros(shape))


def test_a_value_that_is_not_finite_is_refused() -> None:
    values = _values(0, 3, 4)
    values[1, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        block_test(values)
