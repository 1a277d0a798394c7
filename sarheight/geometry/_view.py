"""A DEM under a radar: what all geometric work begins with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.inverse import points_at_height
from sarheight_kernels.models import GroundModel, RadarModel, ground_block, ground_position
from sarheight_kernels.surface import tile_bounds, tile_count

from sarheight.dem import check_dem
from sarheight.errors import GeometryError
from sarheight.geometry._ground import ground_model, horizontal
from sarheight.geometry._radar import radar_model

if TYPE_CHECKING:
    from sarheight.orbit import Orbit
    from sarheight.scene import RadarGrid

__all__ = ["View", "models", "on_grid", "require_overlap", "view"]


@dataclass(frozen=True, eq=False)
class View:
    """A DEM as one image sees it.

    Attributes
    ----------
    dem : xarray.DataArray
        The DEM, dims (y, x).
    grid : RadarGrid
        Sampling of the image.
    heights : array, shape (rows, columns)
        Heights above the ellipsoid in metres, float32, NaN where void.
    ground : GroundModel
        Positions of the cells.
    radar : RadarModel
        Orbit and sampling of the image.
    bounds : array, shape (tiles, 4)
        Part of the image that each tile of the DEM can light.
    """

    dem: xr.DataArray
    grid: RadarGrid
    heights: NDArray[np.float32]
    ground: GroundModel
    radar: RadarModel
    bounds: NDArray[np.float64]

    @cached_property
    def cell_area(self) -> float:
        """Horizontal area of a cell at the centre of the DEM in square metres."""
        rows, columns = self.heights.shape
        down, across = 0.5 * (rows - 1), 0.5 * (columns - 1)
        steps = np.array([[-0.5, 0.0], [0.5, 0.0], [0.0, -0.5], [0.0, 0.5]])
        corners = np.array([self.position(down + i, across + j) for i, j in steps])
        normal = np.cross(corners[1] - corners[0], corners[3] - corners[2])
        return float(np.linalg.norm(normal))

    def position(self, row: float, column: float) -> NDArray[np.float64]:
        """Position of a cell on the ellipsoid in metres, shape (3,)."""
        down, across = ground_block(self.ground, row, column)
        return np.array(ground_position(self.ground, down, across, row, column)[:3])

    def dataset(
        self, variables: Mapping[str, tuple[NDArray[Any], Mapping[str, Any]]]
    ) -> xr.Dataset:
        """Make a dataset on the DEM's grid.

        Parameters
        ----------
        variables : mapping
            Name to (values, attributes); values have dims (y, x).
        """
        return on_grid(self.dem, variables)


def on_grid(
    dem: xr.DataArray, variables: Mapping[str, tuple[NDArray[Any], Mapping[str, Any]]]
) -> xr.Dataset:
    """Make a dataset on the grid of a DEM; see `View.dataset`."""
    # The CRS travels as a coordinate; nothing else of the DEM does.
    filled = xr.Dataset(
        {
            name: (("y", "x"), values, {**attributes, "grid_mapping": "spatial_ref"})
            for name, (values, attributes) in variables.items()
        },
        coords=dem.coords,
    )
    if "spatial_ref" in filled.coords:
        return filled
    placed: xr.Dataset = filled.rio.write_crs(dem.rio.crs)
    return placed


def _footprint(grid: RadarGrid, radar: RadarModel) -> str:
    """Describe where an image lies, for messages."""
    line = np.array([0.0, 0.0, grid.lines - 1.0, grid.lines - 1.0])
    sample = np.array([0.0, grid.samples - 1.0, 0.0, grid.samples - 1.0])
    longitude, latitude = np.empty(4), np.empty(4)
    slant_range = grid.slant_range(line, sample)
    points_at_height(
        radar,
        grid.azimuth_time(line, slant_range),
        slant_range,
        np.zeros(4),
        longitude,
        latitude,
    )
    longitude, latitude = np.degrees(longitude), np.degrees(latitude)
    # A footprint across the antimeridian reads best in longitudes without a jump.
    longitude = np.degrees(np.unwrap(np.radians(longitude)))
    return (
        f"latitude {latitude.min():.2f} to {latitude.max():.2f}, "
        f"longitude {longitude.min():.2f} to {longitude.max():.2f}"
    )


def _extent(dem: xr.DataArray) -> str:
    """Describe where a DEM lies, for messages."""
    transformer = pyproj.Transformer.from_crs(
        horizontal(pyproj.CRS.from_user_input(dem.rio.crs)), 4326, always_xy=True
    )
    x, y = np.meshgrid(dem.x.values[[0, -1]], dem.y.values[[0, -1]])
    longitude, latitude = transformer.transform(x, y)
    return (
        f"latitude {latitude.min():.2f} to {latitude.max():.2f}, "
        f"longitude {longitude.min():.2f} to {longitude.max():.2f}"
    )


def require_overlap(
    dem: xr.DataArray, grid: RadarGrid, radar: RadarModel, bounds: NDArray[np.float64]
) -> None:
    """Refuse a DEM of which no part can light the image.

    Parameters
    ----------
    dem, grid, radar
        DEM and image.
    bounds : array, shape (n, 4)
        Bounds of the parts of the DEM, see `sarheight_kernels.cells.box_bounds`.

    Raises
    ------
    GeometryError
        If none of them meets the image.
    """
    met = (
        (bounds[:, 1] >= -0.5)
        & (bounds[:, 0] <= grid.lines - 0.5)
        & (bounds[:, 3] >= -0.5)
        & (bounds[:, 2] <= grid.samples - 0.5)
    )
    if met.any():
        return
    where = f"the DEM covers {_extent(dem)}; the image covers {_footprint(grid, radar)}"
    if np.isneginf(bounds[:, 0]).any():
        msg = (
            f"The DEM lies on the side of the track to which the radar does not look "
            f"(look_side={grid.look_side!r}): {where}. Pass a DEM of the image's own area, or "
            "set look_side if the annotation has it wrong."
        )
    else:
        msg = f"No cell of the DEM falls into the image: {where}. Pass a DEM of that area."
    raise GeometryError(msg)


def models(
    dem: xr.DataArray, grid: RadarGrid, orbit: Orbit
) -> tuple[xr.DataArray, NDArray[np.float32], GroundModel, RadarModel]:
    """Check a DEM, and turn it and an image into what the kernels read.

    Parameters
    ----------
    dem, grid, orbit
        As in `view`.

    Returns
    -------
    dem : xarray.DataArray
        The DEM as `sarheight.dem.check_dem` leaves it.
    heights : array, shape (rows, columns)
        Its heights, float32.
    ground, radar : GroundModel, RadarModel
        The models.
    """
    dem = check_dem(dem)
    heights = np.ascontiguousarray(dem.values, dtype=np.float32)
    ground = ground_model(
        dem.x.values.astype(np.float64),
        dem.y.values.astype(np.float64),
        pyproj.CRS.from_user_input(dem.rio.crs),
    )
    return dem, heights, ground, radar_model(grid, orbit)


def view(dem: xr.DataArray, grid: RadarGrid, orbit: Orbit) -> View:
    """Look at a DEM through a radar.

    Parameters
    ----------
    dem : xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x), with a CRS and a stated vertical
        datum.
    grid : RadarGrid
        Sampling of the image.
    orbit : Orbit
        State vectors that cover the image.

    Returns
    -------
    View
        What the geometric functions work on.

    Raises
    ------
    GeometryError
        If DEM and image do not overlap.
    ValueError
        If the DEM is not one: see `sarheight.dem.check_dem`.
    OrbitCoverageError
        If the orbit is too short.
    """
    dem, heights, ground, radar = models(dem, grid, orbit)
    bounds = np.empty((tile_count(heights), 4))
    tile_bounds(ground, radar, heights, bounds)
    require_overlap(dem, grid, radar, bounds)
    return View(dem, grid, heights, ground, radar, bounds)
