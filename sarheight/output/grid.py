"""What a result must be before it is written: its grid, its footprint, its CF attributes.

The tables below complete the attributes of the variables that this package makes. What a dataset
says itself is never overwritten.

References
----------
Eaton, B. et al. NetCDF Climate and Forecast (CF) Metadata Conventions, version 1.11: chapter 3
(description of the data), section 5.6 (grid mappings), section 6.1 (labels), section 7.3 (cell
methods), appendix F (grid mappings).
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from sarheight._runtime import NODATA_NAMES, nodata_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

SPATIAL = ("y", "x")
LARGEST_POSTING_ERROR = 0.01


def check_grid(dataset: xr.Dataset) -> xr.Dataset:
    """Check a result, and give its grid mapping and nodata one form."""
    if not hasattr(dataset, "data_vars"):
        msg = f"expected an xarray.Dataset to write, got {type(dataset).__name__}"
        raise TypeError(msg)
    if not dataset.data_vars:
        msg = "the dataset has no variables: there is nothing to write"
        raise ValueError(msg)
    transform = grid_transform(dataset)
    crs = dataset.rio.crs
    if crs is None:
        msg = "the dataset has no CRS: set one with dataset.rio.write_crs(...)"
        raise ValueError(msg)
    result: xr.Dataset = dataset.copy()
    # rioxarray copies all the data unless it is told that this copy is its own.
    result.rio.write_crs(crs, inplace=True).rio.write_coordinate_system(inplace=True)
    result.rio.write_transform(transform, inplace=True)
    for name, variable in result.data_vars.items():
        nodata = nodata_value(dataset[name])
        for attribute in ("grid_mapping", *NODATA_NAMES):
            variable.attrs.pop(attribute, None)
        variable.encoding = {"_FillValue": nodata, "grid_mapping": result.rio.grid_mapping}
    return result


def grid_transform(grid: xr.Dataset | xr.DataArray) -> Affine:
    """Compute the affine transform of a grid from its coordinates."""
    steps = {name: _posting(grid, name) for name in SPATIAL}
    first = {name: float(grid[name].values[0]) - steps[name] / 2 for name in SPATIAL}
    return Affine(steps["x"], 0.0, first["x"], 0.0, steps["y"], first["y"])


def _posting(grid: xr.Dataset | xr.DataArray, name: str) -> float:
    """Return the step of a regular coordinate."""
    if name not in grid.coords or grid[name].ndim != 1 or grid[name].size < 2:
        msg = f"the grid needs a one-dimensional coordinate '{name}' with two or more values"
        raise ValueError(msg)
    values = grid[name].values.astype(np.float64)
    step = float(values[-1] - values[0]) / (values.size - 1)
    error = np.abs(values - (values[0] + step * np.arange(values.size))).max()
    if not error < LARGEST_POSTING_ERROR * abs(step):
        msg = f"the coordinate '{name}' is not regular: its values stray {error:g} from even steps"
        raise ValueError(msg)
    return step


def plain_attributes(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Turn attributes that no file format holds (mappings, None, booleans) into JSON text."""
    return {str(name): _plain(value) for name, value in attributes.items()}


def _plain(value: Any) -> Any:  # noqa: ANN401  # attributes can be anything
    if isinstance(value, str | int | float | np.number | np.ndarray) and not isinstance(
        value, bool
    ):
        return value
    if isinstance(value, list | tuple) and all(
        isinstance(item, str | int | float | np.number) for item in value
    ):
        return list(value)
    return to_json(value)


def to_json(value: Any) -> str:  # noqa: ANN401
    """Write a value as JSON text: arrays as lists, what JSON does not know as its text."""
    return json.dumps(value, default=_jsonable)


def _jsonable(value: Any) -> Any:  # noqa: ANN401
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


# The outline of a grid on the globe, in longitudes and latitudes.

Floats = NDArray[np.float64]
Ring = list[list[float]]

POINTS = 8
"""Points along each side: the straight side of a map is not straight on the globe."""
DECIMALS = 7


