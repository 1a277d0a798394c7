"""The two mappings between ground and radar coordinates, and incidence angles."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from sarheight_kernels.incidence import cell_angles
from sarheight_kernels.points import cell_look_vectors, locate_points, point_look_vectors
from sarheight_kernels.rdr2geo import pixel_heights
from sarheight_kernels.tiles import geolocate, geolocation_bounds

from sarheight.ellipsoid import to_earth_fixed
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
    from sarheight.dem.checked import CheckedDem
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
PIXELS = {
    "line": {"long_name": "azimuth line", "units": "1"},
    "sample": {"long_name": "range sample", "units": "1"},
}
"""Attributes of pixel coordinates by name."""
LOOKS = {
    name: {"long_name": f"{name} part of the unit vector towards the satellite", "units": "1"}
    for name in ("east", "north", "up")
}
"""Attributes of look vectors by name."""

Points: TypeAlias = "xr.Dataset | tuple[ArrayLike, ArrayLike, ArrayLike]"
Ground: TypeAlias = "xr.DataArray | CheckedDem | Points"


def geo2rdr(ground: Ground, grid: RadarGrid, orbit: Orbit) -> xr.Dataset:
    r"""Find the pixel coordinates of a DEM's cells, or of points.

    The radar sees a place P at the zero-Doppler time t, :math:`v(t) \cdot (P - s(t)) = 0`, at the
    slant range :math:`|P - s(t)|`; where the grid has a Doppler centroid, at the time that
    `sarheight.doppler.DopplerLUT` says. For a DEM both are solved exactly at a few nodes of each
    tile and interpolated by cubics whose error is checked to be below 5e-6 pixels; points are
    solved one by one.

    Parameters
    ----------
    ground : xarray.DataArray, xarray.Dataset or tuple of array_like
        A DEM: heights above the ellipsoid in metres, dims (y, x), any CRS. Or points: a Dataset
        with ``longitude`` and ``latitude`` on WGS84 in degrees and ``height`` above the ellipsoid
        in metres on any dims, as `rdr2geo` returns it; or these three as arrays, which are
        broadcast.
    grid : RadarGrid
        Sampling of the image.
    orbit : Orbit
        State vectors that cover the image.

    Returns
    -------
    xarray.Dataset
        ``line`` and ``sample``, float64, on the dims of the DEM or of the points (``point`` for
        arrays of one dimension): fractional, whole numbers are pixel centres, beyond the image too.
        NaN where the DEM is void, a coordinate of a point is NaN, a place lies on the side to which
        the radar does not look, or a point is passed before or after the state vectors.

    Raises
    ------
    GeometryError
        If DEM and image do not overlap. Points may lie anywhere.
    OrbitCoverageError
        If the orbit does not cover the image.
    ValueError
        If the DEM is not one (see `sarheight.dem.check_dem`), or points are not longitudes,
        latitudes and heights.

    Examples
    --------
    >>> from sarheight.geometry import geo2rdr
    >>> from sarheight.grid import RadarGrid
    >>> from sarheight.orbit import Orbit, look_at
    >>> orbit = Orbit.circular(latitude=46.0, longitude=10.0)
    >>> orbit = orbit.rotate(look_at(orbit, 46.0, 10.0, incidence=34.0))
    >>> grid = RadarGrid.over(orbit, 46.0, 10.0, lines=200, samples=300)
    >>> found = geo2rdr((10.0, 46.0, 0.0), grid, orbit)
    >>> print(f"{float(found.line):.3f} {float(found['sample']):.3f}")
    99.500 149.500
    """
    if isinstance(ground, (xr.Dataset, tuple)):
        points = _as_points(ground)
        position, _ = _positions(points)
        radar = radar_model(grid, orbit)
        arrays = np.empty((3, position.shape[0]))
        locate_points(radar, position, *arrays)
        _clear_beyond(orbit.with_epoch(grid.epoch), arrays[2], arrays[:2].T)
        values = dict(zip(PIXELS, arrays[:2], strict=True))
        return _points_dataset(points, values, PIXELS)
    dem, heights, model, radar = kernel_models(ground, grid, orbit)
    line, sample = np.empty(heights.shape, np.float64), np.empty(heights.shape, np.float64)
    bounds = geolocation_bounds(model, heights)
    geolocate(model, radar, heights, line, sample, bounds)
    require_overlap(dem, grid, radar, bounds)
    return dem_dataset(dem, {"line": (line, PIXELS["line"]), "sample": (sample, PIXELS["sample"])})


def look_vector(ground: Ground, grid: RadarGrid, orbit: Orbit) -> xr.Dataset:
    """Find the unit vectors from a DEM's cells, or from points, to the satellite.

    A displacement of the ground of d (east, north, up, in metres) changes slant range by minus its
    scalar product with this vector.

    Parameters
    ----------
    ground : xarray.DataArray, xarray.Dataset or tuple of array_like
        A DEM or points, as for `geo2rdr`.
    grid : RadarGrid
        Sampling of the image.
    orbit : Orbit
        State vectors that cover the image.

    Returns
    -------
    xarray.Dataset
        ``east``, ``north`` and ``up`` with respect to the ellipsoid, float32 for a DEM and float64
        for points, on the dims that `geo2rdr` returns; NaN where that has NaN. ``up`` is the cosine
        of the incidence angle on the ellipsoid.

    Raises
    ------
    GeometryError
        If DEM and image do not overlap.
    OrbitCoverageError
        If the orbit does not cover the image.
    ValueError
        If the DEM is not one (see `sarheight.dem.check_dem`), or points are not longitudes,
        latitudes and heights.
    """
    if isinstance(ground, (xr.Dataset, tuple)):
        points = _as_points(ground)
        position, normal = _positions(points)
        vectors, time = np.empty(position.shape), np.empty(position.shape[0])
        point_look_vectors(radar_model(grid, orbit), position, normal, vectors, time)
        _clear_beyond(orbit.with_epoch(grid.epoch), time, vectors)
        return _points_dataset(points, dict(zip(LOOKS, vectors.T, strict=True)), LOOKS)
    geometry = pass_geometry(ground, grid, orbit)
    arrays = [np.empty(geometry.heights.shape, np.float32) for _ in LOOKS]
    cell_look_vectors(geometry.ground, geometry.radar, geometry.heights, *arrays)
    return geometry.dataset(
        {
            name: (array, attributes)
            for (name, attributes), array in zip(LOOKS.items(), arrays, strict=True)
        }
    )


def _as_points(points: Points) -> xr.Dataset:
    """Check points, and return them as a dataset with longitude, latitude and height."""
    names = tuple(GROUND_POINTS)
    if isinstance(points, xr.Dataset):
        missing = [name for name in names if name not in points]
        if missing:
            msg = (
                f"found points with {', '.join(map(str, points.data_vars)) or 'nothing'}, expected "
                f"longitude, latitude and height: {', '.join(missing)} is missing"
            )
            raise ValueError(msg)
        found = xr.Dataset(
            dict(zip(names, xr.broadcast(*[points[name] for name in names]), strict=True))
        )
    else:
        if len(points) != len(names):
            msg = f"found {len(points)} arrays, expected longitude, latitude and height of points"
            raise ValueError(msg)
        try:
            arrays = np.broadcast_arrays(*[np.asarray(each, dtype=np.float64) for each in points])
        except ValueError as error:
            shapes = ", ".join(str(np.shape(each)) for each in points)
            msg = (
                f"found longitude, latitude and height of shapes {shapes}, expected numbers of one "
                "shape, or shapes that broadcast"
            )
            raise ValueError(msg) from error
        rank = arrays[0].ndim
        dims = ("point",) if rank == 1 else tuple(f"dim_{axis}" for axis in range(rank))
        found = xr.Dataset({name: (dims, array) for name, array in zip(names, arrays, strict=True)})
    latitude = np.asarray(found["latitude"].values, dtype=np.float64)
    if (np.abs(latitude) > 90.0).any():
        worst = float(latitude.flat[np.nanargmax(np.abs(latitude))])
        msg = (
            f"found a latitude of {worst:g}, expected degrees between -90 and 90: pass longitude "
            "before latitude"
        )
        raise ValueError(msg)
    return found


def _positions(points: xr.Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Earth-fixed positions and normals of points, shape (n, 3) each."""
    longitude, latitude, height = (
        np.asarray(points[name].values, dtype=np.float64).ravel() for name in GROUND_POINTS
    )
    position, normal = to_earth_fixed(longitude, latitude)
    return np.ascontiguousarray(position + height[:, None] * normal), normal


def _clear_beyond(orbit: Orbit, time: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    """Set the values, shape (n, k), of points that are passed outside the state vectors to NaN."""
    values[~((time >= orbit.time[0]) & (time <= orbit.stop))] = np.nan


def _points_dataset(
    points: xr.Dataset,
    values: dict[str, NDArray[np.float64]],
    attributes: dict[str, dict[str, str]],
) -> xr.Dataset:
    """Make a dataset of values, shape (n,), on the dims of points."""
    like = points["longitude"]
    return xr.Dataset(
        {
            name: (like.dims, array.reshape(like.shape), dict(attributes[name]))
            for name, array in values.items()
        },
        coords={name: value for name, value in points.coords.items() if name not in GROUND_POINTS},
    )


def angles(geometry: PassGeometry) -> dict[str, tuple[np.ndarray, dict[str, str]]]:
    """Compute the incidence angles of a pass in degrees, with their attributes."""
    arrays = [np.empty(geometry.heights.shape, np.float32) for _ in INCIDENCES]
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
        scan, _ = terrain_profiles(pass_geometry(dem, grid, orbit))
        heights = np.empty(grid.shape, np.float64)
        pixel_heights(scan, line_times(grid), heights)
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
