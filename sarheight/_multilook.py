"""Multilooking: the mean power of windows of pixels, of images in memory or read lazily."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sarheight._sampling import require_positive
from sarheight._viewing import ground_distances, look_sign, points_at_ranges

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.orbit import Orbit
    from sarheight.scene import RadarGrid

__all__ = ["ground_sample_spacing", "looks_for_spacing", "multilook"]

Floats = NDArray[np.float64]

IMAGE_DIMS = ("line", "sample")
LEAST_SHARE = 0.5
SLAB_PIXELS = 2**18
"""Pixels that are averaged at once: few enough to stay in a processor's cache."""


def multilook(
    image: xr.DataArray, grid: RadarGrid, lines: int, samples: int, *, looks: float | None = None
) -> tuple[xr.DataArray, RadarGrid]:
    """Average power in windows of pixels.

    Pixels without data do not count. A window with data in less than half of its pixels has
    none: its mean would stand for a place beside the window. Lines and samples at the end that
    do not fill a window are dropped, as `RadarGrid.multilook` does.

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
        Equivalent number of looks of the result; left out, that of the image times the pixels
        of a window. Neighbouring pixels of Sentinel-1 are correlated, which leaves fewer.

    Returns
    -------
    image : xarray.DataArray
        Of float32, with the name and attributes of the image, and without coordinates of lines
        and samples.
    grid : RadarGrid
        Its sampling.

    Raises
    ------
    ValueError
        If the image does not fit the grid or is complex, or the window is empty or larger than
        the image.
    """
    import xarray as xr

    _require_power(image, grid)
    coarse = grid.multilook(lines, samples, looks=looks)
    # Only now is the window known to be one.
    lines, samples = int(lines), int(samples)
    kept = image.isel(line=slice(coarse.lines * lines), sample=slice(coarse.samples * samples))
    data = _means(kept.data, lines, samples) if kept.chunks is None else _lazy(kept, lines, samples)
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
    """Choose the window that makes pixels square on the ground.

    Parameters
    ----------
    grid : RadarGrid
        The sampling of the image.
    orbit : Orbit
        The orbit.
    spacing : float
        Wanted distance between pixels on the ground in metres, in the middle of the image and
        on the ellipsoid.

    Returns
    -------
    lines, samples : int
        Size of the window; the whole numbers that come nearest, and at least 1. Where pixels are
        farther apart than half the wanted spacing, little can be chosen: lines of an IW SLC are
        14 m apart.

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
    """Return the distance between samples on the ground, in the image's middle.

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
    points = points_at_ranges(*state, ends, look_sign(grid.look_side), 0.0)
    return float(ground_distances(points)[-1])


def _require_power(image: xr.DataArray, grid: RadarGrid) -> None:
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


def _lazy(image: xr.DataArray, lines: int, samples: int) -> Any:  # noqa: ANN401  # an array of dask
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
    """Move the borders of chunks back to those of windows; chunks smaller than one are joined."""
    borders = np.cumsum(chunks) // window * window
    borders[-1] = size
    sizes = np.diff(np.unique(np.concatenate([[0], borders])))
    return tuple(int(each) for each in sizes)


def _means(power: NDArray[Any], lines: int, samples: int) -> NDArray[np.float32]:
    """Return the means of windows of an array of dims (..., line, sample) that they fill."""
    *rest, height, width = power.shape
    mean = np.empty((*rest, height // lines, width // samples), dtype=np.float32)
    step = max(SLAB_PIXELS // (lines * width), 1)
    for row in range(0, height // lines, step):
        slab = power[..., row * lines : (row + step) * lines, :]
        mean[..., row : row + step, :] = _slab_means(slab, lines, samples)
    return mean


def _slab_means(power: NDArray[Any], lines: int, samples: int) -> Floats:
    """Return the means of windows. Lines are added first: that goes through memory in order."""
    *rest, height, width = power.shape
    tall = power.reshape(*rest, height // lines, lines, width)
    rows = tall.sum(axis=-2, dtype=np.float64)
    mean: Floats = rows[..., ::samples].copy()
    for sample in range(1, samples):
        mean += rows[..., sample::samples]
    mean /= lines * samples
    holed = np.isnan(mean)
    if holed.any():
        windows = tall.reshape(*tall.shape[:-1], width // samples, samples).swapaxes(-3, -2)
        mean[holed] = _means_of_holed(windows[holed])
    return mean


def _means_of_holed(windows: NDArray[Any]) -> Floats:
    """Return the means of windows, shape (n, lines, samples), that miss some pixels."""
    valid = ~np.isnan(windows)
    count = valid.sum(axis=(-2, -1))
    total = np.where(valid, windows, 0.0).sum(axis=(-2, -1), dtype=np.float64)
    mean = np.full(count.shape, np.nan)
    enough = count >= LEAST_SHARE * windows[0].size
    np.divide(total, count, out=mean, where=enough)
    return mean
