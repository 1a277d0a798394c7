"""Windows of an image, and what orbit and DEM let expect to be seen in them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight._multilook import multilook
from sarheight.coregistration._correct import moved
from sarheight.coregistration._correlate import COARSEST, log_detail
from sarheight.errors import GeometryError, OrbitCoverageError

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.geometry._view import View
    from sarheight.illumination import BackscatterLaw
    from sarheight.scene import RadarGrid, Scene

__all__ = ["SMALLEST", "Looked", "Window", "choose_windows", "compare", "largest_window"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

SMALLEST, LARGEST = 32, 128
"""Size of a window in averaged pixels."""
PARTS = 3
"""A small image is cut into about as many windows along its shorter side."""
MARGIN = math.ceil(2 * COARSEST)
"""Averaged pixels around a window that its detail depends on."""
PROBES = 512
"""Posts of the DEM along each axis by which windows and terrain find each other."""
SPARE = 16
"""Cells that are kept around the terrain of a window, beyond those that were probed."""
FEWEST = 0.5
"""Part of a window that must have data, and terrain that is known."""
GAP = 13
"""Averaged pixels that may lie between two posts, on slopes that face away from the radar."""


@dataclass(frozen=True, eq=False)
class Looked:
    """An image whose pixels are to be averaged to about the size of a DEM's cells.

    Attributes
    ----------
    scene : Scene
        The image.
    looks : tuple of int
        Lines and samples that make an averaged pixel.
    grid : RadarGrid
        Sampling of the averaged image.
    """

    scene: Scene
    looks: tuple[int, int]
    grid: RadarGrid

    def intensity(self, line: slice, sample: slice) -> Floats:
        """Read a part, given in averaged pixels; shape (polarisations, lines, samples)."""
        parts = [
            slice(part.start * looks, part.stop * looks)
            for part, looks in zip((line, sample), self.looks, strict=True)
        ]
        image = self.scene.image.isel(line=parts[0], sample=parts[1]).astype(np.float32)
        averaged, _ = multilook(image, self.scene.grid.crop(*parts), *self.looks)
        values = np.asarray(averaged.values, dtype=np.float64)
        return values[None] if values.ndim == 2 else values


@dataclass(frozen=True, eq=False)
class Window:
    """A window of an image.

    Attributes
    ----------
    line, sample : int
        Where it begins, in averaged pixels.
    size : int
        Its size in averaged pixels.
    rows, columns : slice
        The part of the DEM that is seen in it.
    """

    line: int
    sample: int
    size: int
    rows: slice
    columns: slice

    def measured(self, image: Looked) -> tuple[Floats, Mask]:
        """Return the detail of log-intensity, and where it is known."""
        begin = [max(first - MARGIN, 0) for first in (self.line, self.sample)]
        end = [
            min(first + self.size + MARGIN, length)
            for first, length in zip((self.line, self.sample), image.grid.shape, strict=True)
        ]
        power = image.intensity(slice(begin[0], end[0]), slice(begin[1], end[1]))
        valid = np.isfinite(power).all(axis=0) & ~_empty(power)
        found = np.mean([log_detail(each, valid) for each in power], axis=0)
        core = (
            slice(self.line - begin[0], self.line - begin[0] + self.size),
            slice(self.sample - begin[1], self.sample - begin[1] + self.size),
        )
        return found[core], valid[core]

    def simulated(
        self,
        dem: xr.DataArray,
        image: Looked,
        law: BackscatterLaw,
        reach: int,
        shift: tuple[float, float] = (0.0, 0.0),
    ) -> tuple[Floats, Mask]:
        """Simulate the window with a margin.

        Parameters
        ----------
        dem : xarray.DataArray
            The DEM.
        image : Looked
            The image.
        law : callable
            Backscatter law.
        reach : int
            Width of the margin in averaged pixels.
        shift : tuple of float
            Lines and samples, in averaged pixels, by which the image is taken to be shifted.

        Returns
        -------
        detail : array, shape (size + 2 reach, size + 2 reach)
            Detail of log-intensity.
        known : array of bool, same shape
            Where terrain is known, be it in shadow.

        Raises
        ------
        GeometryError
            If the DEM does not reach into the window.
        OrbitCoverageError
            If the orbit does not cover the margin.
        """
        from sarheight.geometry._view import view
        from sarheight.illumination._operator import illuminate

        edge = reach + MARGIN
        begin = (self.line - edge - shift[0], self.sample - edge - shift[1])
        size = self.size + 2 * edge
        grid = replace(moved(image.grid, -begin[0], -begin[1]), lines=size, samples=size, bursts=())
        part = dem.isel(y=self.rows, x=self.columns)
        seen = view(part, grid, image.scene.orbit)
        power = illuminate(seen, law).simulate().astype(np.float64)
        known = _known(seen, power > 0.0)
        core = slice(MARGIN, size - MARGIN)
        return log_detail(power, known)[core, core], known[core, core]


def _empty(power: Floats) -> Mask:
    """Tell where an image is zero over more than a few pixels: a border, not shadow."""
    from scipy.ndimage import maximum_filter, minimum_filter

    zero = (power == 0.0).all(axis=0).astype(np.uint8)
    core = minimum_filter(zero, GAP, mode="nearest")
    return np.asarray((maximum_filter(core, GAP) > 0) & (zero > 0))


def _known(seen: View, lit: Mask) -> Mask:
    """Tell in which pixels terrain lies, be it in shadow; not beyond the DEM's edge."""
    from sarheight_kernels.geolocate import geolocate, pane_bounds
    from scipy.ndimage import binary_propagation, maximum_filter, minimum_filter

    line, sample = np.empty(seen.heights.shape), np.empty(seen.heights.shape)
    bounds = pane_bounds(seen.ground, seen.heights)
    geolocate(seen.ground, seen.radar, seen.heights, line, sample, bounds)
    lines, samples = seen.grid.shape
    inside = (line > -0.5) & (line < lines - 0.5) & (sample > -0.5) & (sample < samples - 0.5)
    posts = np.zeros(seen.grid.shape, dtype=np.uint8)
    posts[np.rint(line[inside]).astype(int), np.rint(sample[inside]).astype(int)] = 1
    # What lies between posts is closed: widened, and narrowed by as much.
    wide = maximum_filter(posts, GAP, mode="constant", cval=0)
    closed = minimum_filter(wide, GAP, mode="constant", cval=1) > 0
    # From beyond the edge one walks in over dark pixels, as far as the first that is lit.
    beyond = binary_propagation(~closed & ~lit, mask=~lit)
    return np.asarray(~beyond)


