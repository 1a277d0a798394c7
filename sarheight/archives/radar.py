"""The way back: a terrain-flattened image on a map, as the radar image that it was made from.

Flattening divides the radar cross-section (RCS) of a pixel by the area of its ground, and copies
the quotient to the cells of that ground. A map of gamma0 is therefore a reflectivity, and the
projection of the ground to the image turns it into RCS again: all cells that share a pixel in
layover hold that pixel's mean, whose sum over their areas is the pixel. What is lost is what
resampling to the map lost, and what the provider has masked out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray
from rasterio.warp import transform_bounds
from scipy.ndimage import distance_transform_edt, zoom

from sarheight.archives._facts import (
    Facts,
    orbit_of,
    require_power,
    warn_of_another_ground,
    warn_of_copies,
)
from sarheight.archives._rtc import open_rtc
from sarheight.dem import local_posting, reproject
from sarheight.dem.checked import CheckedDem
from sarheight.dem.layout import outer_edges
from sarheight.ellipsoid import to_earth_fixed
from sarheight.errors import GeometryError
from sarheight.geometry.pass_geometry import pass_geometry, pixel_areas
from sarheight.geometry.placement import describe_place, time_and_range
from sarheight.grid import RadarGrid
from sarheight.illumination.simulate import illuminate
from sarheight.orbit import whole_second
from sarheight.scene import Scene, ground_sample_spacing

if TYPE_CHECKING:
    from sarheight.illumination import BackscatterLaw
    from sarheight.orbit import Orbit


Floats = NDArray[np.float32]

PIXEL = 10.0
"""Metres between pixels on the ground, and the largest cells that are projected. At 15 and 20 m the
reconstruction loses 1 to 4 % more outside layover (simulated, places for development); the pixels
of a GRD are 10 m apart, too."""
LOOKS = 2.0
"""Equivalent number of looks of such a pixel. Those of a GRD have 4.4, and the archives average all
looks that Sentinel-1 has; but values between those of a map are interpolated, so that pixels tell
less than their number says. With 2, 80 % intervals held 75 to 86 % on cells of 30 and of 90 m
(simulated, places for development), with 4.4 they held 70 to 85 %."""
LEAST_KNOWN = 0.5
"""Part of a pixel's area whose reflectivity must be known; the rest is taken to be as bright."""
MARGIN = 16
"""Pixels around the ground of the product."""
STEEPEST = 1.0 / np.tan(np.radians(25.0))
"""Metres by which a metre of height moves the ground of a pixel, at the nearest range of any
mission that the archives have."""


def to_radar(
    product: Any,  # noqa: ANN401  # as open_rtc has it
    dem: xr.DataArray | CheckedDem,
    orbit: Orbit | None = None,
    grid: RadarGrid | None = None,
) -> Scene:
    r"""Take a terrain-flattened image back to radar geometry, to be reconstructed.

    The image is the projection of the product's reflectivity, :math:`I_p = \frac{1}{A_p} \sum_g
    W_{pg} \gamma_g`, with the areas :math:`W_{pg}` in which the cells of the elevation model fill
    the pixels. Cells are divided until they are at most 10 m wide: gamma0 by splines of its
    logarithm with the mean of each cell kept, heights by cubic convolution.

    Parameters
    ----------
    product : Dataset, or what `open_rtc` takes
        The product, as `open_rtc` returns it, with ``gamma0`` or ``sigma0``.
    dem : DataArray or CheckedDem
        Heights above the ellipsoid in metres, dims (y, x), any CRS. For backscatter the one with
        which the image is going to be reconstructed is best, since way back and reconstruction
        then agree; for heights it must be the one that the provider flattened with (see
        `provider_heights`).
    orbit : Orbit, optional
        State vectors that cover the image, such as of the file that `sarheight.fetch.orbit`
        returns. By default those in the product, which HDF5 files of OPERA have.
    grid : RadarGrid, optional
        Sampling of the image; by default pixels of 10 m on the ground, in slant range and
        zero-Doppler time, over what product and elevation model both cover.

    Returns
    -------
    Scene
        beta0 in linear power, float32, dims (line, sample), with ``polarisation`` in front where
        there are several. NaN where less than half of a pixel's area is known. The attributes name
        the product and its archive.

    Raises
    ------
    ProductError
        If the product has neither gamma0 nor sigma0, holds decibels, is a mosaic of several dates,
        or was flown in another direction than the orbit.
    OrbitCoverageError
        If the product has no orbit and none is given, or the orbit is of another time.
    GeometryError, DemError
        If the elevation model does not meet the product, or is not usable.

    Warns
    -----
    UserWarning
        If the product seems to hold amplitudes, to be filtered, or to be resampled from the grid of
        its archive.

    References
    ----------
    Small, D. (2011). Flattening gamma. IEEE TGRS 49(8), 3081-3093: area and gamma0 of a pixel.
    """
    dataset = product if isinstance(product, xr.Dataset) else open_rtc(product)
    facts = Facts.of(dataset)
    used = orbit_of(dataset, facts) if orbit is None else orbit
    facts.require_orbit(used)
    reflectivity = dataset[facts.radiometry]
    require_power(reflectivity, facts)
    warn_of_copies(reflectivity, facts)
    checked = CheckedDem.of(dem).north_up().array
    warn_of_another_ground(dataset, checked, facts)
    ground = Ground.of(reflectivity, checked, facts)
    grid = _grid_over(ground, used, facts) if grid is None else replace(grid, bursts=())
    names = [str(name) for name in np.atleast_1d(reflectivity["polarisation"].values)]
    grid = replace(
        grid, polarisations=tuple(names), mission=facts.mission, mode="IW", product="RTC"
    )
    bands = _image(ground, grid, used)
    image = xr.DataArray(
        bands if len(names) > 1 else bands[0],
        dims=("polarisation", "line", "sample")[-(2 + (len(names) > 1)) :],
        coords={"polarisation": names if len(names) > 1 else names[0]},
        name="beta0",
        attrs={
            "long_name": "beta0, taken back from a terrain-flattened image",
            "units": "1",
            "product_name": facts.name,
            "flattened_by": facts.archive,
        },
    )
    return Scene(image, grid, used, "beta0")


