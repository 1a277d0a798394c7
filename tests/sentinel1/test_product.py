"""Whole products: what they say, what their image is, and how much of it is read."""

from __future__ import annotations

import json
import lzma
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import dask
import fsspec
import numpy as np
import pytest
from numpy.typing import NDArray

from sarheight.acquisition import SOURCE, grid_to_json
from sarheight.errors import AnnotationError, GeometryError, ProductError
from sarheight.geometry import rdr2geo
from sarheight.geometry.placement import Bounds, bounds_of_corners, window_of_bounds
from sarheight.orbit import Orbit
from sarheight.output.radar_images import read_grid_and_orbit
from sarheight.product import READERS, Product, open_product
from sarheight.scene import Calibration
from sarheight.sentinel1 import Sentinel1Product, _images, read_annotation
from sarheight.sentinel1._manifest import read_manifest
from sarheight.sentinel1._radiometry import Radiometry
from sarheight.sentinel1.orbit import find_orbit_file
from sarheight.zones import polarimetric_channels
from tests.conftest import shared_data
from tests.synthetic import circular_orbit, synthetic_grid
from tests.worlds.annotations import eof_xml
from tests.worlds.products import NAME, IwScene, Made, grd_product, slc_product
from tests.worlds.safe import NAMES, manifest_xml, pack, save, tiff

EOF = "S1A_OPER_AUX_{}_OPOD_20240121T000000_V20231231T225942_20240102T005942.EOF"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return grd_product(tmp_path_factory.mktemp("products"))


@pytest.fixture(scope="module")
def product(made: Made) -> Product:
    return open_product(made.path)


def copied(made: Made, folder: Path) -> Path:
    """A copy of the product that a test may spoil."""
    path = folder / NAME
    shutil.copytree(made.path, path)
    return path


def power(made: Made, polarisation: str, calibration: Calibration) -> NDArray[np.float64]:
    """Calibrated power, without noise removal, from the tables."""
    lines, samples = (np.arange(size, dtype=np.float64) for size in made.grid.shape)
    tables = made.tables[polarisation]
    amplitude = tables.at(tables.amplitude[NAMES[calibration]], lines, samples)
    numbers = np.where(made.numbers[polarisation] == 0, np.nan, made.numbers[polarisation])
    found: NDArray[np.float64] = numbers.astype(np.float64) ** 2 / amplitude**2
    return found


# ------------------------------------------------------------------------------------- what it says


def test_a_product_tells_what_it_is(product: Product) -> None:
    assert product.name == NAME
    assert (product.mission, product.product_type, product.swaths) == ("S1A", "GRD", ("IW",))
    assert product.polarisations == ("VV", "VH")
    assert product.start == np.datetime64("2024-01-01T05:59:58")
    facts = dict(product.summary())
    assert facts["what"] == f"Sentinel-1 product: S1A IW GRD, {NAME}"
    assert facts["images"] == "IW 200 lines x 250 samples"
    assert facts["processor"] == "IPF 3.71"
    assert facts["orbit number"] == "51919, 22 of the repeat cycle"
    assert facts["place"] == "longitude 10.000 to 10.100, latitude 46.000 to 46.100"
    assert repr(product) == f"<Sentinel1Product {NAME}>"
    shown = product._repr_html_()
    assert shown.count("<tr>") == len(facts)
    assert all(escape(text) in shown for fact in facts.items() for text in fact)


@pytest.mark.parametrize("unit", "ABCD")
def test_all_satellites_are_known(tmp_path: Path, unit: str) -> None:
    made = grd_product(tmp_path, polarisations=("HH",), mission=unit)
    assert open_product(made.path).mission == f"S1{unit}"


def test_real_manifests_are_read() -> None:
    found = read_manifest(shared_data("sentinel1", "morocco_20230904", "manifest.safe.xz"))
    assert (found.mission, found.mode, found.product_type) == ("S1A", "IW", "SLC")
    assert found.swaths == ("IW1", "IW2", "IW3")
    assert found.polarisations == ("VV", "VH")
    assert (found.orbit_number, found.relative_orbit, found.passing) == (50174, 52, "descending")
    assert found.processor_version == 3.61
    assert str(found.start) == "2023-09-04T06:37:30.213065000"
    assert found.footprint.shape == (4, 2)
    assert -11.0 < found.footprint[:, 0].min() < found.footprint[:, 0].max() < -7.0
    measurements = [each for each in found.files if each.name.startswith("measurement/")]
    assert len(measurements) == 6
    assert all(each.size > 10**9 and len(each.md5) == 32 for each in measurements)


