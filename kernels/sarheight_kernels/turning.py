"""Pixels of cells and cells of pixels turned into one another, a few at a time.

An image holds the pixels of a line side by side, a table of windows the cells of a row. Element by
element, each pixel of each window would be a load and a store of its own. Here four pixels of
eight cells are held in registers and turned there, as a matrix is transposed, so that one
instruction reads or writes all pixels of a cell, or all cells of a pixel. Numba writes no such
instructions by itself: LLVM is told of vectors, and finds what each processor has for them.

Nothing checks indices here. The caller sees to it that windows lie within the image, and that
tables have room for whole blocks of `LANES` cells and `WIDTH` pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.base import BaseContext
from numba.core.typing.templates import Signature
from numba.extending import intrinsic
from numpy.typing import NDArray

from sarheight_kernels.footprints import PITCH, Table

if TYPE_CHECKING:
    from numba.core.typing.context import BaseContext as Typing

__all__ = ["LANES", "WIDTH", "add_fours", "add_pairs", "copy_fours", "copy_pairs", "turn_fours"]

LANES = 8
"""So many cells are turned at a time."""
WIDTH = 4
"""So many pixels of each."""

Places = NDArray[np.int64]
Copy = Callable[[Table, Places, int, int, Table, int], None]
Turn = Callable[[Table, int, Table, int], None]
Add = Callable[[Table, int, Table, int, Table, int], None]
Write = Callable[[BaseContext, ir.IRBuilder, Signature, tuple[ir.Value, ...]], ir.Value]


def _takes(*kinds: types.Type) -> Signature:
    """Say what a kernel takes: contiguous arrays as they are, and indices."""
    for kind in kinds:
        if isinstance(kind, types.Array) and kind.layout != "C":
            msg = f"arrays must be contiguous, found {kind}"
            raise TypeError(msg)
    return types.void(*(kind if isinstance(kind, types.Array) else types.intp for kind in kinds))


def _first(
    context: BaseContext, builder: ir.IRBuilder, kind: types.Type, array: ir.Value
) -> ir.Value:
    """Point to the first element of an array."""
    return context.make_array(kind)(context, builder, array).data


def _after(builder: ir.IRBuilder, index: ir.Value, step: int) -> ir.Value:
    """Add a number to an index."""
    return builder.add(index, ir.Constant(index.type, step))


def _element(builder: ir.IRBuilder, first: ir.Value, index: ir.Value) -> ir.Value:
    """Load an element of an array."""
    return builder.load(builder.gep(first, [index], inbounds=True))


def _at(builder: ir.IRBuilder, first: ir.Value, index: ir.Value, width: int) -> ir.Value:
    """Point to a vector within an array of float32."""
    kind = ir.VectorType(ir.FloatType(), width).as_pointer()
    return builder.bitcast(builder.gep(first, [index], inbounds=True), kind)


def _load(builder: ir.IRBuilder, first: ir.Value, index: ir.Value, width: int) -> ir.Value:
    """Load a vector from anywhere within an array of float32."""
    return builder.load(_at(builder, first, index, width), align=4)


def _store(builder: ir.IRBuilder, vector: ir.Value, first: ir.Value, index: ir.Value) -> None:
    """Store a vector anywhere within an array of float32."""
    builder.store(vector, _at(builder, first, index, vector.type.count), align=4)


def _pick(
    builder: ir.IRBuilder, first: ir.Value, second: ir.Value, lanes: tuple[int, ...]
) -> ir.Value:
    """Make a vector of lanes of two others; those of the second are counted on."""
    kind = ir.VectorType(ir.IntType(32), len(lanes))
    return builder.shuffle_vector(first, second, ir.Constant(kind, list(lanes)))


def _transpose(builder: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Transpose both halves of four vectors of eight lanes."""
    low, high = (0, 8, 1, 9, 4, 12, 5, 13), (2, 10, 3, 11, 6, 14, 7, 15)
    left, right = (0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)
    upper = [_pick(builder, rows[0], rows[1], lanes) for lanes in (low, high)]
    lower = [_pick(builder, rows[2], rows[3], lanes) for lanes in (low, high)]
    return [
        _pick(builder, upper[column // 2], lower[column // 2], right if column % 2 else left)
        for column in range(WIDTH)
    ]


def _copier(width: int) -> Copy:
    """Make a kernel that copies pixels side by side of each of eight cells into a table."""
    # Of fewer than four pixels the others repeat the last, and are not stored.
    lanes = tuple(min(lane % WIDTH, width - 1) + width * (lane // WIDTH) for lane in range(LANES))

    @intrinsic
    def copy(
        _: Typing, image: types.Type, place: types.Type, cell: types.Type, offset: types.Type,
        table: types.Type, at: types.Type,
    ) -> tuple[Signature, Write]:  # fmt: skip
        """Copy elements ``place[cell] + offset + m`` of an image to ``at + m * PITCH``."""

        def write(
            context: BaseContext, builder: ir.IRBuilder, takes: Signature,
            arguments: tuple[ir.Value, ...],
        ) -> ir.Value:  # fmt: skip
            image, place, cell, offset, table, at = arguments
            source = _first(context, builder, takes.args[0], image)
            source = builder.gep(source, [offset], inbounds=True)
            places = _first(context, builder, takes.args[1], place)
            target = _first(context, builder, takes.args[4], table)
            found = []
            for lane in range(LANES):
                begin = _element(builder, places, _after(builder, cell, lane))
                found.append(_load(builder, source, begin, width))
            pairs = [_pick(builder, found[c], found[c + WIDTH], lanes) for c in range(WIDTH)]
            for pixel, row in enumerate(_transpose(builder, pairs)[:width]):
                _store(builder, row, target, _after(builder, at, pixel * PITCH))
            return context.get_dummy_value()

        return _takes(image, place, cell, offset, table, at), write

    return cast("Copy", copy)


def _turner() -> Turn:
    """Make a kernel that turns four rows of a table, for eight cells."""

    @intrinsic
    def turn(
        _: Typing, table: types.Type, at: types.Type, turned: types.Type, to: types.Type
    ) -> tuple[Signature, Write]:
        """Turn; the pixels of cells c and c + 4 lie side by side ``c * PITCH`` after `to`."""

        def write(
            context: BaseContext, builder: ir.IRBuilder, takes: Signature,
            arguments: tuple[ir.Value, ...],
        ) -> ir.Value:  # fmt: skip
            table, at, turned, to = arguments
            source = _first(context, builder, takes.args[0], table)
            target = _first(context, builder, takes.args[2], turned)
            rows = [
                _load(builder, source, _after(builder, at, pixel * PITCH), LANES)
                for pixel in range(WIDTH)
            ]
            for cell, pair in enumerate(_transpose(builder, rows)):
                _store(builder, pair, target, _after(builder, to, cell * PITCH))
            return context.get_dummy_value()

        return _takes(table, at, turned, to), write

    return cast("Turn", turn)


def _adder(width: int) -> Add:
    """Make a kernel that adds a cell's pixels, side by side, times its share to an image."""

    @intrinsic
    def add(
        _: Typing, turned: types.Type, at: types.Type, share: types.Type, cell: types.Type,
        image: types.Type, to: types.Type,
    ) -> tuple[Signature, Write]:  # fmt: skip
        """Add ``share[cell]`` times elements ``at + m`` to elements ``to + m`` of an image."""

        def write(
            context: BaseContext, builder: ir.IRBuilder, takes: Signature,
            arguments: tuple[ir.Value, ...],
        ) -> ir.Value:  # fmt: skip
            turned, at, share, cell, image, to = arguments
            source = _first(context, builder, takes.args[0], turned)
            shares = _first(context, builder, takes.args[2], share)
            target = _first(context, builder, takes.args[4], image)
            factor = _load(builder, shares, cell, 1)
            factor = _pick(builder, factor, factor, (0,) * width)
            part = builder.fmul(factor, _load(builder, source, at, width), flags=("contract",))
            before = _load(builder, target, to, width)
            _store(builder, builder.fadd(before, part, flags=("contract",)), target, to)
            return context.get_dummy_value()

        return _takes(turned, at, share, cell, image, to), write

    return cast("Add", add)


copy_fours, copy_pairs = _copier(WIDTH), _copier(2)
turn_fours = _turner()
add_fours, add_pairs = _adder(WIDTH), _adder(2)
