"""Annotation, calibration and noise files of simulated SAFE products."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import comb
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmarks.synthetic.safe_layout import listed, node, number, numbers, put, utc, utc_of
from sarheight.ellipsoid import SPEED_OF_LIGHT, look_sign, points_at_ranges
from sarheight.orbit import seconds_between
from sarheight.sentinel1.annotation import GeolocationGrid

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from benchmarks.synthetic.safe_layout import FileLayout
    from benchmarks.synthetic.safe_product import Measured
    from sarheight.grid import RadarGrid
    from sarheight.ground_range import GroundRange
    from sarheight.orbit import Orbit
    from sarheight.scene import Calibration, Scene
    from sarheight.sentinel1 import Annotation

Floats = NDArray[np.float64]

FEWEST, MOST = 5, 21
"""Points along each axis; an image of ESA has ten by 21."""


def _lattice(size: int, step: float) -> NDArray[np.int64]:
    """Spread points over an axis, some `step` apart, from its first to its last pixel."""
    wanted = int(np.ceil((size - 1) / step)) + 1
    count = int(np.clip(wanted, FEWEST, MOST))
    return np.unique(np.rint(np.linspace(0, size - 1, count)).astype(np.int64))


def _lines(layout: FileLayout, step: float) -> NDArray[np.int64]:
    """Choose lines whose stamps ascend: of a burst the first and the middle one."""
    if not layout.bursts:
        return _lattice(layout.lines, step)
    count = layout.lines_per_burst
    begins = count * np.arange(len(layout.bursts))
    return np.sort(np.concatenate([begins, begins + count // 2, [layout.lines - 1]]))


def _typical_step(points: NDArray[np.int64]) -> float:
    steps = np.diff(np.unique(points))
    return float(np.median(steps)) if steps.size else 1.0


def _heights(annotation: Annotation, epoch: np.datetime64, time: Floats, ranges: Floats) -> Floats:
    """Take the terrain's height from the nearest point of the annotation's own grid.

    The heights say at which height the other values of a point hold; any height would do.
    """
    from scipy.spatial import KDTree

    known = annotation.geolocation
    places = np.stack(
        [
            [seconds_between(epoch, each) for each in known.azimuth_time],
            SPEED_OF_LIGHT / 2 * known.slant_range_time,
        ],
        axis=1,
    )
    extent = np.maximum(np.ptp(places, axis=0), 1e-9)
    _, nearest = KDTree(places / extent).query(np.stack([time, ranges], axis=1) / extent)
    heights: Floats = known.height[nearest]
    return heights


def seen_points(
    orbit: Orbit, time: Floats, ranges: Floats, heights: Floats, side: float
) -> tuple[Floats, Floats]:
    """Find the points that are seen at zero Doppler.

    Parameters
    ----------
    orbit : Orbit
        The orbit.
    time, ranges, heights : array, shape (n,)
        Zero-Doppler times in seconds since the orbit's epoch, slant ranges and heights above the
        ellipsoid in metres.
    side : float
        +1 for a look to the right, -1 to the left.

    Returns
    -------
    position : array, shape (n, 3)
        Earth-fixed, in metres. Its height is the given one to a centimetre.
    satellite : array, shape (n, 3)
    """
    satellite, velocity = orbit.state(time)
    position = np.concatenate(
        [
            points_at_ranges(satellite[each], velocity[each], ranges[each, None], side, height)
            for each, height in enumerate(heights.tolist())
        ]
    )
    return position, satellite


def angles(position: Floats, satellite: Floats) -> tuple[Floats, Floats]:
    """Return the angles of incidence and elevation in degrees, shape (n,).

    Incidence is measured from the normal of the ellipsoid at the point, elevation from the
    vertical through the satellite.
    """
    sight = satellite - position
    sight /= np.linalg.norm(sight, axis=-1, keepdims=True)
    return (
        np.degrees(np.arccos(np.sum(sight * _normals(position), axis=-1))),
        np.degrees(np.arccos(np.sum(sight * _normals(satellite), axis=-1))),
    )


def _geodetic(position: Floats) -> tuple[Floats, Floats, Floats]:
    import pyproj

    to_geodetic = pyproj.Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True)
    x, y, z = position[:, 0], position[:, 1], position[:, 2]
    longitude, latitude, height = to_geodetic.transform(x, y, z)
    return latitude, longitude, height


def _normals(position: Floats) -> Floats:
    latitude, longitude, _ = _geodetic(position)
    north, east = np.radians(latitude), np.radians(longitude)
    return np.stack(
        [np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=-1
    )


def geolocation_points(layout: FileLayout, orbit: Orbit, annotation: Annotation) -> GeolocationGrid:
    """Compute the geolocation grid of an image file.

    Each point is where the orbit sees its pixel; the ranges, the times and the shear along
    azimuth are those of the scene's grid.

    Parameters
    ----------
    layout : FileLayout
        The lines of the file.
    orbit : Orbit
        The orbit of the scene.
    annotation : Annotation
        Whose terrain heights are taken.

    Returns
    -------
    GeolocationGrid
        Line by line, each from near to far range.
    """
    grid = layout.grid
    lines = _lines(layout, _typical_step(annotation.geolocation.line))
    pixels = _lattice(layout.samples, _typical_step(annotation.geolocation.pixel))
    line, pixel = (each.ravel() for each in np.meshgrid(lines, pixels, indexing="ij"))
    ranges = grid.slant_range(layout.scene_line(line), pixel)
    time = grid.azimuth_time(layout.scene_line(line), ranges)
    heights = _heights(annotation, grid.epoch, time, ranges)
    position, satellite = seen_points(
        orbit.with_epoch(grid.epoch), time, ranges, heights, look_sign(grid.look_side)
    )
    latitude, longitude, height = _geodetic(position)
    incidence, elevation = angles(position, satellite)
    return GeolocationGrid(
        line=line,
        pixel=pixel,
        azimuth_time=np.array([utc_of(grid.epoch, each) for each in time]),
        slant_range_time=2 * ranges / SPEED_OF_LIGHT,
        latitude=latitude,
        longitude=longitude,
        height=height,
        incidence_angle=incidence,
        elevation_angle=elevation,
    )


# Calibration of a simulated image: from power to digital numbers.

PIXELS_APART = 40
SECONDS_APART = 1.0
"""Distances between the values of the tables, as in a product of ESA."""
NAMES: dict[Calibration, str] = {
    "sigma0": "sigmaNought",
    "beta0": "betaNought",
    "gamma0": "gamma",
}


@dataclass(frozen=True, eq=False)
class CalibrationTable:
    """What digital numbers are divided by: ``|DN|**2 / table**2`` is calibrated power.

    Attributes
    ----------
    line : array of int, shape (k,)
        Lines of the file; the first lies before it and the last behind it.
    pixel : array of int, shape (m,)
    time : array, shape (k,)
        Stamps of the lines in seconds since the grid's epoch.
    amplitude : dict of array, shape (k, m)
        For each calibration.
    """

    line: NDArray[np.int64]
    pixel: NDArray[np.int64]
    time: Floats
    amplitude: dict[Calibration, Floats]

    def scaled(self, factor: float) -> CalibrationTable:
        """Return the table times a factor, with seven digits as it is written."""
        return replace(
            self,
            amplitude={
                name: np.array([[float(f"{each:.6e}") for each in row] for row in factor * table])
                for name, table in self.amplitude.items()
            },
        )

    def of_lines(self, calibration: Calibration, first: int, last: int) -> Floats:
        """Interpolate for the lines `first` to `last` - 1 as readers do, shape (lines, samples).

        Linear along both axes.
        """
        table = self.amplitude[calibration]
        sample = np.arange(self.pixel[-1] + 1)
        line = np.arange(first, last, dtype=np.float64)
        knot = np.clip(np.searchsorted(self.line, line, side="right") - 1, 0, self.line.size - 2)
        used = np.unique([knot, knot + 1])
        rows = np.array([np.interp(sample, self.pixel, table[each]) for each in used])
        before, after = (rows[np.searchsorted(used, each)] for each in (knot, knot + 1))
        share = (line - self.line[knot]) / (self.line[knot + 1] - self.line[knot])
        values: Floats = before + share[:, None] * (after - before)
        return values


def knots(size: int) -> NDArray[np.int64]:
    """Return the pixels of a table: every fortieth and the last one."""
    return np.unique(np.append(np.arange(0, size, PIXELS_APART), size - 1))


def calibration_table(layout: FileLayout, orbit: Orbit) -> CalibrationTable:
    r"""Make the table of an image whose beta0 has the factor 1.

    With :math:`|DN|^2 = A_\beta^2 \beta^0` and :math:`\sigma^0 = \beta^0 \sin\theta`,
    :math:`\gamma^0 = \beta^0 \tan\theta`, where :math:`\theta` is the incidence on the ellipsoid,
    :math:`A_\sigma = A_\beta / \sqrt{\sin\theta}` and :math:`A_\gamma = A_\beta /
    \sqrt{\tan\theta}`.

    Parameters
    ----------
    layout : FileLayout
        The lines of the file.
    orbit : Orbit
        The orbit of the scene.

    Returns
    -------
    CalibrationTable

    References
    ----------
    Miranda, N. and Meadows, P. J. (2015). Radiometric Calibration of S-1 Level-1 Products
    Generated by the S-1 IPF, ESA-EOPG-CSCOP-TN-0002, issue 1.0.
    """
    grid = layout.grid
    pixel = knots(layout.samples)
    step = max(round(SECONDS_APART / grid.line_interval), 1)
    line = np.arange(-step, layout.lines + step, step)
    # Outside the scene the angle is that of its nearest line, of which the orbit is known.
    inside = np.clip(layout.scene_line(line), 0, grid.lines - 1)
    time = np.repeat(grid.azimuth_time(inside), pixel.size)
    ranges = grid.slant_range(inside[:, None], pixel[None, :]).ravel()
    position, satellite = seen_points(
        orbit.with_epoch(grid.epoch),
        time,
        ranges,
        np.zeros_like(ranges),
        look_sign(grid.look_side),
    )
    incidence = np.radians(angles(position, satellite)[0]).reshape(line.size, pixel.size)
    return CalibrationTable(
        line,
        pixel,
        layout.stamp(line),
        {
            "sigma0": 1.0 / np.sqrt(np.sin(incidence)),
            "beta0": np.ones_like(incidence),
            "gamma0": 1.0 / np.sqrt(np.tan(incidence)),
        },
    )


def calibration_document(header: Element, layout: FileLayout, table: CalibrationTable) -> Element:
    """Make the calibration file of an image.

    Parameters
    ----------
    header : Element
        The ``adsHeader`` of its annotation.
    layout : FileLayout
        The lines of the file.
    table : CalibrationTable
        Its calibration.

    Returns
    -------
    Element
    """
    epoch = layout.grid.epoch
    vectors = [
        node(
            "calibrationVector",
            [
                node("azimuthTime", utc(utc_of(epoch, table.time[row]))),
                node("line", str(line)),
                numbers("pixel", table.pixel, "d"),
                *(
                    numbers(name, table.amplitude[calibration][row], ".6e")
                    for calibration, name in NAMES.items()
                ),
                numbers("dn", table.amplitude["beta0"][row], ".6e"),
            ],
        )
        for row, line in enumerate(table.line)
    ]
    return node(
        "calibration",
        [
            header,
            node("calibrationInformation", [node("absoluteCalibrationConstant", "1.000000e+00")]),
            listed("calibrationVectorList", vectors),
        ],
    )


# Thermal noise of a simulated image.

LINES_APART = 10
"""Lines between the values of an azimuth vector, as in a product of ESA."""
EDGE_DECIBELS = 4.0
"""By how much the noise of `ThermalNoise.like_sentinel1` is stronger at both edges of a swath."""
SCALLOPING = 0.16
"""By which part it is stronger at both ends of a burst."""
BURST_SECONDS = 2.758
"""From one burst of a swath to the next."""


@dataclass(frozen=True, eq=False)
class ThermalNoise:
    """Mean power of the thermal noise in an image: a profile across times one along the track.

    Parameters
    ----------
    across : array, shape (samples,)
        Linear power in the calibration of the image.
    along : array, shape (lines,)
        Factor of each line.

    Raises
    ------
    ValueError
        If a value is negative or not finite.
    """

    across: Floats
    along: Floats

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("across", "along"):
            values = np.array(getattr(self, name), dtype=np.float64, ndmin=1)
            object.__setattr__(self, name, values)
            if values.ndim != 1 or not (np.isfinite(values) & (values >= 0.0)).all():
                msg = (
                    f"found {name} of shape {values.shape} from {values.min():g} to "
                    f"{values.max():g}, expected one linear power, not negative, for each pixel "
                    "of an axis (is it in dB?)"
                )
                raise ValueError(msg)

    @classmethod
    def constant(cls, grid: RadarGrid, level: float) -> ThermalNoise:
        """Make noise that is the same everywhere, in linear power."""
        return cls(np.full(grid.samples, level), np.ones(grid.lines))

    @classmethod
    def like_sentinel1(cls, grid: RadarGrid, level: float) -> ThermalNoise:
        """Make noise with the shape that it has in Sentinel-1's images.

        It is least in the middle of the swath, where the antenna sees best, and 4 dB stronger at
        both edges; within a burst it grows by a sixth from its middle to its ends, as the
        descalloping of TOPS images lifts it. A model, not the noise of any instrument.

        Parameters
        ----------
        grid : RadarGrid
            Sampling of the image.
        level : float
            Least noise, linear power in the calibration of the image.

        Returns
        -------
        ThermalNoise
        """
        from_middle = np.linspace(-1.0, 1.0, grid.samples)
        phase = np.arange(grid.lines, dtype=np.float64) * (grid.line_interval / BURST_SECONDS)
        in_burst = 2.0 * (phase % 1.0) - 1.0
        decibels: Floats = EDGE_DECIBELS * from_middle**2
        along: Floats = 1.0 + SCALLOPING * in_burst**2
        return cls(level * 10.0 ** (decibels / 10.0), along)

    def require_shape(self, grid: RadarGrid) -> None:
        """Check that the noise is that of an image of a grid.

        Raises
        ------
        ValueError
            If it has another shape.
        """
        found = (self.along.size, self.across.size)
        if found != grid.shape:
            msg = (
                f"found noise for {found[0]} lines and {found[1]} samples, expected the "
                f"{grid.lines} and {grid.samples} of the image: make it on its grid"
            )
            raise ValueError(msg)

    def power(self, lines: slice = slice(None)) -> Floats:
        """Return the noise of some lines, shape (lines, samples)."""
        values: Floats = self.along[lines, None] * self.across
        return values


def with_noise(
    scene: Scene, noise: ThermalNoise, *, looks: float | None = None, seed: int | None = None
) -> Scene:
    """Add thermal noise to a clean image, and speckle to the sum.

    Parameters
    ----------
    scene : Scene
        Without speckle and noise: `sarheight.illumination.simulate` with neither `looks` nor
        `noise`.
    noise : ThermalNoise
        Its mean power.
    looks : float, optional
        Equivalent number of looks of the speckle, which noise and echo share; none by default.
    seed : int, optional
        Of the speckle.

    Returns
    -------
    Scene

    Raises
    ------
    ValueError
        If the noise does not have the shape of the image, or looks are not positive.
    """
    noise.require_shape(scene.grid)
    if looks is not None and not 0.0 < looks < np.inf:
        msg = f"found looks={looks!r}, expected a positive number, or None for no speckle"
        raise ValueError(msg)
    power = scene.image.values + noise.power()
    if looks is not None:
        power *= np.random.default_rng(seed).gamma(looks, 1.0 / looks, size=power.shape)
    return replace(scene, image=scene.image.copy(data=power.astype(np.float32)))


def noise_document(
    header: Element,
    layout: FileLayout,
    table: CalibrationTable,
    amplitude: ArrayLike,
    noise: ThermalNoise | None,
    blocks: list[Element],
) -> Element:
    """Make the noise file of an image: range vectors and azimuth vectors, whose product it is.

    Parameters
    ----------
    header : Element
        The ``adsHeader`` of its annotation.
    layout : FileLayout
        The lines of the file.
    table : CalibrationTable
        Its calibration.
    amplitude : array_like, shape (k, m)
        That of the table for the calibration of the noise.
    noise : ThermalNoise or None
        In the image's calibration; None for an image without noise, whose vectors are 0.
    blocks : list of Element
        The azimuth vectors with their bounds; they are filled.

    Returns
    -------
    Element
    """
    gain = np.asarray(amplitude) ** 2
    across = np.zeros(table.pixel.size) if noise is None else noise.across[table.pixel]
    vectors = [
        node(
            "noiseRangeVector",
            [
                node("azimuthTime", utc(utc_of(layout.grid.epoch, table.time[row]))),
                node("line", str(line)),
                numbers("pixel", table.pixel, "d"),
                numbers("noiseRangeLut", across * gain[row], ".6e"),
            ],
        )
        for row, line in enumerate(table.line)
    ]
    return node(
        "noise",
        [
            header,
            listed("noiseRangeVectorList", vectors),
            listed(
                "noiseAzimuthVectorList",
                (_azimuth_vector(block, layout, noise) for block in blocks),
            ),
        ],
    )


def _azimuth_vector(block: Element, layout: FileLayout, noise: ThermalNoise | None) -> Element:
    """Fill a block: every tenth line of each burst, and its last one."""
    first, last = (int(block.findtext(f"{end}AzimuthLine") or 0) for end in ("first", "last"))
    step = layout.lines_per_burst or layout.lines
    begins = [first, *range((first // step + 1) * step, last + 1, step)]
    ends = [*(begin - 1 for begin in begins[1:]), last]
    line = np.unique(
        np.concatenate(
            [
                np.append(np.arange(begin, end, LINES_APART), end)
                for begin, end in zip(begins, ends, strict=True)
            ]
        )
    )
    if noise is None:
        factor = np.ones(line.size)
    else:
        factor = noise.along[np.clip(layout.scene_line(line), 0, layout.grid.lines - 1)]
    block.extend([numbers("line", line, "d"), numbers("noiseAzimuthLut", factor, ".6e")])
    return block


# The annotation of a simulated image: that of a real one, cut to the lines and samples.

IMAGE = "imageAnnotation/imageInformation"
STATISTICS = (f"{IMAGE}/imageStatistics", ".//imageQuality/imageStatistics")
SAME_PLACE = 1e-3
"""Metres by which two orbits may differ to be called the same."""


@dataclass(frozen=True, eq=False)
class Cut:
    """What an annotation is cut to.

    Attributes
    ----------
    layout : FileLayout
        Lines and samples of the file.
    points : GeolocationGrid
        Its geolocation grid.
    orbit : Orbit
        The orbit of the scene, with the epoch of its grid.
    number : int
        Of the image in its product, from 1.
    """

    layout: FileLayout
    points: GeolocationGrid
    orbit: Orbit
    number: int

    @property
    def first_time(self) -> np.datetime64:
        """Stamp of the first line (UTC)."""
        return self._time(0)

    @property
    def last_time(self) -> np.datetime64:
        """Stamp of the last line (UTC)."""
        return self._time(self.layout.lines - 1)

    def _time(self, line: int) -> np.datetime64:
        return utc_of(self.layout.grid.epoch, float(self.layout.stamp(line)))


def set_header(header: Element, cut: Cut) -> None:
    """Put times and number of the image into an ``adsHeader``."""
    put(header, "startTime", utc(cut.first_time))
    put(header, "stopTime", utc(cut.last_time))
    put(header, "imageNumber", f"{cut.number:03d}")


def annotation_document(root: Element, cut: Cut, original: Orbit, measured: Measured) -> Element:
    """Cut an annotation to a simulated image.

    Changed are the size and the times of the image, its bursts, geolocation grid, ground-range
    polynomials, swath bounds and statistics; the state vectors only where the scene has another
    orbit. Everything else tells, as before, of the real image: quality, noise packets, attitude,
    Doppler, antenna.

    Parameters
    ----------
    root : Element
        The annotation; it is changed.
    cut : Cut
        What to cut it to.
    original : Orbit
        The annotation's own orbit.
    measured : Measured
        The image file.

    Returns
    -------
    Element
        `root`.
    """
    header = root.find("adsHeader")
    if header is not None:
        set_header(header, cut)
    _set_image(root, cut, measured)
    if not _same(cut, original):
        put(root, "generalAnnotation/orbitList", _orbit_list(cut))
    if cut.layout.bursts:
        _set_bursts(root, cut.layout, measured)
    put(root, "geolocationGrid/geolocationGridPointList", _point_list(cut.points))
    if cut.layout.grid.ground_range is not None:
        put(root, "coordinateConversion/coordinateConversionList", _conversion_list(cut))
    put(root, "swathMerging/swathMergeList", _merge_list(root, cut.layout))
    return root


def _set_image(root: Element, cut: Cut, measured: Measured) -> None:
    grid, layout = cut.layout.grid, cut.layout
    beside = np.abs(cut.points.pixel - layout.samples / 2)
    middle = beside == beside.min()
    values = {
        "productFirstLineUtcTime": utc(cut.first_time),
        "productLastLineUtcTime": utc(cut.last_time),
        "slantRangeTime": number(2 * float(grid.slant_range(0, 0)) / SPEED_OF_LIGHT),
        "numberOfSamples": str(layout.samples),
        "numberOfLines": str(layout.lines),
        "incidenceAngleMidSwath": number(float(cut.points.incidence_angle[middle].mean())),
    }
    for name, value in values.items():
        put(root, f"{IMAGE}/{name}", value)
    for path in STATISTICS:
        for name, found in (("Mean", measured.mean), ("StdDev", measured.deviation)):
            put(root, f"{path}/outputData{name}/re", f"{found.real:.6e}")
            put(root, f"{path}/outputData{name}/im", f"{found.imag:.6e}")


def _same(cut: Cut, original: Orbit) -> bool:
    """Tell whether the scene flies along the annotation's own orbit."""
    grid = cut.layout.grid
    own = original.with_epoch(grid.epoch)
    times = np.array([grid.first_time, grid.last_time])
    if times.min() < own.time[0] or times.max() > own.time[-1]:
        return False
    apart = own.state(times)[0] - cut.orbit.state(times)[0]
    return bool(np.abs(apart).max() < SAME_PLACE)


