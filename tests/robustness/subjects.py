"""The kinds of files that are mutated: how each is made, and what is read from it."""

from __future__ import annotations

import json
import lzma
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rioxarray  # noqa: F401
import xarray as xr

from sarheight.doppler import DopplerLUT
from sarheight.errors import DamagedFileError
from sarheight.grid import RadarGrid
from sarheight.orbit import Orbit
from tests.flattened_products import hyp3_folder, opera_folder, opera_table, packed, planetary_item
from tests.robustness.contract import Reading, Subject
from tests.robustness.mutations import bytes_of, json_of, text_of, xml_of, zip_of
from tests.synthetic import synthetic_grid
from tests.worlds.annotations import annotation_xml, eof_xml
from tests.worlds.eopf_product import write_eopf
from tests.worlds.products import grd_product
from tests.worlds.rslc import write_rslc
from tests.worlds.safe import pack
from tests.zone_samples import patches, so2sat_arrays, write_so2sat

__all__ = ["SUBJECTS", "dataset_numbers"]

PIXELS = 4.0
"""Tolerance of annotations, which must agree with their geolocation grid to three pixels."""
METRES = 1.0
"""Tolerance of positions on an orbit."""


def _grid_numbers(grid: RadarGrid, expected: RadarGrid | None = None) -> dict[str, Any]:
    """Return where the pixels of a lattice are, in pixels of the grid."""
    line, sample = np.meshgrid([0.0, 99.0, 199.0], [0.0, 124.0, 249.0], indexing="ij")
    seconds = (grid.epoch - np.datetime64("2024-01-01", "ns")) / np.timedelta64(1, "ns") * 1e-9
    first = _REFERENCE_GRID if expected is None else expected
    ranges = grid.slant_range(line, sample)
    return {
        "lines": ((seconds + grid.azimuth_time(line, ranges)) / first.line_interval, PIXELS),
        "samples": (ranges / first.sample_spacing, PIXELS),
        "size": (np.array(grid.shape), 0.0),
        "side": grid.look_side,
    }


def _orbit_numbers(orbit: Orbit) -> dict[str, Any]:
    """Return positions on an orbit during the image."""
    times = np.linspace(_REFERENCE_GRID.first_time, _REFERENCE_GRID.last_time, 5)
    later = (_REFERENCE_GRID.epoch - orbit.epoch) / np.timedelta64(1, "ns") * 1e-9
    return {"orbit": (orbit.state(later + times)[0], METRES)}


def _with_relative(reading: dict[str, Any]) -> dict[str, Any]:
    """Let large numbers differ by their tolerance only, not by a part of themselves."""
    shifted = {}
    for name, value in reading.items():
        if isinstance(value, tuple) and name in _OFFSETS:
            value = (np.asarray(value[0]) - _OFFSETS[name], value[1])  # noqa: PLW2901
        shifted[name] = value
    return shifted