def test_sampling_and_orbit_are_those_of_the_annotation(product: Product, made: Made) -> None:
    grid, orbit = product.grid_and_orbit(orbit="annotation")
    assert grid.shape == made.grid.shape
    assert grid.near_range == pytest.approx(made.grid.near_range, abs=1e-6)
    expected = made.orbit.with_epoch(orbit.epoch).state(0.0)[0]
    np.testing.assert_allclose(orbit.state(0.0)[0], expected, atol=1e-2)
    again, _ = read_grid_and_orbit(made.path)
    assert grid_to_json(again) == grid_to_json(grid)


# -------------------------------------------------------------------------------------- the image


@pytest.mark.parametrize("calibration", NAMES)
def test_the_image_is_calibrated(product: Product, made: Made, calibration: Calibration) -> None:
    scene = product.scene(calibration=calibration, noise_removal=False)
    assert scene.calibration == scene.image.name == calibration
    assert scene.image.dims == ("polarisation", "line", "sample")
    assert scene.image.dtype == np.float32
    assert scene.grid.polarisations == ("VV", "VH")
    assert scene.image.attrs["product_name"] == NAME
    for name in ("VV", "VH"):
        found = scene.image.sel(polarisation=name).values
        np.testing.assert_allclose(found, power(made, name, calibration), rtol=3e-6)


def test_a_measurement_needs_no_ground_control_points(tmp_path: Path) -> None:
    """What tools cut out of a product has none: no warning, for its georeference is unused."""
    made = grd_product(tmp_path, polarisations=("VV",), tiff_options={"gcps": None, "crs": None})
    packed = open_product(pack(made.path, tmp_path / "x.zip"))
    image = packed.scene(calibration="gamma0", noise_removal=False).image
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_allclose(image.values, power(made, "VV", "gamma0"), rtol=3e-6)


def test_zeros_are_no_data_and_noise_is_removed(product: Product, made: Made) -> None:
    image = product.scene(polarisations=("VH",)).image
    assert image.dims == ("line", "sample")
    assert str(image["polarisation"].values) == "VH"
    assert np.isnan(image.values[:, :3]).all()
    assert np.isfinite(image.values[:, 3:]).all()
    noise = power(made, "VH", "beta0") - image.values
    tables = made.tables["VH"]
    # At a node of both tables the expected noise needs no interpolation.
    node = tables.noise[1, 2] * 1.03 / tables.amplitude["betaNought"][1, 2] ** 2
    assert noise[30, 100] == pytest.approx(node, rel=1e-3)


TILED = {"tiled": True, "blockxsize": 64, "blockysize": 32}


@pytest.mark.parametrize(
    ("options", "pixels"), [({}, 1), ({}, 9_000), (TILED, 9_000), (TILED, 2**23)]
)
def test_chunks_and_blocks_make_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], pixels: int
) -> None:
    monkeypatch.setattr(_images, "CHUNK_PIXELS", pixels)
    monkeypatch.setattr(_images, "SLAB_PIXELS", 700)
    made = grd_product(tmp_path, polarisations=("VV",), tiff_options=options)
    image = open_product(pack(made.path, tmp_path / "x.zip")).scene(noise_removal=False).image
    height = image.chunksizes["line"][0]
    assert height % (options.get("blockysize", 1)) == 0 or height == 200
    expected = power(made, "VV", "beta0")
    with dask.config.set(scheduler="threads", num_workers=4):
        np.testing.assert_allclose(image.values, expected, rtol=3e-6)
    np.testing.assert_array_equal(image[17:-3:2, ::-3], image.compute()[17:-3:2, ::-3])


def test_averaging_keeps_power(product: Product) -> None:
    full = product.scene(polarisations=("VV",))
    scene = product.scene(polarisations=("VV",), multilook=(4, 5))
    assert scene.image.shape == scene.grid.shape == (50, 50)
    expected = full.image.values[:, 5:].reshape(50, 4, 49, 5).mean(axis=(1, 3))
    np.testing.assert_allclose(scene.image.values[:, 1:], expected, rtol=1e-5)
    by_spacing = product.scene(polarisations=("VV",), spacing=40.0)
    assert by_spacing.grid.sample_spacing == pytest.approx(40.0)
    assert by_spacing.image.shape == (50, 62)


# ----------------------------------------------------------------------------------------- an SLC


@pytest.fixture(scope="module")
def slc(tmp_path_factory: pytest.TempPathFactory) -> tuple[Product, IwScene]:
    path, cut = slc_product(tmp_path_factory.mktemp("slc"), ("VV", "VH"))
    return open_product(path), cut


