"""A window of an image: heights on the grid of a result, and around it as far as they matter.

A window is a grid that is said, or the part of an image within bounds. Of its image and elevation
model only that part is read which shows the window, the places that share pixels with it or throw
shadow on it, and the ground around it on which the statistics of its scene rest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np

from sarheight.errors import DemError
from sarheight.workflow.elevations import (
    choose_grid,
    open_elevations,
    place_on_grid,
    read_dem,
    say_grid,
    stated_grid,
)
from sarheight.workflow.options import AUTO

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from odc.geo.geobox import GeoBox

    from sarheight.geometry.placement import Bounds
    from sarheight.layover import Method
    from sarheight.scene import Scene
    from sarheight.workflow.config import ReconstructConfig
    from sarheight.workflow.images import ImageSource, Reporter


STATISTICS_MARGIN = 3000.0
"""Metres around a window on which the statistics of its scene rest, too."""
FIRST_MARGIN, MOST_MARGIN = 1.2, 20.0
"""So many times as far heights are read around a window: at first, and at most."""
SPARE = 0.008
"""Degrees of elevation model beyond those cells, from which heights are interpolated."""
FETCHED = 0.12
"""Degrees of elevation model that are fetched around a window."""
STATISTICS_EXTENT = "statistics_extent"
"""Attribute of the result of a window: the edges of the area on which the statistics of its scene
rest (laws, errors, co-registration, balance of RCS), in units of its reference system."""

Cells = tuple[slice, slice]
"""Rows and columns."""
ALL: Cells = (slice(None), slice(None))


@dataclass(frozen=True, eq=False)
class Area:
    """Heights on the grid of a result, and around it as far as the result depends on them.

    Attributes
    ----------
    heights : DataArray
        Dims (y, x), metres above the vertical reference of the elevation model.
    cells : tuple of slice
        Rows and columns of the result.
    fetched : dict
        Files of the elevation model that were fetched, by name.
    """

    heights: xr.DataArray
    cells: Cells = ALL
    fetched: dict[str, Path] = field(default_factory=dict)

    @property
    def is_window(self) -> bool:
        """Whether a part of the image was asked for."""
        return self.cells != ALL

    @property
    def of_result(self) -> xr.DataArray:
        """The heights on the grid of the result."""
        from sarheight.dem.grids import crop_to_cells

        return crop_to_cells(self.heights, *self.cells) if self.is_window else self.heights

    def cut(self, result: xr.Dataset) -> xr.Dataset:
        """Cut a result to its grid, and say on which area the statistics of its scene rest."""
        from sarheight.dem.grids import grid_record
        from sarheight.dem.layout import outer_edges

        if not self.is_window:
            return result
        rows, columns = self.cells
        part = result.isel(y=rows, x=columns)
        parameters = json.loads(part.attrs["parameters"])
        if "grid" in parameters:
            parameters["grid"] = grid_record(self.of_result)
        return part.assign_attrs(
            {
                "parameters": json.dumps(parameters),
                STATISTICS_EXTENT: list(outer_edges(self.heights)),
            }
        )


def open_area(
    config: ReconstructConfig,
    source: ImageSource,
    scene: Scene | None,
    method: Method,
    reporter: Reporter,
    given: xr.DataArray | None = None,
) -> Area:
    """Open the elevation model on the grid of a result; of a window also what lies around it.

    Parameters
    ----------
    config : ReconstructConfig
        Elevation model, grid and bounds.
    source : ImageSource
        The image.
    scene : Scene, optional
        The image, opened; None for one that is opened by the heights.
    method : Method
        How it is reconstructed.
    reporter : Reporter
        Told of decisions.
    given : DataArray, optional
        The elevation model, opened.
    """
    from sarheight.dem.grids import cells_of
    from sarheight.dem.layout import outer_edges

    grid = stated_grid(config)
    if (grid is None) == (config.bounds is None):
        # All of the image; or a grid of which only the part within bounds is filled.
        heights, fetched = (
            open_elevations(config, source, reporter) if given is None else (given, {})
        )
        return Area(place_on_grid(heights, config, reporter), fetched=fetched)
    fetched = {}
    if given is None and config.dem == (AUTO,):
        place = config.bounds
        if grid is not None:
            place = _in_degrees(outer_edges(cells_of(grid)), cells_of(grid))
        given, fetched = open_elevations(
            config, source, reporter, _wider(cast("Bounds", place), FETCHED)
        )

    def read(bounds: Bounds) -> xr.DataArray:
        return read_dem(config, bounds=bounds) if given is None else _within(given, bounds)

    def needed(heights: xr.DataArray, cells: Cells) -> Cells:
        from sarheight.layover import surroundings

        return cells if scene is None else surroundings(scene, heights, cells, method)

    inner = None
    if config.bounds is not None:
        inner = read(config.bounds)
        grid = choose_grid(inner, config)
    try:
        area = _widened(inner, grid, read, needed)
    except DemError:
        if inner is None and given is None:
            # An error of the whole elevation model says more.
            place_on_grid(read_dem(config), config, reporter)
        raise
    if grid is not None:
        say_grid(grid, area.of_result, reporter)
    return Area(area.heights, area.cells, fetched)


def _widened(
    inner: xr.DataArray | None,
    grid: GeoBox | None,
    read: Callable[[Bounds], xr.DataArray],
    needed: Callable[[xr.DataArray, Cells], Cells],
) -> Area:
    """Read heights around a window, farther and farther, until all that it needs is there.

    They are placed on the grid of the window; without one, its cells are those of `inner`, a part
    of the elevation model.
    """
    from sarheight.dem import local_posting, to_grid
    from sarheight.dem.grids import cells_of, crop_to_cells
    from sarheight.dem.layout import cell_steps, outer_edges

    window = cast("xr.DataArray", inner) if grid is None else cells_of(grid)
    posting, steps = local_posting(window), cell_steps(window)
    margin = FIRST_MARGIN * STATISTICS_MARGIN
    while True:
        down, across = (math.ceil(margin / each) for each in posting)
        west, south, east, north = outer_edges(window)
        dy, dx = down * abs(steps[0]), across * abs(steps[1])
        wanted = west - dx, south - dy, east + dx, north + dy
        heights = read(_in_degrees(wanted, window))
        placed = heights if grid is None else to_grid(heights, grid.pad(across, down))
        placed, cells = _without_voids(placed, window)
        depends = needed(placed, cells)
        # Statistics rest on what lies around the window, too.
        beyond = [math.ceil(STATISTICS_MARGIN / each) for each in posting]
        around = tuple(
            slice(max(min(one.start - more, other.start), 0), max(one.stop + more, other.stop))
            for one, other, more in zip(cells, depends, beyond, strict=True)
        )
        if margin >= MOST_MARGIN * STATISTICS_MARGIN or not _cut_off(placed, depends, wanted):
            break
        margin *= 2.0
    rows, columns = around
    return Area(
        crop_to_cells(placed, rows, columns),
        (
            slice(cells[0].start - rows.start, cells[0].stop - rows.start),
            slice(cells[1].start - columns.start, cells[1].stop - columns.start),
        ),
    )


def _cut_off(placed: xr.DataArray, depends: Cells, wanted: Bounds) -> bool:
    """Tell whether a window depends on heights up to an edge beyond which there may be more."""
    from sarheight.dem.layout import cell_steps, outer_edges

    rows, columns = depends
    dy, dx = (abs(step) for step in cell_steps(placed))
    own, needed = (outer_edges(each) for each in (placed, placed.isel(y=rows, x=columns)))
    for side, step in enumerate((dx, dy, dx, dy)):
        sign = -1.0 if side < 2 else 1.0  # west and south, east and north
        at_edge = sign * (needed[side] - own[side]) > -0.5 * step
        ends_there = sign * (own[side] - wanted[side]) < -1.5 * step
        if at_edge and not ends_there:
            return True
    return False


def _without_voids(placed: xr.DataArray, window: xr.DataArray) -> tuple[xr.DataArray, Cells]:
    """Cut off rows and columns beyond all heights; return also the cells of the window."""
    from sarheight.dem.grids import crop_to_cells

    cells = [_place(placed[name].values, window[name].values) for name in ("y", "x")]
    known = np.isfinite(placed.values)
    kept = []
    for own, axis in zip(cells, (1, 0), strict=True):
        there = np.flatnonzero(known.any(axis=axis))
        first, last = (int(there[0]), int(there[-1])) if there.size else (own.start, own.stop - 1)
        kept.append(slice(min(first, own.start), max(last + 1, own.stop)))
    cut = crop_to_cells(placed, *kept)
    rows, columns = (
        slice(own.start - part.start, own.stop - part.start)
        for own, part in zip(cells, kept, strict=True)
    )
    return cut, (rows, columns)


def _place(axis: np.ndarray, part: np.ndarray) -> slice:
    """Find where a part of an axis lies in it."""
    first = int(np.argmin(np.abs(axis - part[0])))
    return slice(first, first + part.size)


def _in_degrees(edges: Bounds, cells: xr.DataArray) -> Bounds:
    """Return bounds in degrees around edges in the reference system of cells, with a margin."""
    from sarheight.dem.datum import GEOGRAPHIC, sample_extent, stated_crs, unwrap_longitude

    longitude, latitude = sample_extent(edges, stated_crs(cells).to_2d(), GEOGRAPHIC)
    longitude = unwrap_longitude(longitude, float(longitude[50, 50]))
    place = longitude.min(), latitude.min(), longitude.max(), latitude.max()
    return _wider((float(place[0]), float(place[1]), float(place[2]), float(place[3])), SPARE)


def _wider(bounds: Bounds, margin: float) -> Bounds:
    """Return bounds that are wider by a margin, in degrees."""
    west, south, east, north = bounds
    return west - margin, max(south - margin, -90.0), east + margin, min(north + margin, 90.0)


def _within(dem: xr.DataArray, bounds: Bounds) -> xr.DataArray:
    """Return the part of an elevation model that meets bounds in degrees."""
    from sarheight.dem.datum import GEOGRAPHIC, sample_extent, stated_crs, unwrap_longitude

    west, south, east, north = bounds
    crs = stated_crs(dem).to_2d()
    x, y = sample_extent((west, south, east + 360.0 * (east < west), north), GEOGRAPHIC, crs)
    if crs.is_geographic:
        x = unwrap_longitude(x, float(dem["x"].mean()))
    parts = []
    for axis, values in ((dem["y"].values, y), (dem["x"].values, x)):
        half = 0.5 * abs(float(axis[1] - axis[0]))
        inside = np.flatnonzero((axis > values.min() - half) & (axis < values.max() + half))
        if inside.size < 2:
            msg = f"the elevation model does not meet the bounds {bounds}, in degrees"
            raise DemError(msg)
        parts.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return dem.isel(y=parts[0], x=parts[1])
