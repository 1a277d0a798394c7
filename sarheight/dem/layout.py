"""The form of a DEM in memory: grid, units, voids, history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from affine import Affine
from sarheight_kernels.pool import spread

from sarheight.dem.datum import (
    FULL_TURN,
    POLE,
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

    from sarheight.dem.datum import Extent


def build_dem(
    values: Any,  # noqa: ANN401  # an array, or one of dask
    y: npt.ArrayLike,
    x: npt.ArrayLike,
    crs: CRS | rasterio.crs.CRS | None,
    attrs: Mapping[str, Any],
) -> xr.DataArray:
    """Make a DEM array, lazy or not: float32, dims (y, x), coordinates at the pixel centres.

    No `GeoTransform` is stored beside the CRS: slicing updates the coordinates, but not that.
    """
    dem = xr.DataArray(
        values.astype(np.float32, copy=False),
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
    copy = dem.copy(deep=False)
    copy.attrs = {**dem.attrs, "history": "\n".join([*history_lines(dem), line])}
    return copy


def history_lines(dem: xr.DataArray) -> list[str]:
    """Split the attribute `history` into its lines."""
    return str(dem.attrs.get("history", "")).splitlines()


# The grid of a DEM: dimensions, coordinates, posting, antimeridian.

_LARGEST_IRREGULARITY = 1e-3
"""Largest distance of a coordinate from a regular grid, in postings."""

_LEAST_CELLS = 2
_LARGEST_POSTING = 0.1
"""Coordinates of a projected DEM below 90 and 360 with a posting below this look like degrees."""


def check_layout(dem: object) -> xr.DataArray:
    """Check that an array lies on a regular grid (y, x) in a known reference system.

    A `band` dimension of length one is dropped, and geographic longitudes that jump from 180 to
    -180 are unwrapped.
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
    y, x = _coordinate(dem, "y"), _coordinate(dem, "x")
    if crs.is_geographic:
        x = _unwrap_axis(x)
    _require_plausible_coordinates(crs, y, x)
    regular = {
        name: (name, values, dem[name].attrs)
        for name, found in (("y", y), ("x", x))
        if not _equals(values := _regularise(found, dem[name].dtype, name), dem[name].values)
    }
    return dem.assign_coords(regular) if regular else dem


def _equals(values: npt.NDArray[np.float64], stored: npt.NDArray[Any]) -> bool:
    """Tell whether coordinates are those that are stored, in double precision, too."""
    return stored.dtype == values.dtype and bool((stored == values).all())


def same_grid(
    grid: xr.DataArray | xr.Dataset, other: xr.DataArray | xr.Dataset, *, tolerance: float = 1e-6
) -> bool:
    """Tell whether two rasters have the same cells, up to the rounding of their coordinates.

    `tolerance` is the largest distance of two cells, in postings; by default that of the rounding
    of 64-bit numbers in files. Arithmetic and assignments of xarray align by equal coordinates, and
    silently drop those that differ in the last bit: use the values, or give both one's coordinates.
    """
    return grid.rio.crs == other.rio.crs and all(
        grid[name].shape == other[name].shape
        and np.allclose(grid[name], other[name], rtol=0.0, atol=tolerance * abs(step))
        for name, step in zip(("y", "x"), cell_steps(other), strict=True)
    )


def describe_grid(grid: xr.DataArray | xr.Dataset) -> str:
    """Describe cells for a message: how many, how large, and where the first one lies."""
    dy, dx = cell_steps(grid)
    first = f"({float(grid['x'][0]):.9g}, {float(grid['y'][0]):.9g})"
    count = f"{grid.sizes['y']} x {grid.sizes['x']}"
    return f"{count} cells of {dy:.6g} x {dx:.6g} from {first} in {grid.rio.crs}"


def longitude_shift(west: float, slack: float) -> float:
    """Return the multiple of 360 degrees that moves the western end of a grid into [-180, 180).

    Longitudes beyond 180 remain where the grid crosses the antimeridian. A `slack` of one posting
    keeps a tile that starts half a cell west of -180 in place.
    """
    return -FULL_TURN * float(np.floor((west + slack + 180.0) / FULL_TURN))


def cell_steps(dem: xr.DataArray | xr.Dataset) -> tuple[float, float]:
    """Return the signed steps (dy, dx) from cell to cell, in units of the reference system."""
    y, x = dem["y"].values, dem["x"].values
    return float(y[-1] - y[0]) / (y.size - 1), float(x[-1] - x[0]) / (x.size - 1)


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
    return posting_of(check_layout(dem))


