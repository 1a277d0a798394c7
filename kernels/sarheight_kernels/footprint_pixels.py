"""Pixels of an image in the windows of a row of cells.

An image holds the pixels of a line side by side, a table of windows the cells of a row: one row to
a pixel and one column to a cell. Once the pixels of an image are copied into such a table, whatever
is summed over them is arithmetic on rows, and neither the image's border nor a cell in shadow is a
special case: both are pixels of value 0.

Copying and adding pixel by pixel, each is a load and a store of its own. Here four pixels of eight
cells are transposed in vector registers, so that one instruction reads or writes all pixels of a
cell, or all cells of a pixel. Numba does not vectorise such loops: they are written in LLVM's
intermediate language, whose vectors are compiled for every processor. Plain loops give the same
bits; at best they take 1.03 times as long for a reconstruction by one step of allocation, 1.06
times for `scatter` and 1.04 times for `gather`, and 0.98 to 1.24 times from launch to launch
(2,000 x 2,000 cells, one thread of an AMD EPYC, 22 November 2026).

Nothing checks indices here. The caller ensures that windows lie within the image, and that tables
are padded to whole blocks of `LANES` cells and `WIDTH` pixels.
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

from sarheight_kernels._numba import ZERO, njit
from sarheight_kernels.footprints import PITCH, Table, row_footprints

if TYPE_CHECKING:
    from numba.core.typing.context import BaseContext as Typing

    from sarheight_kernels.footprints import WindowTables
    from sarheight_kernels.tiles import TileSurface

LANES = 8
"""Cells that are transposed at a time."""
WIDTH = 4
"""Pixels of each."""

Starts = NDArray[np.int64]
Copy = Callable[[Table, Starts, int, int, Table, int], None]
Transpose = Callable[[Table, int, Table, int], None]
Add = Callable[[Table, int, Table, int, Table, int], None]
Write = Callable[[BaseContext, ir.IRBuilder, Signature, tuple[ir.Value, ...]], ir.Value]


def _takes(*kinds: types.Type) -> Signature:
    """Signature of an intrinsic: contiguous arrays as they are, and indices."""
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
    """Make a vector of lanes of two others; those of the second are numbered after the first."""
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
        _: Typing, image: types.Type, start: types.Type, cell: types.Type, offset: types.Type,
        table: types.Type, at: types.Type,
    ) -> tuple[Signature, Write]:  # fmt: skip
        """Copy elements ``start[cell] + offset + m`` of an image to ``at + m * PITCH``."""

        def write(
            context: BaseContext, builder: ir.IRBuilder, takes: Signature,
            arguments: tuple[ir.Value, ...],
        ) -> ir.Value:  # fmt: skip
            image, start, cell, offset, table, at = arguments
            source = _first(context, builder, takes.args[0], image)
            source = builder.gep(source, [offset], inbounds=True)
            starts = _first(context, builder, takes.args[1], start)
            target = _first(context, builder, takes.args[4], table)
            cells = []
            for lane in range(LANES):
                begin = _element(builder, starts, _after(builder, cell, lane))
                cells.append(_load(builder, source, begin, width))
            pairs = [_pick(builder, cells[c], cells[c + WIDTH], lanes) for c in range(WIDTH)]
            for pixel, row in enumerate(_transpose(builder, pairs)[:width]):
                _store(builder, row, target, _after(builder, at, pixel * PITCH))
            return context.get_dummy_value()

        return _takes(image, start, cell, offset, table, at), write

    return cast("Copy", copy)


def _transposer() -> Transpose:
    """Make a kernel that transposes four rows of a table, for eight cells."""

    @intrinsic
    def transpose(
        _: Typing, table: types.Type, at: types.Type, transposed: types.Type, to: types.Type
    ) -> tuple[Signature, Write]:
        """Transpose; the pixels of cells c and c + 4 lie side by side ``c * PITCH`` after `to`."""

        def write(
            context: BaseContext, builder: ir.IRBuilder, takes: Signature,
            arguments: tuple[ir.Value, ...],
        ) -> ir.Value:  # fmt: skip
            table, at, transposed, to = arguments
            source = _first(context, builder, takes.args[0], table)
            target = _first(context, builder, takes.args[2], transposed)
            rows = [
                _load(builder, source, _after(builder, at, pixel * PITCH), LANES)
                for pixel in range(WIDTH)
            ]
            for cell, pair in enumerate(_transpose(builder, rows)):
                _store(builder, pair, target, _after(builder, to, cell * PITCH))
            return context.get_dummy_value()

        return _takes(table, at, transposed, to), write

    return cast("Transpose", transpose)


def _adder(width: int) -> Add:
    """Make a kernel that adds the pixels of a cell, times its brightness, to an image."""

    @intrinsic
    def add(
        _: Typing, transposed: types.Type, at: types.Type, brightness: types.Type, cell: types.Type,
        image: types.Type, to: types.Type,
    ) -> tuple[Signature, Write]:  # fmt: skip
        """Add ``brightness[cell]`` times elements ``at + m`` to elements ``to + m`` of an image."""

        def write(
            context: BaseContext, builder: ir.IRBuilder, takes: Signature,
            arguments: tuple[ir.Value, ...],
        ) -> ir.Value:  # fmt: skip
            transposed, at, brightness, cell, image, to = arguments
            source = _first(context, builder, takes.args[0], transposed)
            factors = _first(context, builder, takes.args[2], brightness)
            target = _first(context, builder, takes.args[4], image)
            factor = _load(builder, factors, cell, 1)
            factor = _pick(builder, factor, factor, (0,) * width)
            part = builder.fmul(factor, _load(builder, source, at, width), flags=("contract",))
            before = _load(builder, target, to, width)
            _store(builder, builder.fadd(before, part, flags=("contract",)), target, to)
            return context.get_dummy_value()

        return _takes(transposed, at, brightness, cell, image, to), write

    return cast("Add", add)


copy_fours, copy_pairs = _copier(WIDTH), _copier(2)
transpose_fours = _transposer()
add_fours, add_pairs = _adder(WIDTH), _adder(2)


# The pixels under the windows of a row of cells, laid out as the windows are.

INITIAL_SIZE = 48 * PITCH
"""Size of the table of a row's windows, to begin with."""
GROUP = 4
"""Pixels of all cells that are summed together. Tables are padded to whole groups: beyond their
last pixel, weights are 0."""


