"""The command line on whole products: from the archive's zip to the unfolded scene."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from sarheight import fetch
from sarheight.dem import open_dem
from sarheight.grid import RadarGrid
from sarheight.illumination import simulate
from sarheight.output import open_result
from sarheight.output.radar_images import write_scene
from sarheight.product import open_product
from tests.cli.commands import EAST, NORTH, SEA, failing, passing, run, write_dem
from tests.synthetic import synthetic_grid
from tests.worlds.annotations import eof_xml
from tests.worlds.products import NAME, grd_of_scene, slc_product
from tests.worlds.safe import pack


@dataclass(frozen=True)
class Archive:
    """What the commands are given, and the truth."""

    folder: Path
    zipped: Path
    image: Path
    dem: Path
    grid: RadarGrid


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """A product whose digital numbers are those of a simulated image, with noise."""
    folder = tmp_path_factory.mktemp("archive")
    grid, orbit = synthetic_grid(lines=400, samples=500, looks=4.4)
    dem = write_dem(folder / "dem.tif", 20.0)
    scene = simulate(open_dem(dem, vertical="ellipsoidal"), grid, orbit, looks=None)
    made = grd_of_scene(folder, scene)
    (folder / "orbits").mkdir()
    name = "S1A_OPER_AUX_POEORB_OPOD_20240121T000000_V20231231T225942_20240102T005942.EOF"
    (folder / "orbits" / name).write_text(eof_xml(orbit))
    return Archive(
        made, pack(made, folder / "product.zip"), write_scene(scene, folder / "image.nc"), dem, grid
    )


def gamma(path: Path) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = open_result(path)["gamma0"].squeeze().values
    return found


def record_of(path: Path) -> dict[str, Any]:
    found = open_result(path).attrs["provenance"]
    record: dict[str, Any] = json.loads(found) if isinstance(found, str) else found
    return record


def parameters(path: Path) -> dict[str, Any]:
    return dict(record_of(path)["parameters"])


def unverified(path: Path) -> list[str]:
    return list(record_of(path).get("unverified", []))


METHOD = ("--method", "one-step", "--law", "muhleman", "--coregister", "none")


def test_a_product_alone_gives_what_its_image_gives(archive: Archive, tmp_path: Path) -> None:
    results = {}
    for name, source in (("product", archive.zipped), ("image", archive.image)):
        results[name] = tmp_path / f"{name}.nc"
        command = ("reconstruct", source, "--dem", archive.dem, *SEA, *METHOD)
        passing(*command, "-o", results[name])
    found, expected = gamma(results["product"]), gamma(results["image"])
    lit = np.isfinite(found) & np.isfinite(expected) & (expected > 0.02)
    assert lit.mean() > 0.7
    # Whole digital numbers are some hundredths of a decibel apart.
    assert np.median(np.abs(found[lit] / expected[lit] - 1.0)) < 0.01
    record = parameters(results["product"])
    assert record["settings"]["image"] == archive.zipped.name
    assert record["settings"]["noise_removal"] is True
    assert "annotation" in record["orbit"]


def test_little_memory_means_parts_and_the_same_result(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sarheight.layover.tiles.PROCESS_BYTES", 0)
    paths = [tmp_path / "whole.zarr", tmp_path / "parts.zarr"]
    command = ("reconstruct", archive.zipped, "--dem", archive.dem, *SEA, *METHOD)
    for path, memory in zip(paths, ("2 GiB", "1 MB"), strict=True):
        done = passing(*command, "--memory", memory, "--stac", "-o", path)
        assert path.with_suffix(".stac.json").exists()
    whole, parts = (gamma(path) for path in paths)
    np.testing.assert_allclose(parts, whole, rtol=2e-6)
    done = run(*command, "--memory", "50 kB", "-o", tmp_path / "no.nc")
    assert done.exit_code == 2
    assert "take 0.1 MiB themselves, of a limit of 0.0 MiB" in done.stderr


def test_a_part_by_bounds_and_a_precise_orbit(archive: Archive, tmp_path: Path) -> None:
    output = tmp_path / "part.nc"
    bounds = (9.993, 45.994, 10.006, 46.005)
    command = ("reconstruct", archive.folder, "--dem", archive.dem, *SEA, *METHOD)
    orbits = archive.folder.parent / "orbits"
    options = ("--spacing", 20, "--no-noise-removal", "--calibration", "gamma0")
    options += ("--polarisations", "vv", "--bounds", *bounds, "--orbit", orbits)
    done = passing(*command, *options, "-o", output)
    assert "POEORB" in done.stderr
    assert "of the image: only that part" in done.stderr
    found = open_result(output)
    assert 40 < found.sizes["x"] < 60
    record = parameters(output)
    assert record["fraction_of_image"] < 0.6
    assert record["settings"]["spacing"] == 20.0
    assert record["settings"]["noise_removal"] is False
    assert record["calibration"] == "gamma0"


def test_a_dem_of_a_tenth_of_the_scene_gives_a_part_and_says_so(
    archive: Archive, tmp_path: Path
) -> None:
    small = open_dem(archive.dem, vertical="ellipsoidal").isel(x=slice(30, 50), y=slice(30, 55))
    small.rio.to_raster(tmp_path / "small.tif")
    output = tmp_path / "small.nc"
    command = ("reconstruct", archive.zipped, "--dem", tmp_path / "small.tif", *SEA, *METHOD)
    done = passing(*command, "-o", output)
    assert "the elevation model covers" in done.stderr
    assert "only that part is reconstructed" in done.stderr
    assert gamma(output).shape == (25, 20)
    assert np.isfinite(gamma(output)).mean() > 0.7
    assert 0.02 < parameters(output)["fraction_of_image"] < 0.3


def test_a_dem_beyond_the_scene_leaves_cells_empty_and_says_so(
    archive: Archive, tmp_path: Path
) -> None:
    wide = write_dem(tmp_path / "shifted.tif", 60.0, east=EAST + 2_500.0, north=NORTH)
    output = tmp_path / "shifted.nc"
    done = passing("reconstruct", archive.zipped, "--dem", wide, *SEA, *METHOD, "-o", output)
    inside = np.isfinite(gamma(output)).mean()
    assert 0.0 < inside < 0.9
    assert "% of them in the image" in done.stderr


def test_dem_and_orbit_are_fetched(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def dem(bounds: tuple[float, ...], **options: Any) -> fetch.DemTiles:  # noqa: ANN401
        asked["bounds"] = bounds, options
        return fetch.DemTiles((archive.dem,), "ellipsoidal")

    def orbit(*when: object, **_: object) -> Path | None:
        asked["orbit"] = when
        return next((archive.folder.parent / "orbits").iterdir()) if "found" in asked else None

    monkeypatch.setattr(fetch, "dem", dem, raising=False)
    monkeypatch.setattr(fetch, "orbit", orbit, raising=False)
    command = ("reconstruct", archive.zipped, "--dem", "auto", "--orbit", "auto", *METHOD)
    done = passing(*command, "-o", tmp_path / "first.nc")
    assert "no orbit file covers the image yet" in done.stderr
    assert asked["orbit"][0] == "S1A"
    bounds, options = asked["bounds"]
    corners = open_product(archive.folder).footprint
    expected = (*corners.min(axis=0) - 0.02, *corners.max(axis=0) + 0.02)
    assert bounds == pytest.approx(expected)
    assert options["windows"] is False
    asked["found"] = True
    done = passing(*command, "--bounds", 9.99, 45.99, 10.01, 46.01, "-o", tmp_path / "second.nc")
    assert "POEORB" in done.stderr
    # What lies around a window counts, too.
    assert asked["bounds"][0] == pytest.approx((9.87, 45.87, 10.13, 46.13))
    assert asked["bounds"][1]["windows"] is True


def test_an_slc_is_averaged_by_itself(tmp_path: Path) -> None:
    path, cut = slc_product(tmp_path)
    grid, _ = open_product(path).grid_and_orbit()
    assert grid.shape == cut.numbers.shape
    dem = write_dem(tmp_path / "dem.tif", 60.0)
    output = tmp_path / "slc.nc"
    command = ("reconstruct", path, "--dem", dem, *SEA, *METHOD, "--swaths", "iw1,iw2")
    done = passing(*command, "-o", output)
    assert "averaging the SLC to 20 m; --spacing sets another value" in done.stderr
    assert parameters(output)["settings"]["swaths"] == ["IW1", "IW2"]


def test_products_serve_as_likeness(archive: Archive, tmp_path: Path) -> None:
    output = tmp_path / "masks.nc"
    passing("masks", "--like", archive.folder, "--dem", archive.dem, *SEA, "-o", output)
    assert float((open_result(output)["fold_count"] > 1).mean()) > 0.02
    output = tmp_path / "simulated.nc"
    passing("simulate", "--like", archive.zipped, "--dem", archive.dem, *SEA, "-o", output)
    with xr.open_dataset(output) as simulated:
        assert simulated["beta0"].sizes["line"] <= archive.grid.lines
    done = passing("info", archive.zipped, archive.folder)
    for words in ("S1A IW GRD", "IPF 3.71", "400 lines x 500 samples", "ground range", "51919"):
        assert done.stdout.count(words) >= 2


@pytest.fixture(scope="module")
def names(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Names in commands: products that are whole, cut short and incomplete, and an image."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "cut.zip").write_bytes(archive.zipped.read_bytes()[:5000])
    shutil.copytree(archive.folder, folder / NAME)
    next((folder / NAME).glob("measurement/*")).unlink()
    paths = {"product": archive.zipped, "image": archive.image, "dem": archive.dem}
    paths |= {"cut": folder / "cut.zip", "lacking": folder / NAME}
    return {name: str(path) for name, path in paths.items()}


PRODUCT = "reconstruct {product} --dem {dem} --vertical ellipsoidal -o x.nc"
IMAGE = "reconstruct {image} --dem {dem} --vertical ellipsoidal -o x.nc"


@pytest.mark.parametrize(
    ("code", "command", "words"),
    [
        (2, f"{PRODUCT} --multilook 2 2 --spacing 30", "not both"),
        (2, f"{PRODUCT} --spacing 0.1", "--spacing"),
        (2, f"{PRODUCT} --bounds 1 2 3", "--bounds"),
        (2, f"{IMAGE} --swaths IW1", "are for products"),
        (2, f"{IMAGE} --no-noise-removal", "are for products"),
        (2, f"{IMAGE} --verify", "is no product"),
        (2, f"{IMAGE} --orbit auto", "is fetched for products only"),
        (2, "reconstruct {image} --dem auto -o x.nc", "pass --bounds, or the whole product"),
        (2, f"{PRODUCT} --like {{image}}", "has its own sampling and orbit"),
        (2, "reconstruct gone.SAFE.zip --dem auto -o x.nc", "there is no 'gone.SAFE.zip'"),
        (2, "reconstruct {product} --dem gone.tif -o x.nc", "--dem: there is no"),
        (2, "info gone.SAFE.zip", "there is no"),
        (1, PRODUCT.replace("product", "cut"), "cut short, damaged, or not a zip"),
        (1, "info {cut}", "cut short, damaged, or not a zip"),
        (1, PRODUCT.replace("product", "lacking"), "it is incomplete"),
        (1, f"{PRODUCT} --polarisations HH", "found polarisations=('HH',)"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    names: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    command: str,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert words in failing(code, *(text.format(**names) for text in command.split()))
    assert not list(tmp_path.iterdir())


def test_a_damaged_product_is_refused_with_verify(archive: Archive, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    with zipfile.ZipFile(archive.zipped) as packed:
        packed.extractall(folder)
    (measurement,) = folder.glob("*/measurement/*-vv-*.tiff")
    body = bytearray(measurement.read_bytes())
    body[len(body) // 2] ^= 0x55
    product = measurement.parent.parent
    assert "all files are as" in " ".join(run("info", product, "--verify").output.split())
    measurement.write_bytes(body)
    done = passing("info", product)
    assert "--verify" in done.output
    for command in (
        ("info", product, "--verify"),
        ("reconstruct", product, "--verify", "--dem", archive.dem, *SEA, "-o", tmp_path / "a.nc"),
    ):
        done = run(*command)
        assert done.exit_code != 0
        assert "is not as it was delivered" in " ".join(done.output.split())


# Products in zips, of which parts are read without their checksums.


@pytest.fixture(scope="module")
def stored(archive: Archive) -> Path:
    """The product in a zip as some archives pack it: without compression."""
    return pack(archive.folder, archive.folder.parent / "stored.zip", zipfile.ZIP_STORED)


@pytest.mark.parametrize("memory", ["2 GiB", "300 kB"])
def test_what_was_read_in_part_is_told_by_result_warning_and_exit_code(
    archive: Archive, stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: str
) -> None:
    monkeypatch.setattr("sarheight.layover.tiles.PROCESS_BYTES", 0)
    output, verified, dem = (tmp_path / name for name in ("part.nc", "verified.nc", "dem.tif"))
    # Where an image is read in parts, borders are read more than once, which counts as more pixels.
    small = open_dem(archive.dem, vertical="ellipsoidal")[30:60, 30:60]
    small.drop_attrs().rio.write_crs(32632).rio.to_raster(dem)
    command = ("reconstruct", stored, "--dem", dem, *SEA, *METHOD, "--memory", memory)
    done = run(*command, "-o", output)
    assert done.exit_code == 3, done.output
    (name,) = unverified(output)
    assert re.fullmatch(r"measurement/s1a-iw-grd-vv-.*\.tiff in stored\.zip", name)
    assert f"warning: parts of {name} were read without" in " ".join(done.stderr.split())
    assert "--verify" in done.stderr
    described = run("info", output)
    assert "not verified" in described.output
    assert described.exit_code == 0
    done = passing(*command, "--verify", "-o", verified)
    assert unverified(verified) == []
    assert "were read without comparing" not in done.stderr
    np.testing.assert_array_equal(gamma(output), gamma(verified))


def test_the_note_of_its_parts_is_that_of_a_composite(
    archive: Archive, stored: Path, tmp_path: Path
) -> None:
    part = tmp_path / "part.nc"
    command = ("reconstruct", stored, "--dem", archive.dem, *SEA, "--method", "rtc", "--heights")
    assert run(*command, "-o", part).exit_code == 3
    passing("composite", part, part, "-o", tmp_path / "both.nc")
    assert unverified(tmp_path / "both.nc") == unverified(part) != []


@pytest.mark.usefixtures("_forked_jobs")
@pytest.mark.parametrize("verify", [False, True])
def test_other_commands_that_read_products_in_part_tell_it_too(
    stored: Path, tmp_path: Path, *, verify: bool
) -> None:
    checked = ("--verify",) if verify else ()
    code = 0 if verify else 3
    coarse, heights = write_dem(tmp_path / "coarse.tif", 90.0), tmp_path / "heights.nc"
    dem = ("--dem", coarse, *SEA, "--coregister", "none")
    done = run("refine", stored, *dem, "--iterations", 1, *checked, "-o", heights)
    assert done.exit_code == code, done.output
    assert bool(unverified(heights)) != verify
    done = run("series", stored, *dem, "--method", "rtc", *checked, "-o", tmp_path / "stack.zarr")
    assert done.exit_code == code, done.output
    with xr.open_zarr(tmp_path / "stack.zarr", group="0") as stack:
        record = json.loads(str(stack["provenance"].values[0]))
    assert bool(record.get("unverified")) != verify
    listed = tmp_path / "jobs.toml"
    flag = str(verify).lower()
    listed.write_text(
        f'[[job]]\nimage = "{stored}"\ndem = ["{coarse}"]\nvertical = "ellipsoidal"\n'
        f'method = "rtc"\ncoregister = "none"\nverify = {flag}\noutput = "job.tif"\n'
    )
    done = run("batch", listed)
    assert done.exit_code == code, done.output
    assert bool(unverified(tmp_path / "job.tif")) != verify
    assert ("1 of 1 jobs read parts" in " ".join(done.stderr.split())) != verify
