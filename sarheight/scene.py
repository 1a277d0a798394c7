"""Radar images with their radar grid and orbit; multilooking; acquisition metadata.

A result has an attribute ``acquisition``: JSON text with one record for each pass. Its STAC item
and other metadata are derived from it.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sarheight._files import parse_json, reason
from sarheight._html import card, map_drawing
from sarheight.doppler import DopplerLUT
from sarheight.ellipsoid import (
    SPEED_OF_LIGHT,
    geodetic,
    ground_distances,
    look_sign,
    points_at_ranges,
    vertical,
)
from sarheight.errors import DamagedFileError
from sarheight.grid import Burst, RadarGrid, require_positive
from sarheight.ground_range import GroundRange
from sarheight.orbit import Orbit, parse_compact_time, seconds_between

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import xarray as xr

__all__ = [
    "ACQUISITION",
    "GEOMETRY",
    "Calibration",
    "Scene",
    "acquisition_json",
    "acquisition_record",
    "acquisitions",
    "geometries",
    "geometry_json",
    "ground_sample_spacing",
    "looks_for_spacing",
    "multilook",
    "require_unflattened",
]

Calibration = Literal["beta0", "sigma0", "gamma0"]
"""Area by which the radar cross-section is divided: in slant range, on the ellipsoid, or
perpendicular to the line of sight."""

IMAGE_DIMS = ("line", "sample")

LEAST_POWER, MOST_POWER = 1e-15, 1e15
"""Typical power of an image: beyond these limits squares leave the range of single precision."""
PIXELS_OF_CHECK = 10_000
"""How many pixels, about, are looked at for it."""


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
        "and on a map grid, expected one in radar geometry. In layover its cells hold averages of "
        "pixels: how much of their radar cross-section came from where is lost, and cannot be "
        "reallocated. Pass the GRD or SLC that it was made from; as it is, it can be an input "
        "to a network"
    )
    raise ValueError(msg)


@dataclass(frozen=True, eq=False)
class Scene:
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
        What the image is normalised to; sigma0 and gamma0 refer to the ellipsoid.

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
        units = str(self.image.attrs.get("units", "")).strip().lower()
        if np.iscomplexobj(self.image) or units in {"db", "decibel"}:
            found = units or f"{self.image.dtype} numbers"
            msg = (
                f"found an image in {found}, expected intensity in linear power: pass the squared "
                "magnitude of a complex image, 10**(decibels / 10) of one in decibels"
            )
            raise ValueError(msg)
        self._require_power()
        self.orbit.with_epoch(self.grid.epoch).require_cover(
            self.grid.first_time, self.grid.last_time
        )
        self.grid.require_doppler()

    def outline(self) -> NDArray[np.float64]:
        """Return the outline of the image on the ellipsoid.

        Returns
        -------
        array, shape (4, 2)
            Longitude and latitude in degrees at height zero, zero Doppler, of the first line's near
            and far end, and the last line's far and near end; NaN where a range does not reach the
            ellipsoid.
        """
        orbit, side = self.orbit.with_epoch(self.grid.epoch), look_sign(self.grid.look_side)
        corners = []
        for line, samples in ((0, (0, -1)), (self.grid.lines - 1, (-1, 0))):
            ranges = self.grid.slant_range(line, [s % self.grid.samples for s in samples])
            for distance in ranges:
                time = float(self.grid.azimuth_time(line, distance))
                point = points_at_ranges(*orbit.state(time), distance[None], side, 0.0)[0]
                corners.append(geodetic(point, 0.0)[::-1])
        return np.array(corners)

    def _incidences(self) -> list[float]:
        """Return the incidence on the ellipsoid in degrees, near and far in the middle line."""
        line = 0.5 * (self.grid.lines - 1)
        orbit, side = self.orbit.with_epoch(self.grid.epoch), look_sign(self.grid.look_side)
        found = []
        for distance in self.grid.slant_range(line, [0, self.grid.samples - 1]):
            state = orbit.state(float(self.grid.azimuth_time(line, distance)))
            point = points_at_ranges(*state, distance[None], side, 0.0)[0]
            cosine = vertical(*geodetic(point, 0.0)) @ (state[0] - point) / distance
            found.append(float(np.degrees(np.arccos(cosine))))
        return found

    def _repr_html_(self) -> str:
        """Show the footprint and the numbers that matter, in a notebook; loads nothing."""
        outline = self.outline()
        near_first, far_first, _, near_last = outline
        angles = " to ".join(f"{angle:.1f}°" for angle in self._incidences())
        values = self.image.variable._data  # noqa: SLF001  # `data` would load a lazy image
        kind = "in memory" if isinstance(values, np.ndarray) else "read when it is needed"
        _, velocity = self.orbit.with_epoch(self.grid.epoch).state([self.grid.first_time])
        facts = self.grid.facts() | {
            "incidence": f"{angles} on the ellipsoid",
            "flight": "ascending" if velocity[0, 2] > 0.0 else "descending",
            "spacing": f"{self.grid.line_spacing(self.orbit):.4g} m × "
            f"{ground_sample_spacing(self.grid, self.orbit):.4g} m on the ground",
            "calibration": f"{self.calibration}, linear power",
            "image data": f"{self.image.dtype}, {self.image.nbytes / 1e6:.4g} MB, {kind}",
            "orbit": self.orbit.source,
        }
        if not np.isfinite(outline).all():
            return card("Scene", facts | {"incidence": ""}, "")
        # Beside the near edge, away from the ground that is seen.
        aside = 0.12 * (near_first - far_first)
        flight = np.array([near_first + aside, near_last + aside])
        look = np.array([0.5 * (near_first + near_last) + aside, outline.mean(axis=0)])
        return card("Scene", facts, map_drawing("footprint", outline, flight, look))

    def _require_power(self) -> None:
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

    _require_power(image, grid)
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


def _lazy_means(image: xr.DataArray, lines: int, samples: int) -> Any:  # noqa: ANN401  # an array of dask
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


# Acquisition metadata of results.

SOURCE = "source_metadata"
"""Attribute of an image: JSON text that says how its product was processed and sampled."""
ACQUISITION = "acquisition"
"""Attribute of a result with its acquisition records."""

SENTINEL_1_NAME = re.compile(
    r"(?P<mission>S1[A-D])_[A-Z0-9]{2}_[A-Z]{3}[FHM_]_\d[AS][A-Z]{2}"
    r"_(?P<start>\d{8}T\d{6})_\d{8}T\d{6}_(?P<orbit>\d{6})_[0-9A-F]{6}_[0-9A-F]{4}"
)
ORBITS_PER_CYCLE = 175
"""Orbits in the repeat cycle of 12 days."""

RELATIVE_ORBITS = {"S1A": 73, "S1B": 27, "S1C": 172, "S1D": 42}
"""Absolute orbit whose relative orbit is 1, by mission."""

MOVED = {"S1C": (np.datetime64("2026-06-16"), 99)}
"""Time from which a mission has another orbital position, and the same number after it."""


def acquisition_json(scenes: Iterable[Scene]) -> str:
    """Describe the acquisition of the images of a result.

    Parameters
    ----------
    scenes : iterable of Scene
        One for each pass. The orbit number is derived from the attribute ``product_name`` of an
        image: the name of its product.

    Returns
    -------
    str
        JSON: a list with a record for each scene (see `acquisition_record`).
    """
    return json.dumps(
        [
            acquisition_record(scene.grid, scene.orbit, scene.image.attrs)
            | {"calibration": scene.calibration, "polarisations": polarisation_names(scene)}
            for scene in scenes
        ]
    )


def acquisition_record(
    grid: RadarGrid, orbit: Orbit, attributes: Mapping[Any, Any] | None = None
) -> dict[str, Any]:
    """Describe the acquisition of an image.

    Parameters
    ----------
    grid, orbit : RadarGrid, Orbit
        Radar grid and orbit of the image.
    attributes : mapping, optional
        Attributes of the image, for ``product_name`` and ``source_metadata``.

    Returns
    -------
    dict
        ``mission``, ``mode``, ``product``, ``swath``, ``polarisations``, ``start`` and ``end``
        (UTC), ``look_side``, ``orbit_state``, ``orbit_source``, ``center_frequency`` (GHz),
        ``looks``; and where they are known ``product_name``, ``absolute_orbit``,
        ``relative_orbit`` and ``source``, the processing and sampling of the product. Unknown
        texts are empty.
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
    attributes = attributes or {}
    if SOURCE in attributes:
        record["source"] = json.loads(attributes[SOURCE])
    name = str(attributes.get("product_name", ""))
    return record | ({"product_name": name} | orbit_numbers(name) if name else {})


