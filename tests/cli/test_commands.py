"""The command line, from data that the tests make to results that can be read."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401  # gives xarray objects their `rio`
import xarray as xr
from sarheight_kernels import compilation
from sarheight_kernels.pool import thread_count

import sarheight
from sarheight.output import open_result
from sarheight.output.radar_images import read_radar, read_scene, write_scene
from sarheight.scene import Scene
from sarheight.sentinel1 import read_grid, read_orbit
from tests.cli.commands import EAST, SEA, Files, failing, passing, run, write_dem
from tests.programs import Run, nursery

# --- the whole chain ---------------------------------------------------------------------------


def test_the_simulated_image_holds_what_places_it(files: Files) -> None:
    scene = read_scene(files.image)
    assert scene.calibration == "beta0"
    assert scene.grid.lines < 400
    assert scene.grid.samples < 500
    assert float(scene.image.max()) > 3 * float(scene.image.median())
    assert "simulated" in scene.image.attrs["long_name"]


def test_an_image_that_shows_nothing_of_the_terrain_is_told_what_usually_helps(
    files: Files, tmp_path: Path
) -> None:
    scene = read_scene(files.image)
    speckle = np.random.default_rng(0).exponential(size=scene.image.shape).astype(np.float32)
    write_scene(replace(scene, image=scene.image.copy(data=speckle)), tmp_path / "speckle.nc")
    command = ("reconstruct", tmp_path / "speckle.nc", "--dem", files.dem, *SEA, "--method", "rtc")
    done = passing(*command, "-o", tmp_path / "unfolded.nc")
    said = " ".join(done.stderr.split())
    assert "the image could not be compared with its simulation: usually" in said
    for option in ("--vertical", "--orbit", "--focusing native"):
        assert f"({option})" in said


def test_reconstruct_needs_no_annotation_for_it(files: Files, tmp_path: Path) -> None:
    output, picture = tmp_path / "unfolded.tif", tmp_path / "look.png"
    command = ("reconstruct", files.image, "--dem", files.coarse, *SEA, "-o", output)
    done = passing(*command, "--quicklook", picture)
    assert done.stdout == ""
    assert "% of these in layover" in done.stderr
    result = open_result(output)
    assert result["gamma0"].shape == (30, 30)
    assert (result["fold_count"].values == 3).any()
    assert result.attrs["simulated"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    record = result.attrs["provenance"]
    record = json.loads(record) if isinstance(record, str) else record
    assert set(record["inputs"]) == {"image", "dem 1"}
    assert record["parameters"]["settings"]["method"] == "posterior"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["look.png", "unfolded.tif"]


def test_other_formats_carry_the_same_image(files: Files, tmp_path: Path) -> None:
    image, result = tmp_path / "image.tif", tmp_path / "result.zarr"
    passing("simulate", "--like", files.annotation, "--dem", files.dem, *SEA, "-o", image)
    expected = read_scene(files.image)
    np.testing.assert_array_equal(read_scene(image).image.values, expected.image.values)
    passing("reconstruct", image, "--dem", files.coarse, *SEA, "-o", result)
    dem = sarheight.dem.open_dem(files.coarse, vertical="ellipsoidal")
    reference = sarheight.layover.reconstruct(expected, dem)
    for name in ("gamma0", "mask", "fold_count"):
        found = open_result(result)[name]
        np.testing.assert_allclose(found.values, reference[name].values, rtol=1e-6)


def test_an_image_of_another_origin_is_taken_with_its_annotation(
    files: Files, tmp_path: Path
) -> None:
    """The image of the whole annotation, as a raster that holds numbers and nothing else."""
    import rasterio

    grid = read_grid(files.annotation)
    orbit = read_orbit(files.annotation)
    dem = sarheight.dem.open_dem(files.dem, vertical="ellipsoidal")
    whole = sarheight.illumination.simulate(dem, grid, orbit, calibration="sigma0")
    plain = tmp_path / "plain.tif"
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning),
        rasterio.open(plain, "w", "GTiff", 500, 400, 1, dtype="float32") as file,
    ):
        file.write(whole.image.values, 1)
    output = tmp_path / "unfolded.nc"
    command = ("reconstruct", plain, "--dem", files.dem, *SEA, "-o", output)
    assert "pass it by --like" in failing(1, *command)
    command = (*command, "--like", files.annotation)
    assert "pass --calibration" in failing(1, *command)
    passing(*command, "--calibration", "sigma0", "--method", "one-step", "--law", "muhleman")
    reference = sarheight.layover.reconstruct(
        whole, dem, law=sarheight.illumination.Muhleman(), method=sarheight.layover.Reallocation()
    )
    found = open_result(output)["gamma0"].values
    np.testing.assert_allclose(found, reference["gamma0"].values, rtol=1e-4)


def test_polarisations_are_chosen(files: Files, tmp_path: Path) -> None:
    scene = read_scene(files.image)
    both = xr.concat([scene.image, 0.2 * scene.image], dim="polarisation").assign_coords(
        polarisation=["VV", "VH"]
    )
    image = write_scene(Scene(both, scene.grid, scene.orbit, "beta0"), tmp_path / "both.nc")
    command = ("reconstruct", image, "--dem", files.coarse, *SEA, "--method", "rtc")
    one = ("--polarisations", "vh", "--multilook", 2, 2)
    for options, expected in (((), ["VV", "VH"]), (one, "VH")):
        passing(*command, *options, "--overwrite", "-o", tmp_path / "chosen.nc")
        found = open_result(tmp_path / "chosen.nc")["gamma0"]
        assert found["polarisation"].values.tolist() == expected
    line = failing(1, *command, "--polarisations", "HH", "-o", tmp_path / "hh.nc")
    assert "found no HH" in line


def test_masks_on_the_ground_and_on_the_image(files: Files, tmp_path: Path) -> None:
    common = ("masks", "--dem", files.dem, *SEA)
    ground, radar = tmp_path / "ground.tif", tmp_path / "radar.tif"
    done = passing(*common, "--like", files.annotation, "--stac", "-o", ground)
    assert "% of these in layover" in done.stderr
    found = open_result(ground)
    assert found["mask"].dtype == np.uint8
    assert np.isin([2, 3], found["mask"].values).all()
    passing(*common, "--like", files.image, "--geometry", "radar", "-o", radar)
    mask = read_radar(radar)["mask"]
    assert mask.shape == read_scene(files.image).grid.shape
    assert (mask.values == 3).any()
    item = json.loads((tmp_path / "ground.stac.json").read_text(encoding="utf-8"))
    (asset,) = item["assets"].values()
    assert asset["href"] == "./ground.tif"
    west, south, east, north = item["bbox"]
    assert west < 10.0 < east
    assert south < 46.0 < north
    assert "sat:orbit_state" in item["properties"]
    inputs = item["properties"]["sarheight:inputs"]
    assert len({each["path"] for each in inputs}) == 2


def test_an_orbit_file_takes_the_place_of_the_annotation(files: Files, tmp_path: Path) -> None:
    image, output = tmp_path / "image.nc", tmp_path / "result.nc"
    common = ("--dem", files.dem, *SEA, "--orbit", files.eof)
    passing("simulate", "--like", files.annotation, *common, "-o", image)
    # Its vectors are rounded to micrometres: the same sampling.
    scene = read_scene(image)
    assert "the orbit file" in scene.orbit.source
    assert scene.grid.shape == read_scene(files.image).grid.shape
    passing("reconstruct", files.image, *common, "--method", "rtc", "-o", output)
    assert "the orbit file" in open_result(output).attrs["orbit_source"]


def test_an_orbit_is_rotated_and_the_rotation_is_reported(files: Files, tmp_path: Path) -> None:
    far = write_dem(tmp_path / "far.tif", 20.0, east=EAST + 2e5)
    image = tmp_path / "far.nc"
    common = ("simulate", "--like", files.annotation, "--dem", far, *SEA, "-o", image)
    assert "No cell of the DEM falls into the image" in failing(1, *common)
    done = passing(*common, "--incidence", "34")
    assert "rotated the orbit by" in done.stderr
    assert "rotated by" in read_scene(image).orbit.source
    passing("reconstruct", image, "--dem", far, *SEA, "--method", "rtc", "-o", tmp_path / "r.nc")


def test_multilook_noise_and_seed(files: Files, tmp_path: Path) -> None:
    common = ("simulate", "--like", files.annotation, "--dem", files.dem, *SEA)
    images = []
    for name, options in {
        "clean": ("--looks", 0),
        "noisy": ("--looks", 0, "--noise", -10),
        "one": ("--seed", 1),
        "again": ("--seed", 1),
        "wide": ("--multilook", 2, 3, "--law", "cosine:0.3,2"),
    }.items():
        path = tmp_path / f"{name}.nc"
        passing(*common, *options, "-o", path)
        images.append(read_scene(path))
    clean, noisy, one, again, wide = images
    np.testing.assert_allclose(noisy.image - clean.image, 0.1, atol=1e-5)
    np.testing.assert_array_equal(one.image.values, again.image.values)
    assert one.grid.looks == 4.4
    assert wide.grid.looks == pytest.approx(6 * 4.4)
    assert wide.grid.sample_spacing == 3 * one.grid.sample_spacing


def test_threads_change_nothing(files: Files, tmp_path: Path) -> None:
    most = thread_count()
    results = []
    for threads in (1, most):
        output = tmp_path / f"{threads}.nc"
        command = ("reconstruct", files.image, "--dem", files.coarse, *SEA, "-o", output)
        passing(*command, "--threads", threads, "--overwrite")
        results.append(open_result(output))
    assert thread_count() == most
    for name, variable in results[0].data_vars.items():
        np.testing.assert_array_equal(variable.values, results[1][name].values)


def test_the_first_run_explains_its_wait(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilation, "kernels_to_compile", lambda: compilation.KERNELS[-1:])
    command = ("masks", "--like", files.image, "--dem", files.dem, *SEA)
    assert "compiling the kernels once" in run(*command, "-o", tmp_path / "one.nc").stderr
    assert passing(*command, "--quiet", "-o", tmp_path / "two.nc").output == ""
    # Nothing has begun where the input is wrong.
    wrong = run("masks", "--like", files.image, "--dem", files.dem, "-o", tmp_path / "three.nc")
    assert wrong.exit_code == 1
    assert "compiling" not in wrong.stderr


def test_a_picture_that_does_not_fit_in_memory_is_refused(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sarheight.layover.tiles.PROCESS_BYTES", 0)
    command = ("reconstruct", files.image, "--dem", files.dem, *SEA, "--memory", "1 MiB")
    done = run(*command, "-o", tmp_path / "r.png")
    assert done.exit_code == 2
    assert "--memory: a result that is only drawn is done in memory" in done.stderr
    assert "--quicklook" in done.stderr
    assert not (tmp_path / "r.png").exists()
    command = (*command, "--method", "rtc", "-o", tmp_path / "r.zarr")
    passing(*command, "--quicklook", tmp_path / "q.png")
    assert (tmp_path / "q.png").stat().st_size > 10_000


def test_a_log_has_messages_and_per_cent(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In parts the progress is that of the tasks, and never falls; a second run is appended."""
    monkeypatch.setattr("sarheight.layover.tiles.PROCESS_BYTES", 0)
    log = tmp_path / "run.log"
    command = ("reconstruct", files.image, "--dem", files.dem, *SEA, "--quiet", "--log", log)
    done = run(*command, "--memory", "1 MiB", "--method", "rtc", "-o", tmp_path / "r.tif")
    assert (done.exit_code, done.output) == (0, ""), done.output
    lines = log.read_text().splitlines()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ "
    assert all(re.match(stamp, line) for line in lines)
    told = [re.search(r"Z (\d+) %(?:, \d+:\d\d:\d\d left)?: (.*)", line) for line in lines]
    percents = [int(each[1]) for each in told if each]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    stages = [each[2] for each in told if each]
    assert [stages.count(name) > 2 for name in ("reconstruct", "write")] == [True, True]
    assert any("of these in layover" in line for line in lines)
    assert run(*command, "--method", "magic", "-o", tmp_path / "x.tif").exit_code == 2
    bad = run(
        "masks", "--like", files.image, "--dem", files.dem, "--log", log, "-o", log.parent / "m.nc"
    )
    assert bad.exit_code == 1
    assert "error: " in log.read_text().splitlines()[-1]
    assert len(log.read_text().splitlines()) > len(lines)
    nowhere = tmp_path / "nowhere" / "run.log"
    assert "cannot write" in failing(2, *command[:-1], nowhere, "-o", tmp_path / "x.tif")


