"""Radar images with their radar grid and orbit, and multilooking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sarheight._runtime import Described
from sarheight.ellipsoid import (
    geodetic,
    ground_distances,
    look_sign,
    points_at_ranges,
    vertical,
)
from sarheight.grid import RadarGrid, require_positive

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.orbit import Orbit

__all__ = [
    "Calibration",
    "Scene",
    "ground_sample_spacing",
    "looks_for_spacing",
    "multilook",
    "require_unflattened",
]
__dir__ = __all__.copy  # `dir` lists the public names

Calibration = Literal["beta0", "sigma0", "gamma0"]
"""Area by which the radar cross-section is divided: in slant range, on the ellipsoid, or
perpendicular to the line of sight."""

IMAGE_DIMS = ("line", "sample")

LEAST_POWER, MOST_POWER = 1e-15, 1e15
"""Typical power of an image: beyond these limits squares leave the range of single precision."""
PIXELS_OF_CHECK = 10_000
"""Pixels from which the typical power is estimated, about."""


def require_unflattened(image: xr.DataArray | xr.Dataset) -> None:
    """Refuse an image that is terrain-flattened and on a map grid already.

    Parameters
    ----------
    image : xarray.DataArray or xarray.Dataset
        Any image. Those of `sarheight.archives` have the attribute ``terrain_flattened``.

    Raises
    ------
    ValueError
        If it is terrain-flattened.
    """
    if not image.attrs.get("terrain_flattened"):
        return
    msg = (
        f"found an image that is terrain-flattened already ({image.attrs.get('source', 'RTC')}) "
        "and on a map grid, expected one in radar geometry: archives.to_radar(image, dem) "
        "takes it back, and sarheight.reconstruct(path, dem=...) does so by itself"
    )
    raise ValueError(msg)


def require_power(image: xr.DataArray) -> None:
    """Refuse an image that is complex, or in decibels.

    Parameters
    ----------
    image : xarray.DataArray
        Any image; its attribute ``units`` tells decibels.

    Raises
    ------
    ValueError
        If it is not linear power.
    """
    units = str(image.attrs.get("units", "")).strip().lower()
    if np.iscomplexobj(image) or units in {"db", "decibel"}:
        found = units or f"{image.dtype} numbers"
        msg = (
            f"found an image in {found}, expected intensity in linear power: pass the squared "
            "magnitude of a complex image, 10**(decibels / 10) of one in decibels"
        )
        raise ValueError(msg)


@dataclass(frozen=True, eq=False, repr=False)
class Scene(Described):
    """A radar image with its radar grid and orbit: all that geocoding needs.

    The constructor checks that the parts fit, so functions that take a scene need not.

    Parameters
    ----------
    image : xarray.DataArray
        Intensity (linear power, never dB) on dims (line, sample), or (polarisation, line,
        sample). NaN where there is no data.
    grid : RadarGrid
        Azimuth time and slant range of the pixels.
    orbit : Orbit
        State vectors that cover the image.
    calibration : {"beta0", "sigma0", "gamma0"}
        The area to which the image is normalised; sigma0 and gamma0 refer to the ellipsoid.

    Raises
    ------
    ValueError
        If the image does not fit the grid, is complex, in decibels or terrain-flattened, the
        calibration is unknown, or the grid's Doppler centroid does not cover the image.
    OrbitCoverageError
        If the orbit does not cover the image.
    """

    image: xr.DataArray
    grid: RadarGrid
    orbit: Orbit
    calibration: Calibration

    def __post_init__(self) -> None:
        """Check that the parts fit."""
        if self.calibration not in get_args(Calibration):
            msg = (
                f"found calibration {self.calibration!r}, expected one of "
                f"{', '.join(get_args(Calibration))}: say what the image is normalised to"
            )
            raise ValueError(msg)
        require_unflattened(self.image)
        dims = self.image.dims
        if dims not in {IMAGE_DIMS, ("polarisation", *IMAGE_DIMS)}:
            msg = (
                f"found an image on dims {dims}, expected ('line', 'sample') with azimuth as "
                "'line', or ('polarisation', 'line', 'sample'): rename or transpose it"
            )
            raise ValueError(msg)
        shape = self.image.shape[-2:]
        if shape != self.grid.shape:
            swapped = ": it looks transposed" if shape[::-1] == self.grid.shape else ""
            msg = (
                f"found an image of {shape[0]} x {shape[1]} pixels and a grid of {self.grid.lines} "
                f"lines x {self.grid.samples} samples{swapped}; expected the same of both: crop "
                "or multilook the grid as the image was"
            )
            raise ValueError(msg)
        require_power(self.image)
        self._require_typical_power()
        self.orbit.with_epoch(self.grid.epoch).require_cover(
            self.grid.first_time, self.grid.last_time
        )
        self.grid.require_doppler()

    def outline(self) -> NDArray[np.float64]:
        """Return the outline of the image on the ellipsoid.

        Returns
        -------
        array, shape (4, 2)
            Longitude and latitude in degrees at height zero of the first line's near and far end,
            and the last line's far and near end; NaN where a range does not reach the ellipsoid.
        """
        orbit, side = self.orbit.with_epoch(self.grid.epoch), look_sign(self.grid.look_side)
        corners = []
        for line, samples in ((0, (0, -1)), (self.grid.lines - 1, (-1, 0))):
            ranges = self.grid.slant_range(line, [s % self.grid.samples for s in samples])
            for distance in ranges:
                time = float(self.grid.azimuth_time(line, distance))
                closing = self.grid.closing_speed(time, distance[None])
                state = orbit.state(time)
                point = points_at_ranges(*state, distance[None], side, 0.0, closing)[0]
                corners.append(geodetic(point, 0.0)[::-1])
        return np.array(corners)

    def _incidences(self) -> list[float]:
        """Return the incidence on the ellipsoid in degrees, near and far in the middle line."""
        line = 0.5 * (self.grid.lines - 1)
        orbit, side = self.orbit.with_epoch(self.grid.epoch), look_sign(self.grid.look_side)
        found = []
        for distance in self.grid.slant_range(line, [0, self.grid.samples - 1]):
            time = float(self.grid.azimuth_time(line, distance))
            closing = self.grid.closing_speed(time, distance[None])
            state = orbit.state(time)
            point = points_at_ranges(*state, distance[None], side, 0.0, closing)[0]
            cosine = vertical(*geodetic(point, 0.0)) @ (state[0] - point) / distance
            found.append(float(np.degrees(np.arccos(cosine))))
        return found

    def facts(self) -> dict[str, str]:
        """Return the facts of the grid, each with those of the image; nothing is loaded."""
        values = self.image.variable._data  # noqa: SLF001  # `data` would load a lazy image
        held = "in memory" if isinstance(values, np.ndarray) else "read when it is needed"
        _, velocity = self.orbit.with_epoch(self.grid.epoch).state(self.grid.first_time)
        flight = "ascending" if velocity[2] > 0.0 else "descending"
        down, across = (
            self.grid.line_spacing(self.orbit),
            ground_sample_spacing(self.grid, self.orbit),
        )
        near, far = self._incidences()
        more = {
            "image": f"{self.calibration} in linear power",
            "time": f"{flight}, {self.orbit.source}",
            "size": f"{self.image.dtype}, {self.image.nbytes / 1e6:.4g} MB, {held}",
            "spacing": f"{down:.4g} m × {across:.4g} m on the ground",
            "swath": f"{near:.1f}° to {far:.1f}° of incidence" if np.isfinite(near + far) else "",
        }
        facts = self.grid.facts()
        return {name: ", ".join(filter(None, (facts[name], more[name]))) for name in facts}

    def _require_typical_power(self) -> None:
        """Refuse an image in memory whose typical power overflows single precision when squared."""
        values = self.image.variable._data  # noqa: SLF001  # `data` would load a lazy image
        if not isinstance(values, np.ndarray) or values.dtype.kind != "f":
            return
        step = max(1, int((values.size / PIXELS_OF_CHECK) ** 0.5))
        power = np.abs(values[..., ::step, ::step])
        power = power[np.isfinite(power) & (power > 0.0)]
        if power.size and not LEAST_POWER <= (typical := float(np.median(power))) <= MOST_POWER:
            msg = (
                f"found an image with a typical power of {typical:.1e}, expected calibrated "
                f"backscatter of about 1e-3 to 10 ({LEAST_POWER:g} to {MOST_POWER:g} is accepted): "
                "check its calibration factor"
            )
            raise ValueError(msg)


# Multilooking: the mean power of windows of pixels, of images in memory or read lazily.

Floats = NDArray[np.float64]

LEAST_VALID = 0.5
"""Fraction of a window's pixels that must have data."""

