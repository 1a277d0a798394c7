"""DEMs on other grids."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import rasterio.crs
from affine import Affine
from pyproj import CRS, Transformer
from pyproj.crs import DerivedGeographicCRS
from pyproj.crs.coordinate_operation import RotatedLatitudeLongitudeConversion
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT

from sarheight.dem.checked import north_up, stored_like
from sarheight.dem.datum import (
    metres_per_unit,
    parse_crs,
    sample_extent,
    stated_crs,
    unwrap_longitude,
)
from sarheight.dem.layout import (
    build_dem,
    check_layout,
    local_posting,
    longitude_shift,
    normalise,
    outer_edges,
    require_possible,
    with_history,
)
from sarheight.errors import DemError

if TYPE_CHECKING:
    import dask.array
    import numpy.typing as npt
    import xarray as xr

    from sarheight.dem.datum import Extent

Method = Literal["nearest", "bilinear", "cubic", "cubic_spline", "lanczos", "average"]

_LARGEST_WARP_ERROR = 1e-3
"""Largest error of the positions that GDAL interpolates, in cells of the source."""

_BLOCK = 2048
"""Cells along the side of the blocks that are resampled one by one."""
_SAMPLES = 33
"""Places along each side of a block from which the part of the source that it needs is found."""
_KERNEL, _SPARE = 3.0, 4.0
"""Cells of the source that the widest kernel (Lanczos) needs on each side, and some to spare."""

_HALF_TURN = 180.0
_LARGEST_CELLS = 1e4
"""Ratio of the cells of a target and of the DEM, beyond which GDAL's kernels fill the memory."""
_LARGEST_GRID, _LARGEST_REFINEMENT = 1e8, 100.0
"""Cells of a target grid: at most the former, or the latter times those of the source."""


@dataclass(frozen=True)
class _Grid:
    """A grid with the northern row and the western column first."""

    crs: CRS
    y: npt.NDArray[np.float64]
    x: npt.NDArray[np.float64]

    @classmethod
    def of(cls, dem: xr.DataArray) -> _Grid:
        """Return the grid of a north-up DEM."""
        return cls(stated_crs(dem).to_2d(), dem["y"].values, dem["x"].values)

    def part(self, rows: slice, columns: slice) -> _Grid:
        """Return the grid of a part of at least 2 x 2 cells."""
        return _Grid(self.crs, self.y[rows], self.x[columns])

    @property
    def transform(self) -> Affine:
        dx = float(self.x[-1] - self.x[0]) / (self.x.size - 1)
        dy = float(self.y[-1] - self.y[0]) / (self.y.size - 1)
        return Affine(dx, 0.0, self.x[0] - dx / 2.0, 0.0, dy, self.y[0] - dy / 2.0)


def reproject(
    dem: xr.DataArray,
    crs: str | int | CRS | None = None,
    posting: float | tuple[float, float] | None = None,
    *,
    like: xr.DataArray | None = None,
    resampling: Method = "bilinear",
) -> xr.DataArray:
    """Resample a DEM to another reference system, posting, or grid.

    Only the grid changes: the heights keep their vertical datum. Where the new posting is coarser
    than the old one, the kernel of the interpolation widens with it; `coarsen` takes exact means.

    Parameters
    ----------
    dem : DataArray
        DEM with dims (y, x).
    crs : str, int or CRS, optional
        Horizontal reference system to go to. Give this or `like`.
    posting : float or tuple of float, optional
        Posting (or (dy, dx)) in units of `crs`; by default about that of the DEM. The cell edges
        lie at whole multiples of it, so that neighbouring tiles fit together.
    like : DataArray, optional
        Array with dims (y, x) whose grid and reference system are taken over exactly.
    resampling : str
        "nearest", "bilinear", "cubic", "cubic_spline", "lanczos" or "average".

    Returns
    -------
    DataArray
        The DEM on the new grid, void where it does not reach; lazy where the DEM is lazy and `like`
        is given. Geographic longitudes rise beyond 180 across the antimeridian.

    Raises
    ------
    DemError
        If the target is not given or not known, the DEM cannot be mapped to it, or the two do not
        meet.
    """
    dem = normalise(dem) if like is None else normalise(dem, lazy=True)
    if resampling not in get_args(Method):
        msg = f"resampling is one of {', '.join(get_args(Method))}, and this is {resampling!r}"
        raise DemError(msg)
    if (crs is None) == (like is None):
        msg = "give the target of reproject either as crs (with a posting) or as like, not both"
        raise DemError(msg)
    if like is not None:
        like = check_layout(like)
        target = _Grid.of(north_up(like))
    else:
        target = _target_grid(dem, parse_crs(crs if crs is not None else ""), posting)
    heights = _warp(dem, target, resampling)
    if isinstance(heights, np.ndarray) and not np.isfinite(heights).any():
        raise _apart(dem, target)
    resampled = build_dem(heights, target.y, target.x, target.crs, dem.attrs)
    if like is not None:
        resampled = stored_like(resampled, like)
    return with_history(
        resampled, f"reproject: {stated_crs(dem).name} to {target.crs.name}, {resampling}"
    )


