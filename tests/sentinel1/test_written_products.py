"""Written scenes come back through the reader, and other people's readers find the same."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyproj
import pytest
import rasterio
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from sarheight import geometry
from sarheight.ellipsoid import SPEED_OF_LIGHT
from sarheight.geometry.placement import crop_grid_to_dem
from sarheight.illumination import simulate
from sarheight.scene import Calibration, Scene
from sarheight.sentinel1 import read_annotation, read_grid, read_orbit
from sarheight.sentinel1._product import open_product
from tests.conftest import ANNOTATIONS, shared_data
from tests.dems import dem_around, hills
from tests.worlds.annotations import (
    BURST_STEP,
    INVALID_LINES,
    LINES_PER_BURST,
    annotation_like,
    annotation_xml,
)
from tests.worlds.products import drawn_scene, write_product
from tests.worlds.safe import NAMES

Kind = Literal["GRD", "SLC"]
GRD, SLC = ANNOTATIONS[0], ANNOTATIONS[-1]


def written(folder: Path, scene: Scene, **options: Any) -> Path:  # noqa: ANN401
    return write_product(scene, folder / "written.SAFE", **options)


def the_file(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def numbers_of(path: Path) -> NDArray[Any]:
    with rasterio.open(the_file(path, "measurement/*.tiff")) as file:
        return np.asarray(file.read(1))


def table_of(path: Path, calibration: Calibration) -> NDArray[np.float64]:
    """Interpolate the calibration table for each pixel of the file, by an own reader."""
    root = ET.parse(the_file(path, "annotation/calibration/calibration-*.xml"))  # noqa: S314
    vectors = list(root.iter("calibrationVector"))
    table = xr.DataArray(
        [np.array(v.findtext(NAMES[calibration], "").split(), float) for v in vectors],
        dims=("line", "pixel"),
        coords={
            "line": [int(v.findtext("line", "")) for v in vectors],
            "pixel": np.array(vectors[0].findtext("pixel", "").split(), int),
        },
    )
    lines, samples = numbers_of(path).shape
    return table.interp(line=np.arange(lines), pixel=np.arange(samples)).values


@pytest.mark.parametrize("calibration", NAMES)
def test_amplitudes_come_back_to_half_a_number(tmp_path: Path, calibration: Calibration) -> None:
    scene = drawn_scene(calibration=calibration)
    path = written(tmp_path, scene)
    numbers, table = numbers_of(path), table_of(path, calibration)
    assert 0.98 * 65535 < numbers.max() < 65535
    assert np.abs(numbers - table * np.sqrt(scene.image.values.astype(float))).max() < 0.501
    image = open_product(path).scene(calibration=calibration).image.values
    error = np.sqrt(image) - np.sqrt(scene.image.values)
    assert np.abs(error * table).max() < 0.51


def test_calibrations_differ_by_the_incidence_on_the_ellipsoid(tmp_path: Path) -> None:
    path = written(tmp_path, drawn_scene())
    beta, sigma, gamma = (table_of(path, name) for name in NAMES)
    sine, tangent = (beta / sigma) ** 2, (beta / gamma) ** 2
    assert_allclose(np.tan(np.arcsin(sine)), tangent, rtol=1e-5)
    assert 33.0 < np.degrees(np.arcsin(sine)).mean() < 35.0
    assert (np.diff(sine, axis=1) > 0.0).all()


def test_a_slant_range_image_comes_back_from_its_bursts(tmp_path: Path) -> None:
    """One look becomes circular complex Gaussian numbers."""
    scene = drawn_scene("SLC", samples=200)
    path = written(tmp_path, scene)
    factor = table_of(path, "beta0")[0, 0]
    bursts = numbers_of(path).reshape(3, LINES_PER_BURST, -1)
    shared = slice(BURST_STEP + INVALID_LINES, LINES_PER_BURST - INVALID_LINES)
    again = slice(INVALID_LINES, LINES_PER_BURST - BURST_STEP - INVALID_LINES)
    assert_array_equal(bursts[:-1, shared], bursts[1:, again])
    image = open_product(path).scene(swaths=("IW1",)).image.squeeze(drop=True).values
    inside = np.isfinite(image)
    assert inside[INVALID_LINES:-INVALID_LINES, 5:191].all()
    error = np.sqrt(image) - np.sqrt(scene.image.values)
    assert np.abs(error[inside]).max() * factor < 0.75
    level = 10.0 ** np.linspace(-2.0, 0.0, 200)[5:191]
    numbers = bursts[0, INVALID_LINES:-INVALID_LINES, 5:191]
    values = (numbers / factor / np.sqrt(level)).ravel()
    assert abs(np.mean(values)) < 5 / np.sqrt(values.size)
    assert abs(np.mean(values**2)) < 7 / np.sqrt(values.size)
    assert np.mean(np.abs(values) ** 2) == pytest.approx(1.0, abs=5 / np.sqrt(values.size))
    assert np.mean(np.abs(values) ** 4) == pytest.approx(2.0, abs=0.25)


@pytest.mark.parametrize("kind", ["GRD", "SLC"])
def test_the_reader_removes_the_noise_that_was_added(tmp_path: Path, kind: Kind) -> None:
    scene = drawn_scene(kind, samples=200)
    path = written(tmp_path, replace(scene, image=scene.image + 0.02), noise=0.02, factor=4000.0)
    product = open_product(path)
    clean, raw = (
        product.scene(noise_removal=flag).image.squeeze(drop=True).values for flag in (True, False)
    )
    inside = np.s_[4:-4, 6:190]
    assert np.abs((clean - scene.image.values)[inside]).max() < 4.0 * 0.8 / 4000.0
    assert_allclose((raw - clean)[inside], 0.02, rtol=1e-3)


@pytest.mark.parametrize("kind", ["GRD", "SLC"])
def test_a_part_of_an_image_keeps_its_place(kind: Kind) -> None:
    """Cut out of an annotation, a part has the ranges and times that it had."""
    scene = drawn_scene(kind)
    grid, orbit = scene.grid, scene.orbit
    bursts = 0 if kind == "GRD" else 3
    whole = annotation_xml(grid, orbit, bursts=bursts).encode()
    part = read_grid(whole).crop(slice(70, 100), slice(20, 160))
    text, met = annotation_like(whole, part, read_orbit(whole))
    again = read_grid(text.encode())
    sample = np.linspace(0, part.samples - 1, 7)
    # The first burst ends before the part.
    assert [(burst.index, burst.begin) for burst in met] == ([] if kind == "GRD" else [(1, -20)])
    line = np.arange(30) - (met[0].begin if met else 0)
    place = np.meshgrid(line, sample, indexing="ij")
    own = np.meshgrid(np.arange(30), sample, indexing="ij")
    ranges = part.slant_range(*own)
    assert_allclose(again.slant_range(*place), ranges, rtol=0, atol=1e-4)
    times = again.with_epoch(part.epoch).azimuth_time(place[0], ranges)
    assert_allclose(times, part.azimuth_time(own[0], ranges), rtol=0, atol=2e-6)


# What other people's readers make of a part of a real image.


class Simulated(NamedTuple):
    """A product, and what it was made of."""

    annotation: Path
    dem: xr.DataArray
    scene: Scene
    path: Path
    group: str


@pytest.fixture(scope="module", params=[GRD, SLC], ids=["GRD", "SLC"])
def simulated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Simulated:
    """Simulate hills in the middle of an image, of an SLC in the middle of a burst."""
    annotation = shared_data("sentinel1", request.param)
    grid, orbit = read_grid(annotation), read_orbit(annotation)
    line = grid.bursts[4].first_line + 750 if grid.bursts else grid.lines // 2
    middle = grid.crop(slice(line, line + 1), slice(grid.samples // 4, grid.samples // 4 + 1))
    place = geometry.rdr2geo(middle, orbit, 1000.0)
    longitude, latitude = place.longitude.item(), place.latitude.item()
    zone = int((longitude + 180.0) // 6.0) + 1
    dem = dem_around(latitude, longitude, hills((50, 60), relief=60.0), crs=f"EPSG:{32600 + zone}")
    scene = simulate(dem, crop_grid_to_dem(dem, grid, orbit), orbit)
    path = written(tmp_path_factory.mktemp("simulated"), scene, like=annotation)
    return Simulated(annotation, dem, scene, path, f"{grid.swath}/VV")


def test_geolocation_points_are_seen_where_they_say(simulated: Simulated) -> None:
    source = the_file(simulated.path, "annotation/*.xml")
    annotation, orbit = read_annotation(source), read_orbit(source)
    points = annotation.geolocation
    to_earth_fixed = pyproj.Transformer.from_crs(4979, 4978, always_xy=True)
    position = np.stack(
        to_earth_fixed.transform(points.longitude, points.latitude, points.height), axis=-1
    )
    times = (points.azimuth_time - orbit.epoch).astype(np.int64) * 1e-9
    satellite, velocity = orbit.state(times)
    sight = position - satellite
    ranges = SPEED_OF_LIGHT / 2 * points.slant_range_time
    assert np.abs(np.linalg.norm(sight, axis=1) - ranges).max() < 0.05
    ahead = np.sum(sight * velocity, axis=1) / np.sum(velocity**2, axis=1)
    assert np.abs(ahead).max() < 2e-6


# Warnings of xarray-sentinel, sarsen and what they use are theirs to mend.
@pytest.mark.filterwarnings("ignore")
def test_xarray_sentinel_opens_every_group_and_finds_the_same(simulated: Simulated) -> None:
    """The same pixels at the same times, calibrated to the same values."""
    reader = pytest.importorskip("xarray_sentinel")

    def opened(group: str) -> xr.Dataset:
        chunks = {"x": 2048, "y": 2048}
        return xr.open_dataset(
            simulated.path, engine="sentinel-1", group=group, rasterio_chunks=chunks
        )

    root = opened("")
    assert root.attrs["relative_orbit_number"] in {71, 168}
    groups = {group: opened(group) for group in root.attrs["subgroups"]}
    product = open_product(simulated.path)
    grid = read_grid(the_file(simulated.path, "annotation/*.xml"))
    image = opened(f"{simulated.group}/0" if grid.bursts else simulated.group).measurement
    seconds = (image.azimuth_time.values - grid.epoch).astype(np.int64) * 1e-9
    assert np.abs(seconds - grid.azimuth_time(np.arange(image.shape[0]))).max() < 2e-6
    tables = groups[f"{simulated.group}/calibration"]
    for calibration, name in NAMES.items():
        theirs = reader.calibrate_intensity(image, tables[name]).values
        ours = product.scene(calibration=calibration).image.squeeze(drop=True).values
        known = np.isfinite(ours)
        assert known.sum() > simulated.dem.size
        assert_allclose(ours[known], theirs[known], rtol=2e-5, atol=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_the_plain_geocoding_of_sarsen_is_ours(simulated: Simulated) -> None:
    pytest.importorskip("sarsen")
    from benchmarks._accuracy.sarsen import compare

    found = compare(simulated.path, simulated.group, simulated.dem)
    assert found.cells > 0.8 * simulated.dem.size
    assert found.largest_shift < 0.1
    assert found.decibels < 0.1
    assert abs(found.bias) < 0.01
    # Without the shear along azimuth, and with sarsen's search gone on, nothing is left.
    assert found.shift_same_conventions < 1e-3