def largest_window(image: Looked) -> int:
    """Return the size in averaged pixels of the windows into which an image is first cut."""
    shorter = min(image.grid.shape)
    return min(max(min(shorter // PARTS, LARGEST), SMALLEST), shorter)


def choose_windows(
    dem: xr.DataArray, image: Looked, most: int, reach: int, size: int
) -> list[Window]:
    """Choose the windows of an image with the strongest relief.

    Parameters
    ----------
    dem : xarray.DataArray
        The DEM.
    image : Looked
        The image.
    most : int
        How many to choose at most.
    reach : int
        Width of the margin, in averaged pixels, in which the terrain must be known as well.
    size : int
        Size of a window in averaged pixels.

    Returns
    -------
    list of Window
        In the order of the image. Empty where no window is filled by terrain and relief.

    Raises
    ------
    GeometryError
        If DEM and image do not overlap.
    """
    from sarheight.geometry import geo2rdr

    steps = [max(-(-length // PROBES), 1) for length in dem.shape]
    probes = dem.isel(y=slice(None, None, steps[0]), x=slice(None, None, steps[1]))
    seen = geo2rdr(probes, image.grid, image.scene.orbit)
    line, sample = seen["line"].values, seen["sample"].values
    known = np.isfinite(line) & np.isfinite(sample)
    down, across = (length // size for length in image.grid.shape)
    offsets = [(length % size) // 2 for length in image.grid.shape]
    row = np.floor((line - offsets[0]) / size)
    column = np.floor((sample - offsets[1]) / size)
    inside = known & (row >= 0) & (row < down) & (column >= 0) & (column < across)
    index = (row[inside] * across + column[inside]).astype(np.int64)
    count = np.bincount(index, minlength=down * across)
    heights = probes.values[inside].astype(np.float64)
    heights = heights - (heights.mean() if heights.size else 0.0)
    total = np.bincount(index, heights, minlength=count.size)
    square = np.bincount(index, heights**2, minlength=count.size)
    mean = total / np.maximum(count, 1)
    relief = np.sqrt(np.maximum(square / np.maximum(count, 1) - mean**2, 0.0))
    rugged = [each for each in np.argsort(-relief, kind="stable") if relief[each] > 0.0]
    chosen = []
    for each in sorted(rugged[:most]):
        first = (
            offsets[0] + int(each) // across * size,
            offsets[1] + int(each) % across * size,
        )
        wide = reach + MARGIN
        near = known & (line > first[0] - wide) & (line < first[0] + size + wide)
        near &= (sample > first[1] - wide) & (sample < first[1] + size + wide)
        chosen.append(Window(*first, size, *_box(near, steps, dem.shape)))
    return chosen


def _box(near: Mask, steps: list[int], shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Rows and columns of a DEM around the probes that are marked."""
    parts = []
    for axis, (step, size) in enumerate(zip(steps, shape, strict=True)):
        marked = np.flatnonzero(near.any(axis=1 - axis)) * step
        spare = step + SPARE
        parts.append(slice(max(marked[0] - spare, 0), min(marked[-1] + spare + 1, size)))
    return parts[0], parts[1]


def compare(
    window: Window,
    dem: xr.DataArray,
    image: Looked,
    law: BackscatterLaw,
    reach: int,
    shift: tuple[float, float],
) -> tuple[Floats, Mask, Floats, Mask] | None:
    """Return a window measured and simulated, or None where there is too little of either."""
    found, valid = window.measured(image)
    if valid.mean() < FEWEST:
        return None
    try:
        simulated, known = window.simulated(dem, image, law, reach, shift)
    except (GeometryError, OrbitCoverageError):
        # Terrain may end before the window does, and the orbit before its margin.
        return None
    return (found, valid, simulated, known) if known.mean() >= FEWEST else None
