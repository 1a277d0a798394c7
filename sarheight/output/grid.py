"""The grid and the attributes of a result, as files need them.

CF attributes of layers and coordinates are added where a dataset lacks them. Attributes that it has
already are never overwritten.

References
----------
Eaton, B. et al. NetCDF Climate and Forecast (CF) Metadata Conventions, version 1.11: chapter 3
(description of the data), section 5.6 (grid mappings), section 6.1 (labels), section 7.3 (cell
methods), appendix F (grid mappings).
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine

from sarheight._runtime import NODATA_NAMES, nodata_value
from sarheight.layover.layers import DECIBEL, LAYERS, Layer

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

    import xarray as xr
    from rasterio.crs import CRS

SPATIAL = ("y", "x")
POLARISATION, TIME = "polarisation", "time"
LARGEST_POSTING_ERROR = 0.01  # in postings
JSON_NAMES = "JSON_ATTRIBUTES"  # the tag that lists the tags in JSON


def check_grid(dataset: xr.Dataset) -> xr.Dataset:
    """Check a result; return it with CRS, transform and nodata where the writers look for them."""
    if not hasattr(dataset, "data_vars"):
        msg = (
            f"found a {type(dataset).__name__}, expected an xarray.Dataset to write: pass the "
            "whole result, or array.to_dataset(name=...)"
        )
        raise TypeError(msg)
    if not dataset.data_vars:
        msg = "the dataset has no variables: there is nothing to write"
        raise ValueError(msg)
    grid = MapGrid.of(dataset)
    result: xr.Dataset = dataset.copy()
    # Without `inplace`, rioxarray copies all the data.
    result.rio.write_crs(grid.crs, inplace=True).rio.write_coordinate_system(inplace=True)
    result.rio.write_transform(grid.transform, inplace=True)
    for name, variable in result.data_vars.items():
        nodata = nodata_value(dataset[name])
        for attribute in ("grid_mapping", *NODATA_NAMES):
            variable.attrs.pop(attribute, None)
        variable.encoding = {"_FillValue": nodata, "grid_mapping": result.rio.grid_mapping}
    return result


@dataclass(frozen=True)
class MapGrid:
    """The cells of an array on a map.

    Attributes
    ----------
    crs : rasterio.crs.CRS
        Reference system.
    transform : affine.Affine
        From column and row of the corners of cells to x and y.
    shape : tuple of int
        Rows and columns.
    """

    crs: CRS
    transform: Affine
    shape: tuple[int, int]

    @classmethod
    def of(cls, array: xr.Dataset | xr.DataArray) -> MapGrid:
        """Find the grid of an array by its coordinates; ValueError where it is none, or no CRS."""
        steps = {name: _posting(array, name) for name in SPATIAL}
        first = {name: float(array[name].values[0]) - steps[name] / 2 for name in SPATIAL}
        crs = array.rio.crs
        if crs is None:
            msg = "the dataset has no CRS: set one with dataset.rio.write_crs(...)"
            raise ValueError(msg)
        transform = Affine(steps["x"], 0.0, first["x"], 0.0, steps["y"], first["y"])
        return cls(crs, transform, (array.sizes["y"], array.sizes["x"]))

    @property
    def coordinates(self) -> dict[str, np.ndarray[Any, Any]]:
        """Coordinates y and x of the centres of the cells."""
        rows, columns = (np.arange(size) + 0.5 for size in self.shape)
        x, y = (
            self.transform.c + columns * self.transform.a,
            self.transform.f + rows * self.transform.e,
        )
        return {"y": y, "x": x}

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east and north edge of the cells in units of the CRS."""
        corners = self.transform @ (0, 0), self.transform @ (self.shape[1], self.shape[0])
        (west, east), (south, north) = (sorted(each) for each in zip(*corners, strict=True))
        return west, south, east, north


def _posting(grid: xr.Dataset | xr.DataArray, name: str) -> float:
    """Return the step of a regular coordinate."""
    if name not in grid.coords or grid[name].ndim != 1 or grid[name].size < 2:
        msg = f"the grid needs a one-dimensional coordinate '{name}' with two or more values"
        raise ValueError(msg)
    values = grid[name].values.astype(np.float64)
    step = float(values[-1] - values[0]) / (values.size - 1)
    error = np.abs(values - (values[0] + step * np.arange(values.size))).max()
    if not error < LARGEST_POSTING_ERROR * abs(step):
        msg = f"the coordinate '{name}' is not regular: up to {error:g} off even steps"
        raise ValueError(msg)
    return step


# The grid on the globe.

EDGE_PARTS = 8
"""Parts of the longest side: the straight side of a map is not straight on the globe."""
PRECISION = 1e-7
"""Degrees, about 1 cm."""


