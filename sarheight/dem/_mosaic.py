"""Joining tiles of one elevation model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sarheight.dem._crs import stated_crs
from sarheight.dem._layout import cell_steps, whole_turns
from sarheight.dem._record import build, history
from sarheight.dem._values import accept, require_heights
from sarheight.dem._vertical import stated_datum
from sarheight.errors import DemError, VerticalDatumError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt
    import xarray as xr

LARGEST_MISFIT = 0.02
"""How far, in cells, a tile may lie off the grid of the others."""

_FULL_TURN = 360.0

REPROJECT = "bring them to one grid first: reproject(tile, like=...)"
WARP = "bring them to one grid first, e.g. rio warp tile.tif same.tif --like other.tif"


def mosaic(dems: Iterable[xr.DataArray]) -> xr.DataArray:
    """Join the tiles of one elevation model on their common grid.

    Nothing is resampled. Where tiles overlap, the first one that is not void counts; where there
    is no tile the result is void. Tiles on the two sides of the antimeridian are joined there, with
    longitudes that rise beyond 180.

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
        If their heights are measured from different things.
    """
    tiles = [_north_up(accept(dem, void_allowed=True)) for dem in dems]
    if not tiles:
        msg = "there are no DEM tiles to join"
        raise DemError(msg)
    crs = stated_crs(tiles[0])
    _require_alike(tiles)
    columns = [tile["x"].values for tile in tiles]
    if crs.is_geographic:
        columns = _side_by_side(columns)
    rows = [tile["y"].values for tile in tiles]
    dy, dx = cell_steps(tiles[0])
    top, left = max(float(y[0]) for y in rows), min(float(x[0]) for x in columns)
    first_rows = [_cell(float(y[0]), top, dy) for y in rows]
    first_columns = [_cell(float(x[0]), left, dx) for x in columns]
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
    return build(heights, y, x, crs, _joint_attrs(tiles))


def _north_up(dem: xr.DataArray) -> xr.DataArray:
    dy, dx = cell_steps(dem)
    return dem.isel(
        y=slice(None, None, -1 if dy > 0 else 1), x=slice(None, None, 1 if dx > 0 else -1)
    )


def _require_alike(tiles: list[xr.DataArray]) -> None:
    first = tiles[0]
    crs, datum, steps = stated_crs(first), stated_datum(first), cell_steps(first)
    for tile in tiles[1:]:
        if stated_crs(tile) != crs:
            msg = (
                f"the tiles have different reference systems ({crs.name!r} and "
                f"{stated_crs(tile).name!r})"
            )
            raise DemError(msg, REPROJECT, file_advice=WARP)
        if stated_datum(tile) != datum:
            msg = (
                f"the tiles' heights are measured from different things ({datum or 'unstated'} and "
                f"{stated_datum(tile) or 'unstated'})"
            )
            advice = "convert each by to_ellipsoidal first"
            alike = "give only those that are measured from the same"
            raise VerticalDatumError(msg, advice, file_advice=alike)
        stretch = [
            abs(mine / theirs - 1.0) * size
            for mine, theirs, size in zip(cell_steps(tile), steps, tile.shape, strict=True)
        ]
        if max(stretch) > LARGEST_MISFIT:
            msg = f"the tiles have different postings, (dy, dx) = {steps} and {cell_steps(tile)}"
            raise DemError(msg, REPROJECT, file_advice=WARP)


def _side_by_side(columns: list[npt.NDArray[np.float64]]) -> list[npt.NDArray[np.float64]]:
    """Move tiles by whole turns so that together they span the least longitude."""
    west = np.array([x[0] for x in columns])
    width = np.array([x[-1] - x[0] for x in columns])
    best, least = west, float((west + width).max() - west.min())
    for start in west:
        moved = start + (west - start) % _FULL_TURN
        span = float((moved + width).max() - moved.min())
        if span < least - 1e-6:
            best, least = moved, span
    if best is west:
        return columns
    slack = abs(float(columns[0][1] - columns[0][0]))
    best = best + whole_turns(float(best.min()), slack)
    return [x + (new - old) for x, new, old in zip(columns, best, west, strict=True)]


def _cell(position: float, origin: float, step: float) -> int:
    cells = (position - origin) / step
    if abs(cells - round(cells)) > LARGEST_MISFIT:
        msg = f"a tile lies {abs(cells - round(cells)):.2f} cells off the grid of the others"
        raise DemError(msg, REPROJECT, file_advice=WARP)
    return round(cells)


def _joint_attrs(tiles: list[xr.DataArray]) -> dict[str, str]:
    attrs = dict(tiles[0].attrs)
    lines = dict.fromkeys(line for tile in tiles for line in history(tile))
    sources = dict.fromkeys(str(tile.attrs["source"]) for tile in tiles if "source" in tile.attrs)
    if sources:
        attrs["source"] = "; ".join(sources)
    attrs["history"] = "\n".join([*lines, f"mosaic: {len(tiles)} tiles"])
    return attrs
