r"""Facets: the parts into which a coarse cell is divided, so that its surface is not one plane.

A cell many pixels wide is imaged as many pixels, whose areas follow the surface within the cell.
The DEM is therefore interpolated to `n` by `n` facets a cell by cubic convolution (Keys 1981,
equation 15, a = -1/2): separable, third order, and local. A facet depends on the 4 x 4 cells
around it, so that a part of a DEM gives the same facets as the whole.

References
----------
Keys, R. G. (1981). Cubic convolution interpolation for digital image processing. IEEE Transactions
on Acoustics, Speech, and Signal Processing 29(6), 1153-1160.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.series import cubic_weights
from sarheight_kernels.tiles import TILE

from sarheight.layover.tiles import STENCIL, HeightRange

Heights = NDArray[np.float32]


PIXELS_PER_FACET = 3.0
"""Lines and samples of a facet: smaller ones gain nothing, larger ones blur the image's areas."""
MOST_FACETS = 3
"""Facets along a side of a cell at most: heights between the posts are not known any finer."""


def facets_of(cell_sizes: Sequence[tuple[float, float]]) -> int:
    """Choose the facets along a side of a cell, by lines and samples of a cell in each pass."""
    pixels = [float(np.sqrt(lines * samples)) for lines, samples in cell_sizes]
    # A cell on the side to which the radar does not look has no size.
    largest = max((size for size in pixels if np.isfinite(size)), default=0.0)
    return int(np.clip(round(largest / PIXELS_PER_FACET), 1, MOST_FACETS))


def require_cells(smallest_area: float, facets: int | None) -> None:
    """Refuse settings of cells that they cannot have, see `sarheight.layover.reconstruct`."""
    if not 0.0 <= smallest_area < 1.0:
        msg = f"found smallest_area={smallest_area!r}, expected a part of a cell, 0 to below 1"
        raise ValueError(msg)
    if facets is not None and facets not in range(1, MOST_FACETS + 1):
        msg = f"found facets={facets!r}, expected 1 to {MOST_FACETS} along each side of a cell"
        raise ValueError(msg)


def facet_places(cells: int, facets: int) -> NDArray[np.float64]:
    """Place the facets along a side of a DEM, in cells; shape (cells * facets,)."""
    return (np.arange(cells * facets) + 0.5) / facets - 0.5


def divide_heights(
    heights: Heights,
    facets: int,
    ranges: HeightRange | None = None,
    first: tuple[int, int] = (0, 0),
) -> Heights:
    """Interpolate heights of cells to their facets.

    Beyond a void and the DEM's border heights go on in a straight line. The facets of a void cell
    are void. Planes come back exactly, and so do quadratics away from voids and borders.

    Parameters
    ----------
    heights : array, shape (rows, columns)
        Heights of the centres of the cells in metres; NaN where void.
    facets : int
        Facets along a side of a cell.
    ranges : HeightRange, optional
        Height range of each kernel tile of the whole DEM and of those around it, to which facets
        are limited: the tile planner counts on it.
    first : tuple of int
        Row and column of the first cell in the whole DEM, at the corner of a kernel tile.

    Returns
    -------
    array, shape (rows * facets, columns * facets)
    """
    fine = _divide_rows(_divide_rows(heights, facets).T, facets).T
    fine = np.ascontiguousarray(fine)
    if ranges is not None:
        _limit(fine, facets, ranges, (first[0] // TILE, first[1] // TILE))
    return fine


def _limit(fine: Heights, facets: int, ranges: HeightRange, first: tuple[int, int]) -> None:
    """Limit facets to height ranges, in place; `first` is the kernel tile of the first facet."""
    size = TILE * facets
    for i in range(-(-fine.shape[0] // size)):
        for j in range(-(-fine.shape[1] // size)):
            part = fine[i * size : (i + 1) * size, j * size : (j + 1) * size]
            at = first[0] + i, first[1] + j
            np.clip(part, ranges.lowest[at], ranges.highest[at], out=part)


def _divide_rows(values: Heights, facets: int) -> Heights:
    """Interpolate along the first axis: shape (rows * facets, columns)."""
    nothing = np.full((STENCIL, values.shape[1]), np.nan, dtype=np.float32)
    padded = np.concatenate((nothing, values, nothing))
    here = padded[STENCIL:-STENCIL]
    # Heights relative to the cell's own: at great heights no digits are lost.
    before, after = padded[1:-3] - here, padded[3:-1] - here
    far_before, far_after = padded[:-4] - here, padded[4:] - here
    far_before[np.isnan(before)] = np.nan
    far_after[np.isnan(after)] = np.nan
    # Where a neighbour is void the straight line goes on, or, without any neighbour, a level one.
    _fill(before, -after)
    _fill(after, -before)
    _fill(before, np.zeros_like(before))
    _fill(after, -before)
    _fill(far_before, 2.0 * before)
    _fill(far_after, 2.0 * after)
    fine = np.empty((values.shape[0] * facets, values.shape[1]), dtype=np.float32)
    weights = np.empty(4)
    for part in range(facets):
        place = (part + 0.5) / facets - 0.5
        # Of the four cells around the facet the cell itself is the second, or else the third.
        around = (
            (before, None, after, far_after) if place >= 0.0 else (far_before, before, None, after)
        )
        result = fine[part::facets]
        result[...] = here
        cubic_weights(place % 1.0, weights)
        for weight, height in zip(weights.astype(np.float32), around, strict=True):
            if height is not None:
                result += weight * height
    return fine


def _fill(values: Heights, others: Heights) -> None:
    """Replace voids by other values, in place."""
    np.copyto(values, others, where=np.isnan(values))


def sum_facets(values: NDArray[Any], facets: int) -> NDArray[Any]:
    """Sum values of facets, shape (..., rows * n, columns * n), to cells."""
    if facets == 1:
        return values
    rows = values[..., ::facets, :].copy()
    for part in range(1, facets):
        rows += values[..., part::facets, :]
    cells = rows[..., ::facets].copy()
    for part in range(1, facets):
        cells += rows[..., part::facets]
    return cells


def repeat_cells(values: NDArray[Any], facets: int) -> NDArray[Any]:
    """Repeat values of cells, shape (..., rows, columns), for each of their facets."""
    if facets == 1:
        return values
    return np.repeat(np.repeat(values, facets, axis=-1), facets, axis=-2)
