"""The shift between a radar image and what orbit and DEM predict."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from sarheight.coregistration._correlation import (
    CLOSE,
    COARSE_SIGMA,
    Compared,
    Pool,
    correlation,
    log_bandpass,
    moments,
    peak_of,
    significance,
)
from sarheight.dem import local_posting
from sarheight.dem.checked import CheckedDem
from sarheight.errors import GeometryError, OrbitCoverageError
from sarheight.scene import ground_sample_spacing, looks_for_spacing, multilook

if TYPE_CHECKING:
    from sarheight.geometry.pass_geometry import PassGeometry
    from sarheight.grid import RadarGrid
    from sarheight.illumination import BackscatterLaw
    from sarheight.scene import Scene


@dataclass(frozen=True, kw_only=True, eq=False)
class Shift:
    """The shift of a radar image against its simulation.

    A point that orbit and DEM place at (line, sample) is imaged at (line + `line`, sample +
    `sample`). Where no shift could be estimated it is NaN, and `reason` says why.

    Attributes
    ----------
    line, sample : float
        The shift in pixels of the image.
    line_error, sample_error : float
        Its standard errors in pixels.
    along_track, across_track : float
        The same in metres on the ground: in the direction of flight, and away from the track.
    along_track_error, across_track_error : float
        Standard errors in metres.
    correlation_before, correlation_after : float
        Correlation of measured and simulated log-intensity before and after the shift is
        removed, both high-pass filtered at a few cells of the DEM.
    significance : float
        Height of the correlation's peak above its surroundings, in their standard deviations.
    windows : xarray.Dataset
        The compared windows, dim ``window``: ``line`` and ``sample`` of their centres,
        their own ``line_shift`` and ``sample_shift`` in pixels, their ``correlation`` with the
        common shift taken out, and whether each was ``used`` or set aside as an outlier.
    reason : str
        Why no shift could be estimated; empty otherwise.
    """

    line: float = math.nan
    sample: float = math.nan
    line_error: float = math.nan
    sample_error: float = math.nan
    along_track: float = math.nan
    across_track: float = math.nan
    along_track_error: float = math.nan
    across_track_error: float = math.nan
    correlation_before: float = math.nan
    correlation_after: float = math.nan
    significance: float = math.nan
    windows: xr.Dataset = field(default_factory=xr.Dataset)
    reason: str = ""

    @property
    def found(self) -> bool:
        """Whether a shift was estimated."""
        return not self.reason

    @property
    def windows_used(self) -> int:
        """Number of windows on which the shift rests."""
        return int(self.windows["used"].sum()) if "used" in self.windows else 0

    def attributes(self) -> dict[str, Any]:
        """Return the numbers for the attributes of a result; those that are not known are None."""
        names = (
            *("line", "sample", "line_error", "sample_error"),
            *("along_track", "across_track", "along_track_error", "across_track_error"),
            *("correlation_before", "correlation_after", "significance"),
        )
        values = {name: getattr(self, name) for name in names}
        return {
            "found": self.found,
            "reason": self.reason,
            **{name: value if math.isfinite(value) else None for name, value in values.items()},
            "windows_used": self.windows_used,
            "windows_compared": int(self.windows.sizes.get("window", 0)),
        }

    def to_json(self) -> str:
        """Return the attributes as JSON."""
        return json.dumps(self.attributes())

    def __str__(self) -> str:
        """Say in a line what was found."""
        if not self.found:
            return f"no shift could be estimated: {self.reason}"
        return (
            f"the image lies {self.along_track:+.1f} ± {self.along_track_error:.1f} m along and "
            f"{self.across_track:+.1f} ± {self.across_track_error:.1f} m across the track from its "
            f"simulation ({self.line:+.2f} ± {self.line_error:.2f} lines, {self.sample:+.2f} ± "
            f"{self.sample_error:.2f} samples; {self.windows_used} windows, correlation "
            f"{self.correlation_before:.2f}, {self.correlation_after:.2f} with the shift taken out)"
        )


def shift_grid(grid: RadarGrid, line: float, sample: float) -> RadarGrid:
    """Shift a grid: what it places at (l, s) moves to (l + line, s + sample)."""
    ground = sample * grid.sample_spacing if grid.is_ground_range else 0.0
    later = line * grid.line_interval
    return replace(
        grid,
        line_zero_time=float(grid.azimuth_time(-line)),
        near_range=float(grid.slant_range(-line, -sample)),
        sample_zero_ground=grid.sample_zero_ground - ground,
        bursts=tuple(
            replace(burst, azimuth_time=burst.azimuth_time - later) for burst in grid.bursts
        ),
    )


def apply_shift(scene: Scene, shift: Shift) -> Scene:
    """Correct the timing of a scene by a shift.

    The pixels stay as they are. The times of the lines and the ranges of the samples change: the
    time of the first line and the near range, or the origin of ground range.

    Parameters
    ----------
    scene : Scene
        The image, or any other one of the same timing.
    shift : Shift
        From `estimate_shift`.

    Returns
    -------
    Scene
        The same image on the corrected grid.

    Raises
    ------
    ValueError
        If no shift was estimated.
    OrbitCoverageError
        If the orbit does not cover the corrected times.
    """
    if not shift.found:
        msg = (
            f"found no shift ({shift.reason}), expected one that could be estimated: use the "
            "scene as it is"
        )
        raise ValueError(msg)
    return replace(scene, grid=shift_grid(scene.grid, shift.line, shift.sample))


Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Reflectivity = NDArray[np.float32] | None
"""Brightness of the cells of a DEM, shape (rows, columns); 1 where there is none."""

SMALLEST, LARGEST = 32, 128
"""Size of a window in averaged pixels."""
PARTS = 3
"""A small image is cut into about as many windows along its shorter side."""
MARGIN = math.ceil(2 * COARSE_SIGMA)
"""Averaged pixels around a window that its bandpass depends on."""
PROBES_PER_AXIS = 512
"""Posts of the DEM along each axis by which windows and terrain find each other."""
CELL_MARGIN = 16
"""Cells that are kept around the terrain of a window, beyond those that were probed."""
LEAST_COVERAGE = 0.5
"""Part of a window that must have data, and terrain that is known."""
CLOSING_SIZE = 13
"""Averaged pixels that may lie between two posts, on slopes that face away from the radar."""


@dataclass(frozen=True, eq=False)
class MultilookedImage:
    """An image whose pixels are to be averaged to about the size of a DEM's cells."""

    scene: Scene  # the image
    looks: tuple[int, int]  # lines and samples that make an averaged pixel
    grid: RadarGrid  # sampling of the averaged image

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
    """A window of an image."""

    line: int  # line, sample: where it begins, in averaged pixels
    sample: int
    size: int  # its size in averaged pixels
    rows: slice  # rows, columns: the part of the DEM that is seen in it
    columns: slice

    def measured(self, image: MultilookedImage) -> tuple[Floats, Mask]:
        """Return the bandpass of log-intensity, and where it is known."""
        begin = [max(first - MARGIN, 0) for first in (self.line, self.sample)]
        end = [
            min(first + self.size + MARGIN, length)
            for first, length in zip((self.line, self.sample), image.grid.shape, strict=True)
        ]
        power = image.intensity(slice(begin[0], end[0]), slice(begin[1], end[1]))
        valid = np.isfinite(power).all(axis=0) & ~_border(power)
        found = np.mean([log_bandpass(each, valid) for each in power], axis=0)
        core = (
            slice(self.line - begin[0], self.line - begin[0] + self.size),
            slice(self.sample - begin[1], self.sample - begin[1] + self.size),
        )
        return found[core], valid[core]

    def simulated(
        self,
        dem: xr.DataArray,
        image: MultilookedImage,
        law: BackscatterLaw,
        reach: int,
        shift: tuple[float, float] = (0.0, 0.0),
        reflectivity: Reflectivity = None,
    ) -> tuple[Floats, Mask]:
        """Simulate the window with a margin.

        Returns shape `bandpass` (size + 2 reach, size + 2 reach).
        """
        from sarheight.geometry.pass_geometry import pass_geometry
        from sarheight.illumination.simulate import illuminate

        edge = reach + MARGIN
        begin = (self.line - edge - shift[0], self.sample - edge - shift[1])
        size = self.size + 2 * edge
        grid = replace(
            shift_grid(image.grid, -begin[0], -begin[1]), lines=size, samples=size, bursts=()
        )
        part = CheckedDem(dem.isel(y=self.rows, x=self.columns))
        seen = pass_geometry(part, grid, image.scene.orbit)
        bright = None if reflectivity is None else reflectivity[self.rows, self.columns]
        power = illuminate(seen, law).simulate(bright).astype(np.float64)
        known = _mapped(seen, power > 0.0)
        core = slice(MARGIN, size - MARGIN)
        return log_bandpass(power, known)[core, core], known[core, core]


