"""NISAR RSLC products, from the file to the scene."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from sarheight.doppler import DopplerLUT
from sarheight.errors import ProductError
from sarheight.geometry import geo2rdr
from sarheight.grid import RadarGrid
from sarheight.illumination import simulate
from sarheight.nisar import open_product
from sarheight.orbit import Orbit
from sarheight.product import is_product
from sarheight.product import open_product as open_any
from tests.cli.commands import passing
from tests.conftest import shared_data
from tests.dems import dem_around, hills
from tests.mountains import PLAIN, mountain, raster
from tests.synthetic import synthetic_grid
from tests.worlds.rslc import write_rslc

SHAPE = 60, 80


def numbers(seed: int, shape: tuple[int, int] = SHAPE) -> NDArray[np.complex64]:
    generator = np.random.default_rng(seed)
    parts = generator.standard_normal((2, *shape))
    return (parts[0] + 1j * parts[1]).astype(np.complex64)


def world() -> tuple[RadarGrid, Orbit, DopplerLUT]:
    grid, orbit = synthetic_grid(
        height=1000.0, ground_range=False, lines=SHAPE[0], samples=SHAPE[1], sample_spacing=6.0
    )
    grid = replace(grid, wavelength=0.24, look_side="right")
    times = np.array([grid.first_time - 0.5, grid.last_time + 0.5])
    ranges = np.array([grid.near_range - 500.0, grid.near_range + 2000.0])
    return grid, orbit, DopplerLUT(times, ranges, [[90.0, 80.0], [92.0, 82.0]])


def written(folder: Path, **options: Any) -> tuple[Path, RadarGrid, Orbit, DopplerLUT]:  # noqa: ANN401
    grid, orbit, lut = world()
    path = folder / "NISAR_L1_RSLC.h5"
    images = {"A": {"HH": numbers(1), "HV": numbers(2)}, "B": {"VV": numbers(3, (60, 40))}}
    grids = {"A": grid, "B": replace(grid, samples=40, sample_spacing=12.0)}
    write_rslc(path, images, grids, orbit, doppler=lut, **options)
    return path, grid, orbit, lut


@pytest.mark.parametrize("older", [False, True])
def test_a_scene_has_the_image_the_grid_and_the_orbit(tmp_path: Path, older: bool) -> None:  # noqa: FBT001
    path, grid, orbit, lut = written(tmp_path, older=older)
    assert is_product(path)
    product = open_product(path)
    assert open_any(path).name == product.name
    assert product.swaths == ("A", "B")
    assert product.polarisations == ("HH", "HV")
    assert product.mission == ("ENVISAT" if older else "NISAR")
    scene = product.scene()
    assert scene.image.dims == ("polarisation", "line", "sample")
    for name, seed in (("HH", 1), ("HV", 2)):
        power = np.abs(numbers(seed)) ** 2
        found = scene.image.sel(polarisation=name).values
        np.testing.assert_allclose(found, power, rtol=1e-6 if older else 4e-3)
    assert scene.grid.doppler is None
    dem = dem_around(46.0, 10.0, hills((20, 20)), posting=20.0)
    here, there = geo2rdr(dem, scene.grid, scene.orbit), geo2rdr(dem, grid, orbit)
    np.testing.assert_allclose(here.line, there.line, rtol=0, atol=1e-4)
    np.testing.assert_allclose(here["sample"], there["sample"], rtol=0, atol=1e-4)
    native = product.grid_and_orbit(focusing="native")[0]
    assert native.doppler is not None
    time, slant_range = grid.first_time + 0.1, grid.near_range + 100.0
    assert native.wavelength == pytest.approx(0.24)
    assert float(native.doppler.at(time, slant_range)) == pytest.approx(
        float(lut.at(time, slant_range))
    )
    label, text = product.summary()[0]
    assert label == "what"
    assert product.name in text


def test_frequency_and_polarisation_are_chosen(tmp_path: Path) -> None:
    product = open_product(written(tmp_path)[0])
    other = product.scene(swaths=("B",))
    assert other.image.shape == (60, 40)
    assert other.grid.sample_spacing == pytest.approx(12.0)
    assert other.grid.polarisations == ("VV",)
    one = product.scene(polarisations=("hv",))
    assert one.image.dims == ("line", "sample")
    with pytest.raises(ValueError, match="frequency A with HH, HV; frequency B with VV"):
        product.scene(polarisations=("VV",))
    for options, message in (
        ({"swaths": ("C",)}, r"found frequency C.*frequency B with VV"),
        ({"calibration": "sigma0"}, "not filled in"),
        ({"burst": 1}, "found burst=1, and .* is an RSLC, which has no bursts"),
        (
            {"border_cleaning": True},
            "found border_cleaning, and .* is an RSLC, which has no bursts",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            product.scene(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no bursts"):
        product.burst_footprint(0)
    assert product.noise() is None


def test_intensities_are_calibrated_by_the_tables(tmp_path: Path) -> None:
    path, *_ = written(tmp_path, older=True, factors={"beta0": 3.0, "gamma0": 1.25})
    product = open_product(path)
    power = np.abs(numbers(1)) ** 2
    for name, factor in (("beta0", 3.0), ("sigma0", 1.0), ("gamma0", 1.25)):
        scene = product.scene(polarisations=("HH",), calibration=name)  # type: ignore[arg-type]
        assert scene.calibration == name
        np.testing.assert_allclose(scene.image, factor * power, rtol=1e-5)


def test_a_table_that_varies_is_bilinear(tmp_path: Path) -> None:
    path, grid, _, lut = written(tmp_path, older=True)
    with h5py.File(path, "r+") as file:
        name = "science/LSAR/SLC/metadata/calibrationInformation/geometry/beta0"
        file[name][...] = [[1.0, 2.0], [3.0, 5.0]]
    image = open_product(path).scene(polarisations=("HH",)).image.values
    line, sample = 17, 63
    u = (float(grid.azimuth_time(line)) - lut.azimuth_time[0]) / np.ptp(lut.azimuth_time)
    v = (float(grid.slant_range(0, sample)) - lut.slant_range[0]) / np.ptp(lut.slant_range)
    factor = (1 - u) * (1 + v) + u * (3 + 2 * v)
    assert image[line, sample] == pytest.approx(
        factor * abs(numbers(1)[line, sample]) ** 2, rel=1e-4
    )


def test_only_valid_samples_have_data(tmp_path: Path) -> None:
    valid = np.full((SHAPE[0], 2), (5, 70))
    valid[10] = (0, 0)
    path, *_ = written(tmp_path, valid=valid, older=True)
    with h5py.File(path, "r+") as file:
        file["science/LSAR/SLC/swaths/frequencyA/HH"][30, 30] = 0.0
        del file["science/LSAR/SLC/swaths/frequencyB"]
    image = open_product(path).scene(polarisations=("HH",)).image.values
    expected = np.zeros(SHAPE, dtype=bool)
    expected[:, 5:70] = True
    expected[10] = expected[30, 30] = False
    np.testing.assert_array_equal(np.isfinite(image), expected)


def test_parts_and_averages_are_read(tmp_path: Path) -> None:
    path, grid, *_ = written(tmp_path, older=True)
    product = open_product(path)
    whole = product.scene(polarisations=("HH",))
    part = product.scene(
        polarisations=("HH",), bounds=(9.9995, 45.9995, 10.0005, 46.0005), heights=(990.0, 1010.0)
    )
    assert part.image.size < whole.image.size
    line = round((part.grid.line_zero_time - whole.grid.line_zero_time) / grid.line_interval)
    sample = round((part.grid.near_range - whole.grid.near_range) / grid.sample_spacing)
    lines, samples = part.image.shape
    np.testing.assert_array_equal(
        part.image, whole.image[line : line + lines, sample : sample + samples]
    )
    coarse = product.scene(polarisations=("HH",), multilook=(4, 5))
    assert coarse.image.shape == (15, 16)
    # 0.8 and 0.5 of the pixels are independent.
    assert coarse.grid.looks == pytest.approx(20 * 0.4)


def test_the_command_line_takes_a_product(tmp_path: Path) -> None:
    grid, orbit = synthetic_grid(
        lines=300, samples=400, height=PLAIN, ground_range=False, sample_spacing=6.0
    )
    heights = raster(mountain(40, 50))
    heights.drop_attrs().rio.write_crs(heights.rio.crs).rio.to_raster(tmp_path / "dem.tif")
    power = np.nan_to_num(simulate(heights, grid, orbit).image.values)
    lut = DopplerLUT(
        [grid.first_time - 1.0, grid.last_time + 1.0],
        [grid.near_range - 1e3, grid.near_range + 1e4],
        np.zeros((2, 2)),
    )
    image = (np.sqrt(0.5 * power) * numbers(0, grid.shape)).astype(np.complex64)
    path = write_rslc(tmp_path / "rslc.h5", {"A": {"HH": image}}, {"A": grid}, orbit, doppler=lut)
    done = passing("info", str(path))
    assert "300 lines x 400 samples of HH" in " ".join(done.output.split())
    output = tmp_path / "result.nc"
    words = ["reconstruct", str(path), "--dem", str(tmp_path / "dem.tif"), "-o", str(output)]
    passing(*words, "--vertical", "ellipsoidal", "--coregister", "none")
    with xr.open_dataset(output) as result:
        assert float(np.isfinite(result["gamma0"]).mean()) > 0.8


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "any.h5"
    with pytest.raises(FileNotFoundError, match="no file"):
        open_product(path)
    path.write_bytes(b"text")
    with pytest.raises(ProductError, match="not an HDF5 file"):
        open_product(path)
    with h5py.File(path, "w") as file:
        file["science/LSAR/GCOV/grids/x"] = 1.0
    with pytest.raises(ProductError, match=r"found the product GCOV.*expected an RSLC"):
        open_product(path)
    with pytest.raises(ProductError, match="download"):
        open_product("https://example.org/NISAR.h5")


def test_damage_is_named(tmp_path: Path) -> None:
    path, *_ = written(tmp_path)
    whole = path.read_bytes()
    for name, place, added, message in (
        ("swaths/zeroDopplerTime", 7, 1e-2, "not even"),
        ("swaths/zeroDopplerTime", "units", "seconds", "seconds since"),
        ("metadata/orbit/position", (3, 1), 1000.0, "state vector 4 of"),
        ("metadata/orbit/velocity", None, None, r"has no .*metadata/orbit/velocity"),
    ):
        path.write_bytes(whole)
        with h5py.File(path, "r+") as file:
            del file["science/LSAR/RSLC/swaths/frequencyB"]
            if place == "units":
                file[f"science/LSAR/RSLC/{name}"].attrs[place] = added
            elif place is not None:
                file[f"science/LSAR/RSLC/{name}"][place] += added
            else:
                del file[f"science/LSAR/RSLC/{name}"]
        with pytest.raises(ProductError, match=message):
            open_product(path).scene()


@pytest.mark.parametrize("older", [False, True])
def test_whatever_is_damaged_there_is_a_word_for_it(tmp_path: Path, older: bool) -> None:  # noqa: FBT001
    """Arrays in turn become NaN, text, and of three dimensions."""
    path, *_ = written(tmp_path, older=older)
    whole = path.read_bytes()
    names: list[str] = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: names.append(name) if hasattr(item, "dtype") else None)
    refused = 0
    for number, name in enumerate(names):
        path.write_bytes(whole)
        with h5py.File(path, "r+") as file:
            damaged = np.full(file[name].shape, np.nan), np.zeros((3, 3, 3)), b"\xff"
            del file[name]
            file[name] = damaged[(number + older) % 3]
        try:
            product = open_product(path)
            product.summary()
            product.scene(polarisations=("HH",), focusing="native").image.compute()
        except (ProductError, ValueError):
            refused += 1
    assert refused > 5


def test_a_centroid_that_does_not_cover_the_image_is_refused(tmp_path: Path) -> None:
    path, *_ = written(tmp_path)
    name = "science/LSAR/RSLC/metadata/processingInformation/parameters/frequencyA/slantRange"
    with h5py.File(path, "r+") as file:
        file[name][...] += 5e4
    product = open_product(path)
    assert product.scene().grid.doppler is None
    with pytest.raises(ValueError, match="covers the image"):
        product.scene(focusing="native")


def test_heights_of_isce3_are_met_at_native_doppler() -> None:
    """The positions of all pixels of an ENVISAT image, made by another program."""
    from sarheight.ellipsoid import to_earth_fixed
    from sarheight.geometry.placement import time_and_range

    path = shared_data("radar_pixels", "envisat_mojave/envisat.h5")
    product = open_product(path)
    scene = product.scene(focusing="native")
    x, y, z = (
        np.fromfile(path.parent / "topo" / f"{name}.rdr").reshape(scene.grid.shape)[::20, ::20]
        for name in "xyz"
    )
    position, normal = to_earth_fixed(x, y)
    points = (position + z[..., None] * normal).reshape(-1, 3)
    time, slant_range = time_and_range(points, scene.grid, scene.orbit)
    line, sample = np.meshgrid(np.arange(0, 500, 20), np.arange(0, 500, 20), indexing="ij")
    assert np.abs(scene.grid.azimuth_time(line).ravel() - time).max() < 1e-8
    assert np.abs(scene.grid.slant_range(0, sample).ravel() - slant_range).max() < 1e-5
