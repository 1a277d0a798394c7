"""Heights without an image: back-projection, alignment to known elevations, kriged residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom

from sarheight.dem import fill_voids, local_posting, reproject
from sarheight.dem.layout import build_dem, cell_steps, check_layout, with_history
from sarheight.errors import DemError

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]

# Back-projection.

TOLERANCE, MOST_ROUNDS = 0.01, 30
"""Metres to which the means of a back-projected surface agree with the coarse cells, and the limit
of corrections. Each takes off half of the difference at the Nyquist wavelength of the coarse cells,
and more of it at all others."""
SAME_GRID = 1e-6
"""Cells by which two grids may deviate and be one."""


def back_project(
    dem: xr.DataArray, like: xr.DataArray | None = None, *, factor: int | None = None
) -> xr.DataArray:
    r"""Interpolate a coarse DEM by a smooth surface that reproduces its cells as means.

    The height of a coarse cell is the mean over its area, not the height of its centre. A surface
    interpolated through the centres therefore cuts ridges and fills valleys. Back-projection adds
    to the interpolation :math:`U` of a DEM :math:`c` the interpolated differences between the DEM
    and the means :math:`A h` of the surface, until these vanish:

    .. math:: h_0 = U c, \qquad h_{k+1} = h_k + U (c - A h_k)

    :math:`U` is interpolation by cubic splines. Voids are interpolated first.

    Parameters
    ----------
    dem : xarray.DataArray
        Coarse DEM, dims (y, x).
    like : xarray.DataArray, optional
        A variable on the target grid. If this grid divides the cells of the DEM, the means are
        exact to a centimetre; otherwise the DEM is divided into cells of about the target's size,
        which are then resampled by cubic convolution. Give this or `factor`.
    factor : int, optional
        Number of cells into which each cell of the DEM is divided, along each axis.

    Returns
    -------
    xarray.DataArray
        float32 metres, dims (y, x), above the same vertical datum. NaN outside of the DEM.

    Raises
    ------
    DemError
        If the DEM has no regular grid or no reference system, or voids that cannot be filled.
    ValueError
        If not exactly one of `like` and `factor` is given, or `factor` is below 1.

    References
    ----------
    Irani, M., Peleg, S. (1991). Improving resolution by image registration. CVGIP: Graphical
    Models and Image Processing 53(3), 231-239. Tobler, W. R. (1979). Smooth pycnophylactic
    interpolation for geographical regions. JASA 74(367), 519-530.
    """
    if (like is None) == (factor is None) or (factor is not None and not factor >= 1):
        msg = f"found like={'given' if like is not None else None} and factor={factor}, expected "
        msg += "one of the two, and a whole number from 1"
        raise ValueError(msg)
    dem = filled(check_layout(dem))
    if factor is None:
        assert like is not None  # noqa: S101  # for the type checker
        ratio = np.array(local_posting(dem)) / np.array(local_posting(like))
        factor = max(round(float(np.sqrt(ratio.prod()))), 1)
    surface = _divided(dem, factor)
    if like is None or _same_grid(surface, like):
        return surface
    # Cubic convolution leaves the margin of its support empty: nearest neighbours fill it.
    nearest = reproject(surface, like=like, resampling="nearest")
    return reproject(surface, like=like, resampling="cubic").fillna(nearest)


def filled(dem: xr.DataArray) -> xr.DataArray:
    """Fill the voids of a DEM, whatever their size, from the heights around them."""
    void = ~np.isfinite(dem.values)
    if not void.any():
        return dem
    if void.all():
        msg = "every cell of the DEM is void: check that the area it was cropped to overlaps it"
        raise DemError(msg)
    diagonal = max(local_posting(dem)) * float(np.hypot(dem.sizes["y"], dem.sizes["x"]))
    return fill_voids(dem, max_distance=diagonal)


def _divided(dem: xr.DataArray, factor: int) -> xr.DataArray:
    """Divide the cells of a DEM without voids by back-projection."""
    heights = dem.values.astype(np.float64)
    rows, columns = heights.shape
    base = float(heights.mean())
    target = heights - base

    def upsample(values: Floats) -> Floats:
        found = zoom(values, factor, order=3, mode="nearest", grid_mode=True)
        return np.asarray(found)

    def means(values: Floats) -> Floats:
        found: Floats = values.reshape(rows, factor, columns, factor).mean(axis=(1, 3))
        return found

    surface = upsample(target)
    if factor > 1:
        for _ in range(MOST_ROUNDS):
            missing = target - means(surface)
            if np.abs(missing).max() < TOLERANCE:
                break
            surface += upsample(missing)
    y, x = (
        float(dem[name][0]) + step * ((np.arange(dem.sizes[name] * factor) + 0.5) / factor - 0.5)
        for name, step in zip(("y", "x"), cell_steps(dem), strict=True)
    )
    found = build_dem(surface + base, y, x, dem.rio.crs, dem.attrs)
    return with_history(found, f"back_project: cells divided by {factor}, their means kept")


def _same_grid(one: xr.DataArray, other: xr.DataArray) -> bool:
    """Tell whether two rasters have the same cells."""
    if one.shape != other.shape or one.rio.crs != other.rio.crs:
        return False
    return all(
        np.allclose(one[name], other[name], rtol=0.0, atol=SAME_GRID * abs(step))
        for name, step in zip(("y", "x"), cell_steps(other), strict=True)
    )