_REFERENCE_GRID, _REFERENCE_ORBIT = synthetic_grid()
_OFFSETS = {
    name: np.asarray(value[0])
    for name, value in (_grid_numbers(_REFERENCE_GRID) | _orbit_numbers(_REFERENCE_ORBIT)).items()
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


# Sentinel-1.


def _make_annotation(folder: Path) -> Path:
    path = folder / "s1a-iw-grd-vv.xml"
    path.write_text(annotation_xml(_REFERENCE_GRID, _REFERENCE_ORBIT), "utf-8")
    return path


def _read_annotation(path: Path) -> Reading:
    from sarheight.sentinel1 import read_grid, read_orbit

    grid, orbit = read_grid(path), read_orbit(path)
    checked = _with_relative(_grid_numbers(grid) | _orbit_numbers(orbit))
    others = {"looks": (grid.looks, 0.0), "wavelength": (grid.wavelength, 0.0)}
    return Reading(checked, {**others, "mission": grid.mission})


def _make_orbit_file(folder: Path) -> Path:
    path = folder / "S1A_OPER_AUX_POEORB.EOF"
    path.write_text(eof_xml(_REFERENCE_ORBIT), "utf-8")
    return path


def _make_packed_orbit_file(folder: Path) -> Path:
    path = folder / "S1A_OPER_AUX_POEORB.EOF.xz"
    path.write_bytes(lzma.compress(eof_xml(_REFERENCE_ORBIT).encode()))
    return path


def _read_orbit_file(path: Path) -> Reading:
    from sarheight.sentinel1 import read_orbit_file

    orbit = _REFERENCE_ORBIT.with_epoch(_REFERENCE_GRID.epoch)
    window = orbit.utc(_REFERENCE_GRID.first_time), orbit.utc(_REFERENCE_GRID.last_time)
    return Reading(_with_relative(_orbit_numbers(read_orbit_file(path, window))))


def _make_product(folder: Path) -> Path:
    return grd_product(folder).path


def _make_packed_product(folder: Path) -> Path:
    product = _make_product(folder / "folder")
    return pack(product, folder / "product.zip")


def _read_product(path: Path) -> Reading:
    from sarheight.product import open_product

    product = open_product(path)
    product.verify()
    scene = product.scene()
    numbers = {"image": (scene.image.values, 0.0), "size": (np.array(scene.grid.shape), 0.0)}
    return Reading(numbers | {"position": (scene.orbit.position, 1e-3)})


def _make_eopf(folder: Path) -> Path:
    return write_eopf(_make_product(folder / "safe"), folder / "product.zarr")


def _read_eopf(path: Path) -> Reading:
    from sarheight.product import open_product

    scene = open_product(path).scene()
    return Reading({}, {"image": (scene.image.values, 0.0), "orbit": (scene.orbit.position, 1e-3)})


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


def _read_rslc(path: Path) -> Reading:
    from sarheight.product import open_product

    scene = open_product(path).scene()
    return Reading({}, {"image": (scene.image.values, 0.0), "orbit": (scene.orbit.position, 1e-3)})


def _make_sicd(folder: Path, *, spotlight: bool) -> Path:
    from tests.worlds.sicd import polar_tree, write_sicd, zero_doppler_tree

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


def _make_packed_dem(folder: Path) -> Path:
    return _make_dem(folder, compress="deflate", tiled=True, blockxsize=16, blockysize=16)


def _make_netcdf_dem(folder: Path) -> Path:
    path = folder / "dem.nc"
    _heights().rio.write_transform().to_dataset().to_netcdf(path, engine="netcdf4")
    return path


def _read_dem(path: Path) -> Reading:
    from sarheight.dem import open_dem

    dem = open_dem(path, vertical="ellipsoidal")
    return Reading({}, dataset_numbers(dem.to_dataset(name="height")))


def _make_virtual_dem(folder: Path) -> Path:
    import rasterio.shutil

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


def _make_result(suffix: str, folder: Path) -> Path:
    from sarheight.output import write

    return write(_result(), folder / f"result{suffix}")


def _read_result(path: Path) -> Reading:
    from sarheight.output import open_result, read_provenance

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
    from sarheight.output.insar import write_insar_mask

    heights = _heights()
    codes = (np.arange(heights.size) % 7).astype(np.uint8).reshape(heights.shape)
    masks = heights.copy(data=codes).to_dataset(name="mask")
    return write_insar_mask(masks, folder / "shadowMask.h5", "mintpy")


def _read_insar_mask(path: Path) -> Reading:
    from sarheight.output.insar import read_insar_mask

    mask = read_insar_mask(path)
    if mask is None:
        msg = "it is another file"
        raise DamagedFileError(msg)
    places = {name: str(mask.attrs.get(name, "")) for name in ("X_FIRST", "Y_FIRST", "EPSG")}
    return Reading({"mask": (mask.values, 0.0)}, places)


def _make_burst(folder: Path) -> Path:
    from sarheight.dem import grid_like
    from tests.worlds.cslc import write_cslc

    grid, orbit = synthetic_grid(ground_range=False)
    return write_cslc(folder / "t117_249422_iw2.h5", grid_like(_heights()), grid, orbit)


def _read_burst(path: Path) -> Reading:
    from sarheight.sentinel1.cslc import burst_geometry, burst_grid, is_burst

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
    from sarheight.output import write

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
    from sarheight.output import open_result

    return Reading(dataset_numbers(open_result(path)))


def _make_image(suffix: str, folder: Path) -> Path:
    from sarheight.output.radar_images import write_scene
    from sarheight.scene import Scene

    random = np.random.default_rng(3)
    power = random.gamma(4.4, 0.03, _REFERENCE_GRID.shape).astype(np.float32)
    image = xr.DataArray(power, dims=("line", "sample"))
    scene = Scene(image, _REFERENCE_GRID, _REFERENCE_ORBIT, "sigma0")
    return write_scene(scene, folder / f"image{suffix}")


def _read_image(path: Path) -> Reading:
    from sarheight.output.radar_images import read_scene

    scene = read_scene(path)
    geometry = _with_relative(_grid_numbers(scene.grid) | _orbit_numbers(scene.orbit))
    image = {"image": (scene.image.values, 0.0)}
    name = {"calibration": scene.calibration}
    if path.suffix == ".tif":
        return Reading(geometry, image | name)
    return Reading(geometry | image, name)


# Terrain-flattened products.


def _make_hyp3(folder: Path) -> Path:
    return packed(hyp3_folder(folder / "folder"), folder / "S1A_IW_20180128T161201_DVP_RTC30.zip")


def _read_rtc(path: Path) -> Reading:
    from sarheight.archives import open_rtc

    return Reading({}, dataset_numbers(open_rtc(path)))


def _make_opera(folder: Path) -> Path:
    return opera_folder(folder / "opera")


def _make_opera_table(folder: Path) -> Path:
    from tests.flattened_products import OPERA

    return opera_table(folder / f"{OPERA}.h5")


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
    path = folder / "known.csv"
    path.write_text("\n".join(["longitude,latitude,height,sigma", *rows]) + "\n", "utf-8")
    return path


def _read_known(path: Path) -> Reading:
    from sarheight.terrain import read_known_elevations

    known = read_known_elevations(path, vertical="ellipsoidal")
    return Reading({}, {name: (getattr(known, name), 0.0) for name in ("x", "y", "height")})


def _points() -> Any:  # noqa: ANN401
    import geopandas
    from shapely import Point

    random = np.random.default_rng(2)
    points = [Point(10.0 + 0.01 * x, 46.0 + 0.01 * y) for x, y in random.random((20, 2))]
    table = {"height": 900.0 + 100.0 * random.random(20)}
    return geopandas.GeoDataFrame(table, geometry=points, crs="EPSG:4326")


def _make_points(suffix: str, folder: Path) -> Path:
    path = folder / f"points{suffix}"
    if suffix == ".parquet":
        _points().to_parquet(path)
    else:
        _points().to_file(path)
    return path


def _make_footprints(folder: Path) -> Path:
    import geopandas
    from shapely import box

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
    from sarheight.buildings import read_buildings

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


def _make_jobs(suffix: str, folder: Path) -> Path:
    import tomllib

    path = folder / f"jobs{suffix}"
    if suffix == ".toml":
        path.write_text(JOBS_TOML, "utf-8")
    elif suffix == ".json":
        content = tomllib.loads(JOBS_TOML)
        content["jobs"] = content.pop("job")
        path.write_text(json.dumps(content), "utf-8")
    else:
        path.write_text(
            "image,output,dem,vertical,spacing\n"
            "a.tif,a_u.tif,dem.tif,ellipsoidal,20\nb.tif,b_u.tif,d.tif;e.tif,EGM96,\n",
            "utf-8",
        )
    return path


def _read_jobs(path: Path) -> Reading:
    from sarheight.workflow.jobs import read_jobs

    jobs = read_jobs(path)
    return Reading({}, {str(n): job.configuration(overwrite=False) for n, job in enumerate(jobs)})


def _make_settings(folder: Path) -> Path:
    path = folder / "settings.toml"
    path.write_text(
        '[reconstruct]\nimage = "a.tif"\ndem = ["dem.tif"]\nvertical = 12.5\n'
        'law = "fit"\nmultilook = [2, 3]\nbounds = [10.0, 46.0, 10.5, 46.5]\n',
        "utf-8",
    )
    return path


def _read_settings(path: Path) -> Reading:
    from sarheight.workflow.config import ReconstructConfig
    from sarheight.workflow.options import read_table

    settings = ReconstructConfig.from_dict(read_table(path, "reconstruct"), path.parent)
    return Reading({}, {"settings": json.dumps(settings.to_dict(), default=str)})


def _make_stack_configuration(folder: Path) -> Path:
    path = folder / "stacks.toml"
    path.write_text(
        'first = "2021-01"\nlast = "2021-03"\n\n[radar]\ncatalogue = "https://example.org/stac"\n'
        'collection = "sentinel-1-rtc"\n\n[buildings]\nfile = "{name}.geojson"\n\n'
        '[[cities]]\nname = "delft"\nbounds = [4.3, 51.9, 4.4, 52.1]\n',
        "utf-8",
    )
    return path


def _read_stack_configuration(path: Path) -> Reading:
    from sarheight.buildings import StackConfiguration

    return Reading({}, {"configuration": repr(StackConfiguration.read(path))})


# Learning.


def _make_weights(folder: Path) -> Path:
    import torch

    from sarheight.learning.channels import Channel
    from sarheight.terrain.sar2height import HeightEstimator

    torch.manual_seed(1)
    channels = [Channel("gamma0_vv", "1", "decibel", -10.0, 5.0), Channel("incidence", "degree")]
    model = HeightEstimator(channels, network="unet", options={"width": 2, "depth": 1})
    return Path(model.save_pretrained(folder / "model"))


def _read_weights(path: Path) -> Reading:
    from sarheight.terrain.sar2height import HeightEstimator

    model = HeightEstimator.from_pretrained(path)
    state = {name: (value.numpy(), 0.0) for name, value in model.state_dict().items()}
    return Reading(state)


def _make_forest(folder: Path) -> Path:
    from sarheight.zones import ForestSettings, train_forest

    settings = ForestSettings(trees=3, window=3)
    forest = train_forest(patches(60, 5, noise=4.0), settings)
    return Path(forest.save_pretrained(folder / "forest"))


def _read_forest(path: Path) -> Reading:
    import torch

    from sarheight.zones import ZoneForest

    forest = ZoneForest.from_pretrained(path)
    state = {name: (value.numpy(), 0.0) for name, value in forest.state_dict().items()}
    # A walk through the trees ends.
    found = forest.probabilities(torch.from_numpy(patches(6, 5).image)).numpy()
    return Reading(state, {"probabilities": (found, 0.0)})


def _make_so2sat(folder: Path) -> Path:
    return write_so2sat(folder / "training.h5", so2sat_arrays(6))


def _read_so2sat(path: Path) -> Reading:
    from sarheight.zones.sources import So2SatPatches

    samples = So2SatPatches(path)
    values = samples.read(np.arange(len(samples.labels)))
    return Reading({}, {"values": (values, 0.0), "labels": (samples.labels, 0.0)})


SUBJECTS: tuple[Subject, ...] = (
    Subject("annotation", _make_annotation, _read_annotation, (xml_of, xml_of, text_of)),
    Subject("orbit file", _make_orbit_file, _read_orbit_file, (xml_of, xml_of, text_of)),
    Subject("orbit file xz", _make_packed_orbit_file, _read_orbit_file, (bytes_of,)),
    Subject("product folder", _make_product, _read_product, (bytes_of,)),
    Subject("product zip", _make_packed_product, _read_product, (bytes_of,)),
    Subject("eopf store", _make_eopf, _read_eopf, (bytes_of,)),
    Subject("burst", _make_burst, _read_burst, (bytes_of,)),
    Subject("nisar rslc", _make_rslc, _read_rslc, (bytes_of,)),
    Subject("sicd", partial(_make_sicd, spotlight=False), _read_rslc, (bytes_of,)),
    Subject("sicd resampled", partial(_make_sicd, spotlight=True), _read_rslc, (bytes_of,)),
    Subject("dem tiff", _make_dem, _read_dem, (bytes_of,)),
    Subject("dem tiff deflate", _make_packed_dem, _read_dem, (bytes_of,)),
    Subject("dem netcdf", _make_netcdf_dem, _read_dem, (bytes_of,)),
    Subject("dem vrt", _make_virtual_dem, _read_virtual_dem, (xml_of, xml_of, text_of)),
    Subject("result tiff", partial(_make_result, ".tif"), _read_result, (bytes_of,)),
    Subject("result folder", _make_result_folder, _read_result_folder, (bytes_of,)),
    Subject("result netcdf", partial(_make_result, ".nc"), _read_result, (bytes_of,)),
    Subject("result zarr", partial(_make_result, ".zarr"), _read_result, (bytes_of,)),
    Subject("image tiff", partial(_make_image, ".tif"), _read_image, (bytes_of, text_of)),
    Subject("image netcdf", partial(_make_image, ".nc"), _read_image, (bytes_of,)),
    Subject("image zarr", partial(_make_image, ".zarr"), _read_image, (bytes_of,)),
    Subject("insar mask", _make_insar_mask, _read_insar_mask, (bytes_of,)),
    Subject("hyp3 zip", _make_hyp3, _read_rtc, (bytes_of, zip_of)),
    Subject("opera tiffs", _make_opera, _read_rtc, (bytes_of,)),
    Subject("opera hdf5", _make_opera_table, _read_rtc, (bytes_of,)),
    Subject("planetary item", _make_planetary, _read_planetary, (json_of,)),
    Subject("known csv", _make_known, _read_known, (text_of,)),
    Subject("known gpkg", partial(_make_points, ".gpkg"), _read_known, (bytes_of,)),
    Subject("known geojson", partial(_make_points, ".geojson"), _read_known, (json_of,)),
    Subject("known parquet", partial(_make_points, ".parquet"), _read_known, (bytes_of,)),
    Subject("footprints geojson", _make_footprints, _read_footprints, (json_of,)),
    Subject("jobs toml", partial(_make_jobs, ".toml"), _read_jobs, (text_of,)),
    Subject("jobs json", partial(_make_jobs, ".json"), _read_jobs, (json_of,)),
    Subject("jobs csv", partial(_make_jobs, ".csv"), _read_jobs, (text_of,)),
    Subject("settings toml", _make_settings, _read_settings, (text_of,)),
    Subject("stacks toml", _make_stack_configuration, _read_stack_configuration, (text_of,)),
    Subject("weights", _make_weights, _read_weights, (bytes_of,)),
    Subject("forest weights", _make_forest, _read_forest, (bytes_of,)),
    Subject("so2sat hdf5", _make_so2sat, _read_so2sat, (bytes_of,)),
)