def footprint(grid: xr.Dataset | xr.DataArray) -> dict[str, Any]:
    """Return the outer edge of a grid as GeoJSON, cut at the antimeridian.

    Source: RFC 7946, The GeoJSON Format, sections 3.1.6 and 3.1.9.
    """
    import antimeridian
    import shapely  # type: ignore[import-untyped]
    from pyproj import Transformer

    west, south, east, north = MapGrid.of(grid).bounds
    # Counter-clockwise, so that a grid around a pole is told from one around the rest of the globe.
    edge = shapely.segmentize(
        shapely.box(west, south, east, north), max(east - west, north - south) / EDGE_PARTS
    )
    to_degrees = Transformer.from_crs(grid.rio.crs.to_wkt(), "EPSG:4326", always_xy=True)
    longitude, latitude = to_degrees.transform(*shapely.get_coordinates(edge).T)
    longitude = longitude - 360.0 * np.floor((longitude.min() + 180.0) / 360.0)
    polygon = antimeridian.fix_polygon(
        shapely.Polygon(np.stack([longitude, latitude], axis=-1)),
        fix_winding=False,
        great_circle=False,
    )
    # Rounding removes slivers at the antimeridian.
    rounded = shapely.orient_polygons(shapely.set_precision(polygon, PRECISION))
    geometry: dict[str, Any] = json.loads(shapely.to_geojson(rounded))
    return geometry


def ground_resolution(array: xr.Dataset | xr.DataArray) -> float:
    """Return the posting on the ground in metres, the mean of both directions."""
    from pyproj import CRS

    from sarheight.dem.datum import metres_per_unit

    grid = MapGrid.of(array)
    steps = grid.transform
    west, south, east, north = grid.bounds
    x, y = 0.5 * (west + east), 0.5 * (south + north)
    crs = CRS.from_wkt(grid.crs.to_wkt())
    per_y, per_x = metres_per_unit(crs, x, y, 0.5 * (abs(steps.a) + abs(steps.e)))
    return round(0.5 * (per_x * abs(steps.a) + per_y * abs(steps.e)), 3)


# Attributes as text.


