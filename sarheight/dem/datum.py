"""Horizontal and vertical reference systems of elevation models."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import CRSError
from rasterio.errors import CRSError as RasterioCRSError

from sarheight.errors import DemError, VerticalDatumError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import xarray as xr

GEOGRAPHIC = CRS.from_epsg(4326)
ELLIPSOID = Geod(ellps="WGS84")
_HEIGHT = 2

WRITE_CRS = "write the right one, e.g. rio edit-info --crs EPSG:4326 dem.tif"
"""What to do about a file."""


def stated_crs(dem: xr.DataArray) -> CRS:
    """Read the reference system that a DEM states, vertical part included."""
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
    """Ground metres per unit of y and of x around one point."""
    longitude, latitude = to_degrees(crs).transform(
        [x, x, x - reach, x + reach], [y - reach, y + reach, y, y]
    )
    _, _, length = ELLIPSOID.inv(longitude[::2], latitude[::2], longitude[1::2], latitude[1::2])
    per_y, per_x = (float(metres) / (2.0 * reach) for metres in length)
    return per_y, per_x


# What heights are measured from, as far as a file or an array says.

ELLIPSOID_VERTICAL = "ellipsoid"
"""The value of `vertical_datum` for heights above the ellipsoid."""

GEOIDS = {"EGM84": 5798, "EGM96": 5773, "EGM2008": 3855}
"""Global geoid models by name, with the EPSG code of the heights measured from each."""

_SPELLINGS = {
    "egm84": "EGM84",
    "egm1984": "EGM84",
    "egm96": "EGM96",
    "egm1996": "EGM96",
    "egm08": "EGM2008",
    "egm2008": "EGM2008",
}
_DTED_EGM96 = "e96"

UNSTATED_ADVICE = (
    'if they are above the WGS84 ellipsoid, say so by open_dem(..., vertical="ellipsoidal") or '
    "assume_ellipsoidal(dem); if they are above sea level, name the geoid, e.g. "
    'open_dem(..., vertical="EGM96") or to_ellipsoidal(dem, "EGM96") (SRTM and NASADEM are EGM96, '
    "the Copernicus DEM is EGM2008)"
)


def datum_of_crs(crs: CRS) -> str | None:
    """Name the vertical datum that a reference system states."""
    if crs.is_compound:
        return _vertical_name(crs.sub_crs_list[1])
    if crs.is_vertical:
        return _vertical_name(crs)
    return None if vertical_unit(crs) is None else ELLIPSOID_VERTICAL


def datum_of_text(text: str) -> str | None:
    """Name the vertical datum that a word stands for, or None if it stands for none.

    "ellipsoid" in any form, the EGM geoids in the usual spellings, and whatever PROJ knows as a
    reference system with a vertical part, e.g. "EPSG:5703". "WGS84" alone is not enough: people
    write it for both kinds of height.
    """
    plain = re.sub(r"[^a-z0-9]", "", text.lower())
    geoids = {name for word, name in _SPELLINGS.items() if re.search(rf"{word}(?![0-9])", plain)}
    if geoids or "ellipsoid" in plain:
        names = geoids | ({ELLIPSOID_VERTICAL} if "ellipsoid" in plain else set())
        return names.pop() if len(names) == 1 else None
    if plain == _DTED_EGM96:
        return "EGM96"
    try:
        return datum_of_crs(CRS.from_user_input(text))
    except CRSError:
        return None


def datum_of_attrs(attrs: Mapping[Any, Any]) -> str | None:
    """Name the vertical datum that attributes or file tags state, under any usual key."""
    for key, value in attrs.items():
        plain = re.sub(r"[^a-z]", "", str(key).lower())
        if re.search(r"vert(ical)?(datum|crs|reference|referencesystem)$", plain):
            name = datum_of_text(str(value))
            if name is not None:
                return name
    return None


def stated_datum(dem: xr.DataArray) -> str | None:
    """Name the vertical datum that a DEM states by its reference system or its attributes."""
    by_crs, by_attrs = datum_of_crs(stated_crs(dem)), datum_of_attrs(dem.attrs)
    if by_crs and by_attrs and by_crs != by_attrs:
        msg = (
            f"the DEM's reference system says that heights are above {by_crs}, and its attributes "
            f"say {by_attrs}"
        )
        advice = (
            "remove the wrong one (dem.attrs, or dem.rio.write_crs with a horizontal reference "
            "system)"
        )
        edited = (
            "if its reference system is wrong write a horizontal one, e.g. rio edit-info --crs "
            "EPSG:4326 dem.tif, else remove the tag"
        )
        raise VerticalDatumError(msg, advice, file_advice=edited)
    return by_attrs or by_crs


def with_datum(dem: xr.DataArray, datum: str | None) -> xr.DataArray:
    """Move the vertical reference from the CRS into the attribute `vertical_datum`."""
    crs = stated_crs(dem)
    flat = dem.copy(deep=False) if vertical_unit(crs) is None else dem.rio.write_crs(crs.to_2d())
    flat.attrs = dict(dem.attrs)
    if datum is not None:
        flat.attrs["vertical_datum"] = datum
    if datum == ELLIPSOID_VERTICAL:
        flat.attrs["standard_name"] = "height_above_reference_ellipsoid"
    return flat


def _vertical_name(crs: CRS) -> str:
    words = f"{crs.name} {crs.datum.name if crs.datum else ''}".lower()
    code = crs.to_epsg()
    for name, known in GEOIDS.items():
        if code == known or name.lower() in words:
            return name
    if "ellipsoid" in words or re.search(r"\bd?_?wgs[ _]?(19)?84\b", words):
        return ELLIPSOID_VERTICAL
    return f"EPSG:{code}" if code else crs.to_wkt()
