"""Elevation models on other grids, at coarser posting, and conditioned."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import rasterio.crs
from affine import Affine
from pyproj import CRS, Transformer
from pyproj.crs import DerivedGeographicCRS
from pyproj.crs.coordinate_operation import RotatedLatitudeLongitudeConversion
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.vrt import WarpedVRT

from sarheight.dem.datum import metres_per_unit, stated_crs, understood_crs, unwrapped
from sarheight.dem.layout import (
    accept,
    accept_layout,
    build,
    cell_steps,
    edges,
    local_posting,
    whole_turns,
    with_history,
)
from sarheight.errors import DemError

if TYPE_CHECKING:
    from types import ModuleType

    import numpy.typing as npt
    import xarray as xr
    from scipy import sparse

Method = Literal["nearest", "bilinear", "cubic", "cubic_spline", "lanczos", "average"]

_LARGEST_SHIFT = 1e-3
"""How far GDAL may place a cell from its exact position, in cells of the source."""

_POINTS_PER_SIDE = 101
_HALF_TURN = 180.0
_MOST_CELLS, _MOST_REFINED = 1e8, 100.0


@dataclass(frozen=True)
class _Grid:
    """A grid with the northern row and the western column first."""

    crs: CRS
    y: npt.NDArray[np.float64]
    x: npt.NDArray[np.float64]

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
        The DEM on the new grid, void where it does not reach. Geographic longitudes rise beyond
        180 across the antimeridian.

    Raises
    ------
    DemError
        If the target is not given or not known, the DEM cannot be mapped to it, or the two do not
        meet.
    """
    dem = accept(dem)
    if resampling not in get_args(Method):
        msg = f"resampling is one of {', '.join(get_args(Method))}, and this is {resampling!r}"
        raise DemError(msg)
    if (crs is None) == (like is None):
        msg = "give the target of reproject either as crs (with a posting) or as like, not both"
        raise DemError(msg)
    if like is not None:
        like = accept_layout(like)
        target = _Grid(stated_crs(like).to_2d(), _falling(like["y"]), _rising(like["x"]))
    else:
        target = _target(dem, understood_crs(crs if crs is not None else ""), posting)
    heights = _warped(dem, target, resampling)
    if not np.isfinite(heights).any():
        msg = (
            f"the DEM, edges (west, south, east, north) {edges(dem)} in {stated_crs(dem).name!r}, "
            f"does not meet the target grid in {target.crs.name!r}, x {target.x[0]:.6g} to "
            f"{target.x[-1]:.6g}, y {target.y[-1]:.6g} to {target.y[0]:.6g}"
        )
        raise DemError(msg)
    moved = build(heights, target.y, target.x, target.crs, dem.attrs)
    if like is not None:
        moved = moved.sel(y=like["y"].values, x=like["x"].values)
    return with_history(
        moved, f"reproject: {stated_crs(dem).name} to {target.crs.name}, {resampling}"
    )


def _falling(axis: xr.DataArray) -> npt.NDArray[np.float64]:
    return np.sort(axis.values)[::-1]


def _rising(axis: xr.DataArray) -> npt.NDArray[np.float64]:
    return np.sort(axis.values)


def _target(dem: xr.DataArray, crs: CRS, steps: float | tuple[float, float] | None) -> _Grid:
    """Grid that covers a DEM in another reference system."""
    west, south, east, north = _outline(dem, crs)
    if steps is None:
        steps = _similar_posting(dem, crs, (west + east) / 2.0, (south + north) / 2.0)
    dy, dx = (float(step) for step in np.broadcast_to(steps, 2))
    if not (dy > 0.0 and dx > 0.0):
        msg = f"the posting must be positive, and it is {steps}"
        raise DemError(msg)
    if crs.is_geographic:
        turn = whole_turns(west, dx)
        west, east = west + turn, east + turn
    _require_sense(dem, crs, (dy, dx), (north - south, east - west))
    return _Grid(crs, _multiples(south, north, dy)[::-1], _multiples(west, east, dx))


def _require_sense(
    dem: xr.DataArray, crs: CRS, steps: tuple[float, float], extent: tuple[float, float]
) -> None:
    """Catch a posting that was meant in another unit."""
    cells = (extent[0] / steps[0]) * (extent[1] / steps[1])
    if cells < 1.0 or cells > max(_MOST_CELLS, _MOST_REFINED * dem.size):
        msg = (
            f"a posting of {steps} would make {cells:.3g} cells of an extent of {extent[0]:.6g} x "
            f"{extent[1]:.6g}; it counts in units of {crs.name!r} ({crs.axis_info[0].unit_name})"
        )
        raise DemError(msg)