def footprint(grid: xr.Dataset | xr.DataArray) -> dict[str, Any]:
    """Outline a grid as GeoJSON.

    Source: RFC 7946, The GeoJSON Format, sections 3.1.6 and 3.1.9.
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
    """Bound a footprint."""
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


# What files say beside the numbers, after the Climate and Forecast conventions (CF).

CONVENTIONS = "CF-1.11"
WEB_MERCATOR = "Popular Visualisation Pseudo Mercator"
WEB_MERCATOR_RADIUS = 6378137.0

BACKSCATTER = "surface_backwards_scattering_coefficient_of_radar_wave"
FOLDS = ("mask", "fold_count")
SHARES = ("contribution_share", "projected_area", *FOLDS)
ANCILLARY = "ancillary_variables"

VARIABLES: dict[str, dict[str, Any]] = {
    "sigma0": {"standard_name": BACKSCATTER, "cell_methods": "area: mean"},
    "sigma0_geocoded": {"standard_name": BACKSCATTER, "cell_methods": "area: mean"},
    "gamma0": {"cell_methods": "area: mean"},
    "projected_area": {"cell_methods": "area: sum"},
    "local_incidence": {"standard_name": "angle_of_incidence"},
    "ellipsoid_incidence": {"standard_name": "sensor_zenith_angle"},
    "polarisation": {"long_name": "polarisation, transmitted and received"},
    "look_azimuth": {
        "long_name": "direction from the radar to the ground, clockwise from north",
        "units": "degree",
    },
    "look_side": {"long_name": "side to which the radar looks"},
    "orbit_source": {"long_name": "source of the orbit"},
}
"""Attributes by the names of variables and coordinates."""

TRUST: dict[str, tuple[str, ...]] = {
    "gamma0": ("gamma0_variance", *SHARES),
    "sigma0": SHARES,
    "sigma0_geocoded": FOLDS,
}
"""Variables that say how far another one can be trusted."""


def completed(dataset: xr.Dataset) -> xr.Dataset:
    """Add to a dataset what the conventions ask for, where it does not say it itself."""
    dataset = dataset.copy()
    program = f"sarheight {version('sarheight')}"
    title = str(dataset.attrs.get("title") or f"Radar data of {', '.join(map(str, dataset))}")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    dataset.attrs = {
        "Conventions": CONVENTIONS,
        "title": title,
        "history": f"{now} {program}: {title}",
        "source": program,
    } | dataset.attrs
    for name in dataset.variables:
        known = VARIABLES.get(str(name), {}) | dataset[name].attrs
        beside = known.pop(ANCILLARY, " ".join(TRUST.get(str(name), ())))
        present = " ".join(other for other in beside.split() if other in dataset)
        dataset[name].attrs = known | ({ANCILLARY: present} if present else {})
    for name in {variable.encoding.get("grid_mapping") for variable in dataset.values()}:
        if name in dataset.coords:
            dataset[name].attrs = grid_mapping(dataset[name].attrs)
    return dataset


def grid_mapping(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a reference system as CF wants it: the WKT of 2015, and a grid mapping.

    Web Mercator has no grid mapping of its own in CF, but it has the coordinates of a Mercator
    projection of a sphere with the equatorial radius of WGS84, when WGS84's latitudes are taken
    for latitudes on that sphere. What reads ``crs_wkt`` finds the reference system itself.
    """
    from pyproj import CRS

    text = attributes.get("crs_wkt")
    if text is None:
        return dict(attributes)
    crs = CRS.from_wkt(str(text))
    described = {**attributes, "crs_wkt": crs.to_wkt("WKT2_2015")}
    if crs.coordinate_operation is None or crs.coordinate_operation.method_name != WEB_MERCATOR:
        return described
    return {
        "grid_mapping_name": "mercator",
        "longitude_of_projection_origin": 0.0,
        "standard_parallel": 0.0,
        "false_easting": 0.0,
        "false_northing": 0.0,
        "earth_radius": WEB_MERCATOR_RADIUS,
    } | described
