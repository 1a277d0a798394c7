"""The outline of a grid on the globe, in longitudes and latitudes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sarheight.output._grid import grid_transform

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["bounding_box", "footprint"]

Floats = NDArray[np.float64]
Ring = list[list[float]]

POINTS = 8
"""Points along each side: the straight side of a map is not straight on the globe."""
DECIMALS = 7


def footprint(grid: xr.Dataset | xr.DataArray) -> dict[str, Any]:
    """Outline a grid as GeoJSON.

    Parameters
    ----------
    grid : xarray.Dataset or xarray.DataArray
        With coordinates ``y`` and ``x`` and a CRS.

    Returns
    -------
    dict
        A ``Polygon``, counter-clockwise; or a ``MultiPolygon`` cut at the antimeridian where the
        grid reaches beyond it. A grid around a pole goes up to it.

    References
    ----------
    RFC 7946, The GeoJSON Format, sections 3.1.6 and 3.1.9.
    """
    longitude, latitude = _outline(grid)
    turn = longitude[-1] - longitude[0]
    if abs(turn) > 180.0:  # once around a pole
        pole = np.copysign(90.0, latitude.mean())
        longitude = np.append(longitude, [longitude[-1], longitude[0]])
        latitude = np.append(latitude, [pole, pole])
    longitude = longitude - 360.0 * np.floor((longitude.min() + 180.0) / 360.0)
    rings = []
    for shift in (0.0, 360.0, 720.0):
        part = _west_of(longitude - shift, latitude, 180.0)
        eastern = _west_of(-part[0], part[1], 180.0)
        ring = _ring(-eastern[0], eastern[1])
        if ring:
            rings.append([ring])
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}


def bounding_box(geometry: dict[str, Any]) -> list[float]:
    """Bound a footprint.

    Parameters
    ----------
    geometry : dict
        What `footprint` returns.

    Returns
    -------
    list of float
        West, south, east, north in degrees. West is larger than east where the footprint crosses
        the antimeridian (RFC 7946, section 5.2).
    """
    polygons = geometry["coordinates"]
    if geometry["type"] == "Polygon":
        polygons = [polygons]
    parts = [np.array(polygon[0]) for polygon in polygons]
    south = min(float(part[:, 1].min()) for part in parts)
    north = max(float(part[:, 1].max()) for part in parts)
    west, east = float(parts[0][:, 0].min()), float(parts[-1][:, 0].max())
    if len(parts) > 1 and west <= east:  # they meet again: all around
        west, east = -180.0, 180.0
    return [west, south, east, north]


def _outline(grid: xr.Dataset | xr.DataArray) -> tuple[Floats, Floats]:
    """Walk around the outer edge of the cells; longitudes go on beyond 180 without a jump."""
    from pyproj import Transformer

    transform = grid_transform(grid)
    columns, rows = grid.sizes["x"], grid.sizes["y"]
    part = np.linspace(0.0, 1.0, POINTS, endpoint=False)
    across = np.concatenate([part, np.ones(POINTS), 1.0 - part, np.zeros(POINTS + 1)])
    down = np.concatenate([np.zeros(POINTS), part, np.ones(POINTS), 1.0 - part, [0.0]])
    x = transform.c + transform.a * columns * across
    y = transform.f + transform.e * rows * down
    to_degrees = Transformer.from_crs(grid.rio.crs.to_wkt(), "EPSG:4326", always_xy=True)
    longitude, latitude = to_degrees.transform(x, y)
    return np.unwrap(np.asarray(longitude), period=360.0), np.asarray(latitude)


def _west_of(longitude: Floats, latitude: Floats, limit: float) -> tuple[Floats, Floats]:
    """Keep the part of a polygon at longitudes up to a limit (Sutherland and Hodgman 1974)."""
    kept: list[tuple[float, float]] = []
    for index in range(longitude.size):
        here = (float(longitude[index]), float(latitude[index]))
        before = (float(longitude[index - 1]), float(latitude[index - 1]))
        if (here[0] <= limit) != (before[0] <= limit):
            share = (limit - before[0]) / (here[0] - before[0])
            kept.append((limit, before[1] + share * (here[1] - before[1])))
        if here[0] <= limit:
            kept.append(here)
    found = np.array(kept, dtype=np.float64).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _ring(longitude: Floats, latitude: Floats) -> Ring:
    """Close a polygon counter-clockwise; nothing is left of one without area."""
    points = np.round(np.stack([longitude, latitude], axis=-1), DECIMALS)
    if len(points) == 0:
        return []
    points = points[np.any(points != np.roll(points, 1, axis=0), axis=1)]
    following = np.roll(points, -1, axis=0)
    area = float(np.sum(points[:, 0] * following[:, 1] - following[:, 0] * points[:, 1]))
    if len(points) < 3 or area == 0.0:
        return []
    ordered: Ring = (points if area > 0.0 else points[::-1]).tolist()
    return [*ordered, ordered[0]]
