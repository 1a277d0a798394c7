"""Models for the kernels: ground positions as polynomials, the radar grid with its orbit."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyproj
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from sarheight_kernels.models import GroundModel, RadarModel
from sarheight_kernels.rdr2geo import points_at_height
from sarheight_kernels.tiles import TILE

from sarheight.doppler import zero_doppler_table
from sarheight.ellipsoid import SPEED_OF_LIGHT, look_sign, to_earth_fixed
from sarheight.errors import GeometryError

if TYPE_CHECKING:
    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit

NODES = 8
"""Chebyshev nodes along each axis of a patch."""
LARGEST_PATCH = 16 * TILE
MARGIN = 4
"""Cells around a patch for which its polynomials hold too: neighbours of its border cells."""
TOLERANCE = 1e-6
"""Largest distance in metres between the polynomials and the projection."""
ACCEPTABLE = 1e-3
"""The same, where even the smallest patchs miss the tolerance (datum shifts by grid)."""


def ground_points(
    radar: RadarModel,
    time: NDArray[np.float64],
    slant_range: NDArray[np.float64],
    height: NDArray[np.float64] | float = 0.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find longitude and latitude in degrees of points at azimuth times and slant ranges.

    All arrays have the shape of `time`; NaN where no point at that height lies at that range.
    """
    longitude, latitude = np.empty(time.size), np.empty(time.size)
    heights = np.broadcast_to(height, time.shape)
    points_at_height(radar, time.ravel(), slant_range.ravel(), heights.ravel(), longitude, latitude)
    return (np.degrees(longitude).reshape(time.shape), np.degrees(latitude).reshape(time.shape))


def horizontal(crs: pyproj.CRS) -> pyproj.CRS:
    """Strip the vertical part off a coordinate reference system."""
    if crs.is_compound:
        return horizontal(crs.sub_crs_list[0])
    return crs.to_2d()


@lru_cache(maxsize=16)
def _to_geographic(wkt: str) -> pyproj.Transformer:
    """Make the way from a map projection to longitude and latitude, which takes milliseconds.

    Threads may share it: each gets one of its own from pyproj.
    """
    crs = horizontal(pyproj.CRS.from_wkt(wkt))
    return pyproj.Transformer.from_crs(crs, pyproj.CRS.from_epsg(4326), always_xy=True)