SLAB_PIXELS = 2**18
"""Pixels that are averaged at once: few enough to stay in a processor's cache."""


def multilook(
    image: xr.DataArray, grid: RadarGrid, lines: int, samples: int, *, looks: float | None = None
) -> tuple[xr.DataArray, RadarGrid]:
    """Average power in windows of pixels.

    Pixels without data are left out. A window with data in less than half of its pixels has no
    data: its mean would belong to a position beside its centre. Lines and samples at the end
    that do not fill a window are dropped, as in `RadarGrid.multilook`.

    Parameters
    ----------
    image : xarray.DataArray
        Linear power on dims (line, sample), or (polarisation, line, sample). NaN where there is
        no data. An image on dask is averaged when it is computed, in chunks of whole windows.
    grid : RadarGrid
        The sampling of the image.
    lines, samples : int
        Size of a window in pixels.
    looks : float, optional
        Equivalent number of looks of the result; by default that of the image times the pixels
        of a window, which is too high where neighbouring pixels are correlated.

    Returns
    -------
    image : xarray.DataArray
        The means in float32, with the name and attributes of the image, and without coordinates
        of lines and samples.
    grid : RadarGrid
        Its radar grid.

    Raises
    ------
    ValueError
        If the image does not fit the grid or is complex, or the window is empty or larger than
        the image.
    """
    import xarray as xr

    _require_power_on(grid, image)
    coarse = grid.multilook(lines, samples, looks=looks)
    # `RadarGrid.multilook` has checked that they are whole numbers.
    lines, samples = int(lines), int(samples)
    kept = image.isel(line=slice(coarse.lines * lines), sample=slice(coarse.samples * samples))
    data = (
        _means(kept.data, lines, samples)
        if kept.chunks is None
        else _lazy_means(kept, lines, samples)
    )
    coords = {
        name: coordinate
        for name, coordinate in image.coords.items()
        if not set(IMAGE_DIMS) & set(coordinate.dims)
    }
    averaged = xr.DataArray(
        data, dims=image.dims, coords=coords, name=image.name, attrs=image.attrs
    )
    return averaged, coarse