def _target_grid(dem: xr.DataArray, crs: CRS, steps: float | tuple[float, float] | None) -> _Grid:
    """Choose the grid that covers a DEM in another reference system."""
    west, south, east, north = _extent_in(dem, crs)
    if steps is None:
        steps = _equivalent_posting(dem, crs, (west + east) / 2.0, (south + north) / 2.0)
    dy, dx = (float(step) for step in np.broadcast_to(steps, 2))
    if not (dy > 0.0 and dx > 0.0):
        msg = f"the posting must be positive, and it is {steps}"
        raise DemError(msg)
    if crs.is_geographic:
        shift = longitude_shift(west, dx)
        west, east = west + shift, east + shift
    _require_plausible_posting(dem, crs, (dy, dx), (north - south, east - west))
    return _Grid(crs, _multiples(south, north, dy)[::-1], _multiples(west, east, dx))


def _require_plausible_posting(
    dem: xr.DataArray, crs: CRS, steps: tuple[float, float], extent: tuple[float, float]
) -> None:
    """Raise if a posting makes less than one cell or too many: it is in another unit."""
    cells = (extent[0] / steps[0]) * (extent[1] / steps[1])
    if cells < 1.0 or cells > max(_LARGEST_GRID, _LARGEST_REFINEMENT * dem.size):
        msg = (
            f"a posting of {steps} would make {cells:.3g} cells of an extent of {extent[0]:.6g} x "
            f"{extent[1]:.6g}; it is in units of {crs.name!r} ({crs.axis_info[0].unit_name})"
        )
        raise DemError(msg)


def _multiples(low: float, high: float, step: float) -> npt.NDArray[np.float64]:
    """Return the centres of cells that cover [low, high], with edges at multiples of the step."""
    first = int(np.floor(low / step + 1e-6))
    stop = max(int(np.ceil(high / step - 1e-6)), first + 2)
    return np.asarray((np.arange(first, stop) + 0.5) * step, dtype=np.float64)