def posting_of(dem: xr.DataArray) -> tuple[float, float]:
    """Measure the posting of a DEM whose layout was checked, see `local_posting`."""
    dy, dx = (abs(step) for step in cell_steps(dem))
    x, y = (float(dem[name].values[[0, -1]].mean()) for name in ("x", "y"))
    per_y, per_x = metres_per_unit(stated_crs(dem).to_2d(), x, y, (dy + dx) / 4.0)
    return dy * per_y, dx * per_x


def outer_edges(dem: xr.DataArray) -> Extent:
    """Return the outer edges (west, south, east, north), in units of the reference system."""
    dy, dx = (abs(step) / 2.0 for step in cell_steps(dem))
    (south, north), (west, east) = (sorted(dem[name].values[[0, -1]]) for name in ("y", "x"))
    return float(west) - dx, float(south) - dy, float(east) + dx, float(north) + dy


def require_map_grid(transform: Affine, name: str = "the DEM") -> None:
    """Raise if a geotransform is none, or rotates or shears the grid against its axes."""
    if transform.is_identity:
        msg = (
            f"{name} has no georeference: nothing says where its pixels lie, which are counted "
            "from 0.5"
        )
        file_advice = (
            "write it: gdal_translate -a_ullr WEST NORTH EAST SOUTH in.tif dem.tif, or gdalwarp "
            "where it has control points"
        )
        advice = (
            f"{file_advice}; an array needs the coordinates y and x of its pixel centres, and "
            "dem.rio.write_transform() before it is written to NetCDF"
        )
        raise DemError(msg, advice, file_advice=file_advice)
    if max(abs(transform.b), abs(transform.d)) > 1e-9 * max(abs(transform.a), abs(transform.e)):
        msg = (
            f"the rows and columns of {name} are rotated or sheared against the axes of its "
            "reference system (its geotransform has rotation terms); resample it to a north-up "
            "grid first, e.g. gdalwarp in.tif out.tif"
        )
        raise DemError(msg)


def _require_dimensions(dem: xr.DataArray) -> None:
    """Refuse an array whose dimensions are not (y, x), with two cells along each."""
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
        require_map_grid(Affine.from_gdal(*(float(term) for term in text.split())))


def _coordinate(dem: xr.DataArray, name: str) -> npt.NDArray[np.float64]:
    """Return the coordinates along a dimension, which must be finite."""
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


