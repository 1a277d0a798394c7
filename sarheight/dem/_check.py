"""The gate through which a user's elevation model enters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sarheight.dem._ellipsoidal import to_ellipsoidal
from sarheight.dem._values import accept
from sarheight.dem._vertical import ELLIPSOID, UNSTATED_ADVICE, stated_datum
from sarheight.errors import VerticalDatumError

if TYPE_CHECKING:
    import xarray as xr


def check_dem(dem: xr.DataArray, *, void_allowed: bool = False) -> xr.DataArray:
    """Check a DEM and bring it into the form that the geometry needs.

    What can be put right without a guess is put right: a `band` dimension of length one, integer
    heights, declared nodata, longitudes that jump at the antimeridian, a vertical reference that
    is part of the CRS, and heights above a geoid that the DEM states.

    Parameters
    ----------
    dem : DataArray
        DEM with dims (y, x), coordinates at the pixel centres, a CRS known to rioxarray, and a
        stated vertical datum.
    void_allowed : bool
        Whether all of it may be void, as a part of a larger DEM may.

    Returns
    -------
    DataArray
        float32 metres above the WGS84 ellipsoid, NaN for voids, horizontal CRS, attributes
        ``units="m"`` and ``vertical_datum="ellipsoid"``.

    Raises
    ------
    TypeError
        If `dem` is not a DataArray.
    DemError
        If the grid is transposed, irregular, rotated or without a reference system; if there are
        no heights, heights in feet, undeclared nodata, or heights that no place on land has.
    VerticalDatumError
        If nothing says what the heights are measured from.
    GeoidGridMissingError
        If the heights are above a geoid whose grid is not installed.
    """
    dem = accept(dem, void_allowed=void_allowed)
    stated = stated_datum(dem)
    if stated == ELLIPSOID:
        return dem
    if stated is None:
        written = dem.attrs.get("vertical_datum")
        found = "does not say" if written is None else f"says {written!r}, which is not clear about"
        msg = f"the DEM {found} what its heights are measured from: {UNSTATED_ADVICE}"
        raise VerticalDatumError(msg)
    return to_ellipsoidal(dem)
