"""Radar images with their sampling and orbit; multilooking; acquisition metadata.

A result has one record for each of its passes, as JSON text in its attribute ``acquisition``.
What describes a result to others, such as its STAC item, takes its facts from there.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sarheight.ellipsoid import (
    SPEED_OF_LIGHT,
    ground_distances,
    look_sign,
    points_at_ranges,
)
from sarheight.grid import RadarGrid, require_positive
from sarheight.orbit import seconds_between

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import xarray
    import xarray as xr

    from sarheight.orbit import Orbit

__all__ = [
    "ACQUISITION",
    "Calibration",
    "Scene",
    "acquisition_of",
    "acquisition_record",
    "acquisitions",
    "ground_sample_spacing",
    "looks_for_spacing",
    "multilook",
    "require_unflattened",
]

Calibration = Literal["beta0", "sigma0", "gamma0"]
"""What a radar cross-section is divided by: slant-range, ellipsoid or perpendicular area."""

IMAGE_DIMS = ("line", "sample")


def require_unflattened(image: xarray.DataArray | xarray.Dataset) -> None:
    """Refuse an image whose layover was spread over a map already.

    Parameters
    ----------
    image : xarray.DataArray or xarray.Dataset
        Any image. Those of `sarheight.rtc` say what they are by the attribute
        ``terrain_flattened``.

    Raises
    ------
    ValueError
        If it is terrain-flattened.
    """
    if not image.attrs.get("terrain_flattened"):
        return
    msg = (
        f"found an image that is terrain-flattened already ({image.attrs.get('source', 'RTC')}) "
        "and on a map grid, expected one in radar geometry. In layover its cells hold averages of "
        "pixels: how much of their energy came from where is lost, and nothing is left to "
        "reallocate. Pass the GRD or SLC that it was made from; as it is, it can be an input to "
        "a network"
    )
    raise ValueError(msg)


@dataclass(frozen=True, eq=False)
class Scene:
    """A radar image with everything needed to place it on the ground.

    Parameters
    ----------
    image : xarray.DataArray
        Intensity (linear power, never dB) on dims (line, sample), or (polarisation, line,
        sample). NaN where there is no data.
    grid : RadarGrid
        The sampling of the image.
    orbit : Orbit
        The orbit, which must cover the image.
    calibration : {"beta0", "sigma0", "gamma0"}
        What the image is normalised to, by the ellipsoid.

    Raises
    ------
    ValueError
        If the image does not fit the grid, is complex or in decibels, or the calibration is none
        of these.
    OrbitCoverageError
        If the orbit does not cover the image.
    """

    image: xarray.DataArray
    grid: RadarGrid
    orbit: Orbit
    calibration: Calibration

    def __post_init__(self) -> None:
        """Check that the parts belong together."""
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
        units = str(self.image.attrs.get("units", "")).strip().lower()
        if np.iscomplexobj(self.image) or units in {"db", "decibel"}:
            found = units or f"{self.image.dtype} numbers"
            msg = (
                f"found an image in {found}, expected intensity in linear power: pass the squared "
                "magnitude of a complex image, 10**(decibels / 10) of one in decibels"
            )
            raise ValueError(msg)
        self.orbit.with_epoch(self.grid.epoch).require_cover(
            self.grid.first_time, self.grid.last_time
        )


# Multilooking: the mean power of windows of pixels, of images in memory or read lazily.

Floats = NDArray[np.float64]

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


# What is known of how an image was taken, in the form in which results carry it.

ACQUISITION = "acquisition"
"""Attribute of a result."""

SENTINEL_1_NAME = re.compile(
    r"(?P<mission>S1[A-D])_[A-Z0-9]{2}_[A-Z]{3}[FHM_]_\d[AS][A-Z]{2}"
    r"_(?P<start>\d{8}T\d{6})_\d{8}T\d{6}_(?P<orbit>\d{6})_[0-9A-F]{6}_[0-9A-F]{4}"
)
ORBITS_PER_CYCLE = 175
RELATIVE_ORBITS = {"S1A": 73, "S1B": 27, "S1C": 172, "S1D": 42}
"""By mission the absolute orbit whose relative orbit is 1."""
MOVED = {"S1C": (np.datetime64("2026-06-16"), 99)}
"""The same after a mission was moved to another place in the constellation."""


def acquisition_of(scenes: Iterable[Scene]) -> str:
    """Describe how the images of a result were taken.

    Parameters
    ----------
    scenes : iterable of Scene
        One for each pass. The attribute ``product_name`` of an image, the name of the product
        that it comes from, tells the number of the orbit.

    Returns
    -------
    str
        JSON, a list with a record for each scene (see `acquisition_record`).
    """
    return json.dumps(
        [
            acquisition_record(scene.grid, scene.orbit, scene.image.attrs)
            | {"calibration": scene.calibration, "polarisations": _polarisations(scene)}
            for scene in scenes
        ]
    )


def acquisition_record(
    grid: RadarGrid, orbit: Orbit, attributes: Mapping[Any, Any] | None = None
) -> dict[str, Any]:
    """Describe how an image was taken.

    Parameters
    ----------
    grid, orbit : RadarGrid, Orbit
        Sampling and orbit of the image.
    attributes : mapping, optional
        Attributes of the image, for ``product_name``.

    Returns
    -------
    dict
        ``mission``, ``mode``, ``product``, ``swath``, ``polarisations``, ``start`` and ``end``
        (UTC), ``look_side``, ``orbit_state``, ``orbit_source``, ``center_frequency`` (GHz),
        ``looks``; and where they are known ``product_name``, ``absolute_orbit`` and
        ``relative_orbit``. Texts are empty where nothing is known.
    """
    record: dict[str, Any] = {
        name: getattr(grid, name) for name in ("mission", "mode", "product", "swath")
    }
    orbit = orbit.with_epoch(grid.epoch)
    _, velocity = orbit.state([0.5 * (grid.first_time + grid.last_time)])
    record |= {
        "polarisations": list(grid.polarisations),
        "start": _utc(orbit, grid.first_time),
        "end": _utc(orbit, grid.last_time),
        "look_side": grid.look_side,
        "orbit_state": "ascending" if velocity[0, 2] > 0.0 else "descending",
        "orbit_source": orbit.source,
        "center_frequency": round(1e-9 * SPEED_OF_LIGHT / grid.wavelength, 6),
        "looks": grid.looks,
    }
    name = str((attributes or {}).get("product_name", ""))
    return record | ({"product_name": name} | orbit_numbers(name) if name else {})


def orbit_numbers(product_name: str) -> dict[str, int]:
    """Tell the number of an orbit from the name of a Sentinel-1 product.

    Source: Sentinel-1 Product Specification, S1-RS-MDA-52-7441, naming of products.
    """
    found = SENTINEL_1_NAME.search(product_name)
    if found is None:
        return {}
    absolute, start = int(found["orbit"]), found["start"]
    time = np.datetime64(f"{start[:4]}-{start[4:6]}-{start[6:11]}:{start[11:13]}:{start[13:]}")
    relative = relative_orbit(found["mission"], absolute, time)
    return {"absolute_orbit": absolute, "relative_orbit": relative}


def relative_orbit(mission: str, absolute: int, time: np.datetime64) -> int:
    """Return the relative orbit number of an absolute one."""
    if mission not in RELATIVE_ORBITS:
        msg = f"found mission {mission!r}, expected one of {', '.join(RELATIVE_ORBITS)}"
        raise ValueError(msg)
    first = RELATIVE_ORBITS[mission]
    moved, later = MOVED.get(mission, (None, first))
    if moved is not None and seconds_between(moved, time) >= 0.0:
        first = later
    return (absolute - first) % ORBITS_PER_CYCLE + 1


def acquisitions(attributes: Mapping[Any, Any]) -> list[dict[str, Any]]:
    """Read the records that a result carries.

    Parameters
    ----------
    attributes : mapping
        Those of the result.

    Returns
    -------
    list of dict
        One for each pass; empty where the result says nothing.
    """
    found = attributes.get(ACQUISITION, "[]")
    records: list[dict[str, Any]] = json.loads(found) if isinstance(found, str) else list(found)
    return records


def _utc(orbit: Orbit, time: float) -> str:
    """Write a time in seconds since the orbit's epoch, to a microsecond."""
    return f"{np.datetime_as_string(orbit.utc(time), unit='us')}Z"


def _polarisations(scene: Scene) -> list[str]:
    if "polarisation" in scene.image.coords:
        return [str(name) for name in np.atleast_1d(scene.image["polarisation"].values)]
    return list(scene.grid.polarisations)