def test_an_slc_is_one_image_of_all_swaths(slc: tuple[Product, IwScene]) -> None:
    product, cut = slc
    assert product.swaths == ("IW1", "IW2", "IW3")
    facts = dict(product.summary())
    assert "IW2 180 lines x 200 samples in 3 bursts" in facts["images"]
    scene = product.scene(noise_removal=False)
    assert scene.image.dims == ("polarisation", "line", "sample")
    assert scene.image.shape == (2, *cut.numbers.shape)
    assert scene.grid.polarisations == ("VV", "VH")
    # All files have the same tables, so power is that of the scene but for one smooth factor.
    found = scene.image.sel(polarisation="VV").values
    inside = np.isfinite(found)
    ratio = cut.power[inside] / found[inside]
    assert np.sqrt(ratio.min()) == pytest.approx(200.0, rel=0.05)
    assert np.sqrt(ratio.max()) < 200.0 * 1.4
    assert product.grid_and_orbit()[0].shape == scene.grid.shape
    quiet = product.scene(polarisations=("VV",)).image.values
    assert (quiet[inside] < found[inside]).all()
    assert np.median(found[inside] - quiet[inside]) == pytest.approx(900.0 / 215.0**2, rel=0.1)


def test_swaths_and_bursts_of_an_slc_can_be_chosen(slc: tuple[Product, IwScene]) -> None:
    product, _ = slc
    swath = product.scene(polarisations=("VV",), swaths=("iw2",))
    assert swath.grid.swath == "IW2"
    assert swath.image.shape == (160, 200)
    burst = product.scene(polarisations=("VV",), swaths=("IW2",), burst=1)
    assert burst.image.shape == (60, 200)
    both = np.isfinite(burst.image.values[5:55]) & np.isfinite(swath.image.values[55:105])
    np.testing.assert_array_equal(burst.image.values[5:55][both], swath.image.values[55:105][both])
    coarse = product.scene(polarisations=("VV",), multilook=(2, 8))
    assert coarse.grid.looks == pytest.approx(16.0)
    fine = product.scene(polarisations=("VV",)).image
    assert np.nanmean(coarse.image) == pytest.approx(np.nanmean(fine), rel=0.02)
    for swaths in (("IW4",), ("IW1", "EW1"), ("IW1", "IW1")):
        with pytest.raises(ValueError, match=r"expected one or more .*: IW1, IW2, IW3"):
            product.scene(swaths=swaths)
    with pytest.raises(ValueError, match=r"found border_cleaning, and .* is an SLC"):
        product.scene(border_cleaning=True)


def test_an_slc_opens_as_complex_numbers(slc: tuple[Product, IwScene], product: Product) -> None:
    grd, product = product, slc[0]
    assert isinstance(product, Sentinel1Product)
    assert isinstance(grd, Sentinel1Product)
    with pytest.raises(ValueError, match="complex numbers are only in an SLC"):
        grd.complex_images()
    images, grid = product.complex_images(calibration="beta0")
    assert tuple(images) == product.polarisations
    scene = product.scene(calibration="beta0", noise_removal=False)
    for name, image in images.items():
        expected = scene.image.sel(polarisation=name).values
        np.testing.assert_allclose(np.abs(image.values) ** 2, expected, rtol=1e-5)
    channels = polarimetric_channels(images["VV"], images["VH"])
    assert channels["vv_intensity"].shape == grid.shape
    with pytest.raises(ValueError, match="expected one or more of those"):
        product.complex_images(polarisations=("HH",))


def test_noise_vectors_of_zeros_remove_nothing_and_say_so(
    product: Product, made: Made, tmp_path: Path
) -> None:
    """Early processors wrote such vectors."""
    path = copied(made, tmp_path)
    (noise,) = path.glob("annotation/calibration/noise-*-vv-*.xml")
    noise.write_text(
        re.sub("(<noiseRangeLut[^>]*>)[^<]*", r"\1 0.0 0.0 0.0 0.0", noise.read_text())
    )
    save(path, {})
    silent = open_product(path)
    with pytest.warns(UserWarning, match=r"noise vectors of VV in .* are zero, .* no thermal noi"):
        scene = silent.scene()
    loud, usual = product.scene(noise_removal=False), product.scene()
    for name, expected in (("VV", loud), ("VH", usual)):
        np.testing.assert_array_equal(
            scene.image.sel(polarisation=name).values, expected.image.sel(polarisation=name).values
        )
    quiet, kept, removed = (
        json.loads(each.image.attrs[SOURCE])["thermal_noise"] for each in (scene, loud, usual)
    )
    assert removed == {"VV": "removed", "VH": "removed"}
    assert kept == {"VV": "not removed", "VH": "not removed"}
    assert quiet["VV"].startswith("not removed: all noise vectors")
    assert quiet["VH"] == "removed"
    # Without noise removal nobody needs to know.
    assert np.isfinite(silent.scene(noise_removal=False).image.values[:, :, 3:]).all()


