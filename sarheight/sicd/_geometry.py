r"""The range-Doppler grid of a SICD image, and where its pixels lie in the file.

A pixel of a SICD stands for a contour: all points with a slant range R and a range rate from the
satellite at the centre of the pixel's aperture, the time t_COA. The grid types differ in what R,
range rate and t_COA are (volume 3): a spotlight image of the polar format algorithm has one t_COA
for all pixels, a strip map has one for each column.

A `sarheight.grid.RadarGrid` orders pixels by the time at which they are seen at a Doppler centroid,
and by their slant range then. Two geometries are tried: zero Doppler, and the centroid of the
scene's centre point at its aperture's centre. In either, contours become pixels exactly at one
height, that of the scene's centre point: they are projected to that height by the functions of the
standard, and seen again from the satellite's path. At other heights the two differ, as the path
turns by 1 mrad in each second between t_COA and the time of the line. Within `TOLERANCE` the image
is one in range and Doppler, else it is refused.

References
----------
NGA.STND.0024-3 (2023). Sensor Independent Complex Data (SICD), volume 3: Image Projections
Description Document, version 1.4.0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.polynomial import chebyshev, polynomial
from numpy.typing import NDArray

from sarheight.doppler import DopplerLUT
from sarheight.errors import ProductError
from sarheight.grid import RadarGrid
from sarheight.orbit import Orbit

if TYPE_CHECKING:
    from pathlib import Path

Floats = NDArray[np.float64]

NODES = 17
"""Rows and columns of the image that are projected to the ground."""
DEGREE = 6
"""Degree of the polynomials from lines and samples to rows and columns."""
RELIEF = 1000.0
"""Metres above and below the scene's centre point at which the geometry is compared."""
FINE, TOLERANCE = 1.0, 2.0
"""Metres between a contour and a pixel of the radar grid at these heights: up to the first, zero
Doppler is preferred, and up to the second an image is taken."""
ALIGNED = 0.02
"""Pixels by which rows and columns may depart from even steps of slant range and time."""
FITTED = 0.02
"""Pixels by which polynomials may miss the rows and columns, at most."""
BEYOND = 0.25
"""Part of the collection before and after it at which the polynomial of the path is used."""
STATES = 12
"""State vectors over the collection: the polynomial between four of them is as good as that of the
product."""
NEWTON_STEPS = 12
MARGIN = 1.0, 5000.0
"""Seconds and metres by which the table of the Doppler centroid reaches beyond the image."""


class Fields(NamedTuple):
    """What of the metadata describes the geometry."""

    path: Path  # the file, for messages
    tree: Any  # the XML, for sarkit
    kind: str  # type of the grid, and the algorithm
    shape: tuple[int, int]  # rows and columns
    first: tuple[int, int]  # the file's first row and column in the full image
    place: Floats  # (3,) scene centre point, Earth-fixed in metres
    height: float  # of the scene centre point above the ellipsoid in metres
    aperture: float  # time of its centre of aperture, in seconds since the start
    satellite: Floats  # (order + 1, 3) polynomial of the path in seconds since the start
    start: np.datetime64  # of the collection (UTC)
    duration: float  # seconds
    grid: dict[str, Any]  # further fields of the `RadarGrid`

    def projected(self, pixels: tuple[Floats, Floats], height: float) -> Floats:
        """Project rows and columns of the file to a height; Earth-fixed points, shape (..., 3)."""
        import sarkit.sicd as sksicd

        places = np.stack(pixels, axis=-1) + self.first
        points, _, _ = sksicd.image_to_constant_hae_surface(
            self.tree,
            sksicd.rowcol_to_xrowycol(self.tree, places),
            height,
            delta_hae_max=1e-4,
            nlim=10,
        )
        return np.asarray(points, dtype=np.float64)

    def states(self, time: Floats | float) -> tuple[Floats, Floats, Floats]:
        """Return position, velocity and acceleration of the satellite, shape (..., 3)."""

        def derivative(order: int) -> Floats:
            coefficients = polynomial.polyder(self.satellite, order)
            return np.asarray(np.moveaxis(polynomial.polyval(time, coefficients), 0, -1))

        return derivative(0), derivative(1), derivative(2)

    def closing_speed(self) -> float:
        """Return the speed at which the scene's centre comes closer at its aperture's centre."""
        position, velocity, _ = self.states(self.aperture)
        sight = self.place - position
        return float(velocity @ sight / np.linalg.norm(sight))

    def seen(self, points: Floats, closing: float) -> tuple[Floats, Floats]:
        """Return when, and how far away, points come closer at a speed: v (P - s) = q |P - s|."""
        time = np.full(points.shape[:-1], self.aperture)
        for _ in range(NEWTON_STEPS):
            position, velocity, acceleration = self.states(time)
            sight = points - position
            distance = np.linalg.norm(sight, axis=-1)
            ahead = np.sum(velocity * sight, axis=-1)
            slope = np.sum(acceleration * sight, axis=-1) - np.sum(velocity**2, axis=-1)
            slope += closing * ahead / distance
            time = time - (ahead - closing * distance) / slope
        return time, np.linalg.norm(points - self.states(time)[0], axis=-1)