def _orbit_list(cut: Cut) -> Element:
    orbit = cut.orbit
    vectors = [
        node(
            "orbit",
            [
                node("time", utc(orbit.utc(time))),
                node("frame", "Earth Fixed"),
                *(
                    node(
                        name,
                        [node(axis, number(value)) for axis, value in zip("xyz", row, strict=True)],
                    )
                    for name, row in (("position", position), ("velocity", velocity))
                ),
            ],
        )
        for time, position, velocity in zip(orbit.time, orbit.position, orbit.velocity, strict=True)
    ]
    return listed("orbitList", vectors)


def _set_bursts(root: Element, layout: FileLayout, measured: Measured) -> None:
    bursts = list(root.iterfind("swathTiming/burstList/burst"))
    kept = []
    for place, offset in zip(layout.bursts, measured.offsets, strict=True):
        burst = bursts[place.index]
        put(burst, "byteOffset", str(offset))
        put(burst, "firstValidSample", numbers("firstValidSample", place.first_valid, "d"))
        put(burst, "lastValidSample", numbers("lastValidSample", place.last_valid, "d"))
        kept.append(burst)
    put(root, "swathTiming/burstList", listed("burstList", kept))
    put(root, "swathTiming/samplesPerBurst", str(layout.samples))


def _point_list(points: GeolocationGrid) -> Element:
    return listed(
        "geolocationGridPointList",
        (
            node(
                "geolocationGridPoint",
                [
                    node("azimuthTime", utc(points.azimuth_time[each])),
                    node("slantRangeTime", number(points.slant_range_time[each])),
                    node("line", str(points.line[each])),
                    node("pixel", str(points.pixel[each])),
                    node("latitude", number(points.latitude[each])),
                    node("longitude", number(points.longitude[each])),
                    node("height", number(points.height[each])),
                    node("incidenceAngle", number(points.incidence_angle[each])),
                    node("elevationAngle", number(points.elevation_angle[each])),
                ],
            )
            for each in range(points.line.size)
        ),
    )


