"""Filling the voids of an elevation model from their surroundings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rasterio.fill import fillnodata

from sarheight.dem._layout import local_posting
from sarheight.dem._record import with_history
from sarheight.dem._values import accept
from sarheight.errors import DemError

if TYPE_CHECKING:
    import xarray as xr


def fill_voids(
    dem: xr.DataArray, *, max_distance: float = 1000.0, smoothing: int = 0
) -> xr.DataArray:
    """Fill voids by interpolating between the heights around them.

    Every void cell becomes the mean, weighted by inverse distance, of the nearest heights found in
    several directions (GDAL's fillnodata). Heights that are there are not touched, and filled ones
    are guesses: the farther from data, the worse.

    Parameters
    ----------
    dem : DataArray
        DEM with dims (y, x).
    max_distance : float
        How far from a height a void is still filled, in metres. Where the posting differs along y
        and x, the coarser one counts, and less far is reached along the other.
    smoothing : int
        Passes of a 3 x 3 mean over the filled cells.

    Returns
    -------
    DataArray
        The DEM with filled voids. The attributes `voids_filled` and `voids_left` count cells, and
        the history says the same.

    Raises
    ------
    DemError
        If the distance is shorter than one posting, or the DEM is not usable.
    """
    dem = accept(dem)
    reach = max_distance / max(local_posting(dem))
    if reach < 1.0:
        msg = (
            f"max_distance is {max_distance:g} m, shorter than the DEM's posting of "
            f"{max(local_posting(dem)):.4g} m: no void could be filled"
        )
        raise DemError(msg)
    known = np.isfinite(dem.values)
    guessed = fillnodata(
        np.where(known, dem.values, np.nan),
        mask=known.astype(np.uint8),
        max_search_distance=reach,
        smoothing_iterations=smoothing,
    )
    filled = dem.copy(data=np.where(known, dem.values, guessed))
    left = int(np.count_nonzero(np.isnan(filled.values)))
    count = int(np.count_nonzero(~known)) - left
    filled.attrs = {**dem.attrs, "voids_filled": count, "voids_left": left}
    return with_history(
        filled, f"fill_voids: {count} void cells filled within {max_distance:g} m, {left} left"
    )
