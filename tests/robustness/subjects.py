"""The kinds of files that are mutated: how each is made, and what is read from it."""

from __future__ import annotations

import json
import lzma
import tomllib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import rasterio.shutil
import rioxarray  # noqa: F401
import torch
import xarray as xr
from shapely import Point, box

from sarheight.archives import open_rtc
from sarheight.buildings import StackConfiguration, read_buildings
from sarheight.dem import grid_like, open_dem
from sarheight.doppler import DopplerLUT
from sarheight.errors import DamagedFileError
from sarheight.grid import RadarGrid
from sarheight.learning.channels import Channel
from sarheight.orbit import Orbit
from sarheight.output import open_result, read_provenance, write
from sarheight.output.insar import read_insar_mask, write_insar_mask
from sarheight.output.radar_images import read_scene, write_scene
from sarheight.product import open_product
from sarheight.scene import Scene
from sarheight.sentinel1 import read_grid, read_orbit, read_orbit_file
from sarheight.sentinel1.cslc import burst_geometry, burst_grid, is_burst
from sarheight.terrain import read_known_elevations
from sarheight.terrain.sar2height import HeightEstimator
from sarheight.workflow.config import ReconstructConfig
from sarheight.workflow.jobs import read_jobs
from sarheight.workflow.options import read_table
from sarheight.zones import ForestSettings, ZoneForest, train_forest
from sarheight.zones.sources import So2SatPatches
from tests.flattened_products import (
    OPERA,
    hyp3_folder,
    opera_folder,
    opera_table,
    packed,
    planetary_item,
)
from tests.robustness.contract import Reading, Subject
from tests.robustness.mutations import bytes_of, json_of, text_of, xml_of, zip_of
from tests.synthetic import synthetic_grid
from tests.worlds.annotations import annotation_xml, eof_xml
from tests.worlds.cslc import write_cslc
from tests.worlds.eopf_product import write_eopf
from tests.worlds.products import grd_product
from tests.worlds.rslc import write_rslc
from tests.worlds.safe import pack
from tests.worlds.sicd import polar_tree, write_sicd, zero_doppler_tree
from tests.zone_samples import patches, so2sat_arrays, write_so2sat

__all__ = ["SUBJECTS", "dataset_numbers"]

GRID, ORBIT = synthetic_grid()
PIXELS = 4.0
"""Tolerance of annotations, which must agree with their geolocation grid to three pixels."""
METRES = 1.0
"""Tolerance of positions on an orbit."""


def _grid_numbers(grid: RadarGrid) -> dict[str, Any]:
    """Return where the pixels of a lattice are, in pixels of the grid."""
    line, sample = np.meshgrid([0.0, 99.0, 199.0], [0.0, 124.0, 249.0], indexing="ij")
    seconds = (grid.epoch - np.datetime64("2024-01-01", "ns")) / np.timedelta64(1, "ns") * 1e-9
    ranges = grid.slant_range(line, sample)
    return {
        "lines": ((seconds + grid.azimuth_time(line, ranges)) / GRID.line_interval, PIXELS),
        "samples": (ranges / GRID.sample_spacing, PIXELS),
        "size": (np.array(grid.shape), 0.0),
        "side": grid.look_side,
    }


def _orbit_numbers(orbit: Orbit) -> dict[str, Any]:
    """Return positions on an orbit during the image."""
    times = np.linspace(GRID.first_time, GRID.last_time, 5)
    later = (GRID.epoch - orbit.epoch) / np.timedelta64(1, "ns") * 1e-9
    return {"orbit": (orbit.state(later + times)[0], METRES)}


def _with_relative(reading: dict[str, Any]) -> dict[str, Any]:
    """Let large numbers differ by their tolerance only, not by a part of themselves."""
    shifted = {}
    for name, value in reading.items():
        if isinstance(value, tuple) and name in OFFSETS:
            value = (np.asarray(value[0]) - OFFSETS[name], value[1])  # noqa: PLW2901
        shifted[name] = value
    return shifted


OFFSETS = {
    name: np.asarray(value[0])
    for name, value in (_grid_numbers(GRID) | _orbit_numbers(ORBIT)).items()
    if not isinstance(value, str) and name != "size"
}