@njit
def all_within(
    windows: NDArray[np.int32],
    count: int,
    lines: int,
    samples: int,
    first: int,
    end: int,
    wide: int,
) -> bool:
    """Tell whether the windows of all cells of a row lie within lines of an image.

    `windows` are from `footprints.row_footprints`; cells without lines do not count. All have the
    size `lines` x `samples`; the image reaches from line `first` to `end`, and has `wide` samples.
    """
    # All are tested, side by side, as a loop that ends early is not vectorised.
    beyond = np.int32(0)
    top, bottom, right = np.int32(first), np.int32(end - lines), np.int32(wide - samples)
    for j in range(count):
        line, sample = windows[j], windows[PITCH + j]
        inside = (line >= top) & (line <= bottom) & (sample >= 0) & (sample <= right)
        beyond += np.int32((windows[2 * PITCH + j] > 0) & (not inside))
    return beyond == 0 and end - first >= lines and wide >= samples


@njit
def illuminated_row_footprints(
    surface: TileSurface,
    row: int,
    illuminated: NDArray[np.bool_],
    tables: WindowTables,
    windows: NDArray[np.int32],
    window: Table,
) -> tuple[Table, int, int]:
    """Distribute the RCS of a row of cells, and mark those that are not illuminated by no lines.

    `illuminated` has shape (n,); see `sarheight_kernels.footprints.row_footprints` for the rest.
    """
    window, lines, samples = row_footprints(surface, row, illuminated.size, tables, windows, window)
    for j in range(illuminated.size):
        windows[2 * PITCH + j] *= illuminated[j]
    return window, lines, samples


@njit
def window_starts(
    windows: NDArray[np.int32], count: int, first: int, wide: int, step: int
) -> NDArray[np.int64]:
    """Find the index of the first number of each window that lies within lines of an image.

    The image has `step` numbers in a pixel and `wide` in a line; indices count from line `first`.
    They are 0 for cells that are not illuminated and for those beyond the row: shape (PITCH,).
    """
    start = np.zeros(PITCH, np.int64)
    for j in range(count):
        index = (np.int64(windows[j]) - first) * wide + np.int64(windows[PITCH + j]) * step
        start[j] = index if windows[2 * PITCH + j] > 0 else 0
    return start