def _multiples(low: float, high: float, step: float) -> npt.NDArray[np.float64]:
    """Centres of the cells that cover [low, high], with edges at multiples of the step."""
    first = int(np.floor(low / step + 1e-6))
    stop = max(int(np.ceil(high / step - 1e-6)), first + 2)
    return np.asarray((np.arange(first, stop) + 0.5) * step, dtype=np.float64)


def _outline(dem: xr.DataArray, crs: CRS) -> tuple[float, float, float, float]:
    """Extent (west, south, east, north) of a DEM in another reference system."""
    source = stated_crs(dem)
    west, south, east, north = edges(dem)
    if crs.is_geographic:
        _require_no_pole(source, west, south, east, north)
    along = np.linspace(0.0, 1.0, _POINTS_PER_SIDE)
    x, y = np.meshgrid(west + (east - west) * along, south + (north - south) * along)
    x, y = Transformer.from_crs(source, crs, always_xy=True).transform(x, y)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        msg = (
            f"part of the DEM lies where {crs.name!r} is not defined; crop the DEM, or choose "
            "another reference system"
        )
        raise DemError(msg)
    if crs.is_geographic:
        x = unwrapped(x, float(x[_POINTS_PER_SIDE // 2, _POINTS_PER_SIDE // 2]))
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def _require_no_pole(crs: CRS, west: float, south: float, east: float, north: float) -> None:
    if crs.is_geographic:
        return
    x, y = Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True).transform(
        [0.0, 0.0], [90.0, -90.0]
    )
    if any(west < px < east and south < py < north for px, py in zip(x, y, strict=True)):
        msg = (
            "the DEM contains a pole, where longitudes end; stay in a polar projection such as "
            "EPSG:3413 or EPSG:3031, or crop it"
        )
        raise DemError(msg)


def _similar_posting(dem: xr.DataArray, crs: CRS, x: float, y: float) -> tuple[float, float]:
    """Find a posting in units of `crs` like that of a DEM: square on maps, as it is in degrees."""
    dy, dx = local_posting(dem)
    if not crs.is_geographic:
        dy = dx = float(np.sqrt(dy * dx))
    per_y, per_x = metres_per_unit(crs, x, y, 1e-4 if crs.is_geographic else 1.0)
    return dy / per_y, dx / per_x


def _warped(dem: xr.DataArray, target: _Grid, resampling: Method) -> npt.NDArray[np.float32]:
    """Let GDAL resample, with positions good to a thousandth of a cell."""
    source = _Grid(stated_crs(dem), _falling(dem["y"]), _rising(dem["x"]))
    heights = dem.sel(y=source.y, x=source.x).values
    source, target = _turned(source), _turned(target)
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
            stored.write(heights, 1)
        with (
            memory.open() as stored,
            WarpedVRT(
                stored,
                src_crs=_for_gdal(source.crs),
                crs=_for_gdal(target.crs),
                transform=target.transform,
                height=target.y.size,
                width=target.x.size,
                resampling=Resampling[resampling],
                src_nodata=np.nan,
                nodata=np.nan,
                tolerance=_LARGEST_SHIFT,
            ) as warped,
        ):
            return np.asarray(warped.read(1), dtype=np.float32)


def _turned(grid: _Grid) -> _Grid:
    """Count longitudes from the middle of a geographic grid that leaves -180 to 180.

    GDAL maps points to longitudes in that range only, and would not find the grid's other side.
    """
    west = grid.transform.c
    east = west + grid.transform.a * grid.x.size
    if not grid.crs.is_geographic or max(-west, east) <= _HALF_TURN:
        return grid
    middle = float(grid.x[[0, -1]].mean())
    turn = RotatedLatitudeLongitudeConversion(o_lat_p=90.0, o_lon_p=0.0, lon_0=middle)
    return _Grid(DerivedGeographicCRS(grid.crs, turn), grid.y, grid.x - middle)


def _for_gdal(crs: CRS) -> rasterio.crs.CRS:
    return rasterio.crs.CRS.from_wkt(crs.to_wkt())


# Area-weighted means of an elevation model over larger cells.

_WHOLE = 1e-6
_NEARLY_WHOLE = 1e-2
"""A ratio of postings in metres that is this close to a whole number, relatively, is taken for it:
map scale alone makes the 30 m of a UTM grid 29.99 to 30.03 m on the ground."""


def coarsen(
    dem: xr.DataArray,
    posting: float | tuple[float, float],
    *,
    units: Literal["m", "crs"] = "m",
    min_valid: float = 0.5,
) -> xr.DataArray:
    """Average a DEM over larger cells.

    Every new height is the mean of the old ones under the new cell, weighted by the area that each
    has in common with it; voids carry no weight. The ratio of postings need not be whole. The mean
    height over the ground stays the same.

    Parameters
    ----------
    dem : DataArray
        DEM with dims (y, x).
    posting : float or tuple of float
        New posting, or (dy, dx); not finer than the DEM's.
    units : {"m", "crs"}
        Whether the posting is in metres on the ground at the centre of the DEM, or in units of its
        reference system. In metres, within one per cent of a whole multiple of the DEM's posting,
        that multiple is taken.
    min_valid : float
        Least share of a new cell's area inside the DEM that must have heights (0 to 1); with less
        it is void.

    Returns
    -------
    DataArray
        The coarser DEM on a grid that starts at the same outer corner. The last row and column may
        reach beyond the DEM; they are the mean of what lies inside.

    Raises
    ------
    DemError
        If the posting is finer than the DEM's or leaves fewer than 2 x 2 cells, or the DEM is not
        usable.
    """
    from scipy import sparse

    dem = accept(dem)
    factors = _factors(dem, posting, units)
    dy, dx = cell_steps(dem)
    crs = stated_crs(dem)
    area = _row_areas(dem["y"].values, dy) if crs.is_geographic else np.ones(dem.shape[0])
    rows = _overlaps(dem.shape[0], factors[0]) @ sparse.diags_array(area)
    columns = _overlaps(dem.shape[1], factors[1])
    known = np.isfinite(dem.values)
    covered = rows @ known.astype(np.float64) @ columns.T
    total = rows @ np.where(known, dem.values, 0.0).astype(np.float64) @ columns.T
    inside = np.outer(rows.sum(axis=1), columns.sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        heights = np.where(covered >= np.maximum(min_valid, 1e-9) * inside, total / covered, np.nan)
    y = dem["y"].values[0] + dy * ((np.arange(heights.shape[0]) + 0.5) * factors[0] - 0.5)
    x = dem["x"].values[0] + dx * ((np.arange(heights.shape[1]) + 0.5) * factors[1] - 0.5)
    coarse = build(heights, y, x, crs, dem.attrs)
    return with_history(
        coarse, f"coarsen: by {factors[0]:.6g} x {factors[1]:.6g} cells (y, x), mean by area"
    )


def _factors(
    dem: xr.DataArray, posting: float | tuple[float, float], units: str
) -> tuple[float, float]:
    """How many old cells make a new one, along y and x."""
    if units not in ("m", "crs"):
        msg = f'units of the posting are "m" or "crs", and these are {units!r}'
        raise DemError(msg)
    wanted = tuple(float(step) for step in np.broadcast_to(posting, 2))
    present = local_posting(dem) if units == "m" else tuple(abs(step) for step in cell_steps(dem))
    factors = []
    for new, old, count in zip(wanted, present, dem.shape, strict=True):
        factor = new / old
        whole = max(1, round(factor))
        if abs(factor / whole - 1.0) < (_NEARLY_WHOLE if units == "m" else _WHOLE):
            factor = float(whole)
        if not (factor >= 1.0 and count / factor > 1.0 + _WHOLE):
            msg = (
                f"the DEM's posting (dy, dx) is {present}, and {wanted} was asked for ({units}); "
                "coarsen needs one that is not finer and leaves at least 2 x 2 cells "
                "(for a finer one: reproject)"
            )
            raise DemError(msg)
        factors.append(factor)
    return factors[0], factors[1]


def _overlaps(count: int, factor: float) -> sparse.csr_array:
    """Matrix (new, old) of the share of each old cell that lies in each new one."""
    from scipy import sparse

    new_count = int(np.ceil(count / factor - _WHOLE))
    old = np.arange(count)
    first = np.minimum((old / factor + _WHOLE / factor).astype(int), new_count - 1)
    after = np.clip(old + 1.0 - (first + 1.0) * factor, 0.0, 1.0)
    after[first + 1 >= new_count] = 0.0
    after[after < _WHOLE] = 0.0
    entries = np.concatenate([1.0 - after, after])
    new = np.concatenate([first, np.minimum(first + 1, new_count - 1)])
    matrix = sparse.csr_array(
        (entries, (new, np.concatenate([old, old]))), shape=(new_count, count)
    )
    matrix.eliminate_zeros()
    return matrix


def _row_areas(latitude: npt.NDArray[np.float64], step: float) -> npt.NDArray[np.float64]:
    """Relative areas of cells by latitude, on a sphere: difference of the sines of the edges."""
    edge = np.deg2rad(np.clip(latitude[:, None] + 0.5 * abs(step) * np.array([-1, 1]), -90, 90))
    return np.asarray(np.diff(np.sin(edge), axis=1)[:, 0] / np.deg2rad(abs(step)))


# Terrain conditioning: no pits that water could not leave.

ConditionMethod = Literal["fill", "breach"]
_METHODS = get_args(ConditionMethod)


def condition(dem: xr.DataArray, method: ConditionMethod = "fill") -> xr.DataArray:
    """Remove the depressions of a DEM, so that every cell drains to the edge.

    Depressions in a coarse or noisy DEM are mostly errors. Filling raises each to the height at
    which it spills (to one of its eight neighbours); breaching cuts an outlet through the rim.

    Parameters
    ----------
    dem : DataArray
        DEM with dims (y, x).
    method : {"fill", "breach"}
        "fill" is done by richdem where it is installed and by scikit-image otherwise, with the
        same result. "breach" needs richdem.

    Returns
    -------
    DataArray
        The conditioned DEM. Voids stay void: those at the edge drain what lies beside them, and
        across those inside water ponds like everywhere else.

    Raises
    ------
    DemError
        If the method is not known, or the DEM is not usable.
    ModuleNotFoundError
        If richdem is needed and not installed.

    References
    ----------
    Barnes, Lehman & Mulla, Priority-flood, Computers & Geosciences 62, 2014 (filling);
    Lindsay, Hydrological Processes 30, 2016 (breaching);
    Robinson & Whelan, Efficient morphological reconstruction, Pattern Recognition Letters 25, 2004.
    """
    if method not in _METHODS:
        msg = f"the method of conditioning is one of {_METHODS}, and this is {method!r}"
        raise DemError(msg)
    dem = accept(dem)
    richdem = _richdem()
    if richdem is None and method == "breach":
        msg = "breaching needs richdem, which is not installed; use condition(dem, 'fill')"
        raise ModuleNotFoundError(msg, name="richdem")
    known = np.isfinite(dem.values)
    floor = np.nanmin(dem.values) - np.float32(1.0)
    terrain = np.where(known, dem.values, floor)
    drained = _filled(terrain) if richdem is None else _by_richdem(richdem, terrain, floor, method)
    conditioned = dem.copy(data=np.where(known, drained, np.float32(np.nan)))
    changed = int(np.count_nonzero((conditioned.values != dem.values) & known))
    return with_history(conditioned, f"condition: {method}, {changed} cells changed")


def _richdem() -> ModuleType | None:
    """Load richdem if it works here.

    It inspects its requirements as it loads, and raises errors of every kind if it dislikes them.
    """
    try:
        return importlib.import_module("richdem")
    except Exception:  # noqa: BLE001
        return None


def _by_richdem(
    richdem: ModuleType, terrain: npt.NDArray[np.float32], void: np.float32, method: ConditionMethod
) -> npt.NDArray[np.float32]:
    """Hand the terrain to richdem, with voids marked by a height below all others."""
    grid: Any = richdem.rdarray(np.ascontiguousarray(terrain), no_data=float(void))
    grid.geotransform = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
    remove = richdem.FillDepressions if method == "fill" else richdem.BreachDepressions
    return np.asarray(remove(grid, topology="D8"), dtype=np.float32)


def _filled(terrain: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Let water that stands above everything sink until it rests on the terrain or its rims."""
    from skimage.morphology import reconstruction

    water = np.full_like(terrain, terrain.max())
    water[[0, -1], :] = terrain[[0, -1], :]
    water[:, [0, -1]] = terrain[:, [0, -1]]
    level = reconstruction(  # type: ignore[no-untyped-call]
        water, terrain, method="erosion", footprint=np.ones((3, 3))
    )
    return np.asarray(level, dtype=np.float32)