def dataset_numbers(dataset: xr.Dataset) -> dict[str, Any]:
    """Return variables, coordinates and reference system of a dataset."""
    found: dict[str, Any] = {
        str(name): (variable.values, 0.0)
        for name, variable in dataset.variables.items()
        if variable.dtype.kind in "iufb" and name != "spatial_ref"
    }
    if dataset.rio.crs is not None:
        found["crs"] = dataset.rio.crs.to_string()
    return found


def _text(name: str, text: str, folder: Path) -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


# Sentinel-1.


def _read_annotation(path: Path) -> Reading:
    grid, orbit = read_grid(path), read_orbit(path)
    checked = _with_relative(_grid_numbers(grid) | _orbit_numbers(orbit))
    others = {"looks": (grid.looks, 0.0), "wavelength": (grid.wavelength, 0.0)}
    return Reading(checked, {**others, "mission": grid.mission})


def _make_packed_orbit_file(folder: Path) -> Path:
    path = folder / "S1A_OPER_AUX_POEORB.EOF.xz"
    path.write_bytes(lzma.compress(eof_xml(ORBIT).encode()))
    return path


def _read_orbit_file(path: Path) -> Reading:
    orbit = ORBIT.with_epoch(GRID.epoch)
    window = orbit.utc(GRID.first_time), orbit.utc(GRID.last_time)
    return Reading(_with_relative(_orbit_numbers(read_orbit_file(path, window))))


def _read_product(path: Path) -> Reading:
    product = open_product(path)
    product.verify()
    scene = product.scene()
    numbers = {"image": (scene.image.values, 0.0), "size": (np.array(scene.grid.shape), 0.0)}
    return Reading(numbers | {"position": (scene.orbit.position, 1e-3)})


def _make_rslc(folder: Path) -> Path:
    grid, orbit = synthetic_grid(
        height=1000.0, ground_range=False, lines=40, samples=50, sample_spacing=6.0
    )
    grid = replace(grid, wavelength=0.24)
    random = np.random.default_rng(4)
    image = random.normal(size=(2, *grid.shape)) @ np.eye(grid.samples)
    values = (image[0] + 1j * image[1]).astype(np.complex64)
    times = np.array([grid.first_time - 0.5, grid.last_time + 0.5])
    ranges = np.array([grid.near_range - 500.0, grid.near_range + 2000.0])
    path = folder / "NISAR_L1_RSLC.h5"
    lut = DopplerLUT(times, ranges, [[90.0, 80.0], [92.0, 82.0]])
    write_rslc(path, {"A": {"HH": values}}, {"A": grid}, orbit, doppler=lut)
    return path


def _read_unprotected(path: Path) -> Reading:
    scene = open_product(path).scene()
    return Reading({}, {"image": (scene.image.values, 0.0), "orbit": (scene.orbit.position, 1e-3)})


def _make_sicd(folder: Path, *, spotlight: bool) -> Path:
    grid, orbit = synthetic_grid(
        height=1000.0, ground_range=False, lines=50, samples=40, sample_spacing=6.0
    )
    grid = replace(grid, wavelength=0.031)
    random = np.random.default_rng(4).normal(size=(2, 40, 50))
    image = (random[0] + 1j * random[1]).astype(np.complex64)
    tree = zero_doppler_tree(grid, orbit, height=1000.0)
    if spotlight:
        place, time = (46.0, 10.0, 1000.0), 0.5 * (grid.first_time + grid.last_time) + 10.0
        options = {"time": time, "shape": (40, 50), "spacing": (6.0, 6.0)}
        tree = polar_tree(grid, orbit, place, **options)
    return write_sicd(folder / "product.nitf", tree, image)


# Elevation models.


def _heights() -> xr.DataArray:
    y, x = np.mgrid[0:40, 0:50]
    heights = (800.0 + 200.0 * np.sin(y / 7.0) * np.cos(x / 9.0)).astype(np.float32)
    heights[3:6, 7:9] = np.nan
    dem = xr.DataArray(
        heights,
        dims=("y", "x"),
        coords={"y": 5.1e6 - 30.0 * np.arange(40), "x": 6.0e5 + 30.0 * np.arange(50)},
        name="height",
    )
    return dem.rio.write_crs("EPSG:32632").rio.write_nodata(np.nan)