def _conversion_list(cut: Cut) -> Element:
    """Write the ground-range records, with ground range 0 at the first sample of the file.

    Readers take it for granted that ground range begins there.
    """
    grid = cut.layout.grid
    records = grid.ground_range
    if records is None:
        return listed("coordinateConversionList", ())
    begin = grid.sample_zero_ground
    return listed(
        "coordinateConversionList",
        (
            _conversion(records, each, begin, utc_of(grid.epoch, time))
            for each, time in enumerate(records.time)
        ),
    )


def _conversion(records: GroundRange, each: int, begin: float, time: np.datetime64) -> Element:
    to_ground = records.slant_to_ground[each].copy()
    to_ground[0] -= begin
    to_slant = shifted(records.ground_to_slant[each], begin - float(records.ground_origin[each]))
    return node(
        "coordinateConversion",
        [
            node("azimuthTime", utc(time)),
            node("slantRangeTime", number(2 * float(to_slant[0]) / SPEED_OF_LIGHT)),
            node("sr0", number(float(records.slant_origin[each]))),
            numbers("srgrCoefficients", to_ground),
            node("gr0", number(0.0)),
            numbers("grsrCoefficients", to_slant),
        ],
    )


def shifted(coefficients: NDArray[np.float64], by: float) -> NDArray[np.float64]:
    """Return the coefficients of the polynomial whose argument is smaller by `by`."""
    degree = coefficients.size
    values: NDArray[np.float64] = np.array(
        [
            sum(
                comb(power, low) * coefficients[power] * by ** (power - low)
                for power in range(low, degree)
            )
            for low in range(degree)
        ]
    )
    return values


