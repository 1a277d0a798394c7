"""Which part of an image a DEM can light."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyproj

from sarheight.dem import check_dem, local_posting
from sarheight.errors import GeometryError
from sarheight.geometry._view import View, view
from sarheight.orbit import look_at
from sarheight.scene import RadarGrid, Scene

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.orbit import Orbit

__all__ = ["grid_of_dem", "scene_of_dem", "turned_over"]

MARGIN = 16
"""Pixels that are kept around what the DEM lights."""


def _part(seen: View, margin: int) -> tuple[slice, slice]:
    """Lines and samples of the image that a DEM can light, with a margin, inside the image."""
    lit = seen.bounds[np.isfinite(seen.bounds).all(axis=1)]
    edges = [lit[:, 0].min(), lit[:, 1].max(), lit[:, 2].min(), lit[:, 3].max()]
    first_line, last_line, first_sample, last_sample = (int(np.rint(edge)) for edge in edges)
    return (
        slice(max(first_line - margin, 0), min(last_line + margin + 1, seen.grid.lines)),
        slice(max(first_sample - margin, 0), min(last_sample + margin + 1, seen.grid.samples)),
    )


def grid_of_dem(
    dem: xr.DataArray, grid: RadarGrid, orbit: Orbit, *, margin: int = MARGIN
) -> RadarGrid:
    """Cut a grid to the part that a DEM can light.

    Parameters
    ----------
    dem : xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x), any CRS.
    grid : RadarGrid
        Sampling of the image.
    orbit : Orbit
        State vectors that cover the image.
    margin : int
        Pixels to keep around that part, where the image has them.

    Returns
    -------
    RadarGrid
        Without bursts.

    Raises
    ------
    GeometryError
        If DEM and image do not overlap.
    """
    return grid.crop(*_part(view(dem, grid, orbit), margin))


def scene_of_dem(scene: Scene, dem: xr.DataArray, *, margin: int = MARGIN) -> Scene:
    """Cut a scene to the part that a DEM can light.

    Parameters
    ----------
    scene : Scene
        The image.
    dem : xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x), any CRS.
    margin : int
        Pixels to keep around that part, where the image has them.

    Returns
    -------
    Scene
        The part.

    Raises
    ------
    GeometryError
        If DEM and image do not overlap.
    """
    line, sample = _part(view(dem, scene.grid, scene.orbit), margin)
    part = scene.image.isel(line=line, sample=sample)
    return Scene(part, scene.grid.crop(line, sample), scene.orbit, scene.calibration)


def turned_over(
    dem: xr.DataArray, grid: RadarGrid, orbit: Orbit, incidence: float
) -> tuple[RadarGrid, Orbit, float]:
    """Turn an orbit about the Earth's axis until it sees a DEM, and move the grid there.

    The sampling stays that of the grid. A slant-range grid is moved along and across the track;
    one in ground range only along it, as its polynomials do not reach beyond the swath.

    Parameters
    ----------
    dem : xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x), any CRS.
    grid : RadarGrid
        The sampling.
    orbit : Orbit
        The orbit, which must fly past the DEM's latitude.
    incidence : float
        Incidence angle in degrees under which the centre of the DEM is to be seen.

    Returns
    -------
    grid : RadarGrid
        The part that the DEM lights.
    orbit : Orbit
        The turned orbit.
    degrees : float
        How far it was turned, eastwards.

    Raises
    ------
    GeometryError
        If the DEM does not lie in the swath of a ground-range grid under that incidence.
    OrbitCoverageError
        If the orbit does not see the latitude under that incidence, or ends before the DEM does.
    """
    dem = check_dem(dem)
    latitude, longitude, height = _centre(dem)
    orbit = orbit.with_epoch(grid.epoch)
    degrees = look_at(
        orbit, latitude, longitude, incidence, look_side=grid.look_side, height=height
    )
    orbit = orbit.rotated(degrees)
    return _moved(dem, grid, orbit, (latitude, longitude, height), incidence), orbit, degrees


def _centre(dem: xr.DataArray) -> tuple[float, float, float]:
    """Latitude, longitude and mean height of the middle of a DEM."""
    to_degrees = pyproj.Transformer.from_crs(dem.rio.crs, 4326, always_xy=True)
    longitude, latitude = to_degrees.transform(float(dem.x.mean()), float(dem.y.mean()))
    return latitude, longitude, float(dem.mean())


def _moved(
    dem: xr.DataArray,
    grid: RadarGrid,
    orbit: Orbit,
    place: tuple[float, float, float],
    incidence: float,
) -> RadarGrid:
    """Move a grid along the track, and across it if it can be, until it holds what a DEM lights."""
    centre = RadarGrid.over(
        orbit,
        *place[:2],
        height=place[2],
        lines=1,
        samples=1,
        ground_range=False,
        look_side=grid.look_side,
    )
    time, slant_range = centre.line_zero_time, centre.near_range
    reach = 0.5 * float(np.hypot(*np.multiply(local_posting(dem), dem.shape)))
    relief = float(dem.max() - dem.min())
    lines = 2 * int(np.ceil(reach / grid.line_spacing(orbit))) + 2 * MARGIN
    wide = replace(
        grid, line_zero_time=time - 0.5 * (lines - 1) * grid.line_interval, lines=lines, bursts=()
    )
    if grid.is_ground_range:
        near, far = (float(grid.slant_range(0, sample)) for sample in (0, grid.samples - 1))
        if not near <= slant_range <= far:
            msg = (
                f"under an incidence of {incidence:g} degrees the DEM is {slant_range / 1000:.1f} "
                f"km away, and the swath reaches from {near / 1000:.1f} to {far / 1000:.1f} km; "
                "expected an incidence that the swath has (`sarheight info` tells which)"
            )
            raise GeometryError(msg)
    else:
        samples = int(np.ceil((reach + relief) / grid.sample_spacing)) + MARGIN
        wide = replace(
            wide,
            near_range=slant_range - samples * grid.sample_spacing,
            samples=2 * samples + 1,
        )
    return grid_of_dem(dem, wide, orbit)
