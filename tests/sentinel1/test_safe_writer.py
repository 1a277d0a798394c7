"""Tests of `tests.worlds.safe_product`: the product on disk, and its readers."""

from __future__ import annotations

import errno
import hashlib
import subprocess
import sys
import xml.etree.ElementTree as ET
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import pytest
import rasterio
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from sarheight.acquisition import relative_orbit
from sarheight.ellipsoid import SPEED_OF_LIGHT
from sarheight.errors import OutputError
from sarheight.scene import Scene
from sarheight.sentinel1 import read_annotation, read_grid, read_orbit
from sarheight.sentinel1._product import open_product
from tests.annotations import BURST_STEP, INVALID_LINES, LINES_PER_BURST
from tests.simulated_products import cropped, ground_image, slant_image, the_file
from tests.worlds import safe_product as _write
from tests.worlds.safe_annotation import shifted
from tests.worlds.safe_product import write_product
from tests.worlds.safe_tables import ThermalNoise, with_noise

if TYPE_CHECKING:
    from numpy.typing import NDArray

TABLES = {"beta0": "betaNought", "sigma0": "sigmaNought", "gamma0": "gamma"}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, Path]:
    """A GRD that is part of its annotation's image."""
    annotation, scene = ground_image()
    path = tmp_path_factory.mktemp("ground") / "ground.SAFE"
    write_product(scene, path, like=annotation)
    return scene, path


@pytest.fixture(scope="module")
def slant(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, Path]:
    """An SLC of three bursts."""
    annotation, scene = slant_image()
    path = tmp_path_factory.mktemp("slant") / "slant.SAFE"
    write_product(scene, path, like=annotation)
    return scene, path


def annotation_of(path: Path) -> Path:
    return the_file(path, "annotation/*.xml")


def numbers_of(path: Path) -> NDArray[Any]:
    with rasterio.open(the_file(path, "measurement/*.tiff")) as file:
        return np.asarray(file.read(1))


def table_of(path: Path, calibration: str) -> NDArray[np.float64]:
    """Interpolate the calibration table for each pixel of the file, by an own reader."""
    root = ET.parse(the_file(path, "annotation/calibration/calibration-*.xml"))  # noqa: S314
    vectors = list(root.iter("calibrationVector"))
    table = xr.DataArray(
        [np.array(v.findtext(TABLES[calibration], "").split(), float) for v in vectors],
        dims=("line", "pixel"),
        coords={
            "line": [int(v.findtext("line", "")) for v in vectors],
            "pixel": np.array(vectors[0].findtext("pixel", "").split(), int),
        },
    )
    lines, samples = numbers_of(path).shape
    return table.interp(line=np.arange(lines), pixel=np.arange(samples)).values


