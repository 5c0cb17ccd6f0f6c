"""Products of whole tiles and of what is left beside them are those of NumPy."""

from __future__ import annotations

import itertools

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from mpc_router.frozen._arithmetic import why_not_compiled
from mpc_router.frozen._products import BLOCK, WIDTH, Floats, Tile, product

pytestmark = pytest.mark.skipif(bool(why_not_compiled()), reason="nothing is compiled here")

TILES = [Tile(4, 16), Tile(2, 8), Tile(4, 4), Tile(2, 4)]
"""Those of processors with vectors of 512 and 256 bits, and of 128 with many registers and few."""


def whole_numbers(*shape: int, seed: int) -> NDArray[np.float32]:
    """Small whole numbers: sums of their products have no rounding."""
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(np.float32)


@pytest.mark.parametrize("tile", TILES, ids=str)
def test_products_are_those_of_numpy(tile: Tile) -> None:
    inlined = product(tile)

    @numba.njit  # type: ignore[untyped-decorator]
    def multiply(total: Floats, left: Floats, right: Floats) -> None:
        inlined(total, left, right)

    rows, terms, columns = (BLOCK, 3 * BLOCK), (0, 1, 7), (WIDTH, 4 * WIDTH, 5 * WIDTH)
    for number, (m, n, h) in enumerate(itertools.product(rows, terms, columns)):
        right = whole_numbers(n + 2, h, seed=number)  # two rows that are left out
        total = np.full((m, h), np.nan, np.float32)
        left = whole_numbers(m, n, seed=number + 100)
        multiply(total, left, right)
        np.testing.assert_array_equal(total, left @ right[:n])
        turned = whole_numbers(n, m, seed=number + 200).T
        multiply(total, turned, right)
        np.testing.assert_array_equal(total, turned @ right[:n])


def test_products_that_do_not_fit_float32_or_are_no_numbers_stay_so() -> None:
    inlined = product(Tile(2, 8))

    @numba.njit  # type: ignore[untyped-decorator]
    def multiply(total: Floats, left: Floats, right: Floats) -> None:
        inlined(total, left, right)

    left, right = np.ones((BLOCK, 2), np.float32), np.ones((2, WIDTH), np.float32)
    left[1, 0], left[2, 0], right[0, 3] = np.inf, np.nan, 3e38
    left[3] = 3.0
    total = np.empty((BLOCK, WIDTH), np.float32)
    multiply(total, left, right)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(total, left @ right)


@pytest.mark.parametrize(
    ("triple", "features", "tile"),
    [
        ("x86_64-unknown-linux-gnu", "+sse2,+avx,+avx2,+avx512f,-prefer-256-bit", Tile(4, 16)),
        ("x86_64-apple-darwin", "+sse2,+avx,+avx2,-avx512f", Tile(2, 8)),
        ("x86_64-unknown-linux-gnu", "+sse2,-avx", Tile(2, 4)),
        ("arm64-apple-darwin23.0", "+neon", Tile(4, 4)),
        ("aarch64-unknown-linux-gnu", "", Tile(4, 4)),
    ],
)
def test_a_tile_is_as_wide_as_the_processor_has_registers(
    triple: str, features: str, tile: Tile
) -> None:
    assert Tile.of(triple, features) == tile
    assert WIDTH % tile.numbers == 0