def acquisition_time(grid: RadarGrid, orbit: Orbit) -> np.datetime64:
    """Return the middle of an acquisition: the coordinate ``time`` of results.

    Parameters
    ----------
    grid, orbit : RadarGrid, Orbit
        Radar grid and orbit of the image.

    Returns
    -------
    numpy.datetime64
        UTC, a whole number of microseconds, in nanoseconds as xarray has it.
    """
    middle = orbit.with_epoch(grid.epoch).utc(0.5 * (grid.first_time + grid.last_time))
    time: np.datetime64 = middle.astype("datetime64[us]").astype("datetime64[ns]")
    return time


def orbit_numbers(product_name: str) -> dict[str, int]:
    """Return the absolute and relative orbit in the name of a Sentinel-1 product.

    Source: Sentinel-1 Product Specification, S1-RS-MDA-52-7441, naming of products.
    """
    parts = SENTINEL_1_NAME.search(product_name)
    if parts is None:
        return {}
    absolute = int(parts["orbit"])
    relative = relative_orbit(parts["mission"], absolute, parse_compact_time(parts["start"]))
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
    """Read the acquisition records of a result.

    Parameters
    ----------
    attributes : mapping
        Attributes of the result.

    Returns
    -------
    list of dict
        One for each pass; empty where the result has none.
    """
    stored = attributes.get(ACQUISITION, "[]")
    records: list[dict[str, Any]] = json.loads(stored) if isinstance(stored, str) else list(stored)
    return records