def _border(power: Floats) -> Mask:
    """Tell where an image is zero over more than a few pixels: a border, not shadow."""
    from scipy.ndimage import maximum_filter, minimum_filter

    zero = (power == 0.0).all(axis=0).astype(np.uint8)
    core = minimum_filter(zero, CLOSING_SIZE, mode="nearest")
    return np.asarray((maximum_filter(core, CLOSING_SIZE) > 0) & (zero > 0))


def _mapped(seen: PassGeometry, lit: Mask) -> Mask:
    """Tell in which pixels terrain lies, be it in shadow; not beyond the DEM's edge."""
    from sarheight_kernels.tiles import geolocate, geolocation_bounds
    from scipy.ndimage import binary_propagation, maximum_filter, minimum_filter

    line, sample = np.empty(seen.heights.shape), np.empty(seen.heights.shape)
    bounds = geolocation_bounds(seen.ground, seen.heights)
    geolocate(seen.ground, seen.radar, seen.heights, line, sample, bounds)
    lines, samples = seen.grid.shape
    inside = (line > -0.5) & (line < lines - 0.5) & (sample > -0.5) & (sample < samples - 0.5)
    posts = np.zeros(seen.grid.shape, dtype=np.uint8)
    posts[np.rint(line[inside]).astype(int), np.rint(sample[inside]).astype(int)] = 1
    # What lies between posts is closed: widened, and narrowed by as much.
    wide = maximum_filter(posts, CLOSING_SIZE, mode="constant", cval=0)
    closed = minimum_filter(wide, CLOSING_SIZE, mode="constant", cval=1) > 0
    # From beyond the edge one walks in over dark pixels, as far as the first that is lit.
    beyond = binary_propagation(~closed & ~lit, mask=~lit)
    return np.asarray(~beyond)


