"""The form of an elevation model in memory: grid, units, voids, history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from affine import Affine

from sarheight.dem.datum import (
    WRITE_CRS,
    metres_per_unit,
    stated_crs,
    stated_datum,
    vertical_unit,
    with_datum,
)
from sarheight.errors import DemError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt
    import rasterio.crs
    from pyproj import CRS


def build(
    values: npt.ArrayLike,
    y: npt.ArrayLike,
    x: npt.ArrayLike,
    crs: CRS | rasterio.crs.CRS | None,
    attrs: Mapping[str, Any],
) -> xr.DataArray:
    """Make the DEM array of this package: float32, dims (y, x), pixel-centre coordinates.

    No `GeoTransform` is stored beside the CRS: it would go stale as soon as the array is sliced,
    while the coordinates do not.
    """
    dem = xr.DataArray(
        np.asarray(values, dtype=np.float32),
        dims=("y", "x"),
        coords={"y": np.asarray(y, dtype=np.float64), "x": np.asarray(x, dtype=np.float64)},
        attrs={"long_name": "height", **attrs},
        name="height",
    )
    dem = dem if crs is None else dem.rio.write_crs(crs)
    dem.encoding["_FillValue"] = np.float32(np.nan)
    return dem


def with_history(dem: xr.DataArray, line: str) -> xr.DataArray:
    """Append one line to the `history` attribute of a copy that shares the heights."""
    noted = dem.copy(deep=False)
    noted.attrs = {**dem.attrs, "history": "\n".join([*history(dem), line])}
    return noted


def history(dem: xr.DataArray) -> list[str]:
    """Split the attribute `history` into its lines."""
    return str(dem.attrs.get("history", "")).splitlines()


# The grid under a DEM: dimensions, coordinates, posting, antimeridian.

LARGEST_WOBBLE = 1e-3
"""How far, in postings, a coordinate may lie from a regular grid."""

_LEAST_CELLS = 2
_FULL_TURN, _POLE = 360.0, 90.0
_COARSEST_DEGREES = 0.1


def accept_layout(dem: object) -> xr.DataArray:
    """Check that an array lies on a regular grid (y, x) in a known reference system.

    A `band` dimension of length one is dropped, and geographic longitudes that jump from 180 to
    -180 are carried on beyond 180.
    """
    if not isinstance(dem, xr.DataArray):
        msg = (
            f"a DEM is an xarray.DataArray, and this is a {type(dem).__name__}; "
            "sarheight.dem.open_dem(path) makes one from a file"
        )
        raise TypeError(msg)
    if "band" in dem.dims and dem.sizes["band"] == 1:
        dem = dem.squeeze("band", drop=True)
    _require_dimensions(dem)
    crs = stated_crs(dem).to_2d()
    _require_unrotated(dem)
    y, x = _axis(dem, "y"), _axis(dem, "x")
    if crs.is_geographic:
        x = _without_jump(x)
    _require_place(crs, y, x)
    return dem.assign_coords(
        y=("y", _regular(y, dem["y"].dtype, "y"), dem["y"].attrs),
        x=("x", _regular(x, dem["x"].dtype, "x"), dem["x"].attrs),
    )


def whole_turns(west: float, slack: float) -> float:
    """Degrees to add to the longitudes of a grid so that its western end lies in [-180, 180).

    They then rise without a jump, and go beyond 180 where the grid crosses the antimeridian. A
    `slack` of one posting keeps a tile that starts half a cell west of -180 where it is.
    """
    return -360.0 * float(np.floor((west + slack + 180.0) / 360.0))


def cell_steps(dem: xr.DataArray) -> tuple[float, float]:
    """Signed steps (dy, dx) from cell to cell, in units of the DEM's reference system."""
    steps = []
    for name in ("y", "x"):
        values = dem[name].values
        steps.append(float(values[-1] - values[0]) / (values.size - 1))
    return steps[0], steps[1]


def local_posting(dem: xr.DataArray) -> tuple[float, float]:
    """Measure the posting of a DEM on the ground, at its centre.

    Parameters
    ----------
    dem : DataArray
        DEM with dims (y, x) in any reference system.

    Returns
    -------
    tuple of float
        (dy, dx) in metres along the WGS84 ellipsoid, both positive.

    Raises
    ------
    DemError
        If the grid or its reference system is not usable.
    """
    dem = accept_layout(dem)
    dy, dx = (abs(step) for step in cell_steps(dem))
    x, y = (float(dem[name][[0, -1]].mean()) for name in ("x", "y"))
    per_y, per_x = metres_per_unit(stated_crs(dem).to_2d(), x, y, (dy + dx) / 4.0)
    return dy * per_y, dx * per_x


def edges(dem: xr.DataArray) -> tuple[float, float, float, float]:
    """Outer edges (west, south, east, north) of the cells, in units of the reference system."""
    dy, dx = (abs(step) / 2.0 for step in cell_steps(dem))
    x, y = dem["x"].values[[0, -1]], dem["y"].values[[0, -1]]
    return (
        float(x.min()) - dx,
        float(y.min()) - dy,
        float(x.max()) + dx,
        float(y.max()) + dy,
    )