class TestFolder:
    def test_files_have_the_names_that_esa_gives(self, ground: tuple[Scene, Path]) -> None:
        _, path = ground
        image = the_file(path, "measurement/*.tiff").stem
        assert image.startswith("s1a-iw-grd-vv-20240101t05594")
        assert image.endswith("-052000-064d89-001")
        assert {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()} == {
            "manifest.safe",
            f"annotation/{image}.xml",
            f"annotation/calibration/calibration-{image}.xml",
            f"annotation/calibration/noise-{image}.xml",
            f"measurement/{image}.tiff",
        }

    def test_an_existing_folder_takes_the_product_under_its_name(self, tmp_path: Path) -> None:
        annotation, scene = slant_image()
        written = write_product(scene, tmp_path, like=annotation)
        assert written.path == tmp_path / written.name
        assert written.name.startswith("S1A_IW_SLC__1SSV_20240101T05594")
        assert "_052000_064D89_" in written.name
        assert (written.path / "manifest.safe").is_file()

    def test_the_manifest_lists_every_file_with_size_and_checksum(
        self, ground: tuple[Scene, Path]
    ) -> None:
        _, path = ground
        manifest = ET.parse(path / "manifest.safe")  # noqa: S314
        listed = {}
        for stream in manifest.iter("byteStream"):
            location = stream.find("fileLocation")
            assert location is not None
            listed[location.attrib["href"]] = (stream.attrib["size"], stream.findtext("checksum"))
        found = {
            f"./{file.relative_to(path)}": (
                str(file.stat().st_size),
                hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest(),
            )
            for file in path.rglob("*.*")
            if file.is_file() and file.name != "manifest.safe"
        }
        assert listed == found

    def test_every_file_says_that_it_is_simulated(self, ground: tuple[Scene, Path]) -> None:
        _, path = ground
        for file in path.rglob("*.*"):
            if file.is_file():
                assert b"not an observation" in file.read_bytes(), file

    def test_the_footprint_goes_through_the_corners(self, ground: tuple[Scene, Path]) -> None:
        _, path = ground
        manifest = (path / "manifest.safe").read_text("utf-8")
        corners = manifest.partition("<gml:coordinates>")[2].partition("<")[0].split()
        found = [tuple(map(float, corner.split(","))) for corner in corners]
        points = read_annotation(annotation_of(path)).geolocation
        for (latitude, longitude), (last_line, last_pixel) in zip(
            found, ((True, False), (True, True), (False, True), (False, False)), strict=True
        ):
            line = points.line.max() if last_line else 0
            pixel = points.pixel.max() if last_pixel else 0
            (at,) = np.flatnonzero((points.line == line) & (points.pixel == pixel))
            assert longitude == pytest.approx(points.longitude[at], abs=1e-5)
            assert latitude == pytest.approx(points.latitude[at], abs=1e-5)

    def test_inputs_are_named_without_their_folders(self, tmp_path: Path) -> None:
        annotation, scene = ground_image()
        like = tmp_path / "like.xml"
        like.write_bytes(annotation)
        path = tmp_path / "a.SAFE"
        write_product(scene, path, like=like, inputs={"elevation model": "alps.tif"})
        text = (path / "manifest.safe").read_text("utf-8")
        assert 'name="alps.tif" role="elevation model"' in text
        assert 'name="like.xml"' in text
        assert str(tmp_path) not in text

    def test_a_zip_holds_the_same_as_a_folder(
        self, ground: tuple[Scene, Path], tmp_path: Path
    ) -> None:
        _, path = ground
        annotation, scene = ground_image()
        written = write_product(scene, tmp_path / "product.SAFE.zip", like=annotation)
        with zipfile.ZipFile(written.path) as archive:
            assert archive.testzip() is None
            for file in path.rglob("*.*"):
                if file.is_file() and file.name != "manifest.safe":
                    name = f"product.SAFE/{file.relative_to(path)}"
                    assert archive.read(name) == file.read_bytes()
        folder, zipped = (open_product(each).scene().image for each in (path, written.path))
        assert_array_equal(folder.values, zipped.values)

    def test_two_polarisations_make_two_images(self, tmp_path: Path) -> None:
        (vv, one), (vh, two) = ground_image(1), ground_image(2, polarisation="VH")
        path = tmp_path / "dual.SAFE"
        written = write_product([one, two], path, like=[vv, vh])
        assert "_IW_GRDH_1SDV_" in written.name
        product = open_product(path)
        assert product.polarisations == ("VV", "VH")
        image = product.scene(polarisations=("VH", "VV")).image
        for index, scene in enumerate((two, one)):
            error = np.sqrt(image[index].values) - np.sqrt(scene.image.values)
            assert np.abs(error).max() < 0.51 / written.calibration_factor

    def test_one_scene_may_hold_all_polarisations(self, tmp_path: Path) -> None:
        (vv, one), (vh, two) = ground_image(1), ground_image(2, polarisation="VH")
        both = xr.concat([two.image, one.image], "polarisation")
        both = both.assign_coords(polarisation=["VH", "VV"])
        paths = tmp_path / "one.SAFE", tmp_path / "two.SAFE"
        write_product(replace(one, image=both), paths[0], like=[vv, vh])
        write_product([one, two], paths[1], like=[vv, vh])
        first, second = (open_product(path).scene().image.values for path in paths)
        assert_array_equal(first, second)

    def test_an_slc_has_an_image_for_each_swath(self, tmp_path: Path) -> None:
        (first, one), (second, two) = slant_image(1), slant_image(2, swath="IW2")
        path = tmp_path / "two.SAFE"
        write_product([one, two], path, like=[first, second])
        assert open_product(path).swaths == ("IW1", "IW2")
        names = sorted(file.name[:15] for file in (path / "measurement").iterdir())
        assert names == ["s1a-iw1-slc-vv-", "s1a-iw2-slc-vv-"]


