"""Heights above the ellipsoid: their conversion from a geoid, and DEMs that were checked."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from pyproj import CRS

from sarheight.dem.datum import (
    ELLIPSOID,
    datum_of_crs,
    datum_of_text,
    is_grid_file,
    stated_datum,
    undulations,
    with_datum,
)
from sarheight.dem.layout import normalise, with_history
from sarheight.errors import DemError, VerticalDatumError

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.dem.datum import Geoid

Gridded = TypeVar("Gridded", "xr.DataArray", "xr.Dataset")

_LARGEST_UNDULATION = 120.0
"""Bound on the distance of geoid and ellipsoid on Earth, in metres (extremes: -106 and +85)."""

_UNSTATED_ADVICE = (
    'if they are above the WGS84 ellipsoid, declare it by open_dem(..., vertical="ellipsoidal") or '
    "assume_ellipsoidal(dem); if they are above sea level, name the geoid, e.g. "
    'open_dem(..., vertical="EGM96") or to_ellipsoidal(dem, "EGM96") (SRTM and NASADEM are EGM96, '
    "the Copernicus DEM is EGM2008)"
)


def check_dem(dem: xr.DataArray, *, void_allowed: bool = False) -> xr.DataArray:
    """Check a DEM, and convert it to ellipsoidal heights on a regular grid.

    Conversions that need no assumption are made: a `band` dimension of length one, integer heights,
    declared nodata, longitudes that jump at the antimeridian, a vertical reference that is part of
    the CRS, and heights above a geoid that the DEM states.

    Parameters
    ----------
    dem : DataArray
        DEM with dims (y, x), coordinates at the pixel centres, a CRS known to rioxarray, and a
        stated vertical datum.
    void_allowed : bool
        Whether every cell may be void, as in a tile of a larger DEM.

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
        no heights, heights in feet, undeclared nodata, or heights out of the range on land.
    VerticalDatumError
        If the DEM does not state its vertical datum.
    GeoidGridMissingError
        If the heights are above a geoid whose grid is not installed.
    """
    dem = normalise(dem, void_allowed=void_allowed)
    return dem if stated_datum(dem) == ELLIPSOID else add_undulations(dem, None)


@dataclass(frozen=True, eq=False)
class CheckedDem:
    """A DEM that `check_dem` has accepted: float32 metres above the ellipsoid, NaN where void."""

    array: xr.DataArray  # dims (y, x)

    @classmethod
    def of(cls, dem: xr.DataArray | CheckedDem) -> CheckedDem:
        """Check a DEM, unless it was checked before; raises what `check_dem` does."""
        return dem if isinstance(dem, CheckedDem) else cls(check_dem(dem))

    def north_up(self) -> CheckedDem:
        """Return the same DEM with rows from north to south and columns from west to east."""
        dem = north_up(self.array)
        return self if dem is self.array else CheckedDem(dem.copy(data=np.ascontiguousarray(dem)))


def north_up(dem: xr.DataArray) -> xr.DataArray:
    """Return a DEM, lazy or not, with descending y and ascending x."""
    return _reverse(dem, _reversed_dims(dem))


def stored_like(values: Gridded, dem: xr.DataArray) -> Gridded:
    """Return values on the north-up grid of a DEM in the order in which the DEM is stored."""
    return _reverse(values, _reversed_dims(dem))


def _reversed_dims(dem: xr.DataArray) -> list[str]:
    """List the dimensions along which a DEM runs from south to north or from east to west."""
    y, x = dem["y"].values, dem["x"].values
    is_north_up = {"y": y[0] > y[-1], "x": x[0] < x[-1]}
    return [name for name, in_order in is_north_up.items() if not in_order]


def _reverse(values: Gridded, dims: list[str]) -> Gridded:
    """Reverse the order along some dimensions."""
    return values.isel(dict.fromkeys(dims, slice(None, None, -1))) if dims else values


def to_ellipsoidal(dem: xr.DataArray, geoid: Geoid | None = None) -> xr.DataArray:
    """Convert heights above sea level to heights above the WGS84 ellipsoid.

    h = H + N: the ellipsoidal height is the orthometric height plus the height of the geoid above
    the ellipsoid (its undulation), evaluated at every cell.

    Parameters
    ----------
    dem : DataArray
        DEM with dims (y, x), heights above a geoid.
    geoid : str, path, CRS or float, optional
        Vertical datum of the heights:

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
        neither is given.
    DemError
        If the grid does not cover the DEM, or the DEM is not usable.

    References
    ----------
    Hofmann-Wellenhof & Moritz, Physical Geodesy, 2nd ed., Springer, 2006.
    """
    return add_undulations(normalise(dem), geoid)


def add_undulations(dem: xr.DataArray, geoid: Geoid | None) -> xr.DataArray:
    """Convert a normalised DEM to ellipsoidal heights."""
    geoid = _resolve_geoid(dem, geoid)
    name, blocks = undulations(geoid, dem)
    low, high = np.inf, -np.inf
    heights = np.empty(dem.shape, dtype=np.float32)
    for rows, undulation in blocks:
        orthometric = dem.values[rows]
        inside = undulation[np.isfinite(orthometric)]
        if inside.size:
            low, high = min(low, inside.min()), max(high, inside.max())
        heights[rows] = orthometric + undulation
    _require_undulations(low, high, name)
    ellipsoidal = with_datum(dem.copy(data=heights), ELLIPSOID)
    if isinstance(geoid, Real):
        ellipsoidal.attrs["undulation_m"] = float(geoid)
    return with_history(
        ellipsoidal, f"to_ellipsoidal: {name}, undulation {low:.2f} to {high:.2f} m"
    )


def assume_ellipsoidal(dem: xr.DataArray) -> xr.DataArray:
    """Declare that the heights of a DEM are above the WGS84 ellipsoid already.

    The heights are not changed. A vertical datum that the DEM states is overruled, which the
    history records.

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
    dem = normalise(dem)
    stated = stated_datum(dem)
    overruled = f" (it stated {stated})" if stated not in (None, ELLIPSOID) else ""
    return with_history(with_datum(dem, ELLIPSOID), f"assume_ellipsoidal: declared{overruled}")


