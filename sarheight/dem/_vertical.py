"""What heights are measured from, as far as a file or an array says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pyproj import CRS
from pyproj.exceptions import CRSError

from sarheight.dem._crs import stated_crs, vertical_unit
from sarheight.errors import VerticalDatumError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

ELLIPSOID = "ellipsoid"
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
    """Name the vertical datum that a reference system states.

    Returns
    -------
    str or None
        "ellipsoid", a name in `GEOIDS`, "EPSG:..." or WKT; None if `crs` has no vertical part.
    """
    if crs.is_compound:
        return _vertical_name(crs.sub_crs_list[1])
    if crs.is_vertical:
        return _vertical_name(crs)
    return None if vertical_unit(crs) is None else ELLIPSOID


def datum_of_text(text: str) -> str | None:
    """Name the vertical datum that a word stands for, or None if it stands for none.

    "ellipsoid" in any form, the EGM geoids in the usual spellings, and whatever PROJ knows as a
    reference system with a vertical part, e.g. "EPSG:5703". "WGS84" alone is not enough: people
    write it for both kinds of height.
    """
    plain = re.sub(r"[^a-z0-9]", "", text.lower())
    geoids = {name for word, name in _SPELLINGS.items() if re.search(rf"{word}(?![0-9])", plain)}
    if geoids or "ellipsoid" in plain:
        names = geoids | ({ELLIPSOID} if "ellipsoid" in plain else set())
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
    """Name the vertical datum that a DEM states by its reference system or its attributes.

    Raises
    ------
    VerticalDatumError
        If the two contradict each other.
    """
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
    if datum == ELLIPSOID:
        flat.attrs["standard_name"] = "height_above_reference_ellipsoid"
    return flat


def _vertical_name(crs: CRS) -> str:
    words = f"{crs.name} {crs.datum.name if crs.datum else ''}".lower()
    code = crs.to_epsg()
    for name, known in GEOIDS.items():
        if code == known or name.lower() in words:
            return name
    if "ellipsoid" in words or re.search(r"\bd?_?wgs[ _]?(19)?84\b", words):
        return ELLIPSOID
    return f"EPSG:{code}" if code else crs.to_wkt()