# ----------------------------------------------------------------------------------- parts of it


def place_of(made: Made, line: int, sample: int, height: float) -> tuple[float, float]:
    grid = made.grid.crop(slice(line, line + 1), slice(sample, sample + 1))
    found = rdr2geo(grid, made.orbit, height).isel(line=0, sample=0)
    return float(found.longitude), float(found.latitude)


def test_bounds_hold_what_lies_in_them_at_any_height(made: Made) -> None:
    corners = np.array([place_of(made, line, 120, 0.0) for line in (80, 110)])
    bounds = bounds_of_corners(corners, 0.0005)
    line, sample = window_of_bounds(bounds, made.grid, made.orbit, heights=(0.0, 1500.0), margin=0)
    assert line.start <= 80
    assert line.stop > 110
    assert sample.start <= 120 < sample.stop
    # What is higher comes earlier: 1500 m at 34 degrees are 2.2 km, most of the image.
    assert sample.start == 0
    low, narrow = window_of_bounds(bounds, made.grid, made.orbit, heights=(0.0, 0.0), margin=0)
    assert narrow.start > 90
    assert narrow.stop - narrow.start < 60
    for height in (0.0, 1500.0):
        longitude, latitude = place_of(made, 100, 200, height)
        near = (longitude - 1e-4, latitude - 1e-4, longitude + 1e-4, latitude + 1e-4)
        rows, columns = window_of_bounds(near, made.grid, made.orbit, heights=(height, height))
        assert rows.start <= 100 < rows.stop
        assert columns.start <= 200 < columns.stop
    assert low == line or low.start >= line.start


def test_a_part_is_the_same_as_in_the_whole(product: Product, made: Made) -> None:
    whole = product.scene(polarisations=("VV",))
    longitude, latitude = place_of(made, 150, 180, 200.0)
    bounds = (longitude - 2e-3, latitude - 1e-3, longitude + 2e-3, latitude + 1e-3)
    part = product.scene(polarisations=("VV",), bounds=bounds, heights=(150.0, 250.0))
    assert part.image.shape == part.grid.shape
    assert part.image.size < 0.3 * whole.image.size
    line = round((part.grid.first_time - whole.grid.first_time) / whole.grid.line_interval)
    ground = part.grid.sample_zero_ground - whole.grid.sample_zero_ground
    sample = round(ground / whole.grid.sample_spacing)
    assert line > 50
    expected = whole.image[line : line + part.grid.lines, sample : sample + part.grid.samples]
    np.testing.assert_array_equal(part.image.values, expected.values)


def test_of_a_part_only_the_part_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fsspec.filesystem("memory")
    read: list[int] = []
    cat = type(memory).cat_file

    def counted(self: object, path: str, **span: int) -> bytes:
        data: bytes = cat(self, path, **span)
        read.append(len(data))
        return data

    monkeypatch.setattr(type(memory), "cat_file", counted)
    placed = synthetic_grid(lines=4000, samples=700)
    numbers = np.random.default_rng(5).integers(1, 900, placed[0].shape).astype(np.uint16)
    made = grd_product(tmp_path, polarisations=("VV",), placed=placed, numbers={"VV": numbers})
    body = pack(made.path, tmp_path / "x.zip", 0).read_bytes()
    memory.pipe_file("/counted.zip", body)
    longitude, latitude = place_of(made, 2500, 300, 0.0)
    bounds = (longitude - 1e-3, latitude - 1e-3, longitude + 1e-3, latitude + 1e-3)
    product = open_product("memory://counted.zip")
    scene = product.scene(bounds=bounds, heights=(0.0, 10.0))
    assert sum(read) < len(body) / 3
    read.clear()
    assert np.isfinite(scene.image.values).all()
    # Whole strips of its lines, the header of the file, and what is read ahead.
    assert scene.grid.lines < 120
    assert sum(read) < 2 * (scene.grid.lines * 700 * 2) + 3 * 2**18
    assert sum(read) < len(body) / 5