class TestGeometry:
    @pytest.mark.parametrize("kind", ["ground", "slant"])
    def test_the_annotation_gives_the_grid_of_the_scene(
        self, kind: str, request: pytest.FixtureRequest
    ) -> None:
        scene, path = request.getfixturevalue(kind)
        grid = read_grid(annotation_of(path)).with_epoch(scene.grid.epoch)
        assert grid.shape == scene.grid.shape
        line, sample = np.meshgrid(
            np.linspace(0, grid.lines - 1, 7), np.linspace(0, grid.samples - 1, 7)
        )
        ranges = scene.grid.slant_range(line, sample)
        assert_allclose(grid.slant_range(line, sample), ranges, rtol=0, atol=1e-4)
        times = scene.grid.azimuth_time(line, ranges)
        assert_allclose(grid.azimuth_time(line, ranges), times, rtol=0, atol=2e-6)

    @pytest.mark.parametrize("kind", ["ground", "slant"])
    def test_geolocation_points_are_seen_where_they_say(
        self, kind: str, request: pytest.FixtureRequest
    ) -> None:
        _, path = request.getfixturevalue(kind)
        source = annotation_of(path)
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
        assert points.line.max() == annotation.lines - 1
        assert points.pixel.max() == annotation.samples - 1

    def test_geolocation_points_are_the_control_points_of_the_image(
        self, ground: tuple[Scene, Path]
    ) -> None:
        _, path = ground
        points = read_annotation(annotation_of(path)).geolocation
        with rasterio.open(the_file(path, "measurement/*.tiff")) as file:
            control, system = file.gcps
        assert system.to_epsg() == 4326
        found = [(each.row, each.col, each.x, each.y) for each in control]
        wanted = zip(points.line, points.pixel, points.longitude, points.latitude, strict=True)
        assert_allclose(found, list(wanted), rtol=0, atol=1e-9)

    def test_the_orbit_is_kept_or_replaced(self, tmp_path: Path) -> None:
        annotation, scene = ground_image()
        own = read_orbit(annotation)
        write_product(scene, tmp_path / "own.SAFE", like=annotation)
        text = annotation_of(tmp_path / "own.SAFE").read_text("utf-8")
        vectors = read_annotation(text.encode()).state_vectors
        assert_array_equal(vectors.velocity, read_annotation(annotation).state_vectors.velocity)
        turned = replace(scene, orbit=own.rotate(0.5))
        write_product(turned, tmp_path / "turned.SAFE", like=annotation)
        found = read_orbit(annotation_of(tmp_path / "turned.SAFE"))
        at = np.linspace(scene.grid.first_time, scene.grid.last_time, 5)
        wanted = turned.orbit.state(at)[0]
        assert_allclose(found.with_epoch(own.epoch).state(at)[0], wanted, rtol=0, atol=1e-3)

    @given(
        coefficients=st.lists(st.floats(-10, 10), min_size=1, max_size=9),
        by=st.floats(-3, 3),
        at=st.floats(-3, 3),
    )
    def test_a_shifted_polynomial_is_the_same_farther_on(
        self, coefficients: list[float], by: float, at: float
    ) -> None:
        polynomial = np.array(coefficients)
        moved = np.polynomial.polynomial.polyval(at, shifted(polynomial, by))
        size = np.polynomial.polynomial.polyval(6.0, np.abs(polynomial))
        found = np.polynomial.polynomial.polyval(at + by, polynomial)
        assert_allclose(moved, found, rtol=0, atol=1e-9 * (1.0 + size))