def require_north_up(transform: Affine) -> None:
    """Raise if a geotransform turns or shears the grid against its axes."""
    if max(abs(transform.b), abs(transform.d)) > 1e-9 * max(abs(transform.a), abs(transform.e)):
        msg = (
            "the DEM's rows and columns are rotated or sheared against the axes of its reference "
            "system (its geotransform has rotation terms); resample it to a north-up grid first, "
            "e.g. gdalwarp in.tif out.tif"
        )
        raise DemError(msg)


def _require_dimensions(dem: xr.DataArray) -> None:
    dims = tuple(str(name) for name in dem.dims)
    if dims == ("x", "y"):
        msg = 'the DEM is transposed: dims are ("x", "y"); use dem.transpose("y", "x")'
        raise DemError(msg)
    if dims != ("y", "x"):
        msg = (
            f'a DEM has dims ("y", "x"), and this array has {dims}; rename or select, e.g. '
            'dem.rename(latitude="y", longitude="x") or dem.isel(band=0)'
        )
        raise DemError(msg)
    if min(dem.shape) < _LEAST_CELLS:
        msg = f"a DEM needs at least 2 x 2 cells, and this one has {dem.shape[0]} x {dem.shape[1]}"
        raise DemError(msg)


def _require_unrotated(dem: xr.DataArray) -> None:
    name = dem.rio.grid_mapping
    text = str(dem.coords[name].attrs.get("GeoTransform", "")) if name in dem.coords else ""
    if text:
        require_north_up(Affine.from_gdal(*(float(term) for term in text.split())))


def _axis(dem: xr.DataArray, name: str) -> npt.NDArray[np.float64]:
    if name not in dem.coords or dem[name].ndim != 1:
        msg = (
            f"the DEM has no coordinate {name!r} along its dimension {name!r}; give the positions "
            "of the pixel centres, e.g. dem.assign_coords(y=..., x=...)"
        )
        raise DemError(msg)
    values = dem[name].values.astype(np.float64)
    if not np.isfinite(values).all():
        msg = f"the DEM's coordinate {name!r} holds values that are not finite"
        raise DemError(msg)
    return values


def _without_jump(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Carry longitudes on where they jump by about a whole turn between neighbours."""
    turns = np.concatenate([[0.0], np.cumsum(np.round(np.diff(x) / 360.0))])
    if not turns.any():
        return x
    carried: npt.NDArray[np.float64] = x - 360.0 * turns
    slack = abs(float(carried[-1] - carried[0])) / (x.size - 1)
    return carried + whole_turns(float(carried.min()), slack)


def _regular(
    values: npt.NDArray[np.float64], dtype: np.dtype[Any], name: str
) -> npt.NDArray[np.float64]:
    """Return `values` if they are regular, or the regular grid that float32 has blurred."""
    step = (values[-1] - values[0]) / (values.size - 1)
    grid = values[0] + step * np.arange(values.size)
    wobble = float(np.abs(values - grid).max())
    rounding = 2.0 * np.finfo(dtype).eps * np.abs(values).max() if dtype.kind == "f" else 0.0
    ordered = bool((np.diff(values) * step > 0.0).all())
    if not ordered or wobble > min(max(LARGEST_WOBBLE * abs(step), rounding), 0.5 * abs(step)):
        msg = (
            f"the DEM's coordinate {name!r} is not regular: it strays {wobble:.4g} from a grid "
            f"with steps of {step:.6g}; put the DEM on a regular grid first, e.g. by dem.interp"
        )
        raise DemError(msg)
    return grid if wobble > LARGEST_WOBBLE * abs(step) else values


def _require_place(crs: CRS, y: npt.NDArray[np.float64], x: npt.NDArray[np.float64]) -> None:
    """Catch coordinates that cannot belong to the reference system."""
    far_y, far_x = float(np.abs(y).max()), float(np.abs(x).max())
    if crs.is_geographic and (far_y > _POLE + 1e-6 or far_x > 2.0 * _FULL_TURN):
        advice = "are x and y swapped" if far_y <= _FULL_TURN else "are they map coordinates"
        msg = (
            f"the DEM's reference system {crs.name!r} is in degrees, but y spans {y.min():.6g} to "
            f"{y.max():.6g} and x {x.min():.6g} to {x.max():.6g}: {advice}? "
            "Write the reference system that the coordinates belong to"
        )
        raise DemError(msg)
    degrees = far_y <= _POLE and far_x <= _FULL_TURN and abs(x[1] - x[0]) < _COARSEST_DEGREES
    if crs.is_projected and degrees:
        msg = (
            f"the DEM's reference system {crs.name!r} is projected, but x ({x.min():.6g} to "
            f"{x.max():.6g}) and y ({y.min():.6g} to {y.max():.6g}) look like degrees"
        )
        advice = 'write the right one, e.g. dem.rio.write_crs("EPSG:4326")'
        raise DemError(msg, advice, file_advice=WRITE_CRS)


# The heights of a DEM: voids, units, and whether they can be heights on Earth.

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
