"""Files in radar geometry keep image, sampling and orbit to the last bit."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr

from sarheight.acquisition import (
    geometries,
    geometry_json,
    grid_from_json,
    grid_to_json,
    orbit_from_json,
    orbit_to_json,
)
from sarheight.doppler import DopplerLUT
from sarheight.errors import DamagedFileError
from sarheight.output import open_result, write
from sarheight.output.radar_images import (
    raster_geometry,
    read_grid_and_orbit,
    read_radar,
    read_scene,
    write_radar,
    write_scene,
)
from sarheight.scene import Scene
from sarheight.sentinel1 import read_grid, read_orbit
from tests.conftest import ANNOTATIONS, shared_data
from tests.results import result_of
from tests.results import scene as result_scene
from tests.synthetic import synthetic_grid
from tests.worlds.annotations import BURST_STEP, LINES_PER_BURST, annotation_xml

FORMATS = (".tif", ".nc", ".zarr")


def same(one: object, other: object) -> bool:
    """Compare all fields, exactly."""
    if type(one) is not type(other):
        return False
    if is_dataclass(one):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    return bool(one == other)


def scene_of(polarisations: tuple[str, ...] = (), *, ground_range: bool = True) -> Scene:
    grid, orbit = synthetic_grid(lines=30, samples=40, ground_range=ground_range)
    shape = (*((len(polarisations),) if polarisations else ()), 30, 40)
    values = np.random.default_rng(0).gamma(4.4, 0.02, shape).astype(np.float32)
    values[..., 3, 4] = np.nan
    dims = (*(("polarisation",) if polarisations else ()), "line", "sample")
    coordinates = {"polarisation": list(polarisations)} if polarisations else {}
    image = xr.DataArray(values, dims=dims, coords=coordinates, attrs={"units": "1"})
    return Scene(image, grid, orbit, "sigma0")


@pytest.mark.parametrize("ground_range", [True, False])
def test_grid_and_orbit_survive_json_to_the_last_bit(*, ground_range: bool) -> None:
    grid, orbit = synthetic_grid(ground_range=ground_range)
    grid = replace(grid, bistatic_range=1 / 3 + 9e5, polarisations=("VV", "VH"), mission="S1A")
    assert same(grid_from_json(grid_to_json(grid)), grid)
    assert same(orbit_from_json(orbit_to_json(orbit)), orbit)


def test_bursts_survive_json() -> None:
    grid, orbit = synthetic_grid(lines=BURST_STEP + LINES_PER_BURST, ground_range=False)
    read = read_grid(annotation_xml(grid, orbit, bursts=2).encode())
    assert len(read.bursts) == 2
    assert same(grid_from_json(grid_to_json(read)), read)


@pytest.mark.parametrize("name", ANNOTATIONS[:2])
def test_real_annotations_survive_json(name: str) -> None:
    path = shared_data("sentinel1", *name.split("/"))
    grid, orbit = read_grid(path), read_orbit(path)
    assert same(grid_from_json(grid_to_json(grid)), grid)
    assert same(orbit_from_json(orbit_to_json(orbit)), orbit)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"epoch": "yesterday", "bursts": []}'])
def test_damaged_grids_and_orbits_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"radar grid cannot be read .* pass the annotation"):
        grid_from_json(text)
    with pytest.raises(ValueError, match="orbit cannot be read"):
        orbit_from_json(text)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("polarisations", [(), ("VV", "VH")])
def test_scenes_are_restored_from_every_format(
    tmp_path: Path, suffix: str, polarisations: tuple[str, ...]
) -> None:
    scene = scene_of(polarisations)
    path = write_scene(scene, tmp_path / f"image{suffix}", attributes={"provenance": {"a": [1]}})
    read = read_scene(path)
    np.testing.assert_array_equal(read.image.values, scene.image.values)
    assert read.image.dims == scene.image.dims
    assert read.calibration == "sigma0"
    assert same(read.grid, scene.grid)
    first, last = scene.grid.first_time, scene.grid.last_time
    times = np.linspace(first, last, 7)
    for found, expected in zip(read.orbit.state(times), scene.orbit.state(times), strict=True):
        np.testing.assert_array_equal(found, expected)
    if polarisations:
        assert read.image["polarisation"].values.tolist() == list(polarisations)
        one = read_scene(path, polarisations=["VH"])
        np.testing.assert_array_equal(one.image.values, scene.image.values[1:])
        with pytest.raises(ValueError, match=r"found no HH in .*, only VV, VH"):
            read_scene(path, polarisations=["HH"])
    grid, orbit = read_grid_and_orbit(path)
    assert same(grid, read.grid)
    assert same(orbit, read.orbit)
    assert {file.name for file in tmp_path.iterdir()} == {path.name}


@pytest.mark.parametrize("suffix", FORMATS)
def test_masks_keep_their_codes(tmp_path: Path, suffix: str) -> None:
    codes = np.array([[0, 1, 2], [5, 6, 255]], dtype=np.uint8)
    attributes = {"flag_values": np.arange(7, dtype=np.uint8), "_FillValue": np.uint8(255)}
    masks = xr.Dataset(
        {name: (("line", "sample"), codes, dict(attributes)) for name in ("mask", "fold_count")}
    )
    read = read_radar(write_radar(masks, tmp_path / f"masks{suffix}"))
    for name in ("mask", "fold_count"):
        assert read[name].dtype == np.uint8
        np.testing.assert_array_equal(read[name].values, codes)


def test_a_geotiff_does_not_mix_number_types(tmp_path: Path) -> None:
    dims = ("line", "sample")
    mixed = xr.Dataset({"a": (dims, np.ones((3, 4), "f4")), "b": (dims, np.ones((3, 4), "u1"))})
    with pytest.raises(ValueError, match="number types differ"):
        write_radar(mixed, tmp_path / "mixed.tif")
    assert not list(tmp_path.iterdir())


def write_plain(path: Path, values: np.ndarray, **options: object) -> Path:
    """Write a raster of another origin."""
    bands, height, width = values.shape
    with rasterio.open(
        path, "w", "GTiff", width, height, bands, dtype=values.dtype, **options
    ) as file:
        file.write(values)
    return path


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_plain_raster_needs_geometry_and_calibration(tmp_path: Path) -> None:
    scene = scene_of()
    path = write_plain(tmp_path / "vv.tif", scene.image.values[None], nodata=-1.0)
    assert raster_geometry(path) == ""
    with pytest.raises(ValueError, match="pass it by --like"):
        read_scene(path)
    with pytest.raises(ValueError, match="does not say what its image is calibrated to"):
        read_scene(path, geometry=(scene.grid, scene.orbit))
    read = read_scene(path, geometry=(scene.grid, scene.orbit), calibration="gamma0")
    assert read.calibration == "gamma0"
    np.testing.assert_array_equal(read.image.values, scene.image.values)
    with pytest.raises(ValueError, match="holds no sampling and no orbit"):
        read_grid_and_orbit(path)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_bands_without_names_are_named(tmp_path: Path) -> None:
    scene = scene_of(("VV", "VH"))
    path = write_plain(tmp_path / "both.tif", scene.image.values)
    geometry = scene.grid, scene.orbit
    read = read_scene(path, geometry=geometry, calibration="beta0", polarisations=["VV", "VH"])
    assert read.image["polarisation"].values.tolist() == ["VV", "VH"]
    with pytest.raises(ValueError, match=r"2 bands without names .* 1 polarisations"):
        read_scene(path, geometry=geometry, calibration="beta0", polarisations=["VV"])


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_other_files_than_images_in_radar_geometry_are_refused(tmp_path: Path) -> None:
    ones = np.ones((1, 5, 5), dtype=np.float32)
    transform = rasterio.Affine(30.0, 0.0, 5e5, 0.0, -30.0, 5e6)
    write_plain(tmp_path / "map.tif", ones, crs="EPSG:32632", transform=transform)
    write_plain(tmp_path / "measurement.tif", ones.astype(np.uint16))
    (tmp_path / "S1A_IW_GRDH.SAFE").mkdir()
    for name in ("text.tif", "text.nc"):
        (tmp_path / name).write_text("no raster")
    for name, error, words in (
        ("map.tif", ValueError, r"map grid \(EPSG:32632\).*before it was geocoded"),
        ("measurement.tif", ValueError, r"uint16 numbers .* must be calibrated first"),
        ("S1A_IW_GRDH.SAFE", ValueError, r"is a whole product.*sarheight\.product\.open_product"),
        ("text.tif", ValueError, "is not a GeoTIFF, or it is damaged"),
        ("text.nc", ValueError, "is not a NetCDF file, or it is damaged"),
        ("nowhere.nc", FileNotFoundError, "there is no"),
    ):
        with pytest.raises(error, match=words):
            read_scene(tmp_path / name)


@pytest.mark.parametrize("suffix", ["", ".tif", ".nc", ".zarr"])
def test_a_result_holds_its_sampling_and_orbit(tmp_path: Path, suffix: str) -> None:
    """Of each pass, to the last bit, in every format."""
    result = result_of(passes=2)
    path = tmp_path / f"result{suffix}"
    write(result, path)
    passes = geometries(open_result(path).attrs)
    assert len(passes) == 2
    for (grid, orbit), ascending in zip(passes, (True, False), strict=True):
        scene = result_scene(ascending=ascending)
        assert same(grid, scene.grid)
        near = scene.orbit.with_epoch(grid.epoch).crop(grid.first_time, grid.last_time)
        assert same(orbit, near)


def test_a_result_does_not_hold_a_very_long_geometry() -> None:
    scene = result_scene()
    times = np.linspace(scene.grid.first_time - 0.1, scene.grid.last_time + 0.1, 100)
    near, far = (float(scene.grid.slant_range(0, sample)) for sample in (0, scene.grid.samples))
    ranges = np.linspace(near - 500.0, far + 500.0, 200)
    doppler = DopplerLUT(times, ranges, np.full((100, 200), 1.0 / 3.0))
    assert geometry_json([(replace(scene.grid, doppler=doppler), scene.orbit)]) == "[]"
    assert geometries({}) == []
    with pytest.raises(DamagedFileError, match="geometry cannot be read"):
        geometries({"geometry": "[{}]"})
