r"""What each cell is given of the pixels that it lights.

With the energy :math:`W_{pg}` that cell g sends into pixel p where it has reflectivity 1, the
assumed reflectivity :math:`x_g`, the energy :math:`E_p` that was found in the pixel and the energy
:math:`S_p = \sum_g W_{pg} x_g` that was expected there, the cell is given
:math:`\sum_p W_{pg} x_g E_p / S_p`. Nothing but the images and the sums is held in memory.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit, parallel_njit, prange
from sarheight_kernels.footprints import growing_window
from sarheight_kernels.surface import TileSurface, tile_box, tile_surface

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

__all__ = ["gather_shares"]

BUFFER = 1024


@njit
def _share_tile(
    surface: TileSurface,
    lit: NDArray[np.bool_],
    assumed: NDArray[np.float32],
    energy: NDArray[np.float32],
    found: NDArray[np.float32],
    simulated: NDArray[np.floating],
    core: tuple[int, int, int, int],
    given: NDArray[np.float32],
    diagnostics: NDArray[np.float32],
    total: NDArray[np.float64],
) -> None:
    """Do the work of `gather_shares` for one tile; `core` counts from the tile's first cell."""
    line, across, power, projected = surface
    rows, columns = lit.shape
    polarisations, lines, samples = found.shape
    buffer = np.empty(BUFFER)
    sums, exact = np.empty(polarisations), np.empty(polarisations)
    for i in range(rows):
        for j in range(columns):
            sums[:] = 0.0
            exact[:] = 0.0
            expected, whole, square, speckle, area = 0.0, 0.0, 0.0, 0.0, 0.0
            if lit[i, j]:
                first_line, first_sample, high, wide, area, buffer = growing_window(
                    line, across, power, projected, i + 1, j + 1, lines, samples, buffer
                )
                for a in range(high):
                    for b in range(wide):
                        weight = buffer[a * wide + b]
                        whole += weight
                        here = simulated[first_line + a, first_sample + b]
                        if here > 0.0 and not math.isnan(
                            energy[0, first_line + a, first_sample + b]
                        ):
                            part = weight / here
                            expected += weight
                            square += weight * part
                            speckle += weight * weight
                            for p in range(polarisations):
                                sums[p] += part * found[p, first_line + a, first_sample + b]
                                exact[p] += part * energy[p, first_line + a, first_sample + b]
            bright = assumed[i, j] if assumed.size > 0 else 1.0
            inside = core[0] <= i < core[1] and core[2] <= j < core[3]
            for p in range(polarisations):
                given[p, i, j] = bright * sums[p]
                if inside:
                    total[p] += bright * exact[p]
            if diagnostics.shape[0] > 0:
                diagnostics[0, i, j] = expected
                # Only part of a cell may lie where data are.
                diagnostics[1, i, j] = area * expected / whole if whole > 0.0 else 0.0
                diagnostics[2, i, j] = bright * square / expected
                diagnostics[3, i, j] = speckle / (expected * expected)


@parallel_njit
def gather_shares(
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    law: NDArray[np.float64],
    bounds: NDArray[np.float64],
    lit: NDArray[np.bool_],
    assumed: NDArray[np.float32],
    energy: NDArray[np.float32],
    found: NDArray[np.float32],
    simulated: NDArray[np.floating],
    core: tuple[int, int, int, int],
    given: NDArray[np.float32],
    diagnostics: NDArray[np.float32],
    totals: NDArray[np.float64],
) -> None:
    """Give each cell its share of the pixels it lights.

    Parameters
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    heights : array, shape (rows, columns)
        Heights above the ellipsoid in metres; NaN where void.
    law : array, shape (n,)
        Backscatter coefficient at evenly spaced cosines of incidence.
    bounds : array, shape (tiles, 4)
        Part of the image that each tile can light, from `tile_bounds`.
    lit : array, shape (rows, columns)
        False where a cell is in shadow, or is not asked for.
    assumed : array, shape (rows, columns) or (0, 0)
        Reflectivity by which pixels are shared; 1 everywhere where there is none.
    energy : array, shape (polarisations, lines, samples)
        Energy of the pixels in square metres; NaN in all polarisations where there is no data.
    found : array, shape (polarisations, lines, samples)
        The same, or smoothed in a way: what is given away.
    simulated : array, shape (lines, samples)
        Energy that was expected of the pixels.
    core : tuple of int
        First row, end row, first column and end column of the cells that count in `totals`.
    given : array, shape (polarisations, rows, columns)
        Receives the energy that each cell is given in square metres.
    diagnostics : array, shape (4, rows, columns) or (0, rows, columns)
        Receives for each cell, where asked for, the energy expected of it in pixels that have
        data, in square metres; its lit area there, projected along the line of sight, in square
        metres; its mean share in the energy of its pixels, weighted by its own; and the variance
        that speckle of one look leaves in its energy, as a fraction of its square. The last two
        are NaN where nothing is expected.
    totals : array, shape (tiles, polarisations)
        Receives for each tile the part of `energy` that its cells account for; summed over all
        cells it is the energy of all lit pixels with data, as the shares in a pixel sum to 1.
    """
    for tile in prange(bounds.shape[0]):
        row, end_row, column, end_column = tile_box(heights, tile)
        totals[tile] = 0.0
        if (
            bounds[tile, 1] >= -0.5
            and bounds[tile, 0] <= simulated.shape[0] - 0.5
            and bounds[tile, 3] >= -0.5
            and bounds[tile, 2] <= simulated.shape[1] - 0.5
            and lit[row:end_row, column:end_column].any()
        ):
            own = assumed[row:end_row, column:end_column] if assumed.size > 0 else assumed
            _share_tile(
                tile_surface(ground, radar, heights, law, tile),
                lit[row:end_row, column:end_column],
                own,
                energy,
                found,
                simulated,
                (core[0] - row, core[1] - row, core[2] - column, core[3] - column),
                given[:, row:end_row, column:end_column],
                diagnostics[:, row:end_row, column:end_column],
                totals[tile],
            )
        else:
            given[:, row:end_row, column:end_column] = 0.0
            diagnostics[:2, row:end_row, column:end_column] = 0.0
            diagnostics[2:, row:end_row, column:end_column] = np.nan
