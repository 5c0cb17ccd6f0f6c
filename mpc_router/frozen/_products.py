"""Multiplies small matrices in compiled loops, as fast as the processor multiplies numbers.

A tile of the product stays in registers until its sums are complete: a step along them loads little
and stores nothing. Compilers do not make this of loops, so the tile is written in the compiler's
own terms, which are vectors (Goto and van de Geijn 2008, doi:10.1145/1356052.1356053).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from mpc_router.frozen._compiler import PROCESSOR

Floats = NDArray[np.float32]

BLOCK: Final = 4
"""Rows of a tile: a product has a multiple of them."""

WIDTH: Final = 16
"""Numbers of the widest vectors that processors have: a row of a product has a multiple of them."""

_ALIGNED: Final = 4
"""Bytes of a number: a vector may begin with any."""

_FUSED: Final = ("contract",)
"""A product, and the sum that it is added to, may be rounded once."""


class Tile(NamedTuple):
    """Says how wide a tile is: so many vectors, each of so many numbers."""

    vectors: int
    numbers: int

    @classmethod
    def of(cls, triple: str, features: str) -> Tile:
        """Gives the widest tile that a processor has registers for, by LLVM's words for it."""
        has = features.split(",")
        numbers = 16 if "+avx512f" in has else 8 if "+avx" in has else 4
        many_registers = numbers == 16 or triple.startswith(("aarch64", "arm64"))
        return cls(vectors=4 if many_registers else 2, numbers=numbers)


def product(tile: Tile) -> Callable[[Floats, Floats, Floats], None]:
    """Makes a function for compiled loops that writes left (M, N) @ right (N, H') to (M, H').

    M is a multiple of BLOCK, H' of WIDTH. More rows of `right` than N are left out.
    """
    write_tile, write_vector = _writer(tile), _writer(Tile(1, tile.numbers))
    width = tile.vectors * tile.numbers

    @numba.njit(forceinline=True, error_model="numpy")  # type: ignore[untyped-decorator]
    def set_product(total: Floats, left: Floats, right: Floats) -> None:
        whole_tiles = total.shape[1] // width * width
        for row in range(0, total.shape[0], BLOCK):
            for column in range(0, whole_tiles, width):
                write_tile(total, left, right, row, column)
            for column in range(whole_tiles, total.shape[1], tile.numbers):
                write_vector(total, left, right, row, column)

    return set_product  # type: ignore[no-any-return]


def _writer(tile: Tile) -> Any:
    """Makes a function (total, left, right, row, column) that writes the tile that begins there."""

    @intrinsic  # type: ignore[untyped-decorator]
    def write(_: Any, total: Any, left: Any, right: Any, row: Any, column: Any) -> Any:
        return types.void(total, left, right, row, column), _generator(tile)

    return write


def _generator(tile: Tile) -> Callable[[Any, Any, Any, Any], None]:
    """Makes what gives the compiler the instructions that write a tile."""
    numbers = ir.VectorType(ir.FloatType(), tile.numbers)
    undefined = ir.Constant(numbers, ir.Undefined)
    first_everywhere = ir.Constant(ir.VectorType(ir.IntType(32), tile.numbers), None)
    places = [(row, vector) for row in range(BLOCK) for vector in range(tile.vectors)]

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> None:
        *matrices, first_row, first_column = values
        total, left, right = (
            (kind, context.make_array(kind)(context, builder, matrix))
            for kind, matrix in zip(signature.args, matrices, strict=False)
        )

        def number(matrix: Any, row: Any, column: Any) -> Any:
            """Gives the address of a number."""
            return cgutils.get_item_pointer(context, builder, *matrix, (row, column))

        def vector(matrix: Any, row: Any, place: int) -> Any:
            """Gives the address of one of the tile's vectors in a row."""
            column = builder.add(first_column, first_column.type(place * tile.numbers))
            return builder.bitcast(number(matrix, row, column), numbers.as_pointer())

        def repeated(value: Any) -> Any:
            """Gives the vector that has a number everywhere."""
            one = builder.insert_element(undefined, value, ir.IntType(32)(0))
            return builder.shuffle_vector(one, undefined, first_everywhere)

        rows = [builder.add(first_row, first_row.type(row)) for row in range(BLOCK)]
        zeros = ir.Constant(numbers, None)
        sums = {place: cgutils.alloca_once_value(builder, zeros) for place in places}
        with cgutils.for_range(builder, builder.extract_value(left[1].shape, 1)) as loop:
            term = loop.index
            factors = [
                builder.load(vector(right, term, place), align=_ALIGNED)
                for place in range(tile.vectors)
            ]
            spread = [repeated(builder.load(number(left, row, term))) for row in rows]
            for row, place in places:
                added = builder.fmul(spread[row], factors[place], flags=_FUSED)
                held = builder.load(sums[row, place])
                builder.store(builder.fadd(held, added, flags=_FUSED), sums[row, place])
        for (row, place), held in sums.items():
            builder.store(builder.load(held), vector(total, rows[row], place), align=_ALIGNED)

    return generate


set_product: Final = product(Tile.of(PROCESSOR[0], PROCESSOR[2]))
"""Writes left (M, N) @ right (N, H') to a total (M, H'): see `product`."""