def looks_for_spacing(grid: RadarGrid, orbit: Orbit, spacing: float) -> tuple[int, int]:
    """Choose the window that makes pixels about square on the ground.

    Parameters
    ----------
    grid : RadarGrid
        The sampling of the image.
    orbit : Orbit
        The orbit.
    spacing : float
        Distance between pixels in metres, on the ellipsoid in the middle of the image.

    Returns
    -------
    lines, samples : int
        Size of the window: the nearest whole numbers, at least 1. A spacing below twice that of
        the pixels is met poorly: lines of an IW SLC are 14 m apart.

    Raises
    ------
    ValueError
        If the spacing is not a number above zero.
    OrbitCoverageError
        If the orbit does not cover the middle of the image.
    """
    require_positive("spacing", spacing)
    along, across = grid.line_spacing(orbit), ground_sample_spacing(grid, orbit)
    return max(round(spacing / along), 1), max(round(spacing / across), 1)


def ground_sample_spacing(grid: RadarGrid, orbit: Orbit) -> float:
    """Return the distance between samples on the ground, in the middle of the image.

    Parameters
    ----------
    grid : RadarGrid
        The sampling of the image.
    orbit : Orbit
        The orbit.

    Returns
    -------
    float
        In metres, on the ellipsoid.

    Raises
    ------
    OrbitCoverageError
        If the orbit does not cover the middle of the image.
    """
    if grid.is_ground_range:
        return grid.sample_spacing
    line, sample = (grid.lines - 1) / 2, (grid.samples - 1) / 2
    time = float(grid.azimuth_time(line, grid.slant_range(line, sample)))
    ends = grid.slant_range(line, [sample - 0.5, sample + 0.5])
    state = orbit.with_epoch(grid.epoch).state(time)
    side, closing = look_sign(grid.look_side), grid.closing_speed(time, ends)
    points = points_at_ranges(*state, ends, side, 0.0, closing)
    return float(ground_distances(points)[-1])


