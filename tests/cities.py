"""Small cities for tests: stacks in memory, and a static STAC catalogue on the disk."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rioxarray  # noqa: F401  # gives xarray objects their `rio`
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer

from sarheight.buildings import (
    OPTICAL_BANDS,
    SAR_BANDS,
    Buildings,
    city_stack,
    clear_sky_mask,
    monthly_composite,
    reflectance,
    resample_image,
)
from tests.conftest import shared_data

EPSG = 32631
WEST, NORTH = 628_000.0, 5_804_000.0
"""Corner of the places, in the middle of the Netherlands."""
SMALL_SETTINGS: dict[str, Any] = {
    "options": {"width": 4, "depth": 1, "months_width": 4, "heads": 2, "bins": {"count": 4}},
    "optical_bands": ["B04"],
    "months": 2,
    "kept_months": 1,
    "size": 8,
    "stride": 8,
    "epochs": 1,
    "precision": "32-true",
}
"""Of a small network that trains in a moment."""


def grid_of(
    rows: int,
    columns: int,
    *,
    posting: float = 10.0,
    west: float = WEST,
    north: float = NORTH,
    epsg: int = EPSG,
    value: float = np.nan,
) -> xr.DataArray:
    """Make a layer of dims (y, x)."""
    layer = xr.DataArray(
        np.full((rows, columns), value, dtype=np.float32),
        coords={
            "y": north - posting * (np.arange(rows) + 0.5),
            "x": west + posting * (np.arange(columns) + 0.5),
        },
        dims=("y", "x"),
    )
    placed: xr.DataArray = layer.rio.write_crs(epsg)
    return placed


def months_of(count: int, first: str = "2021-01") -> NDArray[np.datetime64]:
    """Return the first days of so many months."""
    begin = np.datetime64(first, "M")
    return np.arange(begin, begin + count).astype("datetime64[ns]")


def images_of(
    grid: xr.DataArray,
    axis: str,
    bands: Sequence[str],
    *,
    months: int = 12,
    level: float = 0.1,
    seed: int = 0,
) -> xr.DataArray:
    """Make images of dims (month, band, y, x), gamma-distributed about a level."""
    random = np.random.default_rng(seed)
    shape = months, len(bands), *grid.shape
    image = xr.DataArray(
        random.gamma(4.0, level / 4.0, shape).astype(np.float32),
        dims=("month", axis, "y", "x"),
        coords={
            "month": months_of(months),
            axis: list(bands),
            "y": grid["y"].values,
            "x": grid["x"].values,
        },
    )
    placed: xr.DataArray = image.rio.write_crs(grid.rio.crs)
    return placed


def small_stack(
    rows: int = 40,
    columns: int = 40,
    *,
    months: int = 12,
    modalities: Sequence[str] = ("sar", "optical"),
    optical_bands: Sequence[str] = OPTICAL_BANDS,
    seed: int = 0,
) -> xr.Dataset:
    """Make a city stack of noise with blocks of buildings."""
    grid = grid_of(rows, columns)
    height = grid_of(rows, columns, value=0.0)
    height[5:15, 5:15] = 12.0
    images = {"sar": ("sar_band", SAR_BANDS), "optical": ("optical_band", optical_bands)}
    made = {
        name: images_of(grid, *images[name], months=months, seed=seed + place)
        for place, name in enumerate(images)
        if name in modalities
    }
    layers = {"height": height, "footprint": (height > 0.0).astype(np.float32)}
    return city_stack(**made, layers=layers)


def flattened_image(
    time: str, orbit_direction: str, level: float, grid: xr.DataArray
) -> xr.Dataset:
    """Make a terrain-flattened image of one date, a level of VV and a fifth of it of VH."""
    power = xr.concat([grid.fillna(level), grid.fillna(0.2 * level)], dim="polarisation")
    record = {"start": time, "orbit_state": orbit_direction, "polarisations": ["VV", "VH"]}
    return xr.Dataset(
        {"gamma0": power.assign_coords(polarisation=["VV", "VH"])},
        attrs={"acquisition": json.dumps([record])},
    )


def boxes(*rows: tuple[float, float, float, float, float]) -> Buildings:
    """Make buildings of (west, south, east, north, height), in metres from the corner."""
    import shapely

    outlines = [
        shapely.box(WEST + west, NORTH - south, WEST + east, NORTH - north)
        for west, south, east, north, _ in rows
    ]
    return Buildings(outlines, np.array([row[4] for row in rows]), CRS.from_epsg(EPSG))


@cache
def real_series() -> xr.Dataset:
    """Make a stack of a real field, sixteen months of radar and optical images in arrays."""
    with np.load(shared_data("timeseries", "worldcereal_00002806639B424A.npz")) as opened:
        arrays = dict(opened)

    def dated(name: str, kind: str, axis: str, bands: Sequence[str]) -> xr.DataArray:
        values = arrays[name].reshape(len(arrays[name]), len(bands), *arrays[name].shape[-2:])
        step = 10 if values.shape[-1] == arrays["x10"].size else 20
        times = arrays[f"{kind}_time"].astype("datetime64[s]").astype("datetime64[ns]")
        coordinates = {"time": times, axis: list(bands)}
        coordinates |= {each: arrays[f"{each}{step}"] for each in ("y", "x")}
        placed: xr.DataArray = xr.DataArray(
            values.astype(np.float32), coordinates, ("time", axis, "y", "x")
        ).rio.write_crs(int(arrays["epsg"]))
        return placed

    fine = ("B02", "B03", "B04", "B08")
    coarse = ("B05", "B06", "B07", "B8A", "B11", "B12")
    like = dated(f"s2_10m_{'_'.join(fine)}", "s2", "optical_band", fine)
    both = [
        resample_image(reflectance(each, baseline="02.05"), like)
        for each in (like, dated(f"s2_20m_{'_'.join(coarse)}", "s2", "optical_band", coarse))
    ]
    classes = dated("scl", "s2", "band", ["SCL"]).isel(band=0, drop=True).astype(np.uint8)
    clear = clear_sky_mask(resample_image(classes, like))
    image = xr.concat(both, "optical_band", join="exact").where(clear)
    optical = monthly_composite(image, "median")
    power = 10.0 ** (
        0.001 * dated("s1_vv_vh_cdB", "s1", "sar_band", ["vv_ascending", "vh_ascending"])
    )
    return city_stack(sar=resample_image(monthly_composite(power, "mean"), like), optical=optical)


def write_geotiff(
    path: Path,
    values: NDArray[Any],
    *,
    posting: float = 10.0,
    west: float = WEST,
    north: float = NORTH,
    epsg: int = EPSG,
    nodata: float | None = None,
) -> Path:
    """Write a GeoTIFF of one band, or of the first axis."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = values if values.ndim == 3 else values[None]
    transform = Affine(posting, 0.0, west, 0.0, -posting, north)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=len(bands),
        height=bands.shape[1],
        width=bands.shape[2],
        dtype=bands.dtype,
        crs=epsg,
        transform=transform,
        nodata=nodata,
    ) as opened:
        opened.write(bands)
    return path