@pytest.mark.parametrize(
    ("latitude", "longitude"), [(-17.0, 180.0), (-17.0, -179.995), (72.0, 20.0), (-78.0, 165.0)]
)
def test_the_date_line_and_high_latitudes_are_no_obstacle(
    tmp_path: Path, latitude: float, longitude: float
) -> None:
    placed = synthetic_grid(latitude, longitude, lines=60, samples=70)
    numbers = {"HH": np.full(placed[0].shape, 500, dtype=np.uint16)}
    made = grd_product(tmp_path, polarisations=("HH",), placed=placed, numbers=numbers)
    corners = np.array(
        [place_of(made, line, sample, 0.0) for line in (20, 40) for sample in (20, 50)]
    )
    bounds = bounds_of_corners(corners)
    if abs(longitude) > 179.9 and np.ptp(np.sign(corners[:, 0])):
        assert bounds[0] > bounds[2]
    product = open_product(made.path)
    scene = product.scene(bounds=bounds, heights=(0.0, 5.0))
    assert np.isfinite(scene.image.values).all()
    line, sample = window_of_bounds(bounds, *product.grid_and_orbit(), heights=(0.0, 5.0), margin=0)
    assert (line.start, sample.start) <= (20, 20)
    assert line.stop > 40
    assert sample.stop > 50


def test_bounds_around_corners_are_the_smallest() -> None:
    corners = np.array([[179.5, 10.0], [-179.8, 11.0], [179.9, 10.5]])
    assert bounds_of_corners(corners) == pytest.approx((179.5, 10.0, -179.8, 11.0))
    assert bounds_of_corners(np.array([[10.0, 89.99], [11.0, 89.0]]), 0.1) == pytest.approx(
        (9.9, 88.9, 11.1, 90.0)
    )


BOX = "expected west, south, east, north in degrees"
BESIDE = "which the image does not show"


