"""Drawing sparse heights from an elevation model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sarheight.dem import check_dem
from sarheight.errors import PriorError
from sarheight.priors._grid import Grid, grid_of
from sarheight.priors._points import SparseHeights

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["draw_points", "draw_tracks"]

Pattern = Literal["random", "stratified"]
"""How places are chosen."""

SQUARE_KILOMETRE = 1e6


def draw_points(
    dem: xr.DataArray,
    count: int | None = None,
    *,
    density: float | None = None,
    pattern: Pattern = "random",
    error: float = 0.0,
    seed: int = 0,
) -> SparseHeights:
    """Draw heights at cells of an elevation model.

    Parameters
    ----------
    dem : xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x). Voids are never drawn.
    count : int, optional
        How many; either this or `density`. No cell is drawn twice.
    density : float, optional
        How many on a square kilometre.
    pattern : {"random", "stratified"}
        ``random``: every cell is equally likely. ``stratified``: the raster is divided into as
        many boxes, nearly square on the ground, as points are wanted, and one cell is drawn in
        each; what voids and the division leave over is drawn at random.
    error : float
        Standard deviation of a normal error that is added to each height, in metres; the points
        carry it as their `sigma`.
    seed : int
        Of the random numbers. The same seed draws the same points.

    Returns
    -------
    SparseHeights
        In the elevation model's reference system.

    Raises
    ------
    PriorError
        If not exactly one of `count` and `density` is given, a value is negative, or there are
        fewer cells with heights than points wanted.
    DemError
        If the elevation model is not usable.
    """
    if pattern not in get_args(Pattern):
        msg = f"found the pattern {pattern!r}, expected one of {', '.join(get_args(Pattern))}"
        raise PriorError(msg)
    dem = check_dem(dem)
    grid = grid_of(dem)
    heights = dem.values
    number = _wanted(grid, heights, count, density)
    _require_not_negative("error", error)
    rng = np.random.default_rng(seed)
    known = np.flatnonzero(np.isfinite(heights))
    boxes = number if pattern == "stratified" else 0
    chosen = _one_in_each(grid, heights, boxes, rng)
    others = np.setdiff1d(known, chosen, assume_unique=True)
    rest = rng.choice(others, number - chosen.size, replace=False)
    row, column = np.unravel_index(np.concatenate([chosen, rest]), heights.shape)
    return _points(dem, row, column, heights[row, column], error, rng)


def draw_tracks(
    dem: xr.DataArray,
    *,
    spacing: float,
    interval: float,
    azimuth: float = 8.0,
    error: float = 0.0,
    seed: int = 0,
) -> SparseHeights:
    """Draw heights along parallel lines, as a laser altimeter measures them.

    The heights are interpolated bilinearly between the cells. The first line lies at random.

    Parameters
    ----------
    dem : xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x). Where a line crosses voids there are
        no points.
    spacing : float
        Metres between lines.
    interval : float
        Metres between points of a line.
    azimuth : float
        Direction of the lines in degrees, clockwise from the raster's columns. ICESat-2's lines
        stray from the meridian by some 8 degrees at middle latitudes.
    error : float
        Standard deviation of a normal error that is added to each height, in metres.
    seed : int
        Of the random numbers.

    Returns
    -------
    SparseHeights
        In the elevation model's reference system, line after line.

    Raises
    ------
    PriorError
        If a distance is not positive, or the lines miss the heights altogether.
    DemError
        If the elevation model is not usable.
    """
    from scipy.ndimage import map_coordinates

    for name, value in (("spacing", spacing), ("interval", interval)):
        if not value > 0.0:
            msg = f"found {name}={value:g}, expected a distance in metres above 0"
            raise PriorError(msg)
    _require_not_negative("error", error)
    dem = check_dem(dem)
    grid = grid_of(dem)
    rng = np.random.default_rng(seed)
    extent = np.array(grid.posting) * (np.array(grid.shape) - 1.0)
    reach = float(np.hypot(*extent))
    across = np.arange(-reach / 2 + rng.uniform(0.0, spacing), reach / 2, spacing)
    along = np.arange(-reach / 2 + rng.uniform(0.0, interval), reach / 2, interval)
    turn = np.radians(azimuth)
    # Rows grow downwards whichever way y does: a line's direction is the same on the map.
    up = -1.0 if dem["y"].values[0] > dem["y"].values[-1] else 1.0
    right = 1.0 if dem["x"].values[-1] > dem["x"].values[0] else -1.0
    offset, distance = (part.ravel() for part in np.meshgrid(across, along, indexing="ij"))
    down = up * (distance * np.cos(turn) - offset * np.sin(turn)) + extent[0] / 2
    east = right * (distance * np.sin(turn) + offset * np.cos(turn)) + extent[1] / 2
    row, column = down / grid.posting[0], east / grid.posting[1]
    within = (row >= 0) & (row <= grid.shape[0] - 1) & (column >= 0) & (column <= grid.shape[1] - 1)
    row, column = row[within], column[within]
    heights = map_coordinates(dem.values.astype(np.float64), [row, column], order=1, mode="nearest")
    seen = np.isfinite(heights)
    if not seen.any():
        msg = (
            f"found no height under lines {spacing:g} m apart, expected some: take a smaller "
            "spacing, or an elevation model with fewer voids"
        )
        raise PriorError(msg)
    return _points(dem, row[seen], column[seen], heights[seen], error, rng)


def _wanted(
    grid: Grid, heights: NDArray[np.float32], count: int | None, density: float | None
) -> int:
    """Return how many points are wanted."""
    if (count is None) == (density is None):
        msg = f"found count={count} and density={density}, expected one of the two"
        raise PriorError(msg)
    known = int(np.isfinite(heights).sum())
    if count is None:
        _require_not_negative("density", density or 0.0)
        area = known * grid.posting[0] * grid.posting[1] / SQUARE_KILOMETRE
        count = round((density or 0.0) * area)
    if count != int(count) or not 0 <= count <= known:
        msg = (
            f"found {count} points wanted of {known} cells with heights, expected a whole number "
            "up to that"
        )
        raise PriorError(msg)
    return int(count)


def _require_not_negative(name: str, value: float) -> None:
    if not value >= 0.0:
        msg = f"found {name}={value:g}, expected none below 0"
        raise PriorError(msg)


def _one_in_each(
    grid: Grid, heights: NDArray[np.float32], number: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Draw one cell in each box of a division of the raster into at most `number` boxes."""
    rows, columns = grid.shape
    if number == 0:
        return np.empty(0, dtype=np.int64)
    height, width = rows * grid.posting[0], columns * grid.posting[1]
    down = int(np.clip(round(np.sqrt(number * height / width)), 1, min(number, rows)))
    across = min(number // down, columns)
    chosen = []
    for block in np.array_split(np.arange(rows), down):
        for part in np.array_split(np.arange(columns), across):
            cells = np.ix_(block, part)
            known = np.flatnonzero(np.isfinite(heights[cells]))
            if known.size:
                row, column = np.unravel_index(rng.choice(known), (block.size, part.size))
                chosen.append((block[row]) * columns + part[column])
    return np.array(chosen, dtype=np.int64)


def _points(
    dem: xr.DataArray,
    row: NDArray[np.floating] | NDArray[np.integer],
    column: NDArray[np.floating] | NDArray[np.integer],
    heights: NDArray[np.floating],
    error: float,
    rng: np.random.Generator,
) -> SparseHeights:
    y, x = (
        np.interp(place, np.arange(dem.sizes[name]), dem[name].values)
        for name, place in (("y", row), ("x", column))
    )
    found = np.asarray(heights, dtype=np.float64)
    return SparseHeights(
        x, y, found + error * rng.standard_normal(found.size), error, crs=dem.rio.crs
    )