@njit
def _copy_inside(
    image: NDArray[np.float32],
    wide: int,
    start: NDArray[np.int64],
    count: int,
    lines: int,
    samples: int,
    pixels: Table,
) -> None:
    """Copy pixels of windows that lie within an image of one channel, for blocks of cells."""
    whole = samples - samples % WIDTH
    for k in range(lines):
        for m in range(0, whole, WIDTH):
            for j in range(0, count, LANES):
                copy_fours(image, start, j, k * wide + m, pixels, (k * samples + m) * PITCH + j)
        for m in range(whole, samples, 2):
            for j in range(0, count, LANES):
                copy_pairs(image, start, j, k * wide + m, pixels, (k * samples + m) * PITCH + j)


@njit
def _copy_channel_inside(
    flat: Table,
    wide: int,
    step: int,
    start: NDArray[np.int64],
    count: int,
    lines: int,
    samples: int,
    pixels: Table,
) -> None:
    """Copy pixels of windows that lie within an image of channels, two neighbours at a time."""
    # Unsigned indices are not checked for counting from the end.
    beside = np.uint64(step)
    for k in range(lines):
        for m in range(0, samples, 2):
            first = np.uint64((k * wide + m) * step)
            to = np.uint64((k * samples + m) * PITCH)
            for j in range(count):
                at, column = np.uint64(start[j]) + first, to + np.uint64(j)
                left, right = flat[at], flat[at + beside]
                pixels[column] = left
                pixels[column + np.uint64(PITCH)] = right


@njit
def _copy_at_border(
    image: NDArray[np.float32],
    channel: int,
    windows: NDArray[np.int32],
    count: int,
    lines: int,
    samples: int,
    pixels: Table,
) -> None:
    """Copy pixels of windows of which some reach beyond the image."""
    pixels[: lines * samples * PITCH] = ZERO
    for j in range(count):
        if windows[2 * PITCH + j] > 0:
            line, sample = windows[j], windows[PITCH + j]
            left, right = max(-sample, 0), min(image.shape[1] - sample, samples)
            for k in range(max(-line, 0), min(image.shape[0] - line, lines)):
                for m in range(left, right):
                    value = image[line + k, sample + m, channel]
                    pixels[(k * samples + m) * PITCH + j] = value


@njit
def fetch_channel(
    image: NDArray[np.float32],
    channel: int,
    windows: NDArray[np.int32],
    count: int,
    lines: int,
    samples: int,
    pixels: Table,
) -> Table:
    """Copy the pixels of one channel of an image under the windows of a row of cells.

    Parameters
    ----------
    image : array, shape (lines, samples, channels)
        The image.
    windows, count, lines, samples
        As in `all_within`, with an even number of samples.
    pixels : array
        Workspace for the pixels.

    Returns
    -------
    array
        The pixels, in a larger array where `pixels` was too small: pixel (k, m) of cell j is
        element ``(k * samples + m) * PITCH + j``. It is 0 beyond the image, and any number where
        the cell is not illuminated.
    """
    size = (lines * samples + GROUP - 1) // GROUP * GROUP * PITCH
    if size > pixels.size:
        pixels = np.empty(size, np.float32)
    high, wide, channels = image.shape
    if all_within(windows, count, lines, samples, 0, high, wide):
        start = window_starts(windows, count, 0, wide * channels, channels)
        if channels == 1:
            _copy_inside(image, wide, start, count, lines, samples, pixels)
        else:
            flat = image.reshape(image.size)[channel:]
            _copy_channel_inside(flat, wide, channels, start, count, lines, samples, pixels)
    else:
        _copy_at_border(image, channel, windows, count, lines, samples, pixels)
    return pixels


@njit
def fetch(
    image: NDArray[np.float32],
    windows: NDArray[np.int32],
    count: int,
    lines: int,
    samples: int,
    pixels: Table,
) -> Table:
    """Copy the pixels of an image of one channel, shape (lines, samples), see `fetch_channel`."""
    layered = image.reshape((image.shape[0], image.shape[1], 1))
    return fetch_channel(layered, 0, windows, count, lines, samples, pixels)