def _resolve_geoid(dem: xr.DataArray, geoid: Geoid | None) -> Geoid:
    """Choose the geoid under the heights: the one given or the one stated, which must agree."""
    stated = stated_datum(dem)
    if stated == ELLIPSOID:
        msg = (
            "the DEM's heights are above the ellipsoid already (vertical_datum); converting them "
            "again would shift them by the geoid twice"
        )
        raise VerticalDatumError(msg, options={"vertical": None})
    if geoid is None:
        if stated is None:
            raise _unstated_datum_error(dem)
        return stated
    named = _datum_of_geoid(geoid)
    if named == ELLIPSOID:
        msg = "the ellipsoid is no geoid; for heights above it use assume_ellipsoidal(dem)"
        raise VerticalDatumError(msg)
    if stated is not None and named is not None and named != stated:
        msg = f"the DEM states heights above {stated}, and the geoid given is {named}"
        advice = (
            "leave the geoid out to use the stated one, or remove dem.attrs['vertical_datum'] if "
            "it is wrong"
        )
        raise VerticalDatumError(msg, advice, options={"vertical": None})
    return named if named is not None else geoid


def _unstated_datum_error(dem: xr.DataArray) -> VerticalDatumError:
    written = dem.attrs.get("vertical_datum")
    found = "does not state" if written is None else f"says {written!r}, which does not define"
    return VerticalDatumError(
        f"the DEM {found} what its heights are measured from: {_UNSTATED_ADVICE}"
    )


def _datum_of_geoid(geoid: Geoid) -> str | None:
    """Name the vertical datum that `geoid` stands for; None for a grid or a number."""
    if isinstance(geoid, CRS):
        return datum_of_crs(geoid)
    if isinstance(geoid, str) and not is_grid_file(geoid):
        return datum_of_text(geoid)
    return None


def _require_undulations(low: float, high: float, name: str) -> None:
    """Refuse undulations that are not those of the Earth, or not known everywhere."""
    if low > high:  # no cell has a height
        return
    if not np.isfinite([low, high]).all():
        msg = f"the geoid ({name}) does not cover the whole DEM; use a global one such as EGM2008"
        raise DemError(msg)
    if max(-low, high) > _LARGEST_UNDULATION:
        msg = (
            f"undulations of {low:.6g} to {high:.6g} m ({name}) are not those of the Earth's "
            f"geoid, which stays within {_LARGEST_UNDULATION:g} m of the ellipsoid; check grid and "
            "unit"
        )
        raise DemError(msg)
