"""The two mappings between ground and radar coordinates, and incidence angles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from sarheight_kernels.incidence import cell_angles
from sarheight_kernels.rdr2geo import pixel_heights
from sarheight_kernels.tiles import geolocate, geolocation_bounds

from sarheight.geometry.pass_geometry import (
    PassGeometry,
    dem_dataset,
    kernel_models,
    pass_geometry,
    require_overlap,
)
from sarheight.geometry.tables import ground_points, radar_model
from sarheight.geometry.visibility import line_times, terrain_profiles

if TYPE_CHECKING:
    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit

INCIDENCES = {
    "local_incidence": {"long_name": "local incidence angle", "units": "degree"},
    "projected_incidence": {
        "long_name": "projected local incidence angle, negative in active layover",
        "units": "degree",
    },
    "ellipsoid_incidence": {"long_name": "incidence angle on the ellipsoid", "units": "degree"},
}
"""Attributes of the incidence angles by name."""
GROUND_POINTS = {
    "longitude": {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east"},
    "latitude": {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north"},
    "height": {
        "standard_name": "height_above_reference_ellipsoid",
        "long_name": "height above the WGS84 ellipsoid",
        "units": "m",
    },
}
"""Attributes of the positions of pixels on the ground by name."""


def geo2rdr(dem: xr.DataArray, grid: RadarGrid, orbit: Orbit) -> xr.Dataset:
    r"""Find the pixel coordinates of a DEM's cells.

    The radar sees a cell at P at the zero-Doppler time t, :math:`v(t) \cdot (P - s(t)) = 0`, at the
    slant range :math:`|P - s(t)|`. Both are solved exactly at a few nodes of each tile of the DEM
    and interpolated by cubics whose error is checked to be below 5e-6 pixels.

    Parameters
    ----------
    dem : xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x), any CRS.
    grid : RadarGrid
        Sampling of the image.
    orbit : Orbit
        State vectors that cover the image.

    Returns
    -------
    xarray.Dataset
        ``line`` and ``sample``, dims (y, x), float64: fractional, whole numbers are pixel
        centres, beyond the image too. NaN where the DEM is void or lies on the side to which
        the radar does not look.

    Raises
    ------
    GeometryError
        If DEM and image do not overlap.
    OrbitCoverageError
        If the orbit does not cover the image.
    ValueError
        If the DEM is not one (see `sarheight.dem.check_dem`).

    Examples
    --------
    >>> from sarheight import geometry  # doctest: +SKIP
    >>> geometry.geo2rdr(dem, grid, orbit)  # doctest: +SKIP
    """
    dem, heights, ground, radar = kernel_models(dem, grid, orbit)
    line, sample = np.empty(heights.shape), np.empty(heights.shape)
    bounds = geolocation_bounds(ground, heights)
    geolocate(ground, radar, heights, line, sample, bounds)
    require_overlap(dem, grid, radar, bounds)
    return dem_dataset(
        dem,
        {
            "line": (line, {"long_name": "azimuth line", "units": "1"}),
            "sample": (sample, {"long_name": "range sample", "units": "1"}),
        },
    )


def angles(geometry: PassGeometry) -> dict[str, tuple[np.ndarray, dict[str, str]]]:
    """Compute the incidence angles of a pass in degrees, with their attributes."""
    arrays = [np.empty(geometry.heights.shape, dtype=np.float32) for _ in INCIDENCES]
    cell_angles(geometry.ground, geometry.radar, geometry.heights, geometry.bounds, *arrays)
    return {
        name: (array, dict(attributes))
        for (name, attributes), array in zip(INCIDENCES.items(), arrays, strict=True)
    }


def incidence(dem: xr.DataArray, grid: RadarGrid, orbit: Orbit) -> xr.Dataset:
    """Compute the incidence angles of a DEM's cells.

    Parameters
    ----------
    dem : xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x), any CRS.
    grid : RadarGrid
        Sampling of the image.
    orbit : Orbit
        State vectors that cover the image.

    Returns
    -------
    xarray.Dataset
        In degrees, dims (y, x), float32, NaN where void:

        ``local_incidence``
            between the line of sight and the surface's normal;
        ``projected_incidence``
            between the line of sight and the normal's projection into the plane of zero
            Doppler; negative where the slope is steeper than the line of sight (active layover),
            above 90 where it faces away (active shadow);
        ``ellipsoid_incidence``
            between the line of sight and the ellipsoid's normal.

    Raises
    ------
    GeometryError
        If DEM and image do not overlap.
    OrbitCoverageError
        If the orbit does not cover the image.
    ValueError
        If the DEM is not one (see `sarheight.dem.check_dem`).

    References
    ----------
    Ulander, L. M. H. (1996). Radiometric slope correction of synthetic-aperture radar images.
    IEEE TGRS 34(5), 1115-1122.
    """
    geometry = pass_geometry(dem, grid, orbit)
    return geometry.dataset(angles(geometry))


def rdr2geo(
    grid: RadarGrid,
    orbit: Orbit,
    height: float | xr.DataArray = 0.0,
    *,
    dem: xr.DataArray | None = None,
) -> xr.Dataset:
    """Find where the pixels of an image lie on the ground.

    Parameters
    ----------
    grid : RadarGrid
        Sampling of the image; crop it first to have part of it.
    orbit : Orbit
        State vectors that cover the image.
    height : float or xarray.DataArray
        Height above the ellipsoid in metres, for all pixels or for each, dims (line, sample).
        Ignored if a DEM is passed.
    dem : xarray.DataArray, optional
        Heights above the ellipsoid in metres, dims (y, x), any CRS. Each pixel is put on the
        illuminated terrain at its slant range; where several places lie there, in layover, on the
        one nearest to the satellite's track. `sarheight.layover.mapping` lists them all.

    Returns
    -------
    xarray.Dataset
        ``longitude`` and ``latitude`` on WGS84 in degrees and ``height`` in metres, dims (line,
        sample); NaN where no terrain is seen.

    Raises
    ------
    GeometryError
        If DEM and image do not overlap.
    OrbitCoverageError
        If the orbit does not cover the image.
    ValueError
        If `height` does not have the shape of the image.
    """
    radar = radar_model(grid, orbit)
    if dem is not None:
        profiles = terrain_profiles(pass_geometry(dem, grid, orbit))
        heights = np.empty(grid.shape)
        pixel_heights(
            profiles.ground,
            radar,
            profiles.heights,
            profiles.reference_height,
            line_times(grid),
            heights,
        )
    else:
        values = np.asarray(getattr(height, "values", height), dtype=np.float64)
        if values.shape not in ((), grid.shape):
            msg = (
                f"found heights of shape {values.shape}, expected one number or the shape of the "
                f"image, {grid.shape}"
            )
            raise ValueError(msg)
        heights = np.broadcast_to(values, grid.shape)
    line, sample = np.meshgrid(np.arange(grid.lines), np.arange(grid.samples), indexing="ij")
    slant_range = grid.slant_range(line, sample)
    time = grid.azimuth_time(line, slant_range)
    longitude, latitude = ground_points(radar, time, slant_range, heights)
    arrays = longitude, latitude, np.where(np.isnan(longitude), np.nan, heights)
    return xr.Dataset(
        {
            name: (("line", "sample"), array, dict(attributes))
            for (name, attributes), array in zip(GROUND_POINTS.items(), arrays, strict=True)
        }
    )