@dataclass(frozen=True, eq=False)
class Sampling:
    """A range-Doppler grid, and the rows and columns of the file at its pixels.

    Attributes
    ----------
    grid : RadarGrid
        The grid, at zero Doppler or at the centroid of the scene's centre point.
    orbit : Orbit
        The path of the satellite.
    error : float
        Greatest distance in metres of a contour of the file from the pixel of the grid, `RELIEF`
        above or below the scene's centre point.
    steps : (int, int)
        1 or -1 where lines are whole columns and samples whole rows, in the file's order or against
        it; (0, 0) where the image is resampled.
    row, column : array, shape (DEGREE + 1, DEGREE + 1)
        Chebyshev coefficients of rows and columns over lines and samples, scaled to -1 ... 1.
    """

    grid: RadarGrid
    orbit: Orbit
    error: float
    steps: tuple[int, int]
    row: Floats
    column: Floats

    def pixels(self, lines: Floats, samples: Floats) -> tuple[Floats, Floats]:
        """Return rows and columns of the file at lines and samples, shape (lines, samples)."""
        line, sample = (
            chebyshev.chebvander(2.0 * each / max(size - 1, 1) - 1.0, DEGREE)
            for each, size in zip((lines, samples), self.grid.shape, strict=True)
        )
        rows, columns = (line @ each @ sample.T for each in (self.row, self.column))
        return rows, columns


class _Nodes(NamedTuple):
    """Pixels of the file as times and slant ranges of one Doppler geometry."""

    closing: float  # metres per second; 0 at zero Doppler
    row: Floats  # (n, n)
    column: Floats
    time: Floats
    slant_range: Floats
    error: float  # metres; see `Sampling`
    outside: float  # seconds by which times lie outside the collection


def find_sampling(fields: Fields) -> Sampling:
    """Find the range-Doppler grid of an image, or refuse the image."""
    tried = [_project(fields, closing) for closing in (0.0, fields.closing_speed())]
    within = [
        each
        for each in tried
        if each.outside <= BEYOND * fields.duration and each.error <= TOLERANCE
    ]
    if within:
        return _lay_grid(fields, min(within, key=lambda each: max(each.error, FINE)))
    zero, native = (
        f"{each.error:.3g} m, {each.outside:.2g} s outside the collection" for each in tried
    )
    msg = (
        f"the geometry of {fields.path} ({fields.kind}) is not one of range and Doppler: "
        f"{RELIEF:g} m above and below the scene's centre it departs by {zero}, at zero Doppler, "
        f"and by {native}, at the centroid of the scene's centre; expected at most {TOLERANCE:g} m "
        f"and {BEYOND * fields.duration:.2g} s: ask the provider for a smaller or an RGZERO image"
    )
    raise ProductError(msg)


def _project(fields: Fields, closing: float) -> _Nodes:
    """See the pixels of the file at a closing speed, from the height of the scene's centre."""
    # Chebyshev's extrema, so that a polynomial through them is good everywhere.
    place = 0.5 - 0.5 * np.cos(np.linspace(0.0, np.pi, NODES))
    row, column = np.meshgrid(*(place * (size - 1) for size in fields.shape), indexing="ij")
    time, slant_range = fields.seen(fields.projected((row, column), fields.height), closing)
    worst = 0.0
    for height in (fields.height - RELIEF, fields.height + RELIEF):
        other, distance = fields.seen(fields.projected((row, column), height), closing)
        speed = np.linalg.norm(fields.states(time)[1], axis=-1)
        error = np.hypot(speed * (other - time), distance - slant_range)
        # NaN must not pass as a small one.
        worst = max(worst, float(np.nan_to_num(error, nan=np.inf).max()))
    outside = max(-float(time.min()), float(time.max()) - fields.duration, 0.0)
    return _Nodes(closing, row, column, time, slant_range, worst, outside)


