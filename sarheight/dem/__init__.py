"""Elevation models: open, join, fill, resample, and bring to the ellipsoid.

A DEM is an `xarray.DataArray` of float32 heights in metres with dims (y, x), coordinates at the
pixel centres on a regular grid (either direction), a horizontal reference system known to
rioxarray, and NaN for voids. Its attribute `vertical_datum` is "ellipsoid" once its heights are
above the WGS84 ellipsoid; the rest of the library takes no other heights. The attribute `history`
says, line by line, what was done.
"""

from __future__ import annotations

from sarheight._runtime import provide_rio
from sarheight.dem._open import check_dem, fill_voids, mosaic, open_dem
from sarheight.dem._resample import coarsen, condition, reproject
from sarheight.dem.geoid import assume_ellipsoidal, to_ellipsoidal
from sarheight.dem.layout import local_posting, to_metres

provide_rio()

__all__ = [
    "assume_ellipsoidal",
    "check_dem",
    "coarsen",
    "condition",
    "fill_voids",
    "local_posting",
    "mosaic",
    "open_dem",
    "reproject",
    "to_ellipsoidal",
    "to_metres",
]