def _extent_in(dem: xr.DataArray, crs: CRS) -> Extent:
    """Find the extent (west, south, east, north) of a DEM in another reference system."""
    source, extent = stated_crs(dem), outer_edges(dem)
    if crs.is_geographic and not source.is_geographic:
        _require_no_pole(source, extent)
    x, y = sample_extent(extent, source, crs)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        msg = (
            f"part of the DEM lies where {crs.name!r} is not defined; crop the DEM, or choose "
            "another reference system"
        )
        raise DemError(msg)
    if crs.is_geographic:
        x = unwrap_longitude(x, float(x[x.shape[0] // 2, x.shape[1] // 2]))
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def _require_no_pole(crs: CRS, extent: Extent) -> None:
    """Refuse an extent that contains a pole, where longitude is undefined."""
    west, south, east, north = extent
    x, y = Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True).transform(
        [0.0, 0.0], [90.0, -90.0]
    )
    if any(west < px < east and south < py < north for px, py in zip(x, y, strict=True)):
        msg = (
            "the DEM contains a pole, where longitude is undefined; use a polar projection such as "
            "EPSG:3413 or EPSG:3031, or crop it"
        )
        raise DemError(msg)


def _equivalent_posting(dem: xr.DataArray, crs: CRS, x: float, y: float) -> tuple[float, float]:
    """Express the posting of a DEM in units of `crs`; square where `crs` is projected."""
    dy, dx = local_posting(dem)
    if not crs.is_geographic:
        dy = dx = float(np.sqrt(dy * dx))
    per_y, per_x = metres_per_unit(crs, x, y, 1e-4 if crs.is_geographic else 1.0)
    return dy / per_y, dx / per_x


def _warp(
    dem: xr.DataArray, target: _Grid, resampling: Method
) -> npt.NDArray[np.float32] | dask.array.Array:
    """Resample block by block; lazily where the DEM is lazy."""
    dem = north_up(dem)
    source, target = _centre_longitudes(_Grid.of(dem)), _centre_longitudes(target)
    back = Transformer.from_crs(target.crs, source.crs, always_xy=True)
    scales = _kernel_scales(source, target, back)
    rows, columns = (_blocks(axis.size) for axis in (target.y, target.x))
    parts = [[target.part(down, across) for across in columns] for down in rows]
    boxes = [[_source_box(part, source, back) for part in line] for line in parts]
    if dem.chunks is not None:
        if not any(box for line in boxes for box in line):
            raise _apart(dem, target)
        return _lazy_blocks(dem, source, parts, boxes, resampling, scales)
    warped = np.full((target.y.size, target.x.size), np.nan, dtype=np.float32)
    for (i, down), (j, across) in product(enumerate(rows), enumerate(columns)):
        part, box = parts[i][j], boxes[i][j]
        if box is not None:
            heights = dem.values[box]
            warped[down, across] = _warp_block(heights, source.part(*box), part, resampling, scales)
    return warped


def _lazy_blocks(
    dem: xr.DataArray,
    source: _Grid,
    parts: list[list[_Grid]],
    boxes: list[list[tuple[slice, slice] | None]],
    resampling: Method,
    scales: dict[str, float],
) -> dask.array.Array:
    """Make a lazy array of blocks; the task of each depends on its part of the source only."""
    import dask.array as da
    from dask.delayed import delayed

    def block(part: _Grid, box: tuple[slice, slice] | None) -> dask.array.Array:
        shape = part.y.size, part.x.size
        if box is None:
            return da.full(shape, np.nan, dtype=np.float32, chunks=-1)  # type: ignore[no-untyped-call, no-any-return]
        task = delayed(_warp_block, pure=False)(
            dem.data[box], source.part(*box), part, resampling, scales, check=True
        )
        return da.from_delayed(task, shape, dtype=np.float32)  # type: ignore[no-untyped-call, no-any-return]

    warped: dask.array.Array = da.block(  # type: ignore[no-untyped-call]
        [list(map(block, *line)) for line in zip(parts, boxes, strict=True)]
    )
    return warped


def _blocks(size: int) -> list[slice]:
    """Divide an axis; no block is a single cell."""
    edges = [*range(0, size - 1, _BLOCK), size]
    return [slice(first, end) for first, end in pairwise(edges)]


def _kernel_scales(source: _Grid, target: _Grid, back: Transformer) -> dict[str, float]:
    """Return cells of the target for one of the source, along rows and columns of the source.

    By default GDAL finds them from the outlines of each block, which are larger where grids are
    turned against each other, and smooths too much.

    Source: https://gdal.org/api/gdalwarp_cpp.html, options XSCALE and YSCALE
    """
    x, y = (float(axis[[0, -1]].mean()) for axis in (source.x, source.y))
    forth = Transformer.from_crs(source.crs, target.crs, always_xy=True)
    x, y = forth.transform(x, y)
    place, own = target.transform, source.transform
    # From the middle of the source by half a cell of the target to each side.
    across, down = back.transform(
        x + 0.5 * place.a * np.array([-1.0, 1.0, 0.0, 0.0]),
        y + 0.5 * place.e * np.array([0.0, 0.0, -1.0, 1.0]),
    )
    sizes = [
        float(np.hypot(values[1] - values[0], values[3] - values[2]) / abs(step))
        for values, step in ((across, own.a), (down, own.e))
    ]
    if not (np.isfinite(sizes).all() and min(sizes) > 0.0):
        return {}
    if max(sizes) > _LARGEST_CELLS:
        msg = (
            f"found a target grid whose cells are {max(sizes):.3g} times as large as those of the "
            f"DEM, expected {_LARGEST_CELLS:g} times at most: check the unit of its resolution"
        )
        raise DemError(msg)
    return {"XSCALE": 1.0 / sizes[0], "YSCALE": 1.0 / sizes[1]}


def _source_box(part: _Grid, source: _Grid, back: Transformer) -> tuple[slice, slice] | None:
    """Return the rows and columns of the source that a part of the target needs, if any."""
    place, own = part.transform, source.transform
    x, y = (
        np.linspace(first, first + step * size, _SAMPLES)
        for first, step, size in (
            (place.c, place.a, part.x.size),
            (place.f, place.e, part.y.size),
        )
    )
    across, down = back.transform(*np.meshgrid(x, y))
    found = []
    turns = source.crs.is_geographic and np.ptp(across) > _HALF_TURN  # around a pole, perhaps
    for values, first, step, size, cells in (
        (down, own.f, own.e, source.y.size, part.y.size),
        (across, own.c, own.a, source.x.size, part.x.size),
    ):
        position = (values - first) / step
        if turns or not np.isfinite(position).all():
            return slice(0, source.y.size), slice(0, source.x.size)
        low, high = float(position.min()), float(position.max())
        # The kernel widens where the target is coarser.
        margin = _KERNEL * max((high - low) / cells, 1.0) + _SPARE
        start, stop = max(int(low - margin), 0), min(int(np.ceil(high + margin)), size)
        if start >= stop:
            return None
        found.append(slice(max(min(start, size - 2), 0), max(stop, start + 2)))
    return found[0], found[1]


def _warp_block(
    heights: npt.NDArray[np.float32],
    source: _Grid,
    target: _Grid,
    resampling: Method,
    scales: dict[str, float],
    *,
    check: bool = False,
) -> npt.NDArray[np.float32]:
    """Resample by GDAL, with positions to a thousandth of a cell."""
    if check:
        require_possible(heights, source.y, source.x, void_allowed=True)
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            height=heights.shape[0],
            width=heights.shape[1],
            count=1,
            dtype="float32",
            transform=source.transform,
            nodata=np.nan,
        ) as stored:
            stored.write(np.ascontiguousarray(heights), 1)
        with (
            memory.open() as stored,
            WarpedVRT(
                stored,
                src_crs=_rasterio_crs(source.crs),
                crs=_rasterio_crs(target.crs),
                transform=target.transform,
                height=target.y.size,
                width=target.x.size,
                resampling=Resampling[resampling],
                src_nodata=np.nan,
                nodata=np.nan,
                tolerance=_LARGEST_WARP_ERROR,
                **scales,
            ) as warped,
        ):
            return np.asarray(warped.read(1), dtype=np.float32)


def _apart(dem: xr.DataArray, target: _Grid) -> DemError:
    """Make the error of a DEM and a grid that do not meet."""
    msg = (
        f"the DEM, edges (west, south, east, north) {outer_edges(dem)} in "
        f"{stated_crs(dem).name!r}, does not meet the target grid in {target.crs.name!r}, "
        f"x {target.x[0]:.6g} to {target.x[-1]:.6g}, y {target.y[-1]:.6g} to {target.y[0]:.6g}"
    )
    return DemError(msg)


def _centre_longitudes(grid: _Grid) -> _Grid:
    """Move the prime meridian to the centre of a geographic grid that exceeds -180 to 180.

    GDAL transforms to longitudes in that range only, and would leave the rest of the grid void.
    """
    west = grid.transform.c
    east = west + grid.transform.a * grid.x.size
    if not grid.crs.is_geographic or max(-west, east) <= _HALF_TURN:
        return grid
    middle = float(grid.x[[0, -1]].mean())
    rotation = RotatedLatitudeLongitudeConversion(o_lat_p=90.0, o_lon_p=0.0, lon_0=middle)
    return _Grid(DerivedGeographicCRS(grid.crs, rotation), grid.y, grid.x - middle)


def _rasterio_crs(crs: CRS) -> rasterio.crs.CRS:
    return rasterio.crs.CRS.from_wkt(crs.to_wkt())