class TestNumbers:
    @pytest.mark.parametrize("calibration", ["beta0", "sigma0", "gamma0"])
    def test_amplitudes_come_back_to_half_a_number(self, tmp_path: Path, calibration: str) -> None:
        annotation, scene = ground_image(calibration=calibration)
        path = tmp_path / "a.SAFE"
        written = write_product(scene, path, like=annotation)
        numbers, table = numbers_of(path), table_of(path, calibration)
        assert numbers.dtype == np.uint16
        assert written.saturated == (0.0,)
        assert 0.98 * 65535 < numbers.max() < 65535
        assert np.abs(numbers - table * np.sqrt(scene.image.values)).max() < 0.501
        image = open_product(path).scene(calibration=calibration).image.values  # type: ignore[arg-type]
        error = np.sqrt(image) - np.sqrt(scene.image.values)
        assert np.abs(error * table).max() < 0.51

    def test_calibrations_differ_by_the_incidence_on_the_ellipsoid(
        self, ground: tuple[Scene, Path]
    ) -> None:
        _, path = ground
        beta, sigma, gamma = (table_of(path, name) for name in TABLES)
        sine, tangent = (beta / sigma) ** 2, (beta / gamma) ** 2
        assert_allclose(np.tan(np.arcsin(sine)), tangent, rtol=1e-5)
        assert 33.0 < np.degrees(np.arcsin(sine)).mean() < 35.0
        assert (np.diff(sine, axis=1) > 0.0).all()

    def test_bursts_repeat_the_lines_that_they_share(self, slant: tuple[Scene, Path]) -> None:
        _, path = slant
        bursts = numbers_of(path).reshape(3, LINES_PER_BURST, -1)
        shared = slice(BURST_STEP + INVALID_LINES, LINES_PER_BURST - INVALID_LINES)
        again = slice(INVALID_LINES, LINES_PER_BURST - BURST_STEP - INVALID_LINES)
        assert np.abs(bursts[0, shared]).min() >= 0.0
        assert_array_equal(bursts[:-1, shared], bursts[1:, again])
        assert np.count_nonzero(bursts[0, shared]) > 0.9 * bursts[0, shared][:, 5:191].size

    def test_invalid_samples_are_zero(self, slant: tuple[Scene, Path]) -> None:
        _, path = slant
        numbers = numbers_of(path)
        for index, burst in enumerate(read_annotation(annotation_of(path)).bursts):
            for line, (first, last) in enumerate(
                zip(burst.first_valid_sample, burst.last_valid_sample, strict=True)
            ):
                row = numbers[index * LINES_PER_BURST + line].copy()
                if first >= 0:
                    row[first : last + 1] = 0
                assert not row.any()

    def test_one_look_becomes_circular_complex_gaussian(self, slant: tuple[Scene, Path]) -> None:
        scene, path = slant
        numbers = numbers_of(path)[INVALID_LINES : LINES_PER_BURST - INVALID_LINES, 5:191]
        level = 10.0 ** np.linspace(-2.0, 0.0, scene.grid.samples)[5:191]
        values = (numbers / table_of(path, "beta0")[0, 0] / np.sqrt(level)).ravel()
        assert abs(np.mean(values)) < 5 / np.sqrt(values.size)
        assert abs(np.mean(values**2)) < 7 / np.sqrt(values.size)
        assert np.mean(np.abs(values) ** 2) == pytest.approx(1.0, abs=5 / np.sqrt(values.size))
        assert np.mean(np.abs(values) ** 4) == pytest.approx(2.0, abs=0.25)

    def test_an_slc_comes_back_through_the_reader(self, slant: tuple[Scene, Path]) -> None:
        scene, path = slant
        image = open_product(path).scene(swaths=("IW1",)).image.squeeze(drop=True).values
        table = table_of(path, "beta0")[0, 0]
        inside = np.isfinite(image)
        inside[:, :5], inside[:, 191:] = False, False
        assert inside[INVALID_LINES:-INVALID_LINES, 5:191].all()
        error = np.sqrt(image) - np.sqrt(scene.image.values)
        assert np.abs(error[inside]).max() * table < 0.75

    def test_only_the_bursts_that_the_scene_meets_are_kept(self, tmp_path: Path) -> None:
        annotation, scene = slant_image()
        # The part begins behind the last valid line of the first burst.
        part = cropped(scene, slice(70, 100), slice(20, 160))
        path = tmp_path / "part.SAFE"
        write_product(part, path, like=annotation)
        cut, whole = read_annotation(annotation_of(path)), read_annotation(annotation)
        assert [burst.azimuth_time for burst in cut.bursts] == [
            burst.azimuth_time for burst in whole.bursts[1:2]
        ]
        assert cut.samples == 140
        assert cut.bursts[0].first_valid_sample.max() == 0
        assert cut.bursts[0].last_valid_sample.max() == 139
        numbers = numbers_of(path)
        assert numbers.shape == (LINES_PER_BURST, 140)
        rows = np.flatnonzero(np.abs(numbers).any(axis=1))
        assert (rows[0], rows[-1]) == (20, 49)

    def test_each_burst_begins_in_the_file_where_it_says(self, slant: tuple[Scene, Path]) -> None:
        _, path = slant
        tree = ET.parse(annotation_of(path))  # noqa: S314
        data = the_file(path, "measurement/*.tiff").read_bytes()
        numbers = numbers_of(path)
        for index, burst in enumerate(tree.iter("burst")):
            begin = int(burst.findtext("byteOffset", ""))
            line = index * LINES_PER_BURST + 10
            at = begin + 10 * numbers.shape[1] * 4
            parts = np.frombuffer(data, "<i2", 2 * numbers.shape[1], at)
            assert_array_equal(parts[::2] + 1j * parts[1::2], numbers[line])

    def test_a_large_factor_saturates_and_says_so(self, tmp_path: Path) -> None:
        annotation, scene = ground_image()
        factor = 65535.0 / float(np.sqrt(np.quantile(scene.image.values, 0.9)))
        with pytest.warns(UserWarning, match=r"10 % of the pixels .* saturate"):
            written = write_product(
                scene, tmp_path / "a.SAFE", like=annotation, calibration_factor=factor
            )
        assert written.saturated[0] == pytest.approx(0.1, abs=0.001)
        assert numbers_of(tmp_path / "a.SAFE").max() == 65535

    def test_missing_data_and_darkness_are_zero(self, tmp_path: Path) -> None:
        annotation, scene = ground_image()
        power = scene.image.values.copy()
        power[:5], power[5:9], power[9:12] = np.nan, 0.0, -0.1
        write_product(
            replace(scene, image=scene.image.copy(data=power)),
            tmp_path / "a.SAFE",
            like=annotation,
        )
        numbers = numbers_of(tmp_path / "a.SAFE")
        assert not numbers[:12].any()
        assert numbers[12:].any()

    def test_an_image_without_any_power_is_written(self, tmp_path: Path) -> None:
        annotation, scene = ground_image()
        dark = replace(scene, image=scene.image * 0.0)
        write_product(dark, tmp_path / "dark.SAFE", like=annotation)
        assert not numbers_of(tmp_path / "dark.SAFE").any()

    def test_the_image_may_be_lazy(self, ground: tuple[Scene, Path], tmp_path: Path) -> None:
        _, path = ground
        annotation, scene = ground_image()
        lazy = replace(scene, image=scene.image.chunk({"line": 64}))
        write_product(lazy, tmp_path / "lazy.SAFE", like=annotation)
        assert_array_equal(numbers_of(tmp_path / "lazy.SAFE"), numbers_of(path))


