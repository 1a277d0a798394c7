"""Geometry of a radar pass over a DEM, and the areas of its pixels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.orbit import orbit_states
from sarheight_kernels.radiometry import divide_by_area
from sarheight_kernels.tiles import tile_bounds, tile_count

from sarheight.dem.checked import CheckedDem
from sarheight.ellipsoid import to_earth_fixed
from sarheight.errors import GeometryError
from sarheight.geometry.tables import ground_model, ground_points, horizontal, radar_model

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit
    from sarheight.scene import Calibration


@dataclass(frozen=True, eq=False)
class PassGeometry:
    """A DEM under one radar pass."""

    dem: xr.DataArray  # the DEM, dims (y, x)
    grid: RadarGrid  # sampling of the image
    # (rows, columns): heights above the ellipsoid in metres, float32, NaN where void
    heights: NDArray[np.float32]
    ground: GroundModel  # positions of the cells
    radar: RadarModel  # orbit and sampling of the image
    bounds: NDArray[np.float64]  # (tiles, 4): part of the image that each tile can contribute to

    def dataset(
        self, variables: Mapping[str, tuple[NDArray[Any], Mapping[str, Any]]]
    ) -> xr.Dataset:
        """Make a dataset on the DEM's grid."""
        return dem_dataset(self.dem, variables)


def dem_dataset(
    dem: xr.DataArray, variables: Mapping[str, tuple[NDArray[Any], Mapping[str, Any]]]
) -> xr.Dataset:
    """Make a dataset of values and attributes on the grid of a DEM."""
    # The CRS is kept as a coordinate; nothing else of the DEM is.
    dataset = xr.Dataset(
        {
            name: (("y", "x"), values, {**attributes, "grid_mapping": "spatial_ref"})
            for name, (values, attributes) in variables.items()
        },
        coords=dem.coords,
    )
    if "spatial_ref" not in dataset.coords:
        dataset = dataset.rio.write_crs(dem.rio.crs)
    return dataset


def _describe(longitude: NDArray[np.float64], latitude: NDArray[np.float64]) -> str:
    """Describe the extent of some points, for messages."""
    return (
        f"latitude {latitude.min():.2f} to {latitude.max():.2f}, "
        f"longitude {longitude.min():.2f} to {longitude.max():.2f}"
    )


def _image_extent(grid: RadarGrid, radar: RadarModel) -> str:
    """Describe the extent of an image at height zero, for messages."""
    line = np.array([0.0, 0.0, grid.lines - 1.0, grid.lines - 1.0])
    sample = np.array([0.0, grid.samples - 1.0, 0.0, grid.samples - 1.0])
    slant_range = grid.slant_range(line, sample)
    longitude, latitude = ground_points(radar, grid.azimuth_time(line, slant_range), slant_range)
    # An extent across the antimeridian is clearest in longitudes without a jump.
    return _describe(np.degrees(np.unwrap(np.radians(longitude))), latitude)


def _dem_extent(dem: xr.DataArray) -> str:
    """Describe the extent of a DEM, for messages."""
    transformer = pyproj.Transformer.from_crs(
        horizontal(pyproj.CRS.from_user_input(dem.rio.crs)), 4326, always_xy=True
    )
    return _describe(
        *transformer.transform(*np.meshgrid(dem.x.values[[0, -1]], dem.y.values[[0, -1]]))
    )


def require_overlap(
    dem: xr.DataArray, grid: RadarGrid, radar: RadarModel, bounds: NDArray[np.float64]
) -> None:
    """Refuse a DEM of which no part can contribute to the image, by `bounds`, shape (n, 4)."""
    overlaps = (
        (bounds[:, 1] >= -0.5)
        & (bounds[:, 0] <= grid.lines - 0.5)
        & (bounds[:, 3] >= -0.5)
        & (bounds[:, 2] <= grid.samples - 0.5)
    )
    if overlaps.any():
        return
    where = f"the DEM covers {_dem_extent(dem)}; the image covers {_image_extent(grid, radar)}"
    if np.isneginf(bounds[:, 0]).any():
        msg = (
            f"The DEM lies on the side of the track to which the radar does not look "
            f"(look_side={grid.look_side!r}): {where}. Pass a DEM of the image's own area, or "
            "set look_side if the annotation has it wrong."
        )
    else:
        msg = f"No cell of the DEM falls into the image: {where}. Pass a DEM of that area."
    raise GeometryError(msg)


def kernel_models(
    dem: xr.DataArray | CheckedDem, grid: RadarGrid, orbit: Orbit
) -> tuple[xr.DataArray, NDArray[np.float32], GroundModel, RadarModel]:
    """Check a DEM, and model it and an image for the kernels.

    Returns the DEM, its heights, shape (rows, columns), and the models of ground and radar.
    """
    dem = CheckedDem.of(dem).array
    heights = np.ascontiguousarray(dem.values, dtype=np.float32)
    ground = ground_model(
        dem.x.values.astype(np.float64),
        dem.y.values.astype(np.float64),
        pyproj.CRS.from_user_input(dem.rio.crs),
    )
    return dem, heights, ground, radar_model(grid, orbit)


def pass_geometry(dem: xr.DataArray | CheckedDem, grid: RadarGrid, orbit: Orbit) -> PassGeometry:
    """Compute the geometry of a radar pass over a DEM."""
    dem, heights, ground, radar = kernel_models(dem, grid, orbit)
    bounds = np.empty((tile_count(heights), 4))
    tile_bounds(ground, radar, heights, bounds)
    require_overlap(dem, grid, radar, bounds)
    return PassGeometry(dem, grid, heights, ground, radar, bounds)