# --- misuse and bad data -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def names(files: Files, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Names in commands: files that are right, and some that are not."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "text.tif").write_text("no raster")
    (folder / "cut.xml").write_text(files.annotation.read_text()[:3000])
    (folder / "S1A_IW_GRDH_1SDV.SAFE").mkdir()
    write_dem(folder / "south.tif", 60.0, north=-3_000_000.0)
    scene = read_scene(files.image)
    decibels = 10 * np.log10(scene.image.clip(1e-4))
    write_scene(Scene(decibels, scene.grid, scene.orbit, "beta0"), folder / "decibels.nc")
    bad = {path.stem: str(path) for path in folder.iterdir()}
    given = {"image": files.image, "dem": files.dem, "annotation": files.annotation}
    return bad | {"safe": bad["S1A_IW_GRDH_1SDV"]} | {k: str(path) for k, path in given.items()}


RECONSTRUCT = "reconstruct {image} --dem {dem} -o x.nc"
SEA_LEVEL = "--vertical ellipsoidal -o x.nc"
NOWHERE = "reconstruct none.zip --dem auto -o scene"
REFUSALS = [
    (2, "simulate --like nowhere.xml --dem {dem} -o x.nc", "simulate: --like: .*nowhere.xml"),
    (2, "reconstruct nowhere.nc --dem {dem} -o x.nc", "nowhere.nc"),
    (2, "info nowhere", "nowhere"),
    (2, f"{RECONSTRUCT} --orbit nowhere.EOF", "--orbit: there is no"),
    (2, f"{RECONSTRUCT} --dem auto", "auto beside files"),
    (2, "demo --output nowhere", "--output"),
    (2, f"{RECONSTRUCT} --law gauss", "expected one of gamma"),
    (2, f"{RECONSTRUCT} --law cosine:1,2,3", "--law"),
    (2, f"{RECONSTRUCT} --law gamma:-1", "expected a positive number"),
    (2, f"{RECONSTRUCT} --method magic", "magic"),
    (2, f"{RECONSTRUCT} --threads 0", "--threads"),
    (2, f"{RECONSTRUCT} --threads 9999", "threads or fewer on this machine"),
    (2, f"{RECONSTRUCT} --no-such-thing", "--no-such-thing"),
    (2, "unfold", "No such command"),
    # Neither file exists: nothing is read or fetched before the options are right.
    (2, f"{NOWHERE} --metod rtc", "No such option: --metod; did you mean --method or"),
    (2, f"{NOWHERE} --method rct", "--method: found method='rct', expected one of 'posterior'"),
    (2, f"{NOWHERE} --orbit dem.tif", "--orbit: found 'dem.tif', expected an orbit file"),
    (2, f"{NOWHERE} --memory 100MB", "--memory: found a memory limit of '100MB', expected 875 MiB"),
    (2, f"{NOWHERE} --memory much", "--memory: found a memory limit of 'much'"),
    (2, f"{NOWHERE} --profile ceos", "'ceos' is not 'ceos-nrb'|is not one of 'ceos-nrb'"),
    (1, RECONSTRUCT, "does not state the vertical reference of its heights; pass --vertical with"),
    (1, f"reconstruct {{image}} --dem {{south}} {SEA_LEVEL}", "latitude.*the image covers"),
    (1, f"reconstruct {{decibels}} --dem {{dem}} {SEA_LEVEL}", "If it is in decibels"),
    (1, f"simulate --like {{annotation}} --dem {{text}} {SEA_LEVEL}", "not a raster in a supp"),
    (1, "info {text}", "not a raster in a supported format"),
    (1, f"reconstruct {{text}} --like {{annotation}} --dem {{dem}} {SEA_LEVEL}", "not a GeoT"),
    (1, "info {cut}", "cut.xml"),
    (1, f"masks --like {{cut}} --dem {{dem}} {SEA_LEVEL}", "cut.xml"),
    (1, f"reconstruct {{safe}} --dem {{dem}} {SEA_LEVEL}", "is no product of a known mission"),
    (1, f"masks --like {{safe}} --dem {{dem}} {SEA_LEVEL}", "is no product of a known mission"),
]


