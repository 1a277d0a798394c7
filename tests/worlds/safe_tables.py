"""Geolocation, calibration and noise of simulated products, as in the files of real ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarheight.ellipsoid import SPEED_OF_LIGHT, look_sign, points_at_ranges
from sarheight.orbit import seconds_between
from sarheight.sentinel1.annotation import GeolocationGrid
from tests.worlds.safe_layout import listed, node, numbers, utc, utc_of

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit
    from sarheight.scene import Calibration, Scene
    from sarheight.sentinel1 import Annotation
    from tests.worlds.safe_layout import FileLayout

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
