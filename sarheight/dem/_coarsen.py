"""Area-weighted means of an elevation model over larger cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from sarheight.dem._crs import stated_crs
from sarheight.dem._layout import cell_steps, local_posting
from sarheight.dem._record import build, with_history
from sarheight.dem._values import accept
from sarheight.errors import DemError

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr
    from scipy import sparse

_WHOLE = 1e-6
_NEARLY_WHOLE = 1e-2
"""A ratio of postings in metres that is this close to a whole number, relatively, is taken for it:
map scale alone makes the 30 m of a UTM grid 29.99 to 30.03 m on the ground."""


def coarsen(
    dem: xr.DataArray,
    posting: float | tuple[float, float],
    *,
    units: Literal["m", "crs"] = "m",
    min_valid: float = 0.5,
) -> xr.DataArray:
    """Average a DEM over larger cells.

    Every new height is the mean of the old ones under the new cell, weighted by the area that each
    has in common with it; voids carry no weight. The ratio of postings need not be whole. The mean
    height over the ground stays the same.

    Parameters
    ----------
    dem : DataArray
        DEM with dims (y, x).
    posting : float or tuple of float
        New posting, or (dy, dx); not finer than the DEM's.
    units : {"m", "crs"}
        Whether the posting is in metres on the ground at the centre of the DEM, or in units of its
        reference system. In metres, within one per cent of a whole multiple of the DEM's posting,
        that multiple is taken.
    min_valid : float
        Least share of a new cell's area inside the DEM that must have heights (0 to 1); with less
        it is void.

    Returns
    -------
    DataArray
        The coarser DEM on a grid that starts at the same outer corner. The last row and column may
        reach beyond the DEM; they are the mean of what lies inside.

    Raises
    ------
    DemError
        If the posting is finer than the DEM's or leaves fewer than 2 x 2 cells, or the DEM is not
        usable.
    """
    from scipy import sparse

    dem = accept(dem)
    factors = _factors(dem, posting, units)
    dy, dx = cell_steps(dem)
    crs = stated_crs(dem)
    area = _row_areas(dem["y"].values, dy) if crs.is_geographic else np.ones(dem.shape[0])
    rows = _overlaps(dem.shape[0], factors[0]) @ sparse.diags_array(area)
    columns = _overlaps(dem.shape[1], factors[1])
    known = np.isfinite(dem.values)
    covered = rows @ known.astype(np.float64) @ columns.T
    total = rows @ np.where(known, dem.values, 0.0).astype(np.float64) @ columns.T
    inside = np.outer(rows.sum(axis=1), columns.sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        heights = np.where(covered >= np.maximum(min_valid, 1e-9) * inside, total / covered, np.nan)
    y = dem["y"].values[0] + dy * ((np.arange(heights.shape[0]) + 0.5) * factors[0] - 0.5)
    x = dem["x"].values[0] + dx * ((np.arange(heights.shape[1]) + 0.5) * factors[1] - 0.5)
    coarse = build(heights, y, x, crs, dem.attrs)
    return with_history(
        coarse, f"coarsen: by {factors[0]:.6g} x {factors[1]:.6g} cells (y, x), mean by area"
    )


def _factors(
    dem: xr.DataArray, posting: float | tuple[float, float], units: str
) -> tuple[float, float]:
    """How many old cells make a new one, along y and x."""
    if units not in ("m", "crs"):
        msg = f'units of the posting are "m" or "crs", and these are {units!r}'
        raise DemError(msg)
    wanted = tuple(float(step) for step in np.broadcast_to(posting, 2))
    present = local_posting(dem) if units == "m" else tuple(abs(step) for step in cell_steps(dem))
    factors = []
    for new, old, count in zip(wanted, present, dem.shape, strict=True):
        factor = new / old
        whole = max(1, round(factor))
        if abs(factor / whole - 1.0) < (_NEARLY_WHOLE if units == "m" else _WHOLE):
            factor = float(whole)
        if not (factor >= 1.0 and count / factor > 1.0 + _WHOLE):
            msg = (
                f"the DEM's posting (dy, dx) is {present}, and {wanted} was asked for ({units}); "
                "coarsen needs one that is not finer and leaves at least 2 x 2 cells "
                "(for a finer one: reproject)"
            )
            raise DemError(msg)
        factors.append(factor)
    return factors[0], factors[1]


def _overlaps(count: int, factor: float) -> sparse.csr_array:
    """Matrix (new, old) of the share of each old cell that lies in each new one."""
    from scipy import sparse

    new_count = int(np.ceil(count / factor - _WHOLE))
    old = np.arange(count)
    first = np.minimum((old / factor + _WHOLE / factor).astype(int), new_count - 1)
    after = np.clip(old + 1.0 - (first + 1.0) * factor, 0.0, 1.0)
    after[first + 1 >= new_count] = 0.0
    after[after < _WHOLE] = 0.0
    entries = np.concatenate([1.0 - after, after])
    new = np.concatenate([first, np.minimum(first + 1, new_count - 1)])
    matrix = sparse.csr_array(
        (entries, (new, np.concatenate([old, old]))), shape=(new_count, count)
    )
    matrix.eliminate_zeros()
    return matrix


def _row_areas(latitude: npt.NDArray[np.float64], step: float) -> npt.NDArray[np.float64]:
    """Relative areas of cells by latitude, on a sphere: difference of the sines of the edges."""
    edge = np.deg2rad(np.clip(latitude[:, None] + 0.5 * abs(step) * np.array([-1, 1]), -90, 90))
    return np.asarray(np.diff(np.sin(edge), axis=1)[:, 0] / np.deg2rad(abs(step)))
