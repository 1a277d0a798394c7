"""The heights of a DEM: voids, units, and whether they can be heights on Earth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight.dem._crs import stated_crs, vertical_unit
from sarheight.dem._layout import accept_layout
from sarheight.dem._record import with_history
from sarheight.dem._vertical import stated_datum, with_datum
from sarheight.errors import DemError

if TYPE_CHECKING:
    import numpy.typing as npt
    import xarray as xr

LOWEST, HIGHEST = -500.0, 9000.0
"""Heights on land lie between these, in metres (Dead Sea shore -430, Mount Everest 8849)."""

VOID_MARKS = (-32768.0, -32767.0, -9999.0, -10000.0, -99999.0, 9999.0, 32767.0, 65535.0)
"""Values that stand for "no height here" in many DEMs."""

_PACKING = (
    *("_FillValue", "missing_value", "fill_value", "nodata"),
    *("scale_factor", "add_offset"),
)
METRE = "m"
_FOOT, _SURVEY_FOOT = 0.3048, 1200.0 / 3937.0
_UNITS = {
    **dict.fromkeys(("m", "metre", "metres", "meter", "meters"), 1.0),
    **dict.fromkeys(("ft", "foot", "feet", "international foot", "foot_international"), _FOOT),
    **dict.fromkeys(("us-ft", "ft_us", "ftus", "us_ft", "us survey foot"), _SURVEY_FOOT),
    **dict.fromkeys(("us_survey_foot", "foot_us", "survey foot", "us foot"), _SURVEY_FOOT),
}


def accept(dem: xr.DataArray, *, void_allowed: bool = False) -> xr.DataArray:
    """Check layout, units and values of a DEM, and bring it into the form used inside.

    The result is float32 metres with NaN for voids; its reference system is horizontal, and the
    vertical datum, where it was stated, is the attribute `vertical_datum`.
    """
    dem = _flattened(dem)
    unit, factor = _stated_unit(dem)
    if factor != 1.0:
        msg = f"the DEM's heights are in {unit!r}, and metres are needed"
        advice = f"convert them by open_dem(..., units={unit!r}) or to_metres(dem)"
        raise DemError(msg, advice, options={"units": unit})
    return _finished(dem, void_allowed=void_allowed)


def to_metres(dem: xr.DataArray, unit: str | None = None) -> xr.DataArray:
    """Convert the heights of a DEM to metres.

    Parameters
    ----------
    dem : DataArray
        DEM with dims (y, x).
    unit : str, optional
        Unit of the heights, "m", "ft" or "us-ft"; by default the one that the DEM states (its
        attribute `units`, or the vertical unit of its reference system).

    Returns
    -------
    DataArray
        The DEM in metres (float32).

    Raises
    ------
    DemError
        If the unit is not known, or the heights are still none on Earth once converted.
    """
    return converted(dem, unit)


def converted(dem: xr.DataArray, unit: str | None, *, void_allowed: bool = False) -> xr.DataArray:
    """Convert heights to metres; a tile may be void altogether where that is allowed."""
    dem = _flattened(dem)
    name, factor = _stated_unit(dem) if unit is None else (unit, _factor(unit))
    metric = dem.copy(data=(dem.data * np.float64(factor)).astype(np.float32))
    metric.attrs = dict(dem.attrs)
    metric = with_history(metric, f"to_metres: from {name}, times {factor:.12g}")
    return _finished(metric, void_allowed=void_allowed)


def _flattened(dem: xr.DataArray) -> xr.DataArray:
    """Check the layout, mask voids, note the units, and leave a horizontal reference system."""
    dem = _masked(accept_layout(dem))
    unit = dem.attrs.get("units") or vertical_unit(stated_crs(dem)) or METRE
    dem = with_datum(dem, stated_datum(dem))
    dem.attrs["units"] = unit
    return dem.compute()


def _finished(dem: xr.DataArray, *, void_allowed: bool = False) -> xr.DataArray:
    dem.attrs["units"] = METRE
    require_heights(dem.values, void_allowed=void_allowed)
    return dem


def _masked(dem: xr.DataArray) -> xr.DataArray:
    """Turn declared nodata into NaN, and the heights into float32."""
    if dem.dtype.kind not in "iuf":
        msg = f"heights are real numbers, and this DEM holds {dem.dtype}; select the height band"
        raise DemError(msg)
    if (dem.attrs.get("scale_factor", 1.0), dem.attrs.get("add_offset", 0.0)) != (1.0, 0.0):
        msg = (
            "the DEM's heights are packed (attributes scale_factor and add_offset); unpack them, "
            "e.g. rioxarray.open_rasterio(path, mask_and_scale=True), or use open_dem(path)"
        )
        raise DemError(msg)
    mark = dem.rio.nodata
    floats = dem.astype(np.float32, copy=False)
    if mark is not None and not np.isnan(mark):
        floats = floats.where(dem != mark)
    floats.attrs = {key: value for key, value in dem.attrs.items() if key not in _PACKING}
    return floats


def require_heights(heights: npt.NDArray[Any], *, void_allowed: bool = False) -> None:
    """Raise if there are no heights, or some that no place on land has."""
    # Both pass over voids; where all is void they are NaN.
    low, high = (float(find.reduce(heights, axis=None)) for find in (np.fmin, np.fmax))
    if np.isinf((low, high)).any():
        msg, advice = (
            "the DEM holds infinite heights",
            "mask them, e.g. dem.where(np.isfinite(dem))",
        )
        raise DemError(msg, advice, options={"nodata": low if np.isinf(low) else high})
    if np.isnan(low):
        if void_allowed:
            return
        msg = (
            "every cell of the DEM is void (NaN or nodata); was it cropped to a place that it does "
            "not cover, or is its nodata value one of its heights?"
        )
        raise DemError(msg)
    if low >= LOWEST and high <= HIGHEST:
        return
    mark = next((mark for mark in VOID_MARKS if mark in (low, high)), None)
    span = (
        f"the DEM's heights span {low:.6g} to {high:.6g}, and on land they lie between {LOWEST:g} "
        f"and {HIGHEST:g} m"
    )
    if mark is not None:
        count = int(np.count_nonzero(heights == mark))
        msg = (
            f"{span}: {count} cells hold {mark:g}, a usual mark of voids that this DEM does not "
            "declare as nodata"
        )
        advice = f"open_dem(..., nodata={mark:g}) or dem.where(dem != {mark:g})"
        raise DemError(msg, advice, options={"nodata": mark})
    strange = low if low < LOWEST else high
    msg = f"{span}: are they feet, or does {strange:.6g} stand for voids?"
    advice = (
        "convert feet by open_dem(..., units='ft') or to_metres(dem, 'ft'), declare nodata by "
        "open_dem(..., nodata=...) or dem.where; sea-floor depths: dem.clip(min=0)"
    )
    raise DemError(msg, advice, options={"units": "ft", "nodata": strange})


def _stated_unit(dem: xr.DataArray) -> tuple[str, float]:
    unit = str(dem.attrs["units"])
    return unit, _factor(unit)


def _factor(unit: str) -> float:
    factor = _UNITS.get(unit.strip().lower())
    if factor is None:
        msg = (
            f"the unit of the DEM's heights, {unit!r}, is not known here; it should be one of "
            '"m", "ft" and "us-ft"'
        )
        advice = 'set dem.attrs["units"] or pass units to open_dem'
        raise DemError(msg, advice, options={"units": ("m", "ft", "us-ft")})
    return factor
