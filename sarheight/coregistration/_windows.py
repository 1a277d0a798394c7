"""Windows of an image, as it was observed and as orbit and DEM predict it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight.coregistration._correlation import (
    COARSE_SIGMA,
    Floats,
    Mask,
    Moments,
    log_bandpass,
    moments,
)
from sarheight.dem import local_posting
from sarheight.dem.checked import CheckedDem
from sarheight.errors import GeometryError, OrbitCoverageError
from sarheight.scene import ground_sample_spacing, looks_for_spacing, multilook

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.geometry.pass_geometry import PassGeometry
    from sarheight.grid import RadarGrid
    from sarheight.illumination import BackscatterLaw
    from sarheight.scene import Scene

FINER = 0.35
"""Size of averaged pixels in postings of the DEM, about."""
SMALLEST, LARGEST = 32, 128
"""Size of a window in averaged pixels."""
PARTS = 3
"""Windows along the shorter side of a small image, about."""
MARGIN = math.ceil(2 * COARSE_SIGMA)
"""Averaged pixels around a window that its bandpass depends on."""
PROBES_PER_AXIS = 512
"""Posts of the DEM along each axis that are located to assign terrain to windows."""
CELL_MARGIN = 16
"""Cells that are kept around the located terrain of a window."""
LEAST_COVERAGE = 0.5
"""Fraction of a window that must have data, and terrain that is known."""
CLOSING_SIZE = 13
"""Averaged pixels that may lie between two posts, on slopes that face away from the radar."""


@dataclass(frozen=True, eq=False)
class MultilookedImage:
    """An image whose pixels are averaged where they are read."""

    scene: Scene  # the image
    looks: tuple[int, int]  # lines and samples that make an averaged pixel
    grid: RadarGrid  # sampling of the averaged image

    @classmethod
    def of(cls, scene: Scene, dem: xr.DataArray) -> MultilookedImage:
        """Choose averaged pixels of about a third of the posting of a DEM."""
        posting = float(np.sqrt(np.prod(local_posting(dem))))
        looks = looks_for_spacing(scene.grid, scene.orbit, FINER * posting)
        looks = (min(looks[0], scene.grid.lines), min(looks[1], scene.grid.samples))
        return cls(scene, looks, scene.grid.multilook(*looks))

    @property
    def spacing(self) -> tuple[float, float]:
        """Metres on the ground between averaged lines, and between averaged samples."""
        orbit = self.scene.orbit
        return self.grid.line_spacing(orbit), ground_sample_spacing(self.grid, orbit)

    def intensities(self, parts: Sequence[Sequence[slice]]) -> list[Floats]:
        """Read parts in averaged pixels, each of shape (polarisations, lines, samples)."""
        places = [
            tuple(
                slice(side.start * looks, side.stop * looks)
                for side, looks in zip(part, self.looks, strict=True)
            )
            for part in parts
        ]
        images = [self.scene.image.isel(line=line, sample=sample) for line, sample in places]
        if self.scene.image.chunks is not None:
            import dask.base

            # One graph for all: to make one takes longer than to read the pixels of a part.
            images = dask.base.compute(  # type: ignore[no-untyped-call]
                *images, scheduler="synchronous"
            )
        means = []
        for image, place in zip(images, places, strict=True):
            grid = self.scene.grid.crop(*place)
            averaged, _ = multilook(image.astype(np.float32), grid, *self.looks)
            values = np.asarray(averaged.values, dtype=np.float64)
            means.append(values[None] if values.ndim == 2 else values)
        return means


@dataclass(frozen=True, eq=False)
class Window:
    """A square window of an image, in averaged pixels, and the part of the DEM seen in it."""

    line: int  # its first line
    sample: int  # its first sample
    size: int
    rows: slice
    columns: slice


@dataclass(frozen=True, eq=False)
class Pair:
    """A window of an image beside its simulation."""

    window: Window
    moments: Moments
    contrast: float  # standard deviation of the simulated bandpass of log-intensity
    image: tuple[Floats, Mask]  # bandpass of the image's log-intensity, and where it is known


@dataclass(frozen=True, eq=False)
class Comparison:
    """An image, and the DEM, law and reflectivity that simulate it."""

    image: MultilookedImage
    dem: xr.DataArray  # heights above the ellipsoid, dims (y, x)
    law: BackscatterLaw
    reflectivity: NDArray[np.float32] | None  # of each cell, (rows, columns); None for 1

    @property
    def largest_window(self) -> int:
        """Size in averaged pixels of the first windows that are tried."""
        shorter = min(self.image.grid.shape)
        return min(max(min(shorter // PARTS, LARGEST), SMALLEST), shorter)

    def select(self, most: int, reach: int, size: int) -> list[Window]:
        """Select windows with the strongest relief, for shifts of `reach` pixels.

        Returns up to `most` in the order of their places, and then up to as many that may take the
        place of those that lack data, by falling relief.
        """
        from sarheight.geometry import geo2rdr

        image, shape = self.image, self.dem.shape
        steps = [max(-(-length // PROBES_PER_AXIS), 1) for length in shape]
        probes = self.dem.isel(y=slice(None, None, steps[0]), x=slice(None, None, steps[1]))
        seen = geo2rdr(CheckedDem(probes), image.grid, image.scene.orbit)
        line, sample = seen["line"].values, seen["sample"].values
        known = np.isfinite(line) & np.isfinite(sample)
        counts = [length // size for length in image.grid.shape]
        offsets = [(length % size) // 2 for length in image.grid.shape]
        relief = _relief(probes.values, (line, sample), known, (counts, offsets), size)
        rugged = [each for each in np.argsort(-relief, kind="stable") if relief[each] > 0.0]
        chosen = []
        for each in (*sorted(rugged[:most]), *rugged[most : 2 * most]):
            row, column = divmod(int(each), counts[1])
            first = offsets[0] + row * size, offsets[1] + column * size
            wide = reach + MARGIN
            near = known & (line > first[0] - wide) & (line < first[0] + size + wide)
            near &= (sample > first[1] - wide) & (sample < first[1] + size + wide)
            chosen.append(Window(*first, size, *_box(near, steps, shape)))
        return chosen

    def pairs(
        self,
        windows: Sequence[Window],
        reach: int,
        shift: tuple[float, float] = (0.0, 0.0),
        images: Sequence[tuple[Floats, Mask]] = (),
        most: int | None = None,
        enough: int = 0,
    ) -> list[Pair]:
        """Compare windows with their simulations at a shift.

        Windows that lack data or terrain are left out. Those behind the first `most` are compared
        only while there are not `enough`. `images` holds those that were read before.
        """
        pairs: list[Pair] = []
        first = len(windows) if most is None else most
        observed = list(images) or self._observe(windows[:first])
        for number, window in enumerate(windows):
            if number == len(observed):
                if len(pairs) >= enough:
                    break
                observed += self._observe([window])
            found, valid = observed[number]
            if valid.mean() < LEAST_COVERAGE:
                continue
            try:
                simulated, known = self._simulate(window, reach, shift)
            except (GeometryError, OrbitCoverageError):
                # Terrain may end before the window does, and the orbit before its margin.
                continue
            if known.mean() >= LEAST_COVERAGE:
                both = moments(found, valid, simulated, known)
                pairs.append(Pair(window, both, float(simulated[known].std()), (found, valid)))
        return pairs

    def _observe(self, windows: Sequence[Window]) -> list[tuple[Floats, Mask]]:
        """Return the bandpass of log-intensity and where it is known, (size, size), of windows."""
        shape = self.image.grid.shape
        parts = [
            tuple(
                slice(max(first - MARGIN, 0), min(first + window.size + MARGIN, length))
                for first, length in zip((window.line, window.sample), shape, strict=True)
            )
            for window in windows
        ]
        observed = []
        for window, part, power in zip(windows, parts, self.image.intensities(parts), strict=True):
            valid = np.isfinite(power).all(axis=0) & ~_border(power)
            found = np.mean([log_bandpass(each, valid) for each in power], axis=0)
            core = tuple(
                slice(first - side.start, first - side.start + window.size)
                for first, side in zip((window.line, window.sample), part, strict=True)
            )
            observed.append((found[core], valid[core]))
        return observed

    def _simulate(
        self, window: Window, reach: int, shift: tuple[float, float]
    ) -> tuple[Floats, Mask]:
        """Return the same of the simulation, shape (size + 2 reach, size + 2 reach) each."""
        from sarheight.geometry.pass_geometry import pass_geometry
        from sarheight.illumination.simulate import illuminate

        edge = reach + MARGIN
        begin = (window.line - edge - shift[0], window.sample - edge - shift[1])
        size = window.size + 2 * edge
        grid = replace(
            self.image.grid.shift(-begin[0], -begin[1]), lines=size, samples=size, bursts=()
        )
        part = CheckedDem(self.dem.isel(y=window.rows, x=window.columns))
        seen = pass_geometry(part, grid, self.image.scene.orbit)
        bright = (
            None if self.reflectivity is None else self.reflectivity[window.rows, window.columns]
        )
        power = illuminate(seen, self.law).simulate(bright).astype(np.float64)
        known = _mapped(seen, power > 0.0)
        core = slice(MARGIN, size - MARGIN)
        return log_bandpass(power, known)[core, core], known[core, core]


def _border(power: Floats) -> Mask:
    """Mark where an image is zero over more than a few pixels: a border, not shadow."""
    from scipy.ndimage import maximum_filter, minimum_filter

    zero = (power == 0.0).all(axis=0).astype(np.uint8)
    core = minimum_filter(zero, CLOSING_SIZE, mode="nearest")
    return np.asarray((maximum_filter(core, CLOSING_SIZE) > 0) & (zero > 0))


def _mapped(seen: PassGeometry, lit: Mask) -> Mask:
    """Mark the pixels in which terrain lies, in shadow too; not those beyond the DEM's edge."""
    from sarheight_kernels.tiles import geolocate, geolocation_bounds
    from scipy.ndimage import binary_propagation, maximum_filter, minimum_filter

    line, sample = np.empty(seen.heights.shape), np.empty(seen.heights.shape)
    bounds = geolocation_bounds(seen.ground, seen.heights)
    geolocate(seen.ground, seen.radar, seen.heights, line, sample, bounds)
    lines, samples = seen.grid.shape
    inside = (line > -0.5) & (line < lines - 0.5) & (sample > -0.5) & (sample < samples - 0.5)
    posts = np.zeros(seen.grid.shape, dtype=np.uint8)
    posts[np.rint(line[inside]).astype(int), np.rint(sample[inside]).astype(int)] = 1
    # Gaps between posts are closed: posts are widened, and narrowed by as much.
    wide = maximum_filter(posts, CLOSING_SIZE, mode="constant", cval=0)
    closed = minimum_filter(wide, CLOSING_SIZE, mode="constant", cval=1) > 0
    # Dark pixels that are connected with those outside lie beyond the edge.
    beyond = binary_propagation(~closed & ~lit, mask=~lit)
    return np.asarray(~beyond)