def _make_dem(folder: Path, **options: Any) -> Path:  # noqa: ANN401
    path = folder / "dem.tif"
    _heights().rio.to_raster(path, **options)
    return path


def _make_netcdf_dem(folder: Path) -> Path:
    path = folder / "dem.nc"
    _heights().rio.write_transform().to_dataset().to_netcdf(path, engine="netcdf4")
    return path


def _read_dem(path: Path) -> Reading:
    dem = open_dem(path, vertical="ellipsoidal")
    return Reading({}, dataset_numbers(dem.to_dataset(name="height")))


def _make_virtual_dem(folder: Path) -> Path:
    _make_dem(folder)
    path = folder / "dem.vrt"
    rasterio.shutil.copy(str(folder / "dem.tif"), str(path), driver="VRT")
    text = path.read_text("utf-8").replace(str(folder) + "/", "")
    path.write_text(text.replace('relativeToVRT="0"', 'relativeToVRT="1"'), "utf-8")
    (folder / "dem.tif").rename(folder.parent / "dem.tif")
    return path


def _read_virtual_dem(path: Path) -> Reading:
    source = path.parent / "dem.tif"
    if not source.exists():
        original = next(parent for parent in path.parents if (parent / "dem.tif").exists())
        source.write_bytes((original / "dem.tif").read_bytes())
    return _read_dem(path)


# Results, and images in radar geometry.


def _result() -> xr.Dataset:
    random = np.random.default_rng(5)
    rows, columns = 40, 50
    power = random.gamma(4.4, 0.03, (2, rows, columns)).astype(np.float32)
    power[:, 5:9, 10:20] = np.nan
    flags = {"flag_values": np.arange(3, dtype=np.uint8), "flag_meanings": "clear layover shadow"}
    dataset = xr.Dataset(
        {
            "gamma0": (("polarisation", "y", "x"), power, {"units": "1"}),
            "mask": (("y", "x"), random.integers(0, 3, (rows, columns)).astype(np.uint8), flags),
        },
        coords={
            "polarisation": ["VV", "VH"],
            "y": 5.1e6 - 30.0 * np.arange(rows),
            "x": 6.0e5 + 30.0 * np.arange(columns),
        },
        attrs={"provenance": {"software": {"sarheight": "1"}, "parameters": {"a": [1, 2.5]}}},
    )
    dataset["mask"].attrs["_FillValue"] = 255
    return dataset.rio.write_crs("EPSG:32632")


def _read_result(path: Path) -> Reading:
    dataset = open_result(path)
    record = json.dumps(read_provenance(path), sort_keys=True)
    numbers = dataset_numbers(dataset)
    if path.suffix == ".tif":
        return Reading({}, numbers)
    # In these formats numbers have checksums, and texts have none.
    crs = {"crs": numbers.pop("crs", "")}
    texts = {name: str(item.attrs.get("units", "")) for name, item in dataset.data_vars.items()}
    return Reading(
        numbers,
        crs | {f"{name} units": text for name, text in texts.items()} | {"provenance": record},
    )


def _make_insar_mask(folder: Path) -> Path:
    heights = _heights()
    codes = (np.arange(heights.size) % 7).astype(np.uint8).reshape(heights.shape)
    masks = heights.copy(data=codes).to_dataset(name="mask")
    return write_insar_mask(masks, folder / "shadowMask.h5", "mintpy")


def _read_insar_mask(path: Path) -> Reading:
    mask = read_insar_mask(path)
    if mask is None:
        msg = "it is another file"
        raise DamagedFileError(msg)
    places = {name: str(mask.attrs.get(name, "")) for name in ("X_FIRST", "Y_FIRST", "EPSG")}
    return Reading({"mask": (mask.values, 0.0)}, places)


def _make_burst(folder: Path) -> Path:
    grid, orbit = synthetic_grid(ground_range=False)
    return write_cslc(folder / "t117_249422_iw2.h5", grid_like(_heights()), grid, orbit)


