"""The grid under a DEM: dimensions, coordinates, posting, antimeridian."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from affine import Affine

from sarheight.dem._crs import WRITE_CRS, metres_per_unit, stated_crs
from sarheight.errors import DemError

if TYPE_CHECKING:
    import numpy.typing as npt
    from pyproj import CRS

LARGEST_WOBBLE = 1e-3
"""How far, in postings, a coordinate may lie from a regular grid."""

_LEAST_CELLS = 2
_FULL_TURN, _POLE = 360.0, 90.0
_COARSEST_DEGREES = 0.1


def accept_layout(dem: object) -> xr.DataArray:
    """Check that an array lies on a regular grid (y, x) in a known reference system.

    A `band` dimension of length one is dropped, and geographic longitudes that jump from 180 to
    -180 are carried on beyond 180.

    Raises
    ------
    TypeError
        If `dem` is not a DataArray.
    DemError
        If dimensions, coordinates or reference system are missing, transposed, irregular, rotated,
        or at odds with each other.
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
