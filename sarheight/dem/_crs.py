"""The horizontal reference system of a DEM, and its way to longitude and latitude."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import CRSError
from rasterio.errors import CRSError as RasterioCRSError

from sarheight.errors import DemError

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

GEOGRAPHIC = CRS.from_epsg(4326)
ELLIPSOID = Geod(ellps="WGS84")
_HEIGHT = 2

WRITE_CRS = "write the right one, e.g. rio edit-info --crs EPSG:4326 dem.tif"
"""What to do about a file."""


def stated_crs(dem: xr.DataArray) -> CRS:
    """Read the reference system that a DEM states, vertical part included.

    Raises
    ------
    DemError
        If there is none, it cannot be understood, or it is not tied to the Earth.
    """
    try:
        found = dem.rio.crs
        crs = None if found is None else CRS.from_wkt(found.to_wkt(version="WKT2_2019"))
    except (CRSError, RasterioCRSError) as error:
        msg = f"the DEM's coordinate reference system cannot be understood ({error})"
        advice = 'write a known one, e.g. dem.rio.write_crs("EPSG:4326")'
        raise DemError(msg, advice, file_advice=WRITE_CRS) from error
    if crs is None:
        msg = "the DEM has no coordinate reference system, so nobody can tell where it lies"
        advice = 'write the right one, e.g. dem.rio.write_crs("EPSG:4326")'
        raise DemError(msg, advice, file_advice=WRITE_CRS)
    return require_earth(crs)


def require_earth(crs: CRS) -> CRS:
    """Return `crs` if it places points on the Earth by degrees or by map coordinates."""
    horizontal = crs.to_2d()
    if not (horizontal.is_geographic or horizontal.is_projected):
        msg = (
            f"the coordinate reference system {crs.name!r} ({crs.type_name}) is neither geographic "
            "nor projected; write the one that the coordinates x and y belong to"
        )
        raise DemError(msg)
    if horizontal.is_geographic and horizontal.axis_info[0].unit_name != "degree":
        msg = (
            f"the coordinate reference system {crs.name!r} counts in "
            f"{horizontal.axis_info[0].unit_name}, not in degrees; reproject the DEM first, e.g. "
            "gdalwarp -t_srs EPSG:4326 in.tif out.tif"
        )
        raise DemError(msg)
    return crs


def understood_crs(crs: str | int | CRS) -> CRS:
    """Turn a user's word for a reference system into a horizontal `pyproj.CRS`."""
    try:
        return require_earth(CRS.from_user_input(crs)).to_2d()
    except CRSError as error:
        msg = f'{crs!r} is not a coordinate reference system that PROJ knows, such as "EPSG:32632"'
        raise DemError(msg) from error


def vertical_unit(crs: CRS) -> str | None:
    """Name the unit of the third axis of a reference system; None if it has no such axis."""
    axes = crs.axis_info
    return axes[_HEIGHT].unit_name if len(axes) > _HEIGHT else None


def to_degrees(crs: CRS) -> Transformer:
    """Make the way from (x, y) of `crs` to WGS84 (longitude, latitude) in degrees."""
    return Transformer.from_crs(crs, GEOGRAPHIC, always_xy=True)


def unwrapped(longitude: npt.ArrayLike, centre: float) -> npt.NDArray[np.float64]:
    """Move longitudes by whole turns into the half-turn either side of `centre` (degrees)."""
    return centre + (np.asarray(longitude, dtype=np.float64) - centre + 180.0) % 360.0 - 180.0


def metres_per_unit(crs: CRS, x: float, y: float, reach: float) -> tuple[float, float]:
    """Ground metres per unit of y and of x around one point.

    Parameters
    ----------
    crs : CRS
        Horizontal reference system of `x` and `y`.
    x, y : float
        The point, in units of `crs`.
    reach : float
        Half the length, in units of `crs`, over which the scale is measured.

    Returns
    -------
    tuple of float
        (metres per unit of y, metres per unit of x), along the WGS84 ellipsoid.
    """
    longitude, latitude = to_degrees(crs).transform(
        [x, x, x - reach, x + reach], [y - reach, y + reach, y, y]
    )
    _, _, length = ELLIPSOID.inv(longitude[::2], latitude[::2], longitude[1::2], latitude[1::2])
    per_y, per_x = (float(metres) / (2.0 * reach) for metres in length)
    return per_y, per_x