def _read_burst(path: Path) -> Reading:
    if not is_burst(path):
        msg = "it is another file"
        raise DamagedFileError(msg)
    placed, (grid, orbit) = burst_grid(path), burst_geometry(path)
    # Nothing protects these numbers.
    line = grid.azimuth_time(np.array([0, grid.lines - 1]))
    numbers = {"line": line, "range": grid.near_range, "orbit": orbit.position.sum()}
    texts = {name: f"{value}" for name, value in numbers.items()}
    return Reading(
        {}, texts | {"grid": f"{placed}", "size": f"{grid.shape}", "looks": grid.look_side}
    )


def _make_result_folder(folder: Path) -> Path:
    acquisition = {
        "mission": "S1A",
        "mode": "IW",
        "product": "GRD",
        "polarisations": ["VV", "VH"],
        "look_side": "right",
        "looks": 4.4,
        "orbit_state": "ascending",
        "center_frequency": 5.405e9,
        "start": "2024-01-01T05:59:58",
        "end": "2024-01-01T06:00:02",
    }
    dataset = _result().assign_attrs(acquisition=json.dumps([acquisition]))
    return write(dataset, folder / "result")


def _read_result_folder(path: Path) -> Reading:
    return Reading(dataset_numbers(open_result(path)))


def _make_image(suffix: str, folder: Path) -> Path:
    random = np.random.default_rng(3)
    power = random.gamma(4.4, 0.03, GRID.shape).astype(np.float32)
    image = xr.DataArray(power, dims=("line", "sample"))
    scene = Scene(image, GRID, ORBIT, "sigma0")
    return write_scene(scene, folder / f"image{suffix}")


def _read_image(path: Path) -> Reading:
    scene = read_scene(path)
    geometry = _with_relative(_grid_numbers(scene.grid) | _orbit_numbers(scene.orbit))
    image = {"image": (scene.image.values, 0.0)}
    name = {"calibration": scene.calibration}
    if path.suffix == ".tif":
        return Reading(geometry, image | name)
    return Reading(geometry | image, name)


# Terrain-flattened products.


def _read_rtc(path: Path) -> Reading:
    return Reading({}, dataset_numbers(open_rtc(path)))


def _make_planetary(folder: Path) -> Path:
    planetary_item(folder / "item")
    return folder / "item"


def _read_planetary(path: Path) -> Reading:
    return _read_rtc(path / "item.json")


# Tables, lists and configurations.


def _make_known(folder: Path) -> Path:
    random = np.random.default_rng(2)
    rows = [
        f"{10.0 + 0.01 * x:.7f},{46.0 + 0.01 * y:.7f},{900 + 100 * h:.3f},{0.5:.2f}"
        for x, y, h in random.random((40, 3))
    ]
    lines = ["longitude,latitude,height,sigma", *rows, ""]
    return _text("known.csv", "\n".join(lines), folder)


def _read_known(path: Path) -> Reading:
    known = read_known_elevations(path, vertical="ellipsoidal")
    return Reading({}, {name: (getattr(known, name), 0.0) for name in ("x", "y", "height")})


def _make_points(suffix: str, folder: Path) -> Path:
    random = np.random.default_rng(2)
    points = [Point(10.0 + 0.01 * x, 46.0 + 0.01 * y) for x, y in random.random((20, 2))]
    table = {"height": 900.0 + 100.0 * random.random(20)}
    frame = geopandas.GeoDataFrame(table, geometry=points, crs="EPSG:4326")
    path = folder / f"points{suffix}"
    (frame.to_parquet if suffix == ".parquet" else frame.to_file)(path)
    return path


def _make_footprints(folder: Path) -> Path:
    random = np.random.default_rng(2)
    corners = 1000.0 * random.random((20, 2))
    frame = geopandas.GeoDataFrame(
        {"height": 5.0 + 20.0 * random.random(20)},
        geometry=[box(x, y, x + 10.0, y + 10.0) for x, y in corners],
        crs="EPSG:28992",
    )
    path = folder / "buildings.geojson"
    frame.to_file(path)
    return path