def _utc(orbit: Orbit, time: float) -> str:
    """Format a time in seconds since the orbit's epoch, to a microsecond."""
    return f"{np.datetime_as_string(orbit.utc(time), unit='us')}Z"


def polarisation_names(scene: Scene) -> list[str]:
    """Return the names of a scene's polarisations; none where neither image nor grid has them."""
    if "polarisation" in scene.image.coords:
        return [str(name) for name in np.atleast_1d(scene.image["polarisation"].values)]
    return list(scene.grid.polarisations)


# Sampling and orbit as JSON: fields by name, exact to the last bit.

GEOMETRY = "geometry"
"""Attribute of a result with the sampling and the orbit of its images."""
LARGEST_GEOMETRY = 200_000
"""Characters; a result does not keep a longer geometry, as of a large table of Doppler centroids,
because formats repeat attributes in each file and limit their length."""


def geometry_json(passes: Iterable[tuple[RadarGrid, Orbit]]) -> str:
    """Write the sampling and the orbit of the images of a result.

    Parameters
    ----------
    passes : iterable of (RadarGrid, Orbit)
        One for each image. The orbit is cropped to the time span of the image, in which it stays
        the same to the last bit.

    Returns
    -------
    str
        JSON: a list with a record for each image, or an empty list where that would be very long.
    """
    records = []
    for grid, orbit in passes:
        near = orbit.with_epoch(grid.epoch).crop(grid.first_time, grid.last_time)
        records.append(f'{{"radar_grid": {grid_to_json(grid)}, "orbit": {orbit_to_json(near)}}}')
    text = f"[{', '.join(records)}]"
    return text if len(text) <= LARGEST_GEOMETRY else "[]"


def geometries(attributes: Mapping[Any, Any]) -> list[tuple[RadarGrid, Orbit]]:
    """Read the sampling and the orbit of the images of a result.

    Parameters
    ----------
    attributes : mapping
        Attributes of the result.

    Returns
    -------
    list of (RadarGrid, Orbit)
        One for each pass; empty where the result has none.

    Raises
    ------
    DamagedFileError
        If they cannot be read.
    """
    stored = attributes.get(GEOMETRY, "[]")
    with _explain_unreadable("geometry"):
        records = json.loads(stored) if isinstance(stored, str) else list(stored)
        texts = [(json.dumps(one["radar_grid"]), json.dumps(one["orbit"])) for one in records]
    return [(grid_from_json(grid), orbit_from_json(orbit)) for grid, orbit in texts]


def _to_json(record: RadarGrid | Orbit) -> str:
    """Write the fields of a dataclass: arrays as lists, times in ISO 8601."""
    return json.dumps(
        asdict(record),
        default=lambda value: str(value) if isinstance(value, np.datetime64) else value.tolist(),
    )


def grid_to_json(grid: RadarGrid) -> str:
    """Write a grid as JSON, exact to the last bit."""
    return _to_json(grid)


def grid_from_json(text: str) -> RadarGrid:
    """Read a grid that `grid_to_json` has written."""
    with _explain_unreadable("radar grid"):
        values = parse_json(text, "radar grid")
        epoch, records = np.datetime64(values.pop("epoch")), values.pop("ground_range")
        ground_range = None if records is None else GroundRange(**records)
        bursts = tuple(Burst(**_tuples(burst)) for burst in values.pop("bursts"))
        table = values.pop("doppler", None)
        return RadarGrid(
            epoch=epoch,
            ground_range=ground_range,
            doppler=None if table is None else DopplerLUT(**table),
            bursts=bursts,
            **_tuples(values),
        )


def orbit_to_json(orbit: Orbit) -> str:
    """Write an orbit as JSON: epoch, state vectors and source."""
    return _to_json(orbit)


def orbit_from_json(text: str) -> Orbit:
    """Read an orbit that `orbit_to_json` has written."""
    with _explain_unreadable("orbit"):
        values = parse_json(text, "orbit")
        return Orbit(epoch=np.datetime64(values.pop("epoch")), **values)


@contextmanager
def _explain_unreadable(content: str) -> Iterator[None]:
    """Turn the errors of damaged or unknown content into one that says what to do."""
    try:
        yield
    except Exception as error:
        msg = (
            f"the file's {content} cannot be read ({reason(error)}); expected one written by this "
            "version: write the file again, or pass the annotation"
        )
        raise DamagedFileError(msg) from error


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    """Turn the lists of JSON into tuples."""
    return {key: tuple(item) if isinstance(item, list) else item for key, item in values.items()}
