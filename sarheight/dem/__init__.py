"""DEMs: open, join, fill, resample, and convert to ellipsoidal heights.

A DEM is an `xarray.DataArray` of float32 heights in metres with dims (y, x), coordinates at the
pixel centres on a regular grid (either direction), a horizontal reference system known to
rioxarray, and NaN for voids. Its attribute `vertical_datum` is "ellipsoid" once its heights are
above the WGS84 ellipsoid; the rest of the library requires that. The attribute `history` lists the
processing steps.
"""

from __future__ import annotations

from sarheight._runtime import provide_rio
from sarheight.dem._cells import coarsen, condition, fill_voids, mosaic
from sarheight.dem._open import open_dem, open_map
from sarheight.dem._resample import reproject
from sarheight.dem.checked import assume_ellipsoidal, check_dem, to_ellipsoidal
from sarheight.dem.grids import extent_grid, grid_like, map_grid, mgrs_grid, to_grid, utm_zone
from sarheight.dem.layout import local_posting, to_metres

provide_rio()

__all__ = [
    "assume_ellipsoidal",
    "check_dem",
    "coarsen",
    "condition",
    "extent_grid",
    "fill_voids",
    "grid_like",
    "local_posting",
    "map_grid",
    "mgrs_grid",
    "mosaic",
    "open_dem",
    "open_map",
    "reproject",
    "to_ellipsoidal",
    "to_grid",
    "to_metres",
    "utm_zone",
]
__dir__ = __all__.copy  # `dir` lists the public names