def _read_footprints(path: Path) -> Reading:
    buildings = read_buildings(path)
    bounds = np.array([outline.bounds for outline in buildings.outlines])
    return Reading({}, {"heights": (buildings.heights, 0.0), "bounds": (bounds, 0.0)})


JOBS_TOML = """[defaults]
dem = ["dem.tif"]
vertical = "ellipsoidal"
threads = 2

[[job]]
image = "a.tif"
output = "a_unfolded.tif"
bounds = [10.0, 46.0, 10.5, 46.5]

[[job]]
image = "b.tif"
output = "b_unfolded.tif"
polarisations = ["VV", "VH"]
spacing = 20.0
"""


JOBS_CSV = """image,output,dem,vertical,spacing
a.tif,a_u.tif,dem.tif,ellipsoidal,20
b.tif,b_u.tif,d.tif;e.tif,EGM96,
"""
SETTINGS = """[reconstruct]
image = "a.tif"
dem = ["dem.tif"]
vertical = 12.5
law = "fit"
multilook = [2, 3]
bounds = [10.0, 46.0, 10.5, 46.5]
"""
STACKS = """first = "2021-01"
last = "2021-03"

[radar]
catalogue = "https://example.org/stac"
collection = "sentinel-1-rtc"

[buildings]
file = "{name}.geojson"

[[cities]]
name = "delft"
bounds = [4.3, 51.9, 4.4, 52.1]
"""


def _jobs_json() -> str:
    content = tomllib.loads(JOBS_TOML)
    content["jobs"] = content.pop("job")
    return json.dumps(content)


def _read_jobs(path: Path) -> Reading:
    jobs = read_jobs(path)
    return Reading({}, {str(n): job.configuration(overwrite=False) for n, job in enumerate(jobs)})


def _read_settings(path: Path) -> Reading:
    settings = ReconstructConfig.from_dict(read_table(path, "reconstruct"), path.parent)
    return Reading({}, {"settings": json.dumps(settings.to_dict(), default=str)})


def _read_stacks(path: Path) -> Reading:
    return Reading({}, {"configuration": repr(StackConfiguration.read(path))})


# Learning.


def _make_weights(folder: Path) -> Path:
    torch.manual_seed(1)
    channels = [Channel("gamma0_vv", "1", "decibel", -10.0, 5.0), Channel("incidence", "degree")]
    model = HeightEstimator(channels, network="unet", options={"width": 2, "depth": 1})
    return Path(model.save_pretrained(folder / "model"))


def _read_weights(path: Path) -> Reading:
    model = HeightEstimator.from_pretrained(path)
    state = {name: (value.numpy(), 0.0) for name, value in model.state_dict().items()}
    return Reading(state)


def _make_forest(folder: Path) -> Path:
    settings = ForestSettings(trees=3, window=3)
    forest = train_forest(patches(60, 5, noise=4.0), settings)
    return Path(forest.save_pretrained(folder / "forest"))


def _read_forest(path: Path) -> Reading:
    forest = ZoneForest.from_pretrained(path)
    state = {name: (value.numpy(), 0.0) for name, value in forest.state_dict().items()}
    # A walk through the trees ends.
    found = forest.probabilities(torch.from_numpy(patches(6, 5).image)).numpy()
    return Reading(state, {"probabilities": (found, 0.0)})


def _read_so2sat(path: Path) -> Reading:
    samples = So2SatPatches(path)
    values = samples.read(np.arange(len(samples.labels)))
    return Reading({}, {"values": (values, 0.0), "labels": (samples.labels, 0.0)})


ORBIT_FILE = "S1A_OPER_AUX_POEORB.EOF"
XML, BYTES = (xml_of, xml_of, text_of), (bytes_of,)
DEFLATED = {"compress": "deflate", "tiled": True, "blockxsize": 16, "blockysize": 16}
HYP3_ZIP = "S1A_IW_20180128T161201_DVP_RTC30.zip"


def _written(suffix: str) -> Callable[[Path], Path]:
    return lambda folder: write(_result(), folder / f"result{suffix}")