def place_of(rows: int, columns: int, *, inset: float = 30.0) -> tuple[float, ...]:
    """Return (west, south, east, north) in degrees of a grid of 10 m, less a rim in metres."""
    to_degrees = Transformer.from_crs(EPSG, 4326, always_xy=True)
    corners = (
        *(WEST + inset, NORTH - 10.0 * rows + inset),
        *(WEST + 10.0 * columns - inset, NORTH - inset),
    )
    return tuple(to_degrees.transform_bounds(*corners))


def write_catalogue(
    folder: Path, items: Sequence[tuple[str, str, str, Mapping[str, Any], Mapping[str, Path]]]
) -> Path:
    """Write a static STAC catalogue; items are (collection, name, time, properties, images)."""
    import pystac

    catalogue = pystac.Catalog("tests", "Images of a small city")
    box = list(place_of(60, 60, inset=-2000.0))
    west, south, east, north = box
    outline = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    extent = pystac.Extent(pystac.SpatialExtent([box]), pystac.TemporalExtent([[None, None]]))
    for name in dict.fromkeys(item[0] for item in items):
        collection = pystac.Collection(name, name, extent)
        for _, identifier, time, properties, images in (i for i in items if i[0] == name):
            item = pystac.Item(
                identifier,
                geometry={"type": "Polygon", "coordinates": [outline]},
                bbox=box,
                datetime=pystac.utils.str_to_datetime(time),
                properties=dict(properties),
            )
            for key, path in images.items():
                item.add_asset(key, pystac.Asset(str(path)))
            collection.add_item(item)
        catalogue.add_child(collection)
    catalogue.normalize_hrefs(str(folder))
    catalogue.make_all_asset_hrefs_relative()
    catalogue.save(pystac.CatalogType.SELF_CONTAINED)
    return folder / "catalog.json"


def write_buildings(path: Path, buildings: Sequence[tuple[Any, Mapping[str, Any]]]) -> Path:
    """Write rectangles (west, south, east, north) in metres with attributes."""
    import geopandas
    import shapely

    frame = geopandas.GeoDataFrame(
        [dict(attributes) for _, attributes in buildings],
        geometry=[shapely.box(*box) for box, _ in buildings],
        crs=EPSG,
    )
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path)
    return path


def write_3d_bag(path: Path, buildings: Sequence[tuple[tuple[float, ...], float, float]]) -> Path:
    """Write a tile of 3D BAG: a GeoPackage, with gzip if its name ends in ``.gz``.

    Buildings are boxes with the median height of the roof and the height of the ground above NAP.
    """
    import geopandas
    import shapely

    plain = path.with_suffix("") if path.suffix == ".gz" else path
    names = [f"NL.IMBAG.Pand.{number:016d}" for number in range(len(buildings))]
    outlines = [shapely.box(*box) for box, _, _ in buildings]
    roofs = [{"identificatie": n, "b3_dd_id": 0, "b3_h_50p": each[1]}
             for n, each in zip(names, buildings, strict=True)]  # fmt: skip
    grounds = [{"identificatie": n, "b3_h_maaiveld": each[2]}
               for n, each in zip(names, buildings, strict=True)]  # fmt: skip
    for layer, rows in (("pand", grounds), ("lod12_2d", roofs)):
        frame = geopandas.GeoDataFrame(rows, geometry=outlines, crs=EPSG)
        frame.to_file(plain, layer=layer, driver="GPKG")
    if plain != path:
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    return path