def _unwrap_axis(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Remove jumps of about 360 degrees between neighbouring longitudes."""
    jumps = np.concatenate([[0.0], np.cumsum(np.round(np.diff(x) / FULL_TURN))])
    if not jumps.any():
        return x
    unwrapped: npt.NDArray[np.float64] = x - FULL_TURN * jumps
    posting = abs(float(unwrapped[-1] - unwrapped[0])) / (x.size - 1)
    return unwrapped + longitude_shift(float(unwrapped.min()), posting)


def _regularise(
    values: npt.NDArray[np.float64], dtype: np.dtype[Any], name: str
) -> npt.NDArray[np.float64]:
    """Return `values` if they are regular, or the regular grid that they are rounded from."""
    step = (values[-1] - values[0]) / (values.size - 1)
    grid = values[0] + step * np.arange(values.size)
    deviation = float(np.abs(values - grid).max())
    rounding = 2.0 * np.finfo(dtype).eps * np.abs(values).max() if dtype.kind == "f" else 0.0
    ordered = bool((np.diff(values) * step > 0.0).all())
    if not ordered or deviation > min(
        max(_LARGEST_IRREGULARITY * abs(step), rounding), 0.5 * abs(step)
    ):
        msg = (
            f"the DEM's coordinate {name!r} is not regular: it deviates by {deviation:.4g} from "
            f"steps of {step:.6g}; put the DEM on a regular grid first, e.g. by dem.interp"
        )
        raise DemError(msg)
    return grid if deviation > _LARGEST_IRREGULARITY * abs(step) else values


def _require_plausible_coordinates(
    crs: CRS, y: npt.NDArray[np.float64], x: npt.NDArray[np.float64]
) -> None:
    """Raise if coordinates cannot belong to the reference system."""
    if (*y[:2], *x[:2]) == (0.5, 1.5, 0.5, 1.5):
        require_map_grid(Affine.identity())
    far_y, far_x = float(np.abs(y).max()), float(np.abs(x).max())
    if crs.is_geographic and (far_y > POLE + 1e-6 or far_x > 2.0 * FULL_TURN):
        advice = "are x and y swapped" if far_y <= FULL_TURN else "are they map coordinates"
        msg = (
            f"the DEM's reference system {crs.name!r} is in degrees, but y spans {y.min():.6g} to "
            f"{y.max():.6g} and x {x.min():.6g} to {x.max():.6g}: {advice}? "
            "Write the reference system that the coordinates belong to"
        )
        raise DemError(msg)
    degrees = far_y <= POLE and far_x <= FULL_TURN and abs(x[1] - x[0]) < _LARGEST_POSTING
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

LARGEST_STEP = 5500.0
"""Metres by which a cell may differ from those beside it, or from all of them but one. No mountain
rises as far within 10 km on three sides: Nanga Parbat, Denali and Kilimanjaro stay below 5000 m.
Parts of a scene, whose surroundings follow from the relief, equal the whole up to this at least."""

_ROWS = 512
"""Rows of a DEM that are searched for such cells at a time."""

USUAL_NODATA = (-32768.0, -32767.0, -9999.0, -10000.0, -99999.0, 9999.0, 32767.0, 65535.0)
"""Values that mark voids in many DEMs."""

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


def normalise(dem: xr.DataArray, *, void_allowed: bool = False, lazy: bool = False) -> xr.DataArray:
    """Check layout, units and values of a DEM: float32 metres, NaN for voids, horizontal CRS.

    A vertical datum that the DEM states becomes the attribute `vertical_datum`. With `lazy`, a DEM
    on dask stays so, and its values are not checked.
    """
    dem = _prepare(dem)
    unit = str(dem.attrs["units"])
    factor = _metres_per(unit)
    if factor != 1.0:
        msg = f"the DEM's heights are in {unit!r}, and metres are needed"
        advice = f"convert them by open_dem(..., units={unit!r}) or to_metres(dem)"
        raise DemError(msg, advice, options={"units": unit})
    dem.attrs["units"] = METRE
    if lazy and dem.chunks is not None:
        return dem
    dem = dem.compute()
    require_possible(dem.values, dem["y"].values, dem["x"].values, void_allowed=void_allowed)
    return dem


def to_metres(
    dem: xr.DataArray, unit: str | None = None, *, void_allowed: bool = False
) -> xr.DataArray:
    """Convert the heights of a DEM to metres.

    Parameters
    ----------
    dem : DataArray
        DEM with dims (y, x).
    unit : str, optional
        Unit of the heights, "m", "ft" or "us-ft"; by default the one that the DEM states (its
        attribute `units`, or the vertical unit of its reference system).
    void_allowed : bool
        Whether every cell may be void, as in a tile of a larger DEM.

    Returns
    -------
    DataArray
        The DEM in metres (float32).

    Raises
    ------
    DemError
        If the unit is not known, or the converted heights are out of the range on land.
    """
    dem = _prepare(dem).compute()
    unit = str(dem.attrs["units"]) if unit is None else unit
    factor = _metres_per(unit)
    metric = dem.copy(data=(dem.data * np.float64(factor)).astype(np.float32))
    metric.attrs["units"] = METRE
    require_possible(metric.values, dem["y"].values, dem["x"].values, void_allowed=void_allowed)
    return with_history(metric, f"to_metres: from {unit}, times {factor:.12g}")


def _prepare(dem: xr.DataArray) -> xr.DataArray:
    """Check the layout, mask voids, and move units and vertical datum into attributes."""
    dem = _mask_voids(check_layout(dem))
    unit = dem.attrs.get("units") or vertical_unit(stated_crs(dem)) or METRE
    dem = with_datum(dem, stated_datum(dem))
    dem.attrs["units"] = unit
    return dem


def require_possible(
    heights: npt.NDArray[np.float32],
    y: npt.NDArray[np.float64],
    x: npt.NDArray[np.float64],
    *,
    void_allowed: bool,
) -> None:
    """Raise if heights at coordinates are not on land, or a cell sticks out as no mountain does."""
    low, high = require_heights(heights, void_allowed=void_allowed)
    found = _spike(heights) if high - low > LARGEST_STEP else None
    if found is None:
        return
    row, column, height, difference = found
    msg = (
        f"the DEM has a height of {height:g} m at x {x[column]:.9g}, y {y[row]:.9g}, "
        f"{abs(difference):.0f} m {'above' if difference > 0.0 else 'below'} the cells beside it: "
        f"an error of the DEM, as no mountain rises {LARGEST_STEP:g} m within a cell"
    )
    advice = f"mask it, e.g. dem.where(dem != {height:g}), and fill it by fill_voids"
    raise DemError(msg, advice, options={"nodata": height})


def _spike(heights: npt.NDArray[np.float32]) -> tuple[int, int, float, float] | None:
    """Find a cell that lies far above, or far below, all or all but one of those beside it.

    Returns its row, its column, its height, and by how much it differs from the next of these.
    """
    for first in range(0, heights.shape[0], _ROWS):
        begin = max(first - 1, 0)
        part = heights[begin : first + _ROWS + 1]
        if not any((np.abs(np.diff(part, axis=axis)) > LARGEST_STEP).any() for axis in (0, 1)):
            continue
        around = np.pad(part, 1, constant_values=np.nan)
        beside = around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:]
        # Rows of the neighbouring blocks only count as neighbours.
        core = slice(first - begin, first - begin + _ROWS)
        steps = np.stack([(part - other)[core] for other in beside])
        known = np.isfinite(steps).sum(axis=0)
        for sign in (1.0, -1.0):
            far = (sign * steps > LARGEST_STEP).sum(axis=0)
            found = np.argwhere(far >= np.maximum(known - 1, 2))
            if found.size:
                row, column = map(int, found[0])
                own = sign * steps[:, row, column]
                least = sign * float(own[own > LARGEST_STEP].min())
                return first + row, column, float(heights[first + row, column]), least
    return None


def _mask_voids(dem: xr.DataArray) -> xr.DataArray:
    """Convert declared nodata to NaN, and the heights to float32."""
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


def require_heights(
    heights: npt.NDArray[Any], *, void_allowed: bool = False
) -> tuple[float, float]:
    """Raise if there are no heights, or some out of the range on land; return the range."""
    low, high = map(float, height_range(heights))
    if np.isinf((low, high)).any():
        msg = "the DEM holds infinite heights"
        advice = "mask them, e.g. dem.where(np.isfinite(dem))"
        raise DemError(msg, advice, options={"nodata": low if np.isinf(low) else high})
    if np.isnan(low):
        if void_allowed:
            return low, high
        msg = (
            "every cell of the DEM is void (NaN or nodata); check that the area it was cropped to "
            "overlaps it, and that its nodata value is not one of its heights"
        )
        raise DemError(msg)
    if low >= LOWEST and high <= HIGHEST:
        return low, high
    mark = next((mark for mark in USUAL_NODATA if mark in (low, high)), None)
    span = (
        f"the DEM's heights span {low:.6g} to {high:.6g}, and on land they lie between {LOWEST:g} "
        f"and {HIGHEST:g} m"
    )
    if mark is not None:
        count = int(np.count_nonzero(heights == mark))
        msg = (
            f"{span}: {count} cells hold {mark:g}, which usually marks voids and which this DEM "
            "does not declare as nodata"
        )
        advice = f"open_dem(..., nodata={mark:g}) or dem.where(dem != {mark:g})"
        raise DemError(msg, advice, options={"nodata": mark})
    outlier = low if low < LOWEST else high
    msg = f"{span}: they may be in feet, or {outlier:.6g} may mark voids"
    advice = (
        "convert feet by open_dem(..., units='ft') or to_metres(dem, 'ft'), declare nodata by "
        "open_dem(..., nodata=...) or dem.where; sea-floor depths: dem.clip(min=0)"
    )
    raise DemError(msg, advice, options={"units": "ft", "nodata": outlier})


def height_range(heights: npt.NDArray[Any]) -> tuple[Any, Any]:
    """Find the lowest and the highest height, of the array's type; NaN where all is void."""
    by_row = np.empty((2, heights.shape[0]), heights.dtype)

    def reduce_rows(begin: int, end: int) -> None:
        # fmin and fmax ignore NaN.
        np.fmin.reduce(heights[begin:end], axis=1, out=by_row[0, begin:end])
        np.fmax.reduce(heights[begin:end], axis=1, out=by_row[1, begin:end])

    spread(reduce_rows, heights.shape[0])
    return np.fmin.reduce(by_row[0]), np.fmax.reduce(by_row[1])


def _metres_per(unit: str) -> float:
    """Return the length of a unit of height in metres."""
    factor = _UNITS.get(unit.strip().lower())
    if factor is None:
        msg = (
            f"the unit of the DEM's heights, {unit!r}, is not known; it must be one of "
            '"m", "ft" and "us-ft"'
        )
        advice = 'set dem.attrs["units"] or pass units to open_dem'
        raise DemError(msg, advice, options={"units": ("m", "ft", "us-ft")})
    return factor
