"""DEMs of other cells: tiles joined, cells averaged, voids and depressions filled."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from rasterio.fill import fillnodata

from sarheight._runtime import library
from sarheight.dem.checked import north_up
from sarheight.dem.datum import FULL_TURN, stated_crs, stated_datum
from sarheight.dem.layout import (
    build_dem,
    cell_steps,
    history_lines,
    local_posting,
    longitude_shift,
    normalise,
    require_heights,
    with_history,
)
from sarheight.errors import DemError, MissingLibraryError, VerticalDatumError

if TYPE_CHECKING:
    from types import ModuleType

    import numpy.typing as npt
    import xarray as xr
    from scipy import sparse

# Joining tiles.

_LARGEST_OFFSET = 0.02
"""Largest offset of a tile from the grid of the others, in cells."""

_REPROJECT_ADVICE = "bring them to one grid first: reproject(tile, like=...)"
_WARP_ADVICE = "bring them to one grid first, e.g. rio warp tile.tif same.tif --like other.tif"


def mosaic(dems: Iterable[xr.DataArray]) -> xr.DataArray:
    """Join the tiles of a DEM on their common grid, without resampling.

    Where tiles overlap, the first that is not void counts; where there is none the result is void.
    Tiles on both sides of the antimeridian are joined there, with longitudes that rise beyond 180.

    Parameters
    ----------
    dems : iterable of DataArray
        Tiles with dims (y, x), all of one reference system, vertical datum, posting and phase.

    Returns
    -------
    DataArray
        One DEM, northern row first, western column first (float32 metres).

    Raises
    ------
    DemError
        If there is no tile, or they differ in reference system, posting, or phase.
    VerticalDatumError
        If their vertical datums differ.
    """
    tiles = [north_up(normalise(dem, void_allowed=True)) for dem in dems]
    if not tiles:
        msg = "there are no DEM tiles to join"
        raise DemError(msg)
    crs = stated_crs(tiles[0])
    _require_same_grid(tiles)
    columns = [tile["x"].values for tile in tiles]
    if crs.is_geographic:
        columns = _unwrap_tiles(columns)
    rows = [tile["y"].values for tile in tiles]
    dy, dx = cell_steps(tiles[0])
    top, left = max(float(y[0]) for y in rows), min(float(x[0]) for x in columns)
    first_rows = [_cell_offset(float(y[0]), top, dy) for y in rows]
    first_columns = [_cell_offset(float(x[0]), left, dx) for x in columns]
    shape = (
        max(row + y.size for row, y in zip(first_rows, rows, strict=True)),
        max(column + x.size for column, x in zip(first_columns, columns, strict=True)),
    )
    heights = np.full(shape, np.nan, dtype=np.float32)
    for tile, row, column in zip(tiles, first_rows, first_columns, strict=True):
        part = heights[row : row + tile.shape[0], column : column + tile.shape[1]]
        np.copyto(part, tile.values, where=np.isnan(part))
    require_heights(heights)
    y, x = top + dy * np.arange(shape[0]), left + dx * np.arange(shape[1])
    return build_dem(heights, y, x, crs, _merge_attrs(tiles))


def _require_same_grid(tiles: list[xr.DataArray]) -> None:
    """Refuse tiles of different reference systems, vertical datums or postings."""
    first = tiles[0]
    crs, datum, steps = stated_crs(first), stated_datum(first), cell_steps(first)
    for tile in tiles[1:]:
        if stated_crs(tile) != crs:
            msg = (
                f"the tiles have different reference systems ({crs.name!r} and "
                f"{stated_crs(tile).name!r})"
            )
            raise DemError(msg, _REPROJECT_ADVICE, file_advice=_WARP_ADVICE)
        if stated_datum(tile) != datum:
            msg = (
                f"the tiles have different vertical datums ({datum or 'unstated'} and "
                f"{stated_datum(tile) or 'unstated'})"
            )
            advice = "convert each by to_ellipsoidal first"
            raise VerticalDatumError(msg, advice, file_advice="give only tiles of one datum")
        stretch = [
            abs(mine / theirs - 1.0) * size
            for mine, theirs, size in zip(cell_steps(tile), steps, tile.shape, strict=True)
        ]
        if max(stretch) > _LARGEST_OFFSET:
            msg = f"the tiles have different postings, (dy, dx) = {steps} and {cell_steps(tile)}"
            raise DemError(msg, _REPROJECT_ADVICE, file_advice=_WARP_ADVICE)


def _unwrap_tiles(columns: list[npt.NDArray[np.float64]]) -> list[npt.NDArray[np.float64]]:
    """Shift tiles by multiples of 360 degrees so that they span the least longitude together."""
    west = np.array([x[0] for x in columns])
    width = np.array([x[-1] - x[0] for x in columns])
    best, least = west, float((west + width).max() - west.min())
    for start in west:
        moved = start + (west - start) % FULL_TURN
        span = float((moved + width).max() - moved.min())
        if span < least - 1e-6:
            best, least = moved, span
    if best is west:
        return columns
    slack = abs(float(columns[0][1] - columns[0][0]))
    best = best + longitude_shift(float(best.min()), slack)
    return [x + (new - old) for x, new, old in zip(columns, best, west, strict=True)]


def _cell_offset(position: float, origin: float, step: float) -> int:
    """Return the number of cells between two positions, which must be whole."""
    cells = (position - origin) / step
    if abs(cells - round(cells)) > _LARGEST_OFFSET:
        msg = f"a tile lies {abs(cells - round(cells)):.2f} cells off the grid of the others"
        raise DemError(msg, _REPROJECT_ADVICE, file_advice=_WARP_ADVICE)
    return round(cells)


def _merge_attrs(tiles: list[xr.DataArray]) -> dict[str, str]:
    """Join the sources and histories of tiles; other attributes are those of the first."""
    attrs = dict(tiles[0].attrs)
    lines = dict.fromkeys(line for tile in tiles for line in history_lines(tile))
    sources = dict.fromkeys(str(tile.attrs["source"]) for tile in tiles if "source" in tile.attrs)
    if sources:
        attrs["source"] = "; ".join(sources)
    attrs["history"] = "\n".join([*lines, f"mosaic: {len(tiles)} tiles"])
    return attrs


# Area-weighted means over larger cells.

_INTEGER_TOLERANCE = 1e-6
_METRE_TOLERANCE = 1e-2
"""Relative tolerance to which a ratio of postings in metres is rounded to an integer: the map scale
of UTM alone makes 30 m into 29.99 to 30.03 m on the ground."""


def coarsen(
    dem: xr.DataArray,
    posting: float | tuple[float, float],
    *,
    units: Literal["m", "crs"] = "m",
    min_valid: float = 0.5,
) -> xr.DataArray:
    """Average a DEM over larger cells.

    Every new height is the mean of the old ones under the new cell, weighted by the area that both
    cells share; voids have no weight. The ratio of postings need not be an integer. The mean height
    over the area is conserved.

    Parameters
    ----------
    dem : DataArray
        DEM with dims (y, x).
    posting : float or tuple of float
        New posting, or (dy, dx); not finer than the DEM's.
    units : {"m", "crs"}
        Whether the posting is in metres on the ground at the centre of the DEM, or in units of its
        reference system. A posting in metres within one per cent of an integer multiple of the
        DEM's posting is rounded to it.
    min_valid : float
        Least fraction (0 to 1) of a new cell's area inside the DEM that must have heights; with
        less the cell is void.

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

    dem = normalise(dem)
    factors = _cells_per_cell(dem, posting, units)
    dy, dx = cell_steps(dem)
    crs = stated_crs(dem)
    area = _row_areas(dem["y"].values, dy) if crs.is_geographic else np.ones(dem.shape[0])
    rows = _overlap_matrix(dem.shape[0], factors[0]) @ sparse.diags_array(area)
    columns = _overlap_matrix(dem.shape[1], factors[1])
    known = np.isfinite(dem.values)
    covered = rows @ known.astype(np.float64) @ columns.T
    total = rows @ np.where(known, dem.values, 0.0).astype(np.float64) @ columns.T
    inside = np.outer(rows.sum(axis=1), columns.sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        heights = np.where(covered >= np.maximum(min_valid, 1e-9) * inside, total / covered, np.nan)
    y = dem["y"].values[0] + dy * ((np.arange(heights.shape[0]) + 0.5) * factors[0] - 0.5)
    x = dem["x"].values[0] + dx * ((np.arange(heights.shape[1]) + 0.5) * factors[1] - 0.5)
    coarse = build_dem(heights, y, x, crs, dem.attrs)
    return with_history(
        coarse, f"coarsen: by {factors[0]:.6g} x {factors[1]:.6g} cells (y, x), mean by area"
    )


def _cells_per_cell(
    dem: xr.DataArray, posting: float | tuple[float, float], units: str
) -> tuple[float, float]:
    """Return the number of old cells in a new one along y and x."""
    if units not in ("m", "crs"):
        msg = f'units of the posting are "m" or "crs", and these are {units!r}'
        raise DemError(msg)
    requested = tuple(float(step) for step in np.broadcast_to(posting, 2))
    present = local_posting(dem) if units == "m" else tuple(abs(step) for step in cell_steps(dem))
    factors = []
    for new, old, count in zip(requested, present, dem.shape, strict=True):
        factor = new / old
        whole = max(1, round(factor))
        if abs(factor / whole - 1.0) < (_METRE_TOLERANCE if units == "m" else _INTEGER_TOLERANCE):
            factor = float(whole)
        if not (factor >= 1.0 and count / factor > 1.0 + _INTEGER_TOLERANCE):
            msg = (
                f"the DEM's posting (dy, dx) is {present}, and the requested one {requested} "
                f"({units}); coarsen needs one that is not finer and leaves at least 2 x 2 cells "
                "(for a finer one: reproject)"
            )
            raise DemError(msg)
        factors.append(factor)
    return factors[0], factors[1]


def _overlap_matrix(count: int, factor: float) -> sparse.csr_array:
    """Make the matrix (new, old) of the fraction of each old cell that lies in each new one."""
    from scipy import sparse

    new_count = int(np.ceil(count / factor - _INTEGER_TOLERANCE))
    old = np.arange(count)
    first = np.minimum((old / factor + _INTEGER_TOLERANCE / factor).astype(int), new_count - 1)
    after = np.clip(old + 1.0 - (first + 1.0) * factor, 0.0, 1.0)
    after[first + 1 >= new_count] = 0.0
    after[after < _INTEGER_TOLERANCE] = 0.0
    entries = np.concatenate([1.0 - after, after])
    new = np.concatenate([first, np.minimum(first + 1, new_count - 1)])
    matrix = sparse.csr_array(
        (entries, (new, np.concatenate([old, old]))), shape=(new_count, count)
    )
    matrix.eliminate_zeros()
    return matrix


def _row_areas(latitude: npt.NDArray[np.float64], step: float) -> npt.NDArray[np.float64]:
    """Return relative areas of cells by latitude, on a sphere: differences of the edges' sines."""
    edge = np.deg2rad(np.clip(latitude[:, None] + 0.5 * abs(step) * np.array([-1, 1]), -90, 90))
    return np.asarray(np.diff(np.sin(edge), axis=1)[:, 0] / np.deg2rad(abs(step)))


# Voids and depressions: filling and conditioning.


def fill_voids(
    dem: xr.DataArray, *, max_distance: float = 1000.0, smoothing: int = 0
) -> xr.DataArray:
    """Fill voids by interpolating between the heights around them.

    Every void cell becomes the mean, weighted by inverse distance, of the nearest heights in
    several directions (GDAL's fillnodata). Other heights are unchanged. Errors of filled
    heights grow with the distance from data.

    Parameters
    ----------
    dem : DataArray
        DEM with dims (y, x).
    max_distance : float
        Largest distance from a height at which a void is filled, in metres. Where the posting
        differs along y and x, the coarser one counts, and the distance along the other is shorter.
    smoothing : int
        Passes of a 3 x 3 mean over the filled cells.

    Returns
    -------
    DataArray
        The DEM with filled voids. The attributes `voids_filled` and `voids_left` count cells.

    Raises
    ------
    DemError
        If the distance is shorter than one posting, or the DEM is not usable.
    """
    dem = normalise(dem)
    posting = max(local_posting(dem))
    if max_distance < posting:
        msg = (
            f"max_distance is {max_distance:g} m, shorter than the DEM's posting of "
            f"{posting:.4g} m: no void could be filled"
        )
        raise DemError(msg)
    known = np.isfinite(dem.values)
    interpolated = fillnodata(
        np.where(known, dem.values, np.nan),
        mask=known.astype(np.uint8),
        max_search_distance=max_distance / posting,
        smoothing_iterations=smoothing,
    )
    filled = dem.copy(data=np.where(known, dem.values, interpolated))
    left = int(np.count_nonzero(np.isnan(filled.values)))
    count = int(np.count_nonzero(~known)) - left
    filled.attrs = {**dem.attrs, "voids_filled": count, "voids_left": left}
    return with_history(
        filled, f"fill_voids: {count} void cells filled within {max_distance:g} m, {left} left"
    )


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
        "fill" uses richdem where it is installed and scikit-image (extra ``condition``) otherwise,
        with the same result. "breach" needs richdem.

    Returns
    -------
    DataArray
        The conditioned DEM. Voids stay void: those at the edge are outlets, and those inside are
        filled across like other depressions.

    Raises
    ------
    DemError
        If the method is not known, or the DEM is not usable.
    MissingLibraryError
        If the library that is needed is not installed.

    References
    ----------
    Barnes, Lehman & Mulla, Priority-flood, Computers & Geosciences 62, 2014 (filling);
    Lindsay, Hydrological Processes 30, 2016 (breaching);
    Robinson & Whelan, Efficient morphological reconstruction, Pattern Recognition Letters 25, 2004.
    """
    if method not in _METHODS:
        msg = f"the method of conditioning is one of {_METHODS}, and this is {method!r}"
        raise DemError(msg)
    dem = normalise(dem)
    richdem = _import_richdem()
    if richdem is None and method == "breach":
        msg = "breaching needs richdem, which is not installed: install it, or use 'fill'"
        raise MissingLibraryError(msg)
    known = np.isfinite(dem.values)
    floor = np.nanmin(dem.values) - np.float32(1.0)
    terrain = np.where(known, dem.values, floor)
    drained = (
        _fill_depressions(terrain)
        if richdem is None
        else _run_richdem(richdem, terrain, floor, method)
    )
    conditioned = dem.copy(data=np.where(known, drained, np.float32(np.nan)))
    changed = int(np.count_nonzero((conditioned.values != dem.values) & known))
    return with_history(conditioned, f"condition: {method}, {changed} cells changed")


def _import_richdem() -> ModuleType | None:
    """Import richdem, or return None.

    It checks its requirements when it is imported, and raises errors of any kind.
    """
    try:
        return importlib.import_module("richdem")
    except Exception:  # noqa: BLE001
        return None


def _run_richdem(
    richdem: ModuleType, terrain: npt.NDArray[np.float32], void: np.float32, method: ConditionMethod
) -> npt.NDArray[np.float32]:
    """Fill or breach depressions by richdem; `void` is a height below all others."""
    grid: Any = richdem.rdarray(np.ascontiguousarray(terrain), no_data=float(void))
    grid.geotransform = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
    remove = richdem.FillDepressions if method == "fill" else richdem.BreachDepressions
    return np.asarray(remove(grid, topology="D8"), dtype=np.float32)


def _fill_depressions(terrain: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Fill depressions by reconstruction: erode a raised surface down to the terrain."""
    morphology = library("skimage.morphology")
    water = np.full_like(terrain, terrain.max())
    water[[0, -1], :] = terrain[[0, -1], :]
    water[:, [0, -1]] = terrain[:, [0, -1]]
    level = morphology.reconstruction(water, terrain, method="erosion", footprint=np.ones((3, 3)))
    return np.asarray(level, dtype=np.float32)