def plain_attributes(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Turn attributes that no file format holds (mappings, None, booleans) into JSON text."""
    return {str(name): _plain(value) for name, value in attributes.items()}


def _plain(value: Any) -> Any:  # noqa: ANN401  # attributes can be anything
    scalar = str | int | float | np.number
    if isinstance(value, scalar | np.ndarray) and not isinstance(value, bool):
        return value
    if isinstance(value, list | tuple) and all(isinstance(item, scalar) for item in value):
        return list(value)
    return to_json(value)


def to_json(value: Any) -> str:  # noqa: ANN401
    """Write a value as JSON text: arrays as lists, what JSON does not know as its text."""
    return json.dumps(value, default=_jsonable)


def _jsonable(value: Any) -> Any:  # noqa: ANN401
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def encode_attributes(attributes: Mapping[Any, Any]) -> dict[str, str]:
    """Turn attributes into tags, which are text: plain text as it is, the rest as JSON."""
    tags, encoded = {}, []
    for name, value in plain_attributes(attributes).items():
        if isinstance(value, str) and value and value.isprintable() and value == value.strip():
            tags[name] = value
        else:
            tags[name] = to_json(value)
            encoded.append(name)
    return tags | {JSON_NAMES: to_json(encoded)}


def decode_attributes(tags: Mapping[str, str]) -> dict[str, Any]:
    """Undo `encode_attributes`."""
    encoded = set(json.loads(tags.get(JSON_NAMES, "[]")))
    return {
        name: json.loads(text) if name in encoded else text
        for name, text in tags.items()
        if name != JSON_NAMES
    }


# Scales of backscatter in files. Results hold linear power, and what is read back does again.

SCALE = "backscatter_scale"
"""Attribute of a variable that is no linear power."""
SCALES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], str]] = {
    "db": (lambda x: 10.0 * np.log10(x), lambda x: 10.0 ** (0.1 * x), DECIBEL),
    "amplitude": (np.sqrt, np.square, "1"),
}
"""Scales beside linear power: how values come of power, power of values, and the unit."""


def to_scale(dataset: xr.Dataset, scale: str) -> xr.Dataset:
    """Convert the layers of backscatter to a scale; power that has no value in it is missing."""
    if scale not in SCALES:
        return dataset
    convert, _, units = SCALES[scale]

    def scaled(power: xr.DataArray) -> xr.DataArray:
        positive = power.where(power > 0.0 if scale == "db" else power >= 0.0)
        attributes = power.attrs | {"units": units, SCALE: scale}
        return convert(positive).astype(power.dtype).assign_attrs(attributes)  # type: ignore[no-any-return]

    powers = [name for name, row in LAYERS.items() if row.power and name in dataset]
    return dataset.assign({name: scaled(dataset[name]) for name in powers})


def to_linear(dataset: xr.Dataset) -> xr.Dataset:
    """Undo `to_scale`."""

    def linear(values: xr.DataArray) -> xr.DataArray:
        attributes = {name: each for name, each in values.attrs.items() if name != SCALE}
        power = SCALES[values.attrs[SCALE]][1](values).astype(values.dtype)
        power.encoding = dict(values.encoding)
        return power.assign_attrs(attributes | {"units": "1"})  # type: ignore[no-any-return]

    named = [name for name, each in dataset.data_vars.items() if each.attrs.get(SCALE) in SCALES]
    return dataset.assign({name: linear(dataset[name]) for name in named}) if named else dataset


# Attributes of the Climate and Forecast conventions (CF).

CONVENTIONS = "CF-1.11"
WEB_MERCATOR = "Popular Visualisation Pseudo Mercator"
WEB_MERCATOR_RADIUS = 6378137.0

ANCILLARY = "ancillary_variables"

COORDINATE_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "polarisation": {"long_name": "polarisation, transmitted and received"},
    "time": {
        "standard_name": "time",
        "long_name": "middle of the acquisition, UTC",
        "units_metadata": "leap_seconds: none",  # as in NumPy, every day has 86,400 seconds
    },
    "look_azimuth": {
        "long_name": "direction from the radar to the ground, clockwise from north",
        "units": "degree",
    },
    "look_side": {"long_name": "side to which the radar looks"},
    "orbit_source": {"long_name": "source of the orbit"},
}
"""Attributes of coordinates by name; those of layers are in `sarheight.layover.layers`."""


def add_cf_attributes(dataset: xr.Dataset) -> xr.Dataset:
    """Add the attributes that the conventions require and the dataset does not have."""
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
        layer = LAYERS.get(str(name), Layer())
        known = {
            **layer.cf,
            **COORDINATE_ATTRIBUTES.get(str(name), {}),
            **dataset[name].attrs,
        }
        beside = known.pop(ANCILLARY, " ".join(layer.quality))
        present = " ".join(other for other in beside.split() if other in dataset)
        dataset[name].attrs = known | ({ANCILLARY: present} if present else {})
    for name in {variable.encoding.get("grid_mapping") for variable in dataset.values()}:
        if name in dataset.coords:
            dataset[name].attrs = cf_grid_mapping(dataset[name].attrs)
    return dataset


def cf_grid_mapping(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a reference system by CF's terms: the WKT of 2015, and a grid mapping.

    CF has no grid mapping for web Mercator. Its coordinates are those of the Mercator projection of
    a sphere with the equatorial radius of WGS84, with WGS84's latitudes taken for latitudes on that
    sphere. ``crs_wkt`` holds the reference system itself.
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


# Pieces of a dataset that is larger than the memory.

STRIP = 1024
LARGEST_PIECE = 1 << 27
"""Bytes that one piece of a dask-backed result may take, unless its chunks are larger. There are
two of them, as one is computed while another is written."""


def computed_ahead(dataset: xr.Dataset) -> Iterator[tuple[xr.Dataset, dict[Hashable, slice]]]:
    """Compute piece after piece, each while the one before it is written.

    Yields each with its place along the last two dimensions of the largest variable.
    """
    pieces = list_pieces(dataset)

    def compute(piece: dict[Hashable, slice]) -> xr.Dataset:
        return dataset.isel(piece).compute()

    with ThreadPoolExecutor(1, "sarheight-compute") as pool:
        ahead = pool.submit(compute, pieces[0])
        for number, place in enumerate(pieces, start=1):
            piece = ahead.result()
            if number < len(pieces):
                ahead = pool.submit(compute, pieces[number])
            yield piece, place
            del piece


def list_pieces(dataset: xr.Dataset) -> list[dict[Hashable, slice]]:
    """Split the last two dimensions at chunk borders, so that no chunk is computed twice."""
    dims = max(dataset.data_vars.values(), key=lambda variable: variable.size).dims[-2:]
    if not dims:
        return [{}]
    sizes = dataset.unify_chunks().chunksizes
    rows = dataset.sizes[dims[0]]
    lengths = sizes.get(dims[0]) or (STRIP,) * -(-rows // STRIP)
    parts = [lengths]
    if len(dims) > 1:
        columns = dataset.sizes[dims[1]]
        highest = min(max(lengths), rows)
        widest = int(LARGEST_PIECE / (dataset.nbytes / (rows * columns) * highest))
        parts.append(join_chunks(sizes.get(dims[1]) or (columns,), widest))
    slices = [_slices(part, dataset.sizes[dim]) for part, dim in zip(parts, dims, strict=True)]
    return [dict(zip(dims, place, strict=True)) for place in product(*slices)]


def join_chunks(lengths: tuple[int, ...], largest: int) -> tuple[int, ...]:
    """Join neighbouring chunks as long as they stay within a size."""
    joined: list[int] = []
    for length in lengths:
        if joined and joined[-1] + length <= largest:
            joined[-1] += length
        else:
            joined.append(length)
    return tuple(joined)


def _slices(lengths: tuple[int, ...], size: int) -> list[slice]:
    edges = np.minimum(np.cumsum((0, *lengths)), size).tolist()
    return [slice(start, stop) for start, stop in pairwise(edges)]
