"""Elevation models: open, join, fill, resample, and bring to the ellipsoid.

A DEM is an `xarray.DataArray` of float32 heights in metres with dims (y, x), coordinates at the
pixel centres on a regular grid (either direction), a horizontal reference system known to
rioxarray, and NaN for voids. Its attribute `vertical_datum` is "ellipsoid" once its heights are
above the WGS84 ellipsoid; the rest of the library takes no other heights. The attribute `history`
says, line by line, what was done.
"""

from __future__ import annotations

from sarheight._accessor import provide_rio
from sarheight.dem._check import check_dem
from sarheight.dem._coarsen import coarsen
from sarheight.dem._condition import condition
from sarheight.dem._ellipsoidal import assume_ellipsoidal, to_ellipsoidal
from sarheight.dem._layout import local_posting
from sarheight.dem._mosaic import mosaic
from sarheight.dem._open import open_dem
from sarheight.dem._reproject import reproject
from sarheight.dem._values import to_metres
from sarheight.dem._voids import fill_voids

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