def _merge_list(root: Element, layout: FileLayout) -> Element:
    """Cut the bounds within which each swath of a GRD was taken."""
    merged = []
    for merge in root.iterfind("swathMerging/swathMergeList/swathMerge"):
        bounds = [
            kept
            for each in merge.iterfind("swathBoundsList/swathBounds")
            if (kept := _cut_bounds(each, layout)) is not None
        ]
        if bounds:
            swath = node("swath", merge.findtext("swath") or "")
            merged.append(node("swathMerge", [swath, listed("swathBoundsList", bounds)]))
    return listed("swathMergeList", merged)


def _cut_bounds(bounds: Element, layout: FileLayout) -> Element | None:
    ends = []
    for kind, begin, size in (
        ("AzimuthLine", layout.first_line, layout.lines),
        ("RangeSample", layout.first_sample, layout.samples),
    ):
        first, last = (
            int(bounds.findtext(f"{end}{kind}") or 0) - begin for end in ("first", "last")
        )
        if first >= size or last < 0:
            return None
        ends.append((max(first, 0), min(last, size - 1)))
    (first_line, last_line), (first_sample, last_sample) = ends
    first_time = utc_of(layout.grid.epoch, float(layout.stamp(first_line)))
    return node(
        "swathBounds",
        [
            node("azimuthTime", utc(first_time)),
            node("firstAzimuthLine", str(first_line)),
            node("firstRangeSample", str(first_sample)),
            node("lastAzimuthLine", str(last_line)),
            node("lastRangeSample", str(last_sample)),
        ],
    )


def noise_blocks(root: Element, layout: FileLayout) -> list[Element]:
    """Return the azimuth noise vectors of an image, with their bounds and nothing else.

    One for each swath of a GRD, and one for an SLC.
    """
    blocks = [
        (merge.findtext("swath") or "", bounds)
        for merge in root.iterfind("swathMerging/swathMergeList/swathMerge")
        for bounds in merge.iterfind("swathBoundsList/swathBounds")
    ]
    if not blocks:
        whole = node(
            "swathBounds",
            [
                node("firstAzimuthLine", "0"),
                node("firstRangeSample", "0"),
                node("lastAzimuthLine", str(layout.lines - 1)),
                node("lastRangeSample", str(layout.samples - 1)),
            ],
        )
        blocks = [(root.findtext("adsHeader/swath") or "", whole)]
    return [
        node(
            "noiseAzimuthVector",
            [node("swath", swath), *(each for each in bounds if each.tag != "azimuthTime")],
        )
        for swath, bounds in blocks
    ]