def _require_power_on(grid: RadarGrid, image: xr.DataArray) -> None:
    """Refuse an image that is not power, or not on the grid."""
    if image.dims[-2:] != IMAGE_DIMS or image.shape[-2:] != grid.shape:
        found = ", ".join(f"{name}: {size}" for name, size in image.sizes.items())
        msg = (
            f"found an image of ({found}) and a grid of {grid.lines} lines x {grid.samples} "
            "samples, expected (line, sample) of the same size: crop the grid as the image was"
        )
        raise ValueError(msg)
    if image.dtype.kind != "f":
        msg = (
            f"found {image.dtype} numbers, expected power in floating point: square the magnitude "
            "of a complex image before it is averaged"
        )
        raise ValueError(msg)


def _lazy_means(image: xr.DataArray, lines: int, samples: int) -> Any:  # noqa: ANN401  # an array of dask
    """Average windows of a lazy image, in chunks of whole windows."""
    chunks = dict(image.chunksizes)
    windows = {"line": lines, "sample": samples}
    aligned = {
        name: _whole_windows(chunks[name], window, image.sizes[name])
        for name, window in windows.items()
    }
    array = image.chunk(aligned).data
    coarse = [
        tuple(size // windows[str(name)] for size in sizes) if name in windows else sizes
        for name, sizes in zip(image.dims, array.chunks, strict=True)
    ]
    return array.map_blocks(
        _means, lines, samples, chunks=coarse, dtype=np.float32, meta=np.empty(0, np.float32)
    )


def _whole_windows(chunks: tuple[int, ...], window: int, size: int) -> tuple[int, ...]:
    """Move the borders of chunks back to those of windows; join chunks smaller than a window."""
    borders = np.cumsum(chunks) // window * window
    borders[-1] = size
    sizes = np.diff(np.unique(np.concatenate([[0], borders])))
    return tuple(int(length) for length in sizes)


def _means(power: NDArray[Any], lines: int, samples: int) -> NDArray[np.float32]:
    """Return the means of the windows that fill an array of dims (..., line, sample)."""
    *rest, height, width = power.shape
    mean = np.empty((*rest, height // lines, width // samples), dtype=np.float32)
    step = max(SLAB_PIXELS // (lines * width), 1)
    for row in range(0, height // lines, step):
        slab = power[..., row * lines : (row + step) * lines, :]
        mean[..., row : row + step, :] = _slab_means(slab, lines, samples)
    return mean


def _slab_means(power: NDArray[Any], lines: int, samples: int) -> Floats:
    """Return the means of windows. Lines are added first: memory is read in order."""
    *rest, height, width = power.shape
    tall = power.reshape(*rest, height // lines, lines, width)
    rows = tall.sum(axis=-2, dtype=np.float64)
    mean: Floats = rows[..., ::samples].copy()
    for sample in range(1, samples):
        mean += rows[..., sample::samples]
    mean /= lines * samples
    incomplete = np.isnan(mean)
    if incomplete.any():
        windows = tall.reshape(*tall.shape[:-1], width // samples, samples).swapaxes(-3, -2)
        mean[incomplete] = _means_of_valid(windows[incomplete])
    return mean


def _means_of_valid(windows: NDArray[Any]) -> Floats:
    """Return the means of windows, shape (n, lines, samples), some of whose pixels are NaN."""
    valid = ~np.isnan(windows)
    count = valid.sum(axis=(-2, -1))
    total = np.where(valid, windows, 0.0).sum(axis=(-2, -1), dtype=np.float64)
    mean = np.full(count.shape, np.nan)
    enough = count >= LEAST_VALID * windows[0].size
    np.divide(total, count, out=mean, where=enough)
    return mean