def initial_window_size(image: MultilookedImage) -> int:
    """Return the size in averaged pixels of the windows into which an image is first cut."""
    shorter = min(image.grid.shape)
    return min(max(min(shorter // PARTS, LARGEST), SMALLEST), shorter)


def select_windows(
    dem: xr.DataArray, image: MultilookedImage, most: int, reach: int, size: int
) -> list[Window]:
    """Choose the windows of an image with the strongest relief."""
    from sarheight.geometry import geo2rdr

    steps = [max(-(-length // PROBES_PER_AXIS), 1) for length in dem.shape]
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
        spare = step + CELL_MARGIN
        parts.append(slice(max(marked[0] - spare, 0), min(marked[-1] + spare + 1, size)))
    return parts[0], parts[1]


def compare(
    window: Window,
    dem: xr.DataArray,
    image: MultilookedImage,
    law: BackscatterLaw,
    reach: int,
    shift: tuple[float, float],
    reflectivity: Reflectivity = None,
    measured: tuple[Floats, Mask] | None = None,
) -> tuple[Floats, Mask, Floats, Mask] | None:
    """Return a window measured and simulated, or None where there is too little of either."""
    found, valid = window.measured(image) if measured is None else measured
    if valid.mean() < LEAST_COVERAGE:
        return None
    try:
        simulated, known = window.simulated(dem, image, law, reach, shift, reflectivity)
    except (GeometryError, OrbitCoverageError):
        # Terrain may end before the window does, and the orbit before its margin.
        return None
    return (found, valid, simulated, known) if known.mean() >= LEAST_COVERAGE else None


SEARCH = 200.0
"""Largest shift that is looked for, in metres: that of a geoid of 100 m that was forgotten."""
MAX_WINDOWS = 24
FEW_WINDOWS = 9
"""With fewer windows than these, smaller ones are tried: some are needed to disagree."""
FINER = 0.35
"""Averaged pixels are about that many postings of the DEM wide."""
NOISE_MARGIN = 10
"""Averaged pixels beyond the search, at which correlation is that of chance."""
LEAST_CONTRAST = 0.03
"""Standard deviation of simulated log-intensity below which a window tells nothing."""
LEAST_SIGNIFICANCE = 5.0
"""Peaks of chance rise 1 to 4 standard deviations above their surroundings."""
LARGEST_ERROR = 1.0
"""Standard error in averaged pixels above which the windows do not agree."""

FLAT = "the terrain is flat, or too little of it lies in the image"
NO_DATA = "in no window do image and terrain both have enough data"
NO_CONTRAST = "the terrain is too flat: its simulation has no contrast to compare with"


def estimate_shift(
    scene: Scene,
    dem: xr.DataArray | CheckedDem,
    *,
    law: BackscatterLaw | None = None,
    reflectivity: xr.DataArray | None = None,
    search: float = SEARCH,
    windows: int = MAX_WINDOWS,
) -> Shift:
    """Estimate the shift of a radar image against its simulation from orbit and DEM.

    Windows of the image with the strongest relief are averaged to a third of the DEM's posting and
    compared with their simulation: by the correlation of log-intensity, pooled over the windows,
    whose peak is found to a fraction of a pixel. The windows are then simulated with that shift
    and compared again; those that disagree with the others are set aside. The standard error is
    that of the jackknife over windows, or that of white noise where it is larger.

    A height that is wrong everywhere, such as a geoid that was forgotten, looks like a shift
    across the track: by the height over the tangent of incidence.

    Parameters
    ----------
    scene : Scene
        The image. Only the chosen windows are read. Of several polarisations the logarithms are
        averaged.
    dem : xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x), any CRS.
    law : callable, optional
        Backscatter law; `Muhleman` by default. It need not be right: contrast is what counts.
    reflectivity : xarray.DataArray, dims (y, x), optional
        Brightness of each cell of the DEM relative to the law, such as that which another date
        showed: patterns of the ground then tell the shift as well. 1 by default; where it is NaN,
        the median.
    search : float
        Largest shift to look for, in metres on the ground.
    windows : int
        How many windows to compare at most, which bounds the cost whatever the size of the image.

    Returns
    -------
    Shift
        Where no shift could be estimated, it says why: flat terrain, too few data, no match of
        image and simulation, a shift at the limit of the search, windows that disagree.

    Raises
    ------
    GeometryError
        If DEM and image do not overlap.
    OrbitCoverageError
        If the orbit does not cover the image.
    ValueError
        If a setting or the DEM is not what it should be.

    References
    ----------
    Padfield, D. (2012). Masked object registration in the Fourier domain. IEEE TIP 21(5),
    2706-2718.
    Efron, B. (1982). The jackknife, the bootstrap and other resampling plans. SIAM.
    """
    from sarheight.illumination import Muhleman

    if not (math.isfinite(search) and search > 0.0) or windows < 1:
        msg = (
            f"found search={search!r} and windows={windows!r}, expected metres above zero and at "
            "least one window"
        )
        raise ValueError(msg)
    law = Muhleman() if law is None else law
    heights = CheckedDem.of(dem).array
    bright = _brightness(reflectivity, heights)
    image = _multilook(scene, heights)
    limit = [max(math.ceil(search / each), 2) for each in _spacing(image)]
    reach = max(limit) + NOISE_MARGIN
    size = initial_window_size(image)
    while True:
        chosen = select_windows(heights, image, windows, reach, size)
        seen = _compare(chosen, heights, image, law, reach, reflectivity=bright)
        if len(seen) >= min(FEW_WINDOWS, windows) or size < 2 * SMALLEST:
            break
        size //= 2
    if not seen:
        return Shift(reason=NO_DATA if chosen else FLAT)
    seen = [each for each in seen if each.contrast >= LEAST_CONTRAST]
    if not seen:
        return Shift(reason=NO_CONTRAST)
    surface = correlation([each.moments for each in seen])
    line, sample, inside = peak_of(surface, (limit[0], limit[1]))
    height = significance(surface, line, sample)
    reason = _rejection_reason(surface, height, search, inside=inside)
    if reason:
        return Shift(
            reason=reason,
            correlation_before=float(surface[reach, reach]),
            significance=height,
        )
    again = _compare(
        [each.window for each in seen],
        heights,
        image,
        law,
        CLOSE + 1,
        shift=(line, sample),
        reflectivity=bright,
        measured=[each.measured for each in seen],
    )
    if not again:
        return Shift(reason=NO_DATA)
    pool = Pool.of(again)
    used = [each.window for each, good in zip(again, pool.used, strict=True) if good]
    before = correlation([each.moments for each in seen if each.window in used])[reach, reach]
    windows_seen = [each.window for each in again]
    return _shift(image, windows_seen, pool, (line, sample), float(before), height)


def estimate_shift_between(images: NDArray[Any], references: NDArray[Any]) -> Shift:
    """Estimate the shift of an image against another one of the same sampling, in windows.

    As `estimate_shift`, by the correlation of log-intensity pooled over windows, and its jackknife.

    Parameters
    ----------
    images : array, shape (windows, lines, samples)
        Intensity; NaN where there is no data.
    references : array, shape (windows, lines + 2 r, samples + 2 r)
        The other image in the same windows with r pixels around them. Shifts of up to r - 10
        pixels are looked for.

    Returns
    -------
    Shift
        In pixels; what is in metres on the ground is NaN. A point that `references` show at (line,
        sample) is imaged at (line + `line`, sample + `sample`).
    """
    reach = (references.shape[-1] - images.shape[-1]) // 2
    compared = []
    for image, reference in zip(images, references, strict=True):
        valid, known = np.isfinite(image), np.isfinite(reference)
        if min(valid.mean(), known.mean()) < LEAST_COVERAGE:
            continue
        found, other = (
            log_bandpass(power.astype(np.float64), where)
            for power, where in ((image, valid), (reference, known))
        )
        place = Window(0, 0, image.shape[-1], slice(0), slice(0))
        pair, contrast = moments(found, valid, other, known), float(other[known].std())
        compared.append(Compared(place, pair, int(valid.sum()), contrast))
    if not compared:
        return Shift(reason="in no window do both images have enough data")
    pool = Pool.of(compared)
    line, sample, inside = peak_of(pool.surface, (reach - NOISE_MARGIN,) * 2)
    height = significance(pool.surface, line, sample)
    before = float(pool.surface[reach, reach])
    if height < LEAST_SIGNIFICANCE or not inside or not (pool.error < LARGEST_ERROR).all():
        reason = "the images do not look alike, or lie farther apart than is looked for"
        return Shift(reason=reason, correlation_before=before, significance=height)
    return Shift(
        line=line,
        sample=sample,
        line_error=float(pool.error[0]),
        sample_error=float(pool.error[1]),
        correlation_before=before,
        correlation_after=float(pool.surface.max()),
        significance=height,
        windows=xr.Dataset({"used": ("window", pool.used)}),
    )


def _brightness(reflectivity: xr.DataArray | None, dem: xr.DataArray) -> Reflectivity:
    """Bring a reflectivity to the form of the kernels."""
    if reflectivity is None:
        return None
    if reflectivity.dims != ("y", "x") or reflectivity.shape != dem.shape:
        msg = (
            f"found reflectivity with dims {reflectivity.dims} and shape {reflectivity.shape}, "
            f"expected ('y', 'x') and that of the DEM, {dem.shape}"
        )
        raise ValueError(msg)
    values = np.asarray(reflectivity.values, dtype=np.float32)
    known = values > 0.0
    return np.where(known, values, np.median(values[known]) if known.any() else np.float32(1.0))


def _multilook(scene: Scene, dem: xr.DataArray) -> MultilookedImage:
    posting = float(np.sqrt(np.prod(local_posting(dem))))
    looks = looks_for_spacing(scene.grid, scene.orbit, FINER * posting)
    looks = (min(looks[0], scene.grid.lines), min(looks[1], scene.grid.samples))
    return MultilookedImage(scene, looks, scene.grid.multilook(*looks))


def _spacing(image: MultilookedImage) -> tuple[float, float]:
    """Return the metres on the ground between averaged lines, and samples."""
    grid, orbit = image.grid, image.scene.orbit
    return grid.line_spacing(orbit), ground_sample_spacing(grid, orbit)


def _compare(
    windows: Sequence[Window],
    dem: xr.DataArray,
    image: MultilookedImage,
    law: BackscatterLaw,
    reach: int,
    shift: tuple[float, float] = (0.0, 0.0),
    reflectivity: Reflectivity = None,
    measured: Sequence[tuple[Floats, Mask] | None] = (),
) -> list[Compared]:
    """Compare windows with their simulations, but for those that lack too much of either.

    Those that were `measured` are not read again.
    """
    compared = []
    for window, known_before in zip(windows, measured or [None] * len(windows), strict=True):
        pair = compare(window, dem, image, law, reach, shift, reflectivity, known_before)
        if pair is not None:
            found, valid, simulated, known = pair
            contrast = float(simulated[known].std())
            pixels = int(valid.sum())
            compared.append(Compared(window, moments(*pair), pixels, contrast, (found, valid)))
    return compared


def _rejection_reason(surface: np.ndarray, height: float, search: float, *, inside: bool) -> str:
    """Say why a peak is not to be trusted; nothing where it is."""
    if height < LEAST_SIGNIFICANCE:
        return (
            f"the image does not look like its simulation: the correlation's peak of "
            f"{surface.max():.2f} rises {height:.1f} standard deviations above its surroundings, "
            f"expected {LEAST_SIGNIFICANCE:g}. The DEM may be of another place, or its slopes too "
            "gentle to outweigh the patterns of the ground"
        )
    if not inside:
        return (
            f"the best match lies at the limit of the search, {search:g} m: search farther, and "
            "check the orbit and what the DEM's heights are measured from"
        )
    return ""


def _shift(
    image: MultilookedImage,
    windows: Sequence[Window],
    pool: Pool,
    first: tuple[float, float],
    before: float,
    height: float,
) -> Shift:
    """Put together what was found, in pixels of the image and in metres."""
    looks, metres = np.array(image.looks), np.array(_spacing(image))
    own = (pool.own + first) * looks
    middles = np.array([(each.line, each.sample) for each in windows]) + 0.5 * windows[0].size
    places = middles * looks - 0.5
    table = xr.Dataset(
        {
            "line": ("window", places[:, 0]),
            "sample": ("window", places[:, 1]),
            "line_shift": ("window", own[:, 0]),
            "sample_shift": ("window", own[:, 1]),
            "correlation": ("window", pool.alone),
            "used": ("window", pool.used),
        }
    )
    error = pool.error
    if not (error < LARGEST_ERROR).all():
        return Shift(
            reason=(
                f"the windows disagree: by {error[0] * metres[0]:.0f} m along and "
                f"{error[1] * metres[1]:.0f} m across the track"
            ),
            correlation_before=before,
            significance=height,
            windows=table,
        )
    shift = np.add(first, pool.shift)
    pixels, pixel_error = shift * looks, error * looks
    ground, ground_error = shift * metres, error * metres
    return Shift(
        line=float(pixels[0]),
        sample=float(pixels[1]),
        line_error=float(pixel_error[0]),
        sample_error=float(pixel_error[1]),
        along_track=float(ground[0]),
        across_track=float(ground[1]),
        along_track_error=float(ground_error[0]),
        across_track_error=float(ground_error[1]),
        correlation_before=before,
        correlation_after=float(pool.surface.max()),
        significance=height,
        windows=table,
    )