@pytest.mark.parametrize(("code", "command", "words"), REFUSALS)
def test_what_is_wrong_is_said_in_one_line(
    names: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    command: str,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    line = failing(code, *(text.format(**names) for text in command.split()))
    assert re.search(words, line)
    assert code == 1 or "--help" in line
    assert not list(tmp_path.iterdir())


def test_no_command_shows_the_help_and_is_misuse() -> None:
    for group in ((), ("train",), ("fetch",)):
        done = run(*group)
        assert done.exit_code == 2
        assert done.stderr.strip().startswith("Usage: ")
        assert "is missing" not in done.output


def test_our_own_mistakes_are_called_so(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And `--debug` shows where an error comes from."""

    def broken(*_: object, **__: object) -> None:
        msg = "lost"
        raise KeyError(msg)

    command = ("masks", "--like", files.image, "--dem", files.dem, "-o", tmp_path / "x.nc")
    done = run(*command, "--debug")
    assert done.exit_code == 1
    assert "Traceback" in done.stderr
    passing(*command, "--vertical", "47.5")
    monkeypatch.setattr("sarheight.layover.masks", broken)
    line = failing(1, *command, *SEA, "--overwrite")
    assert "unexpected KeyError: 'lost'; please report it" in line


# --- as its own process ------------------------------------------------------------------------


MAIN = "\nfrom sarheight.cli import main; main()"


def test_help_and_version_answer_without_loading_anything_heavy(tmp_path: Path) -> None:
    heavy = "import atexit, runpy, sys; atexit.register(lambda: print(*sys.modules))\n"
    start = "runpy.run_module('sarheight', run_name='__main__')"  # as `python -m` does
    with nursery("import sys") as fresh:
        for arguments in (("--help",), ("reconstruct", "--help"), ("--version",)):
            done = fresh(heavy + start, tmp_path, *arguments)
            assert done.returncode == 0, done.stderr
            loaded = set(done.stdout.split())
            assert loaded.isdisjoint({"numba", "xarray", "rasterio", "matplotlib", "torch"})
    assert done.stdout.startswith(f"sarheight {sarheight.__version__}\n")


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_an_interruption_leaves_nothing(
    start: Run, files: Files, tmp_path: Path, name: str, code: int
) -> None:
    """The signal comes while the file is half written."""
    half = f"""
import os, signal, time
from dataclasses import replace
from sarheight.output.files import FORMATS
def write(dataset, path):
    path.write_bytes(b"half")
    os.kill(os.getpid(), signal.{name})
    time.sleep(10)
FORMATS[".nc"] = replace(FORMATS[".nc"], write=write)
"""
    command = ("masks", "--like", files.image, "--dem", files.coarse, *SEA, "--geometry", "radar")
    done = start(half + MAIN, tmp_path, *command, "-o", tmp_path / "x.nc")
    assert done.returncode == code, done.stderr
    assert not list(tmp_path.iterdir())
    assert "Traceback" not in done.stderr


def test_an_error_is_one_line_and_a_code(start: Run, files: Files, tmp_path: Path) -> None:
    command = ("masks", "--like", files.image, "-o", tmp_path / "x.nc")
    done = start(MAIN, tmp_path, *command, "--dem", files.dem)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    done = start(MAIN, tmp_path, *command)
    assert done.returncode == 2
    assert "--dem" in done.stderr
    assert len(done.stderr.splitlines()) == 1