def _relief(
    heights: NDArray[np.float32],
    pixels: tuple[Floats, Floats],
    known: Mask,
    layout: tuple[list[int], list[int]],
    size: int,
) -> Floats:
    """Return the standard deviation of heights in each window, shape (windows,).

    `pixels` are line and sample of each height; `layout` the number of windows along each axis and
    where the first begins.
    """
    (down, across), offsets = layout
    row, column = (
        np.floor((each - first) / size) for each, first in zip(pixels, offsets, strict=True)
    )
    inside = known & (row >= 0) & (row < down) & (column >= 0) & (column < across)
    index = (row[inside] * across + column[inside]).astype(np.int64)
    count = np.bincount(index, minlength=down * across)
    inner = heights[inside].astype(np.float64)
    inner = inner - (inner.mean() if inner.size else 0.0)
    total = np.bincount(index, inner, minlength=count.size)
    square = np.bincount(index, inner**2, minlength=count.size)
    mean = total / np.maximum(count, 1)
    return np.asarray(np.sqrt(np.maximum(square / np.maximum(count, 1) - mean**2, 0.0)))


def _box(near: Mask, steps: list[int], shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and columns of a DEM around the posts that are marked."""
    parts = []
    for axis, (step, size) in enumerate(zip(steps, shape, strict=True)):
        marked = np.flatnonzero(near.any(axis=1 - axis)) * step
        spare = step + CELL_MARGIN
        parts.append(slice(max(marked[0] - spare, 0), min(marked[-1] + spare + 1, size)))
    return parts[0], parts[1]
