"""From heights above sea level to heights above the ellipsoid."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
from pyproj import CRS

from sarheight.dem._geoid import Geoid, is_grid, undulations
from sarheight.dem._record import with_history
from sarheight.dem._values import accept
from sarheight.dem._vertical import (
    ELLIPSOID,
    UNSTATED_ADVICE,
    datum_of_crs,
    datum_of_text,
    stated_datum,
    with_datum,
)
from sarheight.errors import DemError, VerticalDatumError

if TYPE_CHECKING:
    import xarray as xr

LARGEST_UNDULATION = 120.0
"""The geoid stays within this many metres of the ellipsoid everywhere on Earth."""


def to_ellipsoidal(dem: xr.DataArray, geoid: Geoid | None = None) -> xr.DataArray:
    """Turn heights above sea level into heights above the WGS84 ellipsoid.

    h = H + N: the ellipsoidal height is the orthometric one plus the height of the geoid above
    the ellipsoid (its undulation), evaluated at every cell.

    Parameters
    ----------
    dem : DataArray
        DEM with dims (y, x), heights above a geoid.
    geoid : str, path, CRS or float, optional
        What the heights are measured from:

        - a model by name: "EGM96", "EGM2008" or "EGM84";
        - a vertical or compound reference system, e.g. "EPSG:5703" (NAVD88);
        - the name or path of a geoid grid that PROJ can read (.gtx or GeoTIFF);
        - a number: one undulation in metres for the whole DEM.

        By default, what the DEM itself states.

    Returns
    -------
    DataArray
        The DEM with ellipsoidal heights (float32 metres) and attribute
        ``vertical_datum="ellipsoid"``. A constant undulation is kept in the attribute
        `undulation_m`.

    Raises
    ------
    GeoidGridMissingError
        If the grid is not installed.
    VerticalDatumError
        If the heights are ellipsoidal already, the DEM states another datum than `geoid`, or
        neither says anything.
    DemError
        If the grid does not cover the DEM, or the DEM is not usable.

    References
    ----------
    Hofmann-Wellenhof & Moritz, Physical Geodesy, 2nd ed., Springer, 2006.
    """
    dem = accept(dem)
    geoid = _agreed(stated_datum(dem), geoid)
    name, blocks = undulations(geoid, dem)
    low, high = np.inf, -np.inf
    heights = np.empty(dem.shape, dtype=np.float32)
    for rows, height_of_geoid in blocks:
        orthometric = dem.values[rows]
        inside = height_of_geoid[np.isfinite(orthometric)]
        if inside.size:
            low, high = min(low, inside.min()), max(high, inside.max())
        heights[rows] = orthometric + height_of_geoid
    _require_undulations(low, high, name)
    ellipsoidal = with_datum(dem.copy(data=heights), ELLIPSOID)
    if isinstance(geoid, Real):
        ellipsoidal.attrs["undulation_m"] = float(geoid)
    return with_history(
        ellipsoidal, f"to_ellipsoidal: {name}, undulation {low:.2f} to {high:.2f} m"
    )


def assume_ellipsoidal(dem: xr.DataArray) -> xr.DataArray:
    """Declare that the heights of a DEM are above the WGS84 ellipsoid already.

    Nothing is computed. Whatever the DEM says about its vertical datum is overruled, and that is
    noted in its history.

    Parameters
    ----------
    dem : DataArray
        DEM with dims (y, x).

    Returns
    -------
    DataArray
        The same heights (float32 metres) with attribute ``vertical_datum="ellipsoid"``.

    Raises
    ------
    DemError
        If the DEM is not usable.
    """
    dem = accept(dem)
    stated = stated_datum(dem)
    overruled = f" (it said {stated})" if stated not in (None, ELLIPSOID) else ""
    return with_history(with_datum(dem, ELLIPSOID), f"assume_ellipsoidal: declared{overruled}")


def _agreed(stated: str | None, geoid: Geoid | None) -> Geoid:
    """Settle what the heights are measured from."""
    if stated == ELLIPSOID:
        msg = (
            "the DEM's heights are above the ellipsoid already (vertical_datum); converting them "
            "again would shift them by the geoid twice"
        )
        raise VerticalDatumError(msg, options={"vertical": None})
    if geoid is None:
        if stated is None:
            msg = f"the DEM does not say what its heights are measured from: {UNSTATED_ADVICE}"
            raise VerticalDatumError(msg)
        return stated
    named = _datum_named(geoid)
    if named == ELLIPSOID:
        msg = "the ellipsoid is no geoid; for heights above it use assume_ellipsoidal(dem)"
        raise VerticalDatumError(msg)
    if stated is not None and named is not None and named != stated:
        msg = f"the DEM states heights above {stated}, and the geoid asked for is {named}"
        advice = (
            "leave the geoid out to use what is stated, or remove dem.attrs['vertical_datum'] if "
            "it is wrong"
        )
        raise VerticalDatumError(msg, advice, options={"vertical": None})
    return named if named is not None else geoid


def _datum_named(geoid: Geoid) -> str | None:
    """Name of the datum that `geoid` stands for; None for a grid or a number."""
    if isinstance(geoid, CRS):
        return datum_of_crs(geoid)
    if isinstance(geoid, str) and not is_grid(geoid):
        return datum_of_text(geoid)
    return None


def _require_undulations(low: float, high: float, name: str) -> None:
    if not np.isfinite([low, high]).all():
        msg = f"the geoid ({name}) does not cover the whole DEM; use a global one such as EGM2008"
        raise DemError(msg)
    if max(-low, high) > LARGEST_UNDULATION:
        msg = (
            f"undulations of {low:.6g} to {high:.6g} m ({name}) are none of the Earth's geoid, "
            f"which stays within {LARGEST_UNDULATION:g} m of the ellipsoid; check grid and unit"
        )
        raise DemError(msg)