SUBJECTS: tuple[Subject, ...] = (
    Subject(
        "annotation",
        partial(_text, "s1a-iw-grd-vv.xml", annotation_xml(GRID, ORBIT)),
        _read_annotation,
        XML,
    ),
    Subject("orbit file", partial(_text, ORBIT_FILE, eof_xml(ORBIT)), _read_orbit_file, XML),
    Subject("orbit file xz", _make_packed_orbit_file, _read_orbit_file, BYTES),
    Subject("product folder", lambda folder: grd_product(folder).path, _read_product, BYTES),
    Subject(
        "product zip",
        lambda folder: pack(grd_product(folder / "folder").path, folder / "product.zip"),
        _read_product,
        BYTES,
    ),
    Subject(
        "eopf store",
        lambda folder: write_eopf(grd_product(folder / "safe").path, folder / "product.zarr"),
        _read_unprotected,
        BYTES,
    ),
    Subject("burst", _make_burst, _read_burst, BYTES),
    Subject("nisar rslc", _make_rslc, _read_unprotected, BYTES),
    Subject("sicd", partial(_make_sicd, spotlight=False), _read_unprotected, BYTES),
    Subject("sicd resampled", partial(_make_sicd, spotlight=True), _read_unprotected, BYTES),
    Subject("dem tiff", _make_dem, _read_dem, BYTES),
    Subject("dem tiff deflate", partial(_make_dem, **DEFLATED), _read_dem, BYTES),
    Subject("dem netcdf", _make_netcdf_dem, _read_dem, BYTES),
    Subject("dem vrt", _make_virtual_dem, _read_virtual_dem, XML),
    Subject("result tiff", _written(".tif"), _read_result, BYTES),
    Subject("result folder", _make_result_folder, _read_result_folder, BYTES),
    Subject("result netcdf", _written(".nc"), _read_result, BYTES),
    Subject("result zarr", _written(".zarr"), _read_result, BYTES),
    Subject("image tiff", partial(_make_image, ".tif"), _read_image, (bytes_of, text_of)),
    Subject("image netcdf", partial(_make_image, ".nc"), _read_image, BYTES),
    Subject("image zarr", partial(_make_image, ".zarr"), _read_image, BYTES),
    Subject("insar mask", _make_insar_mask, _read_insar_mask, BYTES),
    Subject(
        "hyp3 zip",
        lambda folder: packed(hyp3_folder(folder / "folder"), folder / HYP3_ZIP),
        _read_rtc,
        (bytes_of, zip_of),
    ),
    Subject("opera tiffs", lambda folder: opera_folder(folder / "opera"), _read_rtc, BYTES),
    Subject("opera hdf5", lambda folder: opera_table(folder / f"{OPERA}.h5"), _read_rtc, BYTES),
    Subject("planetary item", _make_planetary, _read_planetary, (json_of,)),
    Subject("known csv", _make_known, _read_known, (text_of,)),
    Subject("known gpkg", partial(_make_points, ".gpkg"), _read_known, BYTES),
    Subject("known geojson", partial(_make_points, ".geojson"), _read_known, (json_of,)),
    Subject("known parquet", partial(_make_points, ".parquet"), _read_known, BYTES),
    Subject("footprints geojson", _make_footprints, _read_footprints, (json_of,)),
    Subject("jobs toml", partial(_text, "jobs.toml", JOBS_TOML), _read_jobs, (text_of,)),
    Subject("jobs json", partial(_text, "jobs.json", _jobs_json()), _read_jobs, (json_of,)),
    Subject("jobs csv", partial(_text, "jobs.csv", JOBS_CSV), _read_jobs, (text_of,)),
    Subject("settings toml", partial(_text, "settings.toml", SETTINGS), _read_settings, (text_of,)),
    Subject("stacks toml", partial(_text, "stacks.toml", STACKS), _read_stacks, (text_of,)),
    Subject("weights", _make_weights, _read_weights, BYTES),
    Subject("forest weights", _make_forest, _read_forest, BYTES),
    Subject(
        "so2sat hdf5",
        lambda folder: write_so2sat(folder / "training.h5", so2sat_arrays(6)),
        _read_so2sat,
        BYTES,
    ),
)
