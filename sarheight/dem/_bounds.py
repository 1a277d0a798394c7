"""Which part of a raster meets a box in degrees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pyproj import CRS, Transformer

from sarheight.dem._crs import GEOGRAPHIC
from sarheight.dem._layout import whole_turns
from sarheight.errors import DemError

if TYPE_CHECKING:
    import numpy.typing as npt
    import rasterio.crs
    from affine import Affine

_POINTS_PER_SIDE = 101
_FULL_TURN, _POLE = 360.0, 90.0


@dataclass(frozen=True)
class Span:
    """A block of a raster's cells, moved by whole turns of longitude if need be."""

    transform: Affine
    row: int
    rows: int
    column: int
    columns: int
    turn: float = 0.0

    @classmethod
    def whole(cls, transform: Affine, shape: tuple[int, int]) -> Span:
        """All the cells of a raster."""
        return cls(transform, 0, shape[0], 0, shape[1])

    def y(self) -> npt.NDArray[np.float64]:
        """Positions of the pixel centres of the rows."""
        rows = self.row + np.arange(self.rows) + 0.5
        return np.asarray(self.transform.f + self.transform.e * rows)

    def x(self) -> npt.NDArray[np.float64]:
        """Positions of the pixel centres of the columns."""
        columns = self.column + np.arange(self.columns) + 0.5
        return np.asarray(self.transform.c + self.transform.a * columns + self.turn)


def bounds_spans(
    bounds: tuple[float, float, float, float],
    crs: rasterio.crs.CRS | None,
    transform: Affine,
    shape: tuple[int, int],
) -> list[Span]:
    """Blocks of a raster that meet a box: none, one, or two at the antimeridian.

    Parameters
    ----------
    bounds : tuple of float
        (west, south, east, north) in degrees; west > east or east > 180 across the antimeridian.
    crs : rasterio CRS or None
        Reference system of the raster.
    transform : Affine
        North-up geotransform of the raster.
    shape : tuple of int
        (rows, columns).

    Raises
    ------
    DemError
        If the box is not one, or the raster has no reference system to find it by.
    """
    west, south, east, north = _checked(bounds)
    if crs is None:
        msg = "the DEM has no coordinate reference system, so no bounds can be found in it"
        raise DemError(msg)
    horizontal = CRS.from_wkt(crs.to_wkt(version="WKT2_2019")).to_2d()
    if not horizontal.is_geographic:
        box = _projected(horizontal, west, south, east, north)
        return _blocks(transform, shape, box, (0.0,))
    turns = tuple(_FULL_TURN * turn for turn in (-2, -1, 0, 1, 2))
    return _blocks(transform, shape, (west, south, east, north), turns)


def _checked(bounds: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    west, south, east, north = (float(limit) for limit in bounds)
    east = east + _FULL_TURN if east < west else east
    turn = whole_turns(west, 0.0) if abs(west) <= _FULL_TURN else 0.0
    west, east = west + turn, east + turn
    ordered = -_POLE <= south < north <= _POLE and west < east <= west + _FULL_TURN
    if not (ordered and abs(west) <= _FULL_TURN):
        msg = (
            f"bounds are (west, south, east, north) in degrees, and these are {bounds}; latitudes "
            "lie between -90 and 90, south below north, and the box spans at most 360 degrees"
        )
        raise DemError(msg)
    return west, south, east, north


def _projected(
    crs: CRS, west: float, south: float, east: float, north: float
) -> tuple[float, float, float, float]:
    """Box in map coordinates around a box in degrees, whose sides may become curves."""
    along = np.linspace(0.0, 1.0, _POINTS_PER_SIDE)
    longitude, latitude = np.meshgrid(west + (east - west) * along, south + (north - south) * along)
    x, y = Transformer.from_crs(GEOGRAPHIC, crs, always_xy=True).transform(longitude, latitude)
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        msg = f"no part of the bounds lies where the DEM's reference system {crs.name!r} is defined"
        raise DemError(msg)
    x, y = x[known], y[known]
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def _blocks(
    transform: Affine,
    shape: tuple[int, int],
    box: tuple[float, float, float, float],
    turns: tuple[float, ...],
) -> list[Span]:
    west, south, east, north = box
    row, rows = _cells(transform.f, transform.e, shape[0], south, north)
    spans = []
    for turn in turns:
        column, columns = _cells(transform.c + turn, transform.a, shape[1], west, east)
        if rows and columns:
            spans.append(Span(transform, row, rows, column, columns, turn))
    return spans


def _cells(origin: float, step: float, count: int, low: float, high: float) -> tuple[int, int]:
    """First cell that meets the interval [low, high], and how many do (at least two if any)."""
    ends = sorted(((low - origin) / step, (high - origin) / step))
    first = max(0, int(np.floor(ends[0] + 1e-9)))
    stop = min(count, int(np.ceil(ends[1] - 1e-9)))
    if stop <= first:
        return first, 0
    if stop - first == 1:
        first, stop = max(0, first - 1), min(count, max(stop, 2))
    return first, stop - first