class TestNoise:
    @pytest.mark.parametrize("make", [ground_image, slant_image])
    def test_the_reader_removes_what_was_added(self, tmp_path: Path, make: Any) -> None:  # noqa: ANN401
        annotation, scene = make()
        # Straight lines: what is between the values of the tables is interpolated without error.
        noise = ThermalNoise(
            np.linspace(0.01, 0.04, scene.grid.samples), np.linspace(1.0, 1.2, scene.grid.lines)
        )
        path = tmp_path / "noisy.SAFE"
        written = write_product(with_noise(scene, noise), path, like=annotation, noise=noise)
        product = open_product(path)
        clean = product.scene().image.squeeze(drop=True).values
        inside = np.s_[4:-4, 6:190]
        error = (clean - scene.image.values)[inside]
        loudest = np.sqrt((scene.image.values + noise.power())[inside])
        assert np.abs(error / (2.0 * loudest)).max() * written.calibration_factor < 0.8
        raw = product.scene(noise_removal=False).image.squeeze(drop=True).values
        assert_allclose((raw - clean)[inside], noise.power()[inside], rtol=1e-4)

    def test_noise_like_that_of_sentinel1_is_removed_but_for_interpolation(
        self, tmp_path: Path
    ) -> None:
        annotation, scene = ground_image()
        noise = ThermalNoise.like_sentinel1(scene.grid, 0.02)
        path = tmp_path / "noisy.SAFE"
        write_product(with_noise(scene, noise), path, like=annotation, noise=noise)
        error = open_product(path).scene().image.values - scene.image.values
        assert np.sqrt(np.mean(error**2)) < 0.05 * noise.power().mean()
        assert noise.power().max() > 2.5 * noise.power().min()

    def test_noise_of_the_simulation_is_found_in_its_attributes(self, tmp_path: Path) -> None:
        annotation, scene = ground_image(calibration="sigma0")
        image = (scene.image + 0.01).assign_attrs(noise_equivalent=0.01)
        path = tmp_path / "noisy.SAFE"
        write_product(replace(scene, image=image), path, like=annotation)
        clean = open_product(path).scene(calibration="sigma0").image.values
        assert_allclose(clean, scene.image.values, rtol=0, atol=2e-4)

    def test_noise_and_echo_share_their_speckle(self) -> None:
        _, scene = ground_image()
        flat = replace(scene, image=scene.image * 0.0 + 1.0)
        noisy = with_noise(flat, ThermalNoise.constant(scene.grid, 1.0), looks=4.0, seed=3)
        assert float(noisy.image.mean()) == pytest.approx(2.0, rel=0.01)
        assert float(noisy.image.var()) == pytest.approx(1.0, rel=0.03)

    @pytest.mark.parametrize("bad", [-1.0, np.nan])
    def test_noise_that_is_no_power_is_refused(self, bad: float) -> None:
        with pytest.raises(ValueError, match="linear power, not negative"):
            ThermalNoise(np.array([1.0, bad]), np.ones(3))

    def test_noise_of_another_image_is_refused(self, tmp_path: Path) -> None:
        annotation, scene = ground_image()
        other = ThermalNoise(np.ones(3), np.ones(4))
        with pytest.raises(ValueError, match="noise for 4 lines and 3 samples"):
            write_product(scene, tmp_path / "a.SAFE", like=annotation, noise=other)
        with pytest.raises(ValueError, match="noise for 4 lines and 3 samples"):
            with_noise(scene, other)
        with pytest.raises(ValueError, match="looks=0"):
            with_noise(scene, ThermalNoise.constant(scene.grid, 1.0), looks=0)