class _Raster:
    """Affine raster coordinates in a map projection."""

    def __init__(self, x: NDArray[np.float64], y: NDArray[np.float64], crs: pyproj.CRS) -> None:
        self.x, self.y = x, y
        self.step_x = (x[-1] - x[0]) / max(x.size - 1, 1)
        self.step_y = (y[-1] - y[0]) / max(y.size - 1, 1)
        self.name = crs.name
        self.transformer = _to_geographic(crs.to_wkt())

    def position(
        self, row: NDArray[np.float64], column: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Find position and normal, shape (..., 6), of cells given by fractional row and column."""
        longitude, latitude = self.transformer.transform(
            self.x[0] + column * self.step_x, self.y[0] + row * self.step_y, errcheck=False
        )
        if not (np.isfinite(longitude).all() and np.isfinite(latitude).all()):
            msg = (
                "The DEM reaches places where its map projection has no inverse: "
                f"x {self.x[0]:g} to {self.x[-1]:g}, y {self.y[0]:g} to {self.y[-1]:g} in "
                f"{self.name}. "
                "Check that the CRS is the right one, or cut the DEM to the scene first."
            )
            raise GeometryError(msg)
        return np.concatenate(to_earth_fixed(longitude, latitude), axis=-1)


def _patch_positions(
    raster: _Raster,
    patchs: tuple[int, int],
    size: tuple[int, int],
    half: tuple[float, float],
    nodes: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Find positions and normals at nodes of each patch, shape (down, across, n, n, 6).

    The nodes lie between -1 and 1, the edges of a patch.
    """
    row, column = (
        (np.arange(count)[:, None] + 0.5) * cells - 0.5 + reach * nodes
        for count, cells, reach in zip(patchs, size, half, strict=True)
    )
    return raster.position(*np.broadcast_arrays(row[:, None, :, None], column[None, :, None, :]))


def _fit(raster: _Raster, patch: int) -> GroundModel:
    """Interpolate positions at the Chebyshev nodes of patchs by polynomials."""
    shape = raster.y.size, raster.x.size
    rows, columns = (min(patch, -(-cells // TILE) * TILE) for cells in shape)
    half = 0.5 * (rows - 1) + MARGIN, 0.5 * (columns - 1) + MARGIN
    nodes = np.cos((2.0 * np.arange(NODES) + 1.0) * np.pi / (2 * NODES))
    to_powers = np.linalg.inv(np.vander(nodes, NODES, increasing=True))
    patchs = -(-shape[0] // rows), -(-shape[1] // columns)
    values = _patch_positions(raster, patchs, (rows, columns), half, nodes)
    coefficients = np.einsum("im,jn,abmnk->abijk", to_powers, to_powers, values, optimize=True)
    return GroundModel(rows, columns, *half, np.ascontiguousarray(coefficients))


def _largest_error(model: GroundModel, raster: _Raster) -> float:
    """Find the largest distance to the projection, between nodes, where interpolation errs most."""
    probes = np.cos(np.arange(NODES + 1) * np.pi / NODES)[[0, 1, NODES // 2, NODES]]
    down, across = model.coefficients.shape[:2]
    size, half = (model.patch_rows, model.patch_columns), (model.half_rows, model.half_columns)
    exact = _patch_positions(raster, (down, across), size, half, probes)
    powers = np.vander(probes, NODES, increasing=True)
    fitted = np.einsum("mi,nj,abijk->abmnk", powers, powers, model.coefficients, optimize=True)
    return float(np.abs(fitted - exact)[..., :3].max())


def ground_model(x: NDArray[np.float64], y: NDArray[np.float64], crs: pyproj.CRS) -> GroundModel:
    """Model the ground of a raster with coordinates `x`, shape (columns,), and `y`, shape (rows,).

    The projection is inverted at a few nodes of each patch of cells; patchs shrink until the
    polynomials through them agree with the projection to a micrometre.
    """
    raster = _Raster(x, y, crs)
    patch = LARGEST_PATCH
    model = _fit(raster, patch)
    error = _largest_error(model, raster)
    while error > TOLERANCE and patch > TILE:
        patch //= 2
        model = _fit(raster, patch)
        error = _largest_error(model, raster)
    if not error <= ACCEPTABLE:
        msg = (
            f"The map projection of the DEM changes by {error:.3g} m within {TILE} cells in a way "
            f"no smooth function follows (at most {ACCEPTABLE:g} m is accepted). The raster may "
            "cross a seam of the projection: cut it there, or reproject it to a local CRS."
        )
        raise GeometryError(msg)
    return model


DEGREE = 12
"""Degree of the polynomials from slant range to ground range."""
TO_POWERS = np.array(
    [
        np.pad(chebyshev.cheb2poly(unit[: degree + 1]), (0, DEGREE - degree))
        for degree, unit in enumerate(np.eye(DEGREE + 1))
    ]
)
"""Coefficients of powers of each Chebyshev polynomial."""
RANGE_MARGIN, LEAST_MARGIN = 0.1, 10_000.0
"""Margin of the image for which its polynomials are fitted: part of its width, and metres of ground
range at least. Farther out they are continued by a straight line."""


class _Sampling(NamedTuple):
    """The range sampling, see `RadarModel`."""

    segment_start: NDArray[np.float64]
    segment_origin: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    rate: NDArray[np.float64]
    range_middle: float
    range_half: float


def _slant_sampling(grid: RadarGrid) -> _Sampling:
    """Model samples that are evenly spaced in slant range."""
    return _Sampling(
        np.zeros(1),
        np.zeros(1),
        np.array([[0.0, 1.0]]),
        np.zeros((1, 2)),
        grid.near_range,
        grid.sample_spacing,
    )


def _ground_sampling(grid: RadarGrid) -> _Sampling:
    """Fit samples in powers of slant range at each record, and their change from one to the next.

    The polynomials are fitted to the grid's own conversion, so that both agree.
    """
    records = grid.ground_range
    if records is None:
        msg = "found a slant-range grid, expected one in ground range"
        raise ValueError(msg)
    times = np.asarray(records.time, dtype=np.float64)
    nodes = chebyshev.chebpts1(8 * DEGREE)
    extent = grid.samples * grid.sample_spacing
    margin = max(RANGE_MARGIN * extent, LEAST_MARGIN)
    ground = grid.sample_zero_ground + np.array([-margin, extent + margin])
    edges = records.slant(ground[None, :], times[:, None])
    middle, half = 0.5 * (edges.min() + edges.max()), 0.5 * (edges.max() - edges.min())
    samples = (
        records.ground((middle + half * nodes)[None, :], times[:, None]) - grid.sample_zero_ground
    ) / grid.sample_spacing
    coefficients = chebyshev.chebfit(nodes, samples.T, DEGREE).T @ TO_POWERS
    if records.interpolation == "nearest":
        start = np.concatenate((times[:1], 0.5 * (times[1:] + times[:-1])))
        rate = np.zeros_like(coefficients)
        return _Sampling(start, times, coefficients, rate, middle, half)
    # One segment before the first record, where nothing changes, then one behind each record.
    rate = np.zeros((times.size + 1, DEGREE + 1))
    rate[1:-1] = np.diff(coefficients, axis=0) / np.diff(times)[:, None]
    return _Sampling(
        np.concatenate((times[:1] - 1.0, times)),
        np.concatenate((times[:1], times)),
        np.concatenate((coefficients[:1], coefficients)),
        rate,
        middle,
        half,
    )


def _extended_orbit(orbit: Orbit) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Extend an orbit table by straight flight at both ends.

    The image lies within the orbit. The zero-Doppler times of places far from it lie outside, where
    polynomials of degree seven could give any position; straight flight keeps such places away
    from the image.
    """
    times = np.array([orbit.time[0], orbit.stop])
    position, velocity = orbit.state(times)
    straight = np.zeros((2, *orbit.coefficients.shape[1:]))
    straight[:, 0], straight[:, 1] = position, velocity
    interval = orbit.time[1] - orbit.time[0]
    straight[0, 0] -= interval * velocity[0]
    return (
        np.concatenate((times[:1] - interval, orbit.start, times[1:])),
        np.concatenate((straight[:1], orbit.coefficients, straight[1:])),
    )


def radar_model(grid: RadarGrid, orbit: Orbit) -> RadarModel:
    """Model the sampling and the orbit of an image."""
    orbit = orbit.with_epoch(grid.epoch)
    orbit.require_cover(grid.first_time, grid.last_time)
    grid.require_doppler()
    start, coefficients = _extended_orbit(orbit)
    sampling = _slant_sampling(grid) if grid.ground_range is None else _ground_sampling(grid)
    doppler = zero_doppler_table() if grid.doppler is None else grid.doppler.table(grid.wavelength)
    return RadarModel(
        orbit_start=start,
        orbit_coefficients=coefficients,
        line_zero_time=float(grid.line_zero_time),
        line_interval=float(grid.line_interval),
        bistatic_range=0.0 if grid.bistatic_range is None else grid.bistatic_range,
        bistatic_rate=0.0 if grid.bistatic_range is None else 1.0 / SPEED_OF_LIGHT,
        side=look_sign(grid.look_side),
        **doppler._asdict(),
        **sampling._asdict(),
    )