def ground_of(
    product: xr.Dataset, dem: xr.DataArray, orbit: Orbit, facts: Facts
) -> tuple[Ground, RadarGrid]:
    """Find the part of a product that an elevation model covers, and lay a radar grid over it.

    The cells are those of the product, undivided.
    """
    ground = replace(Ground.of(product[facts.radiometry], dem, facts), factor=1)
    return ground, _grid_over(ground, orbit, facts)


# The ground: reflectivity and heights on small cells.


@dataclass(frozen=True, eq=False)
class Ground:
    """The ground of a product, and cells around it whose reflectivity is not known."""

    reflectivity: xr.DataArray  # dims (polarisation, y, x): the cells of the product
    dem: xr.DataArray  # dims (y, x)
    law: BackscatterLaw
    heights: tuple[float, float]  # lowest and highest, in metres
    factor: int  # into how many a cell is divided, each way
    pad: int  # cells around those of the product

    @classmethod
    def of(cls, reflectivity: xr.DataArray, dem: xr.DataArray, facts: Facts) -> Ground:
        """Find the part of a product that an elevation model covers."""
        low, high = float(dem.min()), float(dem.max())
        part = _within(reflectivity, dem, facts)
        posting = max(local_posting(part.isel(polarisation=0)))
        return cls(
            part,
            dem,
            facts.law,
            (low, high),
            # Maps stretch: 30 m of UTM may be 30.03 m of ground.
            factor=max(int(np.ceil(posting / PIXEL - 0.1)), 1),
            pad=int(np.ceil(STEEPEST * (high - low) / posting)) + MARGIN,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, those around included."""
        rows, columns = (self.reflectivity.sizes[name] + 2 * self.pad for name in ("y", "x"))
        return rows, columns

    def part(self, rows: slice, columns: slice) -> tuple[xr.DataArray, Floats]:
        """Return heights and reflectivity of some cells, divided.

        The reflectivity has dims (polarisation, y, x), NaN where it is not known.
        """
        heights = reproject(self.dem, like=self._empty(rows, columns), resampling="cubic")
        known = [
            _overlap(each, self.pad, size)
            for each, size in zip((rows, columns), self.reflectivity.shape[-2:], strict=True)
        ]
        shape = (self.reflectivity.shape[0], rows.stop - rows.start, columns.stop - columns.start)
        values = np.full(shape, np.nan, dtype=np.float32)
        (inner_rows, outer_rows), (inner_columns, outer_columns) = known
        values[:, outer_rows, outer_columns] = np.asarray(
            self.reflectivity[:, inner_rows, inner_columns].values
        )
        return heights, np.stack([_divided(band, self.factor) for band in values])

    def _positions(self, axis: str, index: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return where cells lie on an axis, by their number; those around included."""
        known = self.reflectivity[axis].values.astype(np.float64)
        step = (known[-1] - known[0]) / (known.size - 1)
        positions: NDArray[np.float64] = known[0] + (index - self.pad) * step
        return positions

    def _empty(self, rows: slice, columns: slice) -> xr.DataArray:
        """Return the grid of divided cells, without values."""
        coords = {}
        for name, chosen in (("y", rows), ("x", columns)):
            count = self.factor * (chosen.stop - chosen.start)
            index = chosen.start + (np.arange(count) + 0.5) / self.factor - 0.5
            coords[name] = self._positions(name, index)
        # The values are never read, and take no memory.
        values = np.broadcast_to(np.float32(0.0), (coords["y"].size, coords["x"].size))
        grid = xr.DataArray(values, coords=coords, dims=("y", "x"))
        placed: xr.DataArray = grid.rio.write_crs(self.reflectivity.rio.crs)
        return placed

    def grid(self) -> xr.DataArray:
        """Return the grid of all cells, divided, without values."""
        return self._empty(slice(0, self.shape[0]), slice(0, self.shape[1]))

    def samples(self) -> tuple[NDArray[np.float64], int]:
        """Return the places of some cells, those in every n-th row and column, and n.

        Shapes: returns (2, rows / n, columns / n, 3), Earth-fixed, at the lowest and highest level.
        """
        step = max(min(SAMPLE_STEP, *(size // 2 for size in self.shape)), 1)
        # The last row and column, too.
        row, column = (np.append(np.arange(0, size, step), size - 1) for size in self.shape)
        x, y = np.meshgrid(self._positions("x", column), self._positions("y", row))
        to_degrees = pyproj.Transformer.from_crs(self.reflectivity.rio.crs, 4326, always_xy=True)
        position, normal = to_earth_fixed(*(each.ravel() for each in to_degrees.transform(x, y)))
        levels = [position + height * normal for height in self.heights]
        return np.stack(levels).reshape(2, *x.shape, 3), step


SAMPLE_STEP = 32
"""Rows and columns from one cell to the next of those that tell where a map lies in the image."""


def _within(reflectivity: xr.DataArray, dem: xr.DataArray, facts: Facts) -> xr.DataArray:
    """Return the part of a product that lies in the box of an elevation model and has values."""
    west, south, east, north = transform_bounds(
        dem.rio.crs, reflectivity.rio.crs, *outer_edges(dem), densify_pts=21
    )
    x, y = reflectivity["x"].values, reflectivity["y"].values
    part = reflectivity.transpose("polarisation", "y", "x").isel(
        x=np.flatnonzero((x >= west) & (x <= east)), y=np.flatnonzero((y >= south) & (y <= north))
    )
    if part.size:
        known = np.isfinite(part.values)
        rows, columns = (np.flatnonzero(np.any(known, axis=axes)) for axes in ((0, 2), (0, 1)))
        if rows.size > 1 and columns.size > 1:
            inside: xr.DataArray = part[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            return inside
    msg = (
        f"'{facts.name}' has no values where the elevation model lies, {_degrees(dem)}; the "
        f"product lies at {_degrees(reflectivity)}: pass the elevation model of its area"
    )
    raise GeometryError(msg)


def _degrees(raster: xr.DataArray) -> str:
    west, south, east, north = transform_bounds(raster.rio.crs, 4326, *outer_edges(raster))
    return describe_place(np.array([west, east]), np.array([south, north]), 2)


def _overlap(chosen: slice, before: int, size: int) -> tuple[slice, slice]:
    """Return where cells `before ... before + size` lie among themselves and in a chosen part."""
    first, last = max(chosen.start, before), min(chosen.stop, before + size)
    last = max(first, last)
    return slice(first - before, last - before), slice(first - chosen.start, last - chosen.start)


def _divided(band: Floats, factor: int) -> Floats:
    """Divide cells: cubic splines of the logarithm, with the mean of each cell kept.

    Shapes: `band` (rows, columns); returns (factor * rows, factor * columns). Without the splines
    the image is smoothed by the size of a cell. A logarithm stays free of ringing below zero.
    """
    known = np.isfinite(band)
    if factor == 1 or not known.any():
        return np.repeat(np.repeat(band, factor, axis=0), factor, axis=1)
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    filled = np.maximum(band[tuple(nearest)], FAINTEST)
    finer: Floats = np.exp(
        zoom(np.log(filled), factor, order=3, mode="nearest", grid_mode=True), dtype=np.float32
    )
    cells = finer.reshape(band.shape[0], factor, band.shape[1], factor)
    cells *= (np.maximum(band, 0.0) / cells.mean(axis=(1, 3)))[:, None, :, None]
    return finer


FAINTEST = 1e-5
"""Least gamma0 whose logarithm is interpolated: far below the noise of any mission."""


# The image.


def _grid_over(ground: Ground, orbit: Orbit, facts: Facts) -> RadarGrid:
    """Lay pixels of 10 m over the ground of a product, in slant range and zero-Doppler time."""
    west, south, east, north = transform_bounds(
        ground.reflectivity.rio.crs, 4326, *outer_edges(ground.reflectivity)
    )
    orbit = orbit.with_epoch(whole_second(facts.start))
    one = RadarGrid.over(
        orbit,
        0.5 * (south + north),
        0.5 * (west + east),
        lines=1,
        samples=1,
        height=0.5 * sum(ground.heights),
        line_spacing=PIXEL,
        sample_spacing=1.0,
        ground_range=False,
        looks=LOOKS,
    )
    spacing = PIXEL / ground_sample_spacing(one, orbit)
    places, _ = ground.samples()
    time, distance = _time_and_range(places[:, 1:-1, 1:-1], one, orbit)
    first, near = time.min() - MARGIN * one.line_interval, distance.min() - MARGIN * spacing
    return replace(
        one,
        line_zero_time=float(first),
        lines=int((time.max() - first) / one.line_interval) + MARGIN,
        near_range=float(near),
        sample_spacing=float(spacing),
        samples=int((distance.max() - near) / spacing) + MARGIN,
    )


def _time_and_range(
    places: NDArray[np.float64], grid: RadarGrid, orbit: Orbit
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return zero-Doppler time and slant range of places, shape (..., 3)."""
    time, distance = time_and_range(places.reshape(-1, 3), grid, orbit.with_epoch(grid.epoch))
    if time.size != places[..., 0].size:
        msg = (
            "found ground of the product on both sides of the orbit, expected it to the "
            f"{grid.look_side}: the orbit is of another image"
        )
        raise GeometryError(msg)
    return time.reshape(places.shape[:-1]), distance.reshape(places.shape[:-1])


def _image(ground: Ground, grid: RadarGrid, orbit: Orbit) -> Any:  # noqa: ANN401  # of NumPy or dask
    """Project the reflectivity, shape (polarisation, line, sample), in blocks where it is large."""
    whole = slice(0, ground.shape[0]), slice(0, ground.shape[1])
    if ground.shape[0] * ground.shape[1] * ground.factor**2 <= LARGEST_PART:
        return _project(ground, grid, orbit, *whole)
    from dask.array import concatenate, from_delayed
    from dask.delayed import delayed

    places, step = ground.samples()
    line = grid.line(*_time_and_range(places, grid, orbit))
    blocks = []
    channels = ground.reflectivity.shape[0]
    for first in range(0, grid.lines, BLOCK):
        last = min(first + BLOCK, grid.lines)
        part = grid.crop(slice(first, last))
        reach = MARGIN + step * ground.factor
        near = np.any((line > first - reach) & (line < last + reach), axis=0)
        rows, columns = (
            _box_of(np.any(near, axis=axis), step, size)
            for axis, size in zip((1, 0), ground.shape, strict=True)
        )
        task = delayed(_project)(ground, part, orbit, rows, columns)
        shape = (channels, *part.shape)
        blocks.append(from_delayed(task, shape, np.float32))  # type: ignore[no-untyped-call]
    return concatenate(blocks, axis=1)  # type: ignore[no-untyped-call]


LARGEST_PART = 2**25
"""Divided cells that are projected at once: about 1 GB."""
BLOCK = 1024
"""Lines of a block of a large image."""


def _box_of(near: NDArray[np.bool_], step: int, size: int) -> slice:
    """Return the rows or columns around those samples that are near a block; two at least."""
    found = np.flatnonzero(near)
    if found.size == 0:
        return slice(0, 2)
    return slice(max((found[0] - 1) * step, 0), min((found[-1] + 1) * step + 1, size))


def _project(ground: Ground, grid: RadarGrid, orbit: Orbit, rows: slice, columns: slice) -> Floats:
    """Project some cells to an image, shape (polarisation, line, sample)."""
    heights, reflectivity = ground.part(rows, columns)
    image = np.full((len(reflectivity), *grid.shape), np.nan, dtype=np.float32)
    if not np.isfinite(heights).any():
        return image
    try:
        geometry = pass_geometry(heights, grid, orbit)
    except GeometryError:
        # The block of lines shows none of these cells.
        return image
    operator = illuminate(geometry, ground.law)
    everything = operator.simulate()
    lit = everything > 0.0
    # Between its first and its last ground, a line is dark in shadow; beyond, nothing is known.
    first, last = (np.logical_or.accumulate(each, axis=1) for each in (lit, lit[:, ::-1]))
    dark = np.where(first & last[:, ::-1], np.float32(0.0), np.float32(np.nan))
    areas = pixel_areas(grid, geometry.radar, "beta0")
    for band, values in zip(image, reflectivity, strict=True):
        known = np.isfinite(values)
        filled = np.where(known, values, np.float32(0.0))
        share = operator.simulate(known.astype(np.float32))
        rcs = operator.simulate(filled)
        with np.errstate(divide="ignore", invalid="ignore"):
            share /= everything
            found = rcs / share
        areas.divide(found, 0.0)
        band[:] = np.where(lit, np.where(share >= LEAST_KNOWN, found, np.nan), dark)
    return image