class TestRefusals:
    def test_a_multilooked_scene(self, tmp_path: Path) -> None:
        annotation, scene = ground_image()
        coarse = Scene(
            scene.image.coarsen(line=2, sample=2).mean(),
            scene.grid.multilook(2, 2),
            scene.orbit,
            "beta0",
        )
        with pytest.raises(ValueError, match="cropped but not multilooked"):
            write_product(coarse, tmp_path / "a.SAFE", like=annotation)

    def test_a_scene_in_the_other_range(self, tmp_path: Path) -> None:
        annotation, _ = ground_image()
        _, scene = slant_image()
        with pytest.raises(ValueError, match="scene in slant range"):
            write_product(scene, tmp_path / "a.SAFE", like=annotation)

    def test_a_scene_between_the_pixels_of_an_slc(self, tmp_path: Path) -> None:
        annotation, scene = slant_image()
        beside = replace(scene.grid, near_range=scene.grid.near_range + 1.0)
        with pytest.raises(ValueError, match=r"begins 0\.429 pixels behind"):
            write_product(replace(scene, grid=beside), tmp_path / "a.SAFE", like=annotation)

    def test_a_scene_that_meets_no_burst(self, tmp_path: Path) -> None:
        annotation, scene = slant_image()
        grid = scene.grid
        later = replace(grid, line_zero_time=float(grid.azimuth_time(1000)), bursts=())
        with pytest.raises(ValueError, match="meets no burst"):
            write_product(replace(scene, grid=later), tmp_path / "a.SAFE", like=annotation)

    def test_annotations_of_different_acquisitions(self, tmp_path: Path) -> None:
        (vv, one), (vh, two) = ground_image(), ground_image(polarisation="VH")
        other = vh.replace(b">52000<", b">52001<")
        with pytest.raises(ValueError, match="different acquisitions"):
            write_product([one, two], tmp_path / "a.SAFE", like=[vv, other])

    def test_the_same_image_twice(self, tmp_path: Path) -> None:
        annotation, scene = ground_image()
        with pytest.raises(ValueError, match="two annotations of IW VV"):
            write_product(scene, tmp_path / "a.SAFE", like=[annotation, annotation])

    def test_polarisations_that_no_product_has_together(self, tmp_path: Path) -> None:
        (vv, one), (hh, two) = ground_image(), ground_image(polarisation="HH")
        with pytest.raises(ValueError, match="found polarisations VV, HH"):
            write_product([one, two], tmp_path / "a.SAFE", like=[vv, hh])

    def test_numbers_that_do_not_agree(self, tmp_path: Path) -> None:
        annotation, scene = ground_image()
        path = tmp_path / "a.SAFE"
        with pytest.raises(ValueError, match="2 scenes and 3 annotations"):
            write_product([scene, scene], path, like=[annotation] * 3)
        with pytest.raises(ValueError, match="no annotation"):
            write_product(scene, path, like=[])
        with pytest.raises(ValueError, match="2 kinds of noise for 1 images"):
            write_product(scene, path, like=annotation, noise=[None, None])
        with pytest.raises(ValueError, match="calibration_factor=-1"):
            write_product(scene, path, like=annotation, calibration_factor=-1.0)

    def test_a_scene_without_the_polarisation(self, tmp_path: Path) -> None:
        annotation, scene = ground_image()
        held = scene.image.expand_dims(polarisation=["VH"])
        with pytest.raises(ValueError, match=r"scene of VH .* its polarisation, VV"):
            write_product(replace(scene, image=held), tmp_path / "a.SAFE", like=annotation)

    def test_a_place_that_is_taken(self, tmp_path: Path) -> None:
        annotation, scene = ground_image()
        path = tmp_path / "a.SAFE"
        write_product(scene, path, like=annotation)
        with pytest.raises(OutputError, match="exists already"):
            write_product(scene, path, like=annotation)
        before = (path / "manifest.safe").stat().st_ino
        write_product(scene, path, like=annotation, overwrite=True)
        assert (path / "manifest.safe").stat().st_ino != before
        other = tmp_path / "other.SAFE"
        other.mkdir()
        (other / "precious.txt").touch()
        with pytest.raises(OutputError, match="not a Sentinel-1 product"):
            write_product(scene, other, like=annotation, overwrite=True)

    def test_a_name_of_another_kind(self, tmp_path: Path) -> None:
        annotation, scene = ground_image()
        with pytest.raises(OutputError, match=r"use one of \.safe, \.zip"):
            write_product(scene, tmp_path / "a.tif", like=annotation)

    @pytest.mark.parametrize("name", ["a.SAFE", "a.SAFE.zip"])
    def test_a_disk_that_is_full_is_left_as_it_was(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        def full(*_: object) -> bytes:
            raise OSError(errno.ENOSPC, "No space left on device")

        annotation, scene = ground_image()
        monkeypatch.setattr(_write, "manifest_document", full)
        with pytest.raises(OutputError, match="no space left on device"):
            write_product(scene, tmp_path / name, like=annotation)
        assert not list(tmp_path.iterdir())

    def test_a_measurement_that_was_not_written_is_noticed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = rasterio.io.DatasetWriter.write
        calls = iter(range(100))

        def forgetful(self: Any, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
            if next(calls) == 0:
                write(self, arguments[0] * 0, *arguments[1:], **options)
            else:
                write(self, *arguments, **options)

        annotation, scene = ground_image()
        monkeypatch.setattr(rasterio.io.DatasetWriter, "write", forgetful)
        with pytest.raises(OutputError, match="differs from what was written"):
            write_product(scene, tmp_path / "a.SAFE", like=annotation)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("mission", "absolute", "when", "relative"),
    [
        ("S1A", 46693, "2023-01-08", 71),
        ("S1A", 45461, "2022-10-16", 64),
        ("S1B", 26269, "2021-04-01", 168),
        ("S1D", 4762, "2026-09-27", 171),
    ],
)
def test_relative_orbits_are_those_of_known_passes(
    mission: str, absolute: int, when: str, relative: int
) -> None:
    assert relative_orbit(mission, absolute, np.datetime64(when)) == relative


def test_a_mission_that_moved_is_counted_anew() -> None:
    before, after = np.datetime64("2026-06-01"), np.datetime64("2026-07-01")
    assert relative_orbit("S1C", 1000, before) == (1000 - 172) % 175 + 1
    assert relative_orbit("S1C", 1000, after) == (1000 - 99) % 175 + 1
    with pytest.raises(ValueError, match="found mission 'ERS'"):
        relative_orbit("ERS", 1, before)


LIMITED = """
import os, resource
from sarheight.errors import OutputError
from tests.worlds.safe_product import write_product
from tests.simulated_products import ground_image, slant_image

folder = {folder!r}
for make in (ground_image, slant_image):
    annotation, scene = make()
    for name in ("a.SAFE", "a.SAFE.zip"):
        for limit in (500, 5_000, 60_000):
            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
            message = "no error"
            try:
                write_product(scene, os.path.join(folder, name), like=annotation)
            except OutputError as error:
                message = str(error)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            print(message)
            assert not os.listdir(folder), os.listdir(folder)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_FSIZE")
def test_a_disk_that_really_refuses_bytes_leaves_nothing(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIMITED.format(folder=str(tmp_path))],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    lines = run.stdout.splitlines()
    assert len(lines) == 12
    assert all("could not write" in line and "nothing was left" in line for line in lines), lines
