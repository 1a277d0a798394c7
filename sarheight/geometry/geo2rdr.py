"""The two mappings between ground and radar coordinates, and incidence angles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from sarheight_kernels.incidence import cell_angles
from sarheight_kernels.rdr2geo import pixel_heights, points_at_height
from sarheight_kernels.tiles import geolocate, geolocation_bounds

from sarheight.geometry.pass_geometry import (
    PassGeometry,
    models,
    on_grid,
    pass_geometry,
    require_overlap,
)
from sarheight.geometry.tables import radar_model
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
    dem, heights, ground, radar = models(dem, grid, orbit)
    line, sample = np.empty(heights.shape), np.empty(heights.shape)
    bounds = geolocation_bounds(ground, heights)
    geolocate(ground, radar, heights, line, sample, bounds)
    require_overlap(dem, grid, radar, bounds)
    return on_grid(
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


# From the radar to the ground: where pixels lie.


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
        Left aside where a DEM is given.
    dem : xarray.DataArray, optional
        Heights above the ellipsoid in metres, dims (y, x), any CRS. Each pixel is put on the lit
        terrain at its slant range; where several places lie there, in layover, on the one
        nearest to the satellite's track. The mapping of `sarheight.layover` tells them all.

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
        geometry = pass_geometry(dem, grid, orbit)
        scan = terrain_profiles(geometry)
        heights = np.empty(grid.shape)
        pixel_heights(
            scan.ground,
            radar,
            scan.heights,
            scan.reference_height,
            line_times(grid),
            heights,
        )
    else:
        given = np.asarray(getattr(height, "values", height), dtype=np.float64)
        if given.shape not in ((), grid.shape):
            msg = (
                f"found heights of shape {given.shape}, expected one number or the shape of the "
                f"image, {grid.shape}"
            )
            raise ValueError(msg)
        heights = np.broadcast_to(given, grid.shape).copy()
    line, sample = np.meshgrid(np.arange(grid.lines), np.arange(grid.samples), indexing="ij")
    slant_range = grid.slant_range(line, sample)
    longitude, latitude = np.empty(heights.size), np.empty(heights.size)
    points_at_height(
        radar,
        np.ravel(grid.azimuth_time(line, slant_range)),
        np.ravel(slant_range),
        heights.ravel(),
        longitude,
        latitude,
    )
    dims = ("line", "sample")
    return xr.Dataset(
        {
            "longitude": (
                dims,
                np.degrees(longitude).reshape(grid.shape),
                {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east"},
            ),
            "latitude": (
                dims,
                np.degrees(latitude).reshape(grid.shape),
                {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north"},
            ),
            "height": (
                dims,
                np.where(np.isnan(longitude).reshape(grid.shape), np.nan, heights),
                {
                    "standard_name": "height_above_reference_ellipsoid",
                    "long_name": "height above the WGS84 ellipsoid",
                    "units": "m",
                },
            ),
        }
    )