@pytest.mark.parametrize(
    ("bounds", "error", "message"),
    [
        ((10, 46, 9, 45), ValueError, BOX),
        ((0, 91, 1, 92), ValueError, BOX),
        ((0, 1, 0, 2), ValueError, BOX),
        ((float("nan"), 1, 2, 3), ValueError, BOX),
        ((60.0, 20.0, 60.1, 20.1), GeometryError, BESIDE),
        ((10.5, 46.0, 10.6, 46.05), GeometryError, BESIDE),
        ((9.9, 47.0, 10.1, 47.1), GeometryError, BESIDE),
    ],
)
def test_bounds_that_are_none_or_elsewhere_are_refused(
    product: Product, bounds: Bounds, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        product.scene(bounds=bounds)


# ----------------------------------------------------------------------------------- its borders


def test_borders_of_old_products_are_cleaned(tmp_path: Path) -> None:
    placed = synthetic_grid(lines=30, samples=800)
    random = np.random.default_rng(6)
    land = (60.0 * random.rayleigh(1.0, placed[0].shape)).astype(np.uint16) + 40
    land[:, :200] = random.integers(1, 5, (30, 200))
    sea = np.full_like(land, 2)
    numbers = {"VH": sea, "VV": land}
    old = grd_product(tmp_path / "old", placed=placed, old=True, numbers=numbers)
    image = open_product(old.path).scene().image
    # The co-polarised channel decides for both: dark cross-polarised pixels are no border.
    assert np.isnan(image.values[:, :, :200]).all()
    assert np.isfinite(image.values[:, :, 240:]).all()
    kept = open_product(old.path).scene(border_cleaning=False).image
    assert np.isfinite(kept.values).all()
    assert np.isnan(image.isel(line=slice(3, 9), sample=slice(190, 199)).values).all()
    new = grd_product(tmp_path / "new", placed=placed, numbers=numbers)
    assert np.isfinite(open_product(new.path).scene().image.values).all()


# ------------------------------------------------------------------------------------- its orbit


def shifted(orbit: Orbit, metres: float) -> str:
    """Make an orbit file of one beside another."""
    return eof_xml(replace(orbit, position=orbit.position + np.array([0.0, 0.0, metres])))


@pytest.mark.parametrize("packed", [False, True])
def test_a_precise_orbit_beside_the_product_is_used(tmp_path: Path, packed: bool) -> None:  # noqa: FBT001
    made = grd_product(tmp_path, polarisations=("VV",))
    product = open_product(pack(made.path, tmp_path / "x.zip") if packed else made.path)
    assert "annotation" in product.scene().orbit.source
    resorb, poeorb = (tmp_path / EOF.format(kind) for kind in ("RESORB", "POEORB"))
    resorb.write_text(shifted(made.orbit, 3.0))
    assert "RESORB" in product.scene().orbit.source
    poeorb.write_text(shifted(made.orbit, 5.0))
    scene = product.scene()
    assert "POEORB" in scene.orbit.source
    moved = scene.orbit.state(0.0)[0] - product.scene(orbit="annotation").orbit.state(0.0)[0]
    np.testing.assert_allclose(moved, [0.0, 0.0, 5.0], atol=0.02)
    assert product.scene(orbit=resorb).orbit.source.endswith(resorb.name)
    assert product.scene(orbit=made.orbit).orbit.source == made.orbit.source


def test_a_folder_of_orbits_is_searched(tmp_path: Path) -> None:
    made = grd_product(tmp_path / "a", polarisations=("VV",))
    product = open_product(made.path)
    folder = tmp_path / "orbits"
    folder.mkdir()
    with pytest.raises(FileNotFoundError, match=r"no orbit file .* expected S1A_OPER_AUX_POEORB"):
        product.scene(orbit=folder)
    # Another day, another satellite, and another suffix.
    other = EOF.format("POEORB").replace("V20231231", "V20231229").replace("_20240102", "_20231231")
    for name in (other, EOF.format("POEORB").replace("S1A", "S1B"), f"{EOF.format('POEORB')}.part"):
        (folder / name).write_text("no orbit")
    assert find_orbit_file(folder, "S1A", product.start, product.stop) is None
    (folder / EOF.format("RESORB")).write_text(eof_xml(made.orbit))
    assert "RESORB" in product.scene(orbit=folder).orbit.source


def test_an_orbit_beside_that_of_the_annotation_is_refused(
    product: Product, made: Made, tmp_path: Path
) -> None:
    path = tmp_path / "other.EOF"
    path.write_text(shifted(made.orbit, 40.0))
    assert product.scene(orbit=path).orbit.time.size
    other = eof_xml(circular_orbit(46.0, 40.0, duration=600.0))
    for text, message in (
        (shifted(made.orbit, 60.0), r"is 60 m away .* expected at most 50 m"),
        (other, r"m away from that of the annotation, .* another sat"),
    ):
        path.write_text(text)
        with pytest.raises(ProductError, match=message):
            product.scene(orbit=path)


def test_a_real_orbit_file_is_found() -> None:
    folder = shared_data("sentinel1", "orbits")
    start = np.datetime64("2023-08-23T15:00:00")
    found = find_orbit_file(folder, "S1A", start, start + np.timedelta64(25, "s"))
    assert found is not None
    assert "RESORB" in found.name
    assert find_orbit_file(folder, "S1A", start - 10**5, start) is None


# -------------------------------------------------------------------------------------- bad input


def unknown(folder: Path) -> list[Path]:
    """Make files that are no product of a known mission."""
    for name in ("S3A_OL_1.SEN3", "image.zarr", "empty"):
        (folder / name).mkdir()
    (folder / "S3A_OL_1.SEN3/xfdumanifest.xml").write_text("<x/>")
    (folder / "image.zarr/zarr.json").write_text("{}")
    (folder / "ICEYE.tif").write_bytes(b"II*\x00")
    with zipfile.ZipFile(folder / "TSX.zip", "w") as archive:
        archive.writestr("TSX1_SAR/TSX1_SAR.xml", "<x/>")
    return list(folder.iterdir())


def test_products_of_unknown_missions_are_refused_by_name(tmp_path: Path) -> None:
    assert set(READERS) == {"NISAR", "SICD", "Sentinel-1"}
    message = "is no product of a known mission; expected one of NISAR or SICD"
    for path in unknown(tmp_path):
        with pytest.raises(ProductError, match=f"{re.escape(path.name)}' {message}"):
            open_product(path)
    with pytest.raises(FileNotFoundError, match=r"no '.*gone.SAFE'; expected a product of NISAR"):
        open_product(tmp_path / "gone.SAFE")
    (tmp_path / "any.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ProductError, match=r"any\.zip is cut short, damaged, or not a zip"):
        open_product(tmp_path / "any.zip")


Spoil = Callable[["Path"], None]


def without(pattern: str) -> Spoil:
    def spoil(path: Path) -> None:
        (found,) = path.glob(pattern)
        found.unlink()

    return spoil


def measured(shape: tuple[int, int], dtype: str = "uint16") -> Spoil:
    """Put another measurement in place of one."""

    def spoil(path: Path) -> None:
        (measurement,) = path.glob("measurement/*-vv-*.tiff")
        tiff(measurement, np.ones(shape, dtype), dtype)

    return spoil


def edited(pattern: str, found: str, replacement: str) -> Spoil:
    """Change a text in a file, without the manifest."""

    def spoil(path: Path) -> None:
        (file,) = path.glob(pattern)
        file.write_text(re.sub(found, replacement, file.read_text(), count=1))

    return spoil


def respelt(**facts: str) -> Spoil:
    """Write another manifest."""
    return lambda path: save(path, {}, facts)


def halve_measurement(path: Path) -> None:
    (measurement,) = path.glob("measurement/*-vv-*.tiff")
    body = measurement.read_bytes()
    measurement.write_bytes(body[: len(body) // 2])


def rename_annotation(path: Path) -> None:
    vv, vh = sorted(path.glob("annotation/*.xml"), reverse=True)
    vh.write_bytes(vv.read_bytes())
    save(path, {})


def leave_no_images(path: Path) -> None:
    (path / "manifest.safe").write_text(manifest_xml({"preview/x.png": b""}))
    shutil.rmtree(path / "annotation")


MANIFEST = "manifest.safe"
KINDS = "expected GRD or SLC of Sentinel-1 in mode"
SPOILT: list[tuple[Spoil, str]] = [
    (without("annotation/*-vh-*.xml"), r"no annotation/s1a-iw-grd-vh-.*\.xml, which its manifest"),
    (without("annotation/calibration/calibration-*-vv-*"), r"no .*/calibration-s1a-iw-grd-vv"),
    (without("annotation/calibration/noise-*-vv-*"), r"has no .*/noise-s1a-iw-grd-vv"),
    (without("measurement/*-vv-*.tiff"), r"has no measurement/s1a-iw-grd-vv-.*\.tiff"),
    *(
        (measured(shape), f"has {shape[0]} lines x {shape[1]} samples, its annotation says 200 x")
        for shape in ((199, 250), (200, 100), (400, 250), (200, 251))
    ),
    (measured((200, 250), "float32"), "1 bands of float32 numbers, expected one of uint16"),
    (halve_measurement, r"\.tiff in .* damaged or cut short"),
    (
        edited("annotation/*-vv-*.xml", "Lines>200", "Lines>201"),
        "differs from its checksum in the ",
    ),
    (rename_annotation, r"is of IW V., its name says IW V.: fetch"),
    (leave_no_images, "no annotations of images"),
    (respelt(mode="WV"), f"is of mode WV, and its image is a string of separate vign.*{KINDS}"),
    (respelt(kind="OCN"), f"is of type OCN, and it holds winds.*{KINDS}"),
    (respelt(kind="RAW"), f"is of type RAW, and it holds echoes.*{KINDS}"),
    (respelt(mission="Z"), f"is of mission S1Z.*{KINDS}"),
    *(
        (edited(MANIFEST, r"\./measurement/", f"{href}/"), "leads out of the product")
        for href in ("../../etc/passwd", "/etc/passwd", r"..\\\\x", "file:///etc/passwd")
    ),
    *(
        (edited(MANIFEST, found, replacement), rf"manifest\.safe in .*{message}")
        for found, replacement, message in (
            ("<gml:coordinates>[^<]*", "<gml:coordinates>here", "pairs of latitude,longitude"),
            ("<dataObjectSection>.*</dataObjectSection>", "", "no files at"),
            ("<safe:startTime>[^<]*", "<safe:startTime>today", "expected a UTC time"),
            ("</xfdu:XFDU>", "", "not a complete XML file"),
            ("<xfdu:", "<!DOCTYPE x [<!ENTITY a 'ha'>]><xfdu:", "declares a document type"),
            ("<safe:platform>", "<safe:flatform>", "not a complete XML file"),
        )
    ),
]


@pytest.mark.parametrize(("spoil", "message"), SPOILT)
def test_a_spoilt_product_is_refused(
    made: Made, tmp_path: Path, spoil: Spoil, message: str
) -> None:
    path = copied(made, tmp_path)
    spoil(path)
    for source in (path, pack(path, tmp_path / "x.zip")):
        with pytest.raises((ProductError, AnnotationError), match=message):
            open_product(source).scene().image.compute()


def test_a_product_without_noise_opens_with_its_noise(made: Made, tmp_path: Path) -> None:
    path = copied(made, tmp_path)
    open_product(path).verify()
    without("annotation/calibration/noise-*-vv-*")(path)
    assert open_product(path).scene(noise_removal=False).image.shape == (2, 200, 250)


def test_all_files_are_verified_on_demand(made: Made, tmp_path: Path) -> None:
    path = copied(made, tmp_path)
    (measurement,) = path.glob("measurement/*-vh-*.tiff")
    body = bytearray(measurement.read_bytes())
    body[-1] ^= 1
    measurement.write_bytes(body)
    # One flipped bit of a pixel: only the checksum can tell.
    open_product(path).scene().image.compute()
    with pytest.raises(ProductError, match=r"measurement/.*-vh-.*\.tiff differs from its checksum"):
        open_product(path).verify()
    measurement.unlink()
    with pytest.raises(ProductError, match=r"\.tiff is missing or cannot be read; fetch it again"):
        open_product(path).verify()


def in_mode(made: Made, path: Path, mode: str, swath: str, file: str, **facts: str) -> Path:
    """Copy a product as one of another mode and swath."""
    files = {}
    for source in made.path.rglob("*.xml"):
        name = source.relative_to(made.path).as_posix()
        name = re.sub("-iw1?-", f"-{file}-", name)
        text = re.sub(">IW1?<", f">{swath}<", source.read_text())
        files[name] = text.replace(f"<mode>{swath}", f"<mode>{mode}")
    (measurement,) = made.path.glob("measurement/*")
    (path / "measurement").mkdir(parents=True)
    shutil.copy(measurement, path / "measurement" / re.sub("-iw1?-", f"-{file}-", measurement.name))
    polarisations = tuple(made.numbers)
    save(path, files, {"mode": mode, "swaths": (swath,), "polarisations": polarisations} | facts)
    return path


@pytest.mark.parametrize(("mode", "swath", "file"), [("EW", "EW", "ew"), ("S3", "S3", "s3")])
def test_grd_of_other_modes_are_the_same_code(
    tmp_path: Path, mode: str, swath: str, file: str
) -> None:
    made = grd_product(tmp_path / "iw", polarisations=("HH",))
    path = in_mode(made, tmp_path / "X.SAFE", mode, swath, file)
    product = open_product(path)
    assert product.swaths == (swath,)
    found = product.scene(noise_removal=False).image.values
    np.testing.assert_allclose(found, power(made, "HH", "beta0"), rtol=3e-6)


def test_products_with_cloud_optimised_measurements_are_read(made: Made, tmp_path: Path) -> None:
    path = tmp_path / NAME.replace(".SAFE", "_COG.SAFE")
    for source in made.path.rglob("*-0*"):
        name = source.relative_to(made.path)
        target = path / name.with_stem(f"{name.stem}-cog")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".tiff":
            options = {"tiled": True, "compress": "deflate", "blockxsize": 64, "blockysize": 64}
            tiff(target, made.numbers[name.stem.split("-")[3].upper()], **options)
        else:
            shutil.copy(source, target)
    save(path, {}, {})
    product = open_product(pack(path, tmp_path / "x.zip"))
    assert product.name.endswith("_COG.SAFE")
    found = product.scene(polarisations=("VH",), noise_removal=False).image.values
    np.testing.assert_allclose(found, power(made, "VH", "beta0"), rtol=3e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"polarisations": ("HH",)}, r"expected one or more of those .*: VV, VH"),
        ({"polarisations": ("VV", "vv")}, r"each once"),
        ({"swaths": ("IW1",)}, r"found swaths=\('IW1',\), expected .*: IW"),
        ({"multilook": (2, 2), "spacing": 30.0}, r"expected one of them"),
        ({"multilook": (0, 2)}, r"window of 0 lines"),
        ({"spacing": -1.0}, r"spacing"),
        ({"burst": 1}, r"found burst=1, and .* is a GRD"),
        ({"calibration": "delta0"}, r"delta0"),
        ({"bounds": (9, 45, 11, 47), "heights": (10.0, 0.0)}, "expected low before high"),
    ],
)
def test_what_a_product_does_not_have_is_refused(
    product: Product, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        product.scene(**options)


# ------------------------------------------------------------------------- what others make of it


@pytest.mark.parametrize("name", ["alps_20210401", "morocco_20230904"])
def test_real_tables_are_used_as_another_reader_uses_them(tmp_path: Path, name: str) -> None:
    """The tables as xarray-sentinel reads them, interpolated by xarray."""
    reader = pytest.importorskip("xarray_sentinel.sentinel1")
    folder = shared_data("sentinel1", name)
    plain = {}
    for kind in ("calibration", "noise"):
        (source,) = folder.glob(f"{kind}-*iw1-slc-vv*.xz")
        plain[kind] = tmp_path / source.stem
        plain[kind].write_bytes(lzma.decompress(source.read_bytes()))
    image = read_annotation(folder / source.name.removeprefix("noise-"))
    first_line, first_sample = 5333, 9111
    at = {"line": np.arange(first_line, first_line + 50), "pixel": first_sample + np.arange(70)}
    tables = reader.open_calibration_dataset(plain["calibration"])
    noise = reader.open_noise_range_dataset(plain["noise"]).noiseRangeLut.astype(np.float64)
    along = reader.open_noise_azimuth_dataset(plain["noise"]).noiseAzimuthLut.astype(np.float64)
    noise = noise.interp(at) * along.interp(line=at["line"])
    power = np.random.default_rng(3).gamma(1.0, 4e4, (50, 70))
    radiometry = Radiometry.from_xml(plain["calibration"], plain["noise"], image)
    for calibration, listed in NAMES.items():
        amplitude = tables[listed].astype(np.float64).interp(at)
        expected = (power - noise.values) / amplitude.values**2
        found = radiometry.calibrate(power, first_line, first_sample, calibration)
        assert np.abs(found - expected).max() < 3e-6 * np.abs(expected).max()
