"""From the radar to the ground: where pixels lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from sarheight_kernels.inverse import nearest_heights, points_at_height

from sarheight.geometry._radar import radar_model
from sarheight.geometry._view import view
from sarheight.geometry._visibility import line_times, profiles

if TYPE_CHECKING:
    from sarheight.orbit import Orbit
    from sarheight.scene import RadarGrid

__all__ = ["rdr2geo"]


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
        seen = view(dem, grid, orbit)
        scan = profiles(seen)
        heights = np.empty(grid.shape)
        nearest_heights(
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