AREA_LINES, AREA_SAMPLES = 9, 33
"""Lines and samples at which the areas of pixels are computed: they change slowly."""
BLOCK = 256


@dataclass(frozen=True, eq=False)
class PixelAreas:
    """Areas of the pixels of an image, in the plane to which a calibration refers."""

    lines: NDArray[np.float64]  # (k,): lines at which the areas are tabulated
    areas: NDArray[np.float64]  # (k, samples): areas in square metres; linear in between

    def blocks(self, lines: int) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Yield blocks of lines with the areas of their pixels, shape (block, samples)."""
        knot, fraction = self._locate(lines)
        for first in range(0, lines, BLOCK):
            block = slice(first, min(first + BLOCK, lines))
            before, after = self.areas[knot[block]], self.areas[knot[block] + 1]
            yield block, before + fraction[block, None] * (after - before)

    def divide(self, rcs: NDArray[np.float32], offset: float = 0.0) -> None:
        """Turn radar cross-sections, shape (lines, samples), into intensities, in place."""
        divide_by_area(rcs, *self._locate(rcs.shape[0]), self.areas, offset)

    def _locate(self, lines: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Find the tabulated line before each line, and its fraction of the way to the next."""
        line = np.arange(lines, dtype=np.float64)
        knot = np.searchsorted(self.lines, line, side="right") - 1
        knot = np.clip(knot, 0, self.lines.size - 2)
        return knot, (line - self.lines[knot]) / (self.lines[knot + 1] - self.lines[knot])


def _inclinations(
    normal: NDArray[np.float64],
    point: NDArray[np.float64],
    time: NDArray[np.float64],
    radar: RadarModel,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the cosines from the ground's normal to that of the slant plane, and to the radar.

    The slant plane holds the line of sight and the velocity. Shapes: normal and point (..., 3).
    """
    state = orbit_states(time.ravel(), radar.orbit_start, radar.orbit_coefficients)
    sight = point - state[:, :3].reshape(point.shape)
    sight /= np.linalg.norm(sight, axis=-1, keepdims=True)
    plane = np.cross(sight, state[:, 3:6].reshape(point.shape))
    plane /= np.linalg.norm(plane, axis=-1, keepdims=True)
    return np.abs(np.sum(normal * plane, axis=-1)), np.abs(np.sum(normal * sight, axis=-1))


def pixel_areas(grid: RadarGrid, radar: RadarModel, calibration: Calibration) -> PixelAreas:
    """Tabulate the areas to which intensities of a calibration refer.

    A pixel's radar cross-section in square metres is its intensity times this area: beta0 refers
    to the area in the slant-range plane, sigma0 to that on the ellipsoid, gamma0 to that at a
    right angle to the line of sight (Small 2011, section II).
    """
    return pixel_areas_of(grid, radar, calibration)[0]


def pixel_areas_of(
    grid: RadarGrid, radar: RadarModel, *calibrations: Calibration
) -> list[PixelAreas]:
    """Tabulate the areas of several calibrations, see `pixel_areas`."""
    for calibration in calibrations:
        if calibration not in ("beta0", "sigma0", "gamma0"):
            msg = (
                f"found calibration {calibration!r}, expected 'beta0', 'sigma0' or 'gamma0' "
                "(linear power): say what the image is calibrated to"
            )
            raise ValueError(msg)
    lines = np.linspace(0.0, max(grid.lines - 1.0, 1.0), AREA_LINES)
    samples = np.linspace(0.0, max(grid.samples - 1.0, 1.0), AREA_SAMPLES)
    line, sample = np.meshgrid(lines, samples, indexing="ij")
    slant = grid.slant_range(line, sample)
    time = grid.azimuth_time(line, slant)
    step = 0.5 * abs(radar.line_interval)
    near, far = grid.slant_range(line, sample - 0.5), grid.slant_range(line, sample + 0.5)

    def position(time: NDArray[np.float64], slant: NDArray[np.float64]) -> NDArray[np.float64]:
        return to_earth_fixed(*ground_points(radar, time, slant))[0]

    # Places half a line and half a sample away.
    later, earlier, farther, nearer = position(
        np.stack((time + step, time - step, time, time)), np.stack((slant, slant, far, near))
    )
    along, across = later - earlier, farther - nearer
    normal = np.cross(along, across)
    area = np.linalg.norm(normal, axis=-1)
    if grid.doppler is None:
        # The line of sight is at a right angle to the track: a pixel's extent in slant range over
        # its width on the ground is the sine of incidence.
        sine = np.clip(np.abs(far - near) / np.linalg.norm(across, axis=-1), 0.0, 1.0)
        slope, cosine = sine, np.sqrt(1.0 - sine**2)
    else:
        slope, cosine = _inclinations(normal / area[..., None], position(time, slant), time, radar)
    # A_beta = A_sigma sin(theta), at zero Doppler, A_gamma = A_sigma cos(theta).
    areas = {"beta0": area * slope, "sigma0": area, "gamma0": area * cosine}
    if not all(np.isfinite(areas[calibration]).all() for calibration in calibrations):
        msg = (
            "found an image whose slant ranges do not reach the Earth; expected ranges between "
            "the satellite's height and the horizon: check near_range and sample_spacing"
        )
        raise ValueError(msg)
    from scipy.interpolate import CubicSpline

    every = np.arange(grid.samples)
    return [
        PixelAreas(lines, CubicSpline(samples, areas[calibration], axis=1)(every))
        for calibration in calibrations
    ]
