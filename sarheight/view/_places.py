r"""The places that share the pixels of a cell, found when they are asked for.

Two places share a pixel where azimuth time and slant range agree. They lie on a line across the
track, at most :math:`H / \tan\theta` apart for a height difference :math:`H`: only a strip of the
DEM is read, whatever the size of the scene.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray

from sarheight.dem import to_grid
from sarheight.dem.checked import assume_ellipsoidal
from sarheight.errors import GeometryError, SarheightError
from sarheight.geometry import geo2rdr, look_vector
from sarheight.geometry.placement import crop_grid_to_dem
from sarheight.illumination.simulate import is_illuminated
from sarheight.layover import Mapping, mapping, masks
from sarheight.view._layers import HEIGHTS, POLARISATION, TIME, Entry, Floats, ResultView

if TYPE_CHECKING:
    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit

Bounds = tuple[float, float, float, float]
Dem = xr.DataArray | Callable[[Bounds], xr.DataArray]
"""A DEM, or a function that opens the part of one within west, south, east, north in degrees."""
Box = tuple[slice, slice]
"""Rows and columns of a result."""

LAND = (-500.0, 9000.0)
"""Range of all land, in metres above the ellipsoid."""
COARSE = 8
"""Cells over which heights are averaged to find their range."""
RELIEF_MARGIN = 100.0
"""Metres by which a summit may rise above the mean of such a square."""
REACH = 1.27
"""Factor on the distance of places that share a pixel: footprints reach beyond their facets, and
the Earth is curved; see `sarheight.layover.tiles`."""
BORDER = 8
"""Cells around a strip, for the footprints of neighbouring cells."""
STRIP = 12
"""Cells to either side of a line across the track that can share its pixels."""
LEAST_SHARE = 5e-4
"""Smaller shares are not listed."""
PROFILE_POINTS = 241
RELIEF_STEP = 16
"""Coarsest step at which heights of a DEM beside the result are read for its relief."""
DEM_MARGIN = 0.005
"""Degrees of a DEM around a window, for its resampling."""
NO_GEOMETRY = (
    "To see which places share pixels, the sampling and the orbit of the image are needed, and "
    "this result does not hold them: pass --like with the product, its annotation or the radar "
    "image, and --orbit if another orbit was used"
)
NO_HEIGHTS = (
    "To see which places share pixels, heights are needed, and this result does not hold them: "
    "pass --dem (and --vertical) with the elevation model, or reconstruct with --heights"
)
NO_HEIGHT = "the elevation model has no height here"
OUTSIDE = "This place lies beside the image"


@dataclass(frozen=True, eq=False)
class Strip:
    """A part of a result with all that can share pixels with some of its cells."""

    box: Box
    mapping: Mapping
    gamma: Floats | None  # reconstructed gamma0 by polarisation, (polarisations, rows, columns)
    heights: xr.DataArray  # dims (y, x)
    grid: RadarGrid


class Places:
    """Finds which cells of a result share pixels."""

    def __init__(
        self,
        view: ResultView,
        passes: list[tuple[RadarGrid, Orbit]],
        dem: Dem | None = None,
    ) -> None:
        self.view = view
        self.passes = passes
        self.dem = dem
        self.problem = ""
        if len(passes) != view.size(TIME):
            self.problem = NO_GEOMETRY
        elif dem is None and HEIGHTS not in view.dataset:
            self.problem = NO_HEIGHTS

    # Heights.

    def relief(self, rows: slice, columns: slice, step: int) -> Floats | None:
        """Return heights of a window for its relief; None where too much would be read."""
        if step > RELIEF_STEP:
            return None
        return self.heights(rows, columns, step).values

    def heights(self, rows: slice, columns: slice, step: int = 1) -> xr.DataArray:
        """Return heights of a window on the grid of the result, averaged over `step` cells."""
        view = self.view
        counts = [-(-(part.stop - part.start) // step) for part in (rows, columns)]
        middle = [
            part.start + step * np.arange(n) + 0.5 * (step - 1)
            for part, n in zip((rows, columns), counts, strict=True)
        ]
        x, _ = view.coordinates(0, middle[1])
        _, y = view.coordinates(middle[0], 0)
        if self.dem is None:
            with view.lock:
                values = view.reader.read(HEIGHTS, {}, rows, columns, step)
            return _dem(values, y, x, view)
        from affine import Affine
        from odc.geo.geobox import GeoBox

        down, across = (size * step for size in view.steps)
        corner = Affine(across, 0.0, x[0] - 0.5 * across, 0.0, down, y[0] - 0.5 * down)
        dem = self.dem if isinstance(self.dem, xr.DataArray) else self.dem(self._bounds(x, y))
        try:
            with warnings.catch_warnings():
                # That the grid is finer than the DEM was said when the result was made.
                warnings.filterwarnings("ignore", "the grid's resolution")
                placed = to_grid(dem, GeoBox(tuple(counts), corner, view.crs.to_wkt()))
        except SarheightError:  # the DEM ends before this window
            return _dem(np.full(counts, np.nan, np.float32), y, x, view)
        return _dem(placed.values, y, x, view)

    def _bounds(self, x: NDArray[Any], y: NDArray[Any]) -> Bounds:
        """Return the bounds of cells in degrees, with a margin."""
        edge_x = np.concatenate([x, x, np.full(y.size, x[0]), np.full(y.size, x[-1])])
        edge_y = np.concatenate([np.full(x.size, y[0]), np.full(x.size, y[-1]), y, y])
        longitude, latitude = self.view.to_degrees.transform(edge_x, edge_y)
        return (
            float(longitude.min()) - DEM_MARGIN,
            max(float(latitude.min()) - DEM_MARGIN, -90.0),
            float(longitude.max()) + DEM_MARGIN,
            min(float(latitude.max()) + DEM_MARGIN, 90.0),
        )

    # A strip across the track.

    def look(self, row: float, column: float, height: float, date: int) -> tuple[float, float]:
        """Return incidence on the ellipsoid and azimuth from radar to ground at a cell, degrees."""
        longitude, latitude = self.view.places(row, column)
        grid, orbit = self.passes[date]
        towards = look_vector((float(longitude), float(latitude), height), grid, orbit)
        up, east, north = (float(towards[name]) for name in ("up", "east", "north"))
        if not math.isfinite(up):
            msg = "the orbit of the image does not pass this place"
            raise GeometryError(msg)
        azimuth = math.degrees(math.atan2(-east, -north)) % 360.0
        return math.degrees(math.acos(min(up, 1.0))), azimuth

    def _around(self, box: Box, incidence: float, azimuth: float, span: float) -> Box:
        """Widen a box by the distance at which heights of a range can share its pixels."""
        reach = REACH * span / math.tan(math.radians(incidence))
        if "mask" not in self.view.dataset:  # what casts shadow on these places
            reach += span * math.tan(math.radians(incidence))
        middle = [0.5 * (part.start + part.stop - 1) for part in box]
        ahead = self.direction(middle[0], middle[1], azimuth)
        wide = []
        for part, along, size in zip(box, ahead, self.view.shape, strict=True):
            cells = math.ceil(abs(along) * reach) + BORDER
            wide.append(slice(max(part.start - cells, 0), min(part.stop + cells, size)))
        return wide[0], wide[1]

    def direction(self, row: float, column: float, azimuth: float) -> tuple[float, float]:
        """Return the rows and columns of a metre towards an azimuth."""
        view, metres = self.view, 1000.0
        longitude, latitude = view.places(row, column)
        there = pyproj.Geod(ellps="WGS84").fwd(longitude, latitude, azimuth, metres)
        x, y = view.to_degrees.transform(there[0], there[1], direction="INVERSE")
        x0, y0 = view.coordinates(row, column)
        down, across = view.steps
        return float((y - y0) / down) / metres, float((x - x0) / across) / metres

    def strip(self, box: Box, date: int) -> tuple[Strip, float, float]:
        """Map the cells of a box and all that share pixels with them.

        Returns the strip, and incidence and azimuth at its middle.
        """
        middle = [0.5 * (part.start + part.stop - 1) for part in box]
        rows, columns = (
            slice(max(part.start - 1, 0), min(part.stop + 1, size))
            for part, size in zip(box, self.view.shape, strict=True)
        )
        near = self.heights(rows, columns)
        known = near.values[np.isfinite(near.values)]
        if known.size == 0:
            raise GeometryError(NO_HEIGHT)
        level = float(known.mean())
        incidence, azimuth = self.look(middle[0], middle[1], level, date)
        widest = self._around(box, incidence, azimuth, LAND[1] - LAND[0])
        small = min(part.stop - part.start for part in widest) < 2 * COARSE
        coarse = self.heights(*widest, 1 if small else COARSE).values
        span = float(np.nanmax(coarse) - np.nanmin(coarse)) + 2.0 * RELIEF_MARGIN
        wide = self._around(box, incidence, azimuth, span)
        heights = self.heights(*wide)
        grid, orbit = self.passes[date]
        lit = self._illuminated(wide, heights, date) & self._near_line(box, wide, azimuth)
        try:
            cropped = crop_grid_to_dem(heights, grid, orbit)
        except GeometryError as error:
            raise GeometryError(OUTSIDE) from error
        found = mapping(heights, cropped, orbit, illuminated=heights.copy(data=lit))
        return Strip(wide, found, self._gamma(wide, date), heights, cropped), incidence, azimuth

    def _illuminated(self, box: Box, heights: xr.DataArray, date: int) -> NDArray[np.bool_]:
        """Tell from the mask of the result, or by the heights, which cells the radar sees."""
        if "mask" in self.view.dataset:
            with self.view.lock:
                codes = self.view.reader.read("mask", {TIME: date}, *box, 1)
        else:
            codes = masks(heights, *self.passes[date])["mask"].values
        return is_illuminated(np.nan_to_num(codes, nan=255.0).astype(np.uint8))

    def _near_line(self, box: Box, wide: Box, azimuth: float) -> NDArray[np.bool_]:
        """Tell which cells lie on lines across the track through the cells of a box."""
        middle = [0.5 * (part.start + part.stop - 1) for part in box]
        down, across = self.direction(middle[0], middle[1], azimuth)
        length = math.hypot(down, across)
        # Distance in cells from the line through the middle, along the normal (-across, down).
        normal = -across / length, down / length
        row, column = np.ogrid[wide[0], wide[1]]
        distance = np.abs((row - middle[0]) * normal[0] + (column - middle[1]) * normal[1])
        half = [0.5 * (part.stop - part.start) for part in box]
        inner = half[0] * abs(normal[0]) + half[1] * abs(normal[1])
        near: NDArray[np.bool_] = distance <= inner + STRIP
        return near

    def _gamma(self, box: Box, date: int) -> Floats | None:
        view = self.view
        if "gamma0" not in view.dataset:
            return None
        with view.lock:
            layers = [
                view.reader.read("gamma0", {TIME: date, POLARISATION: index}, *box, 1)
                for index in range(view.size(POLARISATION))
            ]
        return np.stack(layers)

    # What a click shows.

    def at(self, row: int, column: int, entry: Entry) -> dict[str, Any]:
        """Describe a cell, and list the cells that share its pixels, in a form that JSON holds.

        Each of ``cells`` has row, column, share of the projected area, share of the RCS with the
        reconstructed gamma0 (None without one), and height. ``outside`` are the shares of what is
        not listed one by one.
        """
        if self.problem:
            return {"row": row, "column": column, "problem": self.problem}
        date = entry.get(TIME, 0)
        box = slice(row, row + 1), slice(column, column + 1)
        try:
            with self.view.lock:
                strip, incidence, azimuth = self.strip(box, date)
                return self._described(strip, row, column, entry) | {
                    "incidence": round(incidence, 2),
                    "azimuth": round(azimuth, 2),
                    "profile": self._profile(strip, row, column, azimuth),
                }
        except SarheightError as error:
            return {"row": row, "column": column, "problem": str(error)}

    def _described(self, strip: Strip, row: int, column: int, entry: Entry) -> dict[str, Any]:
        """List the cells that share pixels with one, with the larger of both shares first."""
        down, across = strip.box[0].start, strip.box[1].start
        height = float(strip.heights.values[row - down, column - across])
        if not math.isfinite(height):
            raise GeometryError(NO_HEIGHT)
        longitude, latitude = self.view.places(row, column)
        grid, orbit = self.passes[entry.get(TIME, 0)]
        pixel = geo2rdr((float(longitude), float(latitude), height), grid, orbit)
        answer: dict[str, Any] = {
            "row": row,
            "column": column,
            "height": round(height, 1),
            "line": round(float(pixel["line"]), 2),
            "sample": round(float(pixel["sample"]), 2),
        }
        area = strip.mapping.sharing(row - down, column - across)
        if area.sizes["cell"] == 0:
            problem = "This place contributes to no pixel: it lies in shadow or beside the image"
            return answer | {"problem": problem}
        shares = _by_cell(area)
        rcs: dict[tuple[int, int], float] = {}
        if strip.gamma is not None:
            gamma = strip.gamma[min(entry.get(POLARISATION, 0), len(strip.gamma) - 1)]
            rcs = _by_cell(strip.mapping.sharing(row - down, column - across, gamma))
        heights = strip.heights.values
        cells, rest = [], [1.0, 1.0 if rcs else 0.0]
        for (r, c), share in sorted(shares.items(), key=lambda one: -one[1]):
            own = rcs.get((r, c), 0.0)
            if max(share, own) < LEAST_SHARE:
                continue
            rest = [rest[0] - share, rest[1] - own]
            cells.append(
                [
                    r + down,
                    c + across,
                    round(share, 5),
                    round(own, 5) if rcs else None,
                    round(float(heights[r, c]), 1),
                ]
            )
        return answer | {"cells": cells, "outside": [round(max(part, 0.0), 5) for part in rest]}

    def _profile(self, strip: Strip, row: int, column: int, azimuth: float) -> list[list[float]]:
        """Return distance from the cell, away from the radar, and height along a line."""
        down, across = self.direction(row, column, azimuth)
        # From the cell, the metres to each edge of the strip that the line crosses.
        ends = []
        for sign in (-1.0, 1.0):
            lengths = []
            for place, along, part in ((row, down, strip.box[0]), (column, across, strip.box[1])):
                edge = part.stop - 1 if sign * along > 0.0 else part.start
                if abs(along) > 1e-9:
                    lengths.append(abs((edge - place) / along))
            ends.append(sign * min(lengths))
        distance = np.linspace(ends[0], ends[1], PROFILE_POINTS)
        r = np.rint(row + distance * down).astype(int) - strip.box[0].start
        c = np.rint(column + distance * across).astype(int) - strip.box[1].start
        rows, columns = strip.heights.shape
        height = strip.heights.values[np.clip(r, 0, rows - 1), np.clip(c, 0, columns - 1)]
        return [
            [round(float(d), 1), round(float(h), 1)]
            for d, h in zip(distance, height, strict=True)
            if math.isfinite(h)
        ]


def _by_cell(shares: xr.Dataset) -> dict[tuple[int, int], float]:
    """Return shares by row and column."""
    names = ("row", "column", "share")
    rows, columns, values = (shares[name].values.tolist() for name in names)
    return dict(zip(zip(rows, columns, strict=True), values, strict=True))


def _dem(values: Floats, y: NDArray[Any], x: NDArray[Any], view: ResultView) -> xr.DataArray:
    """Make a DEM of heights on part of the grid of a result."""
    array = xr.DataArray(values, coords={"y": y, "x": x}, dims=("y", "x"), attrs={"units": "m"})
    return assume_ellipsoidal(array.rio.write_crs(view.crs.to_wkt()))