def _lay_grid(fields: Fields, nodes: _Nodes) -> Sampling:
    """Lay lines and samples over the pixels of a file: on them, or between where uneven."""
    # Times and ranges as linear functions of rows and columns.
    terms = np.stack((np.ones_like(nodes.row), nodes.row, nodes.column), axis=-1).reshape(-1, 3)
    (at, row_time, interval), *_ = np.linalg.lstsq(terms, nodes.time.ravel(), rcond=None)
    (near, spacing, column_range), *_ = np.linalg.lstsq(
        terms, nodes.slant_range.ravel(), rcond=None
    )
    rows, columns = fields.shape
    uneven = max(
        np.abs(nodes.time - at - interval * nodes.column).max() / abs(interval),
        np.abs(nodes.slant_range - near - spacing * nodes.row).max() / abs(spacing),
    )
    if uneven <= ALIGNED:
        steps = (1 if interval > 0.0 else -1, 1 if spacing > 0.0 else -1)
        size = columns, rows
        first = min(at, at + interval * (columns - 1)), min(near, near + spacing * (rows - 1))
        step = abs(interval), abs(spacing)
    else:
        steps = (0, 0)
        longest = max(abs(row_time), abs(interval))
        # As many pixels on an area as the file has.
        step = longest, abs(interval * spacing - row_time * column_range) / longest
        first = float(nodes.time.min()), float(nodes.slant_range.min())
        size = (
            int(np.ceil(np.ptp(nodes.time) / step[0])) + 1,
            int(np.ceil(np.ptp(nodes.slant_range) / step[1])) + 1,
        )
    grid = RadarGrid(
        epoch=fields.start,
        line_zero_time=float(first[0]),
        line_interval=float(step[0]),
        lines=size[0],
        samples=size[1],
        near_range=float(first[1]),
        sample_spacing=float(step[1]),
        **fields.grid,
    )
    if nodes.closing:
        grid = _at_centroid(grid, nodes.closing)
    row, column = _fit(fields, grid, nodes)
    return Sampling(grid, _orbit(fields, nodes), nodes.error, steps, row, column)


def _at_centroid(grid: RadarGrid, closing: float) -> RadarGrid:
    """Return the grid at the Doppler centroid of a closing speed."""
    frequency = np.full((2, 2), 2.0 * closing / grid.wavelength)
    ranges = grid.slant_range(0, [0, grid.samples - 1]) + MARGIN[1] * np.array([-1.0, 1.0])
    times = grid.azimuth_time([0, grid.lines - 1]) + MARGIN[0] * np.array([-1.0, 1.0])
    return replace(grid, doppler=DopplerLUT(times, ranges, frequency))


def _fit(fields: Fields, grid: RadarGrid, nodes: _Nodes) -> tuple[Floats, Floats]:
    """Fit rows and columns of the file over lines and samples; see `Sampling`."""

    def terms(time: Floats, slant_range: Floats) -> Floats:
        place = (
            2.0 * (time - grid.line_zero_time) / grid.line_interval / max(grid.lines - 1, 1) - 1.0,
            2.0 * grid.sample(slant_range, time) / max(grid.samples - 1, 1) - 1.0,
        )
        values = chebyshev.chebvander2d(*place, (DEGREE, DEGREE))
        return np.asarray(values, dtype=np.float64).reshape(time.size, -1)

    known = np.stack((nodes.row.ravel(), nodes.column.ravel()), axis=-1)
    found = np.linalg.lstsq(terms(nodes.time, nodes.slant_range), known, rcond=None)[0]
    row, column = (0.5 * (each[1:, 1:] + each[:-1, :-1]) for each in (nodes.row, nodes.column))
    points = fields.projected((row, column), fields.height)
    missed = terms(*fields.seen(points, nodes.closing)) @ found
    missed -= np.stack((row.ravel(), column.ravel()), axis=-1)
    if not np.abs(missed).max() <= FITTED:
        msg = (
            f"the geometry of {fields.path} ({fields.kind}) departs from a polynomial of degree "
            f"{DEGREE} by {np.abs(missed).max():.2g} pixels, expected at most {FITTED:g}: its "
            "metadata are damaged, fetch it again"
        )
        raise ProductError(msg)
    shape = DEGREE + 1, DEGREE + 1
    return np.asarray(found[:, 0]).reshape(shape), np.asarray(found[:, 1]).reshape(shape)


def _orbit(fields: Fields, nodes: _Nodes) -> Orbit:
    """Return state vectors of the path, over the collection and the image."""
    spare = BEYOND * fields.duration
    first = min(-spare, float(nodes.time.min()))
    last = max(fields.duration + spare, float(nodes.time.max()))
    times = np.linspace(first, last, max(STATES, int(np.ceil(last - first)) + 1))
    position, velocity, _ = fields.states(times)
    return Orbit(fields.start, times, position, velocity, "the product (ARPPoly)")
