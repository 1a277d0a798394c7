"""Settings: one definition for command line, configuration files, jobs and provenance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401  # gives xarray objects their `rio`

from sarheight.layover import RTC, reconstruct
from sarheight.output import open_result
from sarheight.output.radar_images import write_scene
from tests.cli.commands import passing, run
from tests.mountains import mountain, raster, scene_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an image and an elevation model."""
    made = tmp_path_factory.mktemp("settings")
    dem = raster(mountain(30, 40))
    dem.rio.to_raster(made / "dem.tif")
    write_scene(scene_of(dem, seed=1, lines=160, samples=200), made / "image.nc")
    return made


def test_rtc_by_name_is_that_of_the_library(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "rtc.nc"
    command = ("reconstruct", folder / "image.nc", "--dem", folder / "dem.tif")
    passing(*command, "--vertical", "ellipsoidal", "--method", "rtc", "-o", output)
    dem = raster(mountain(30, 40))
    expected = reconstruct(scene_of(dem, seed=1, lines=160, samples=200), dem, method=RTC())
    found = open_result(output)["gamma0"].values
    np.testing.assert_allclose(found, expected["gamma0"].values, rtol=1e-4)


def test_the_settings_of_a_result_repeat_it(folder: Path, tmp_path: Path) -> None:
    options = ("--vertical", "ellipsoidal", "--law", "cosine", "--coregister", "correct")
    first, second, third = (tmp_path / f"{name}.nc" for name in ("first", "second", "third"))
    command = ("reconstruct", folder / "image.nc", "--dem", folder / "dem.tif", *options)
    passing(*command, "--condition", "fill", "-o", first)
    extracted = passing("info", first, "--config")
    (folder / "run.toml").write_text(extracted.stdout, encoding="utf-8")
    passing("reconstruct", "--config", folder / "run.toml", "-o", second)
    a, b = open_result(first), open_result(second)
    assert set(a.data_vars) == set(b.data_vars)
    for name in a.data_vars:
        np.testing.assert_array_equal(a[name].values, b[name].values)
    assert run("info", second, "--config").stdout == extracted.stdout
    # The command line has priority.
    passing("reconstruct", "--config", folder / "run.toml", "--law", "gamma", "-o", third)
    changed = run("info", third, "--config").stdout
    assert changed == extracted.stdout.replace('law = "cosine"', 'law = "gamma"')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"expected [reconstruct]"),
        ("[masks]\n", "found [masks] in"),
        ("[reconstruct\n", "is not TOML"),
        ("[reconstruct]\nbrightness = 3\n", "found the option 'brightness'"),
        ("[reconstruct]\nimage = 'a'\ndem = 'b'\nmethod = 'magic'\n", "--method: "),
        ("[reconstruct]\nimage = 'nowhere.nc'\ndem = 'nowhere.tif'\n", "there is no"),
        ("[reconstruct]\nimage = 'image.nc'\n", "--dem: "),
    ],
)
def test_a_wrong_configuration_is_reported_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "run.toml").write_text(text)
    done = run("reconstruct", "--config", tmp_path / "run.toml", "-o", tmp_path / "x.nc")
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert message in line
    assert [file.name for file in tmp_path.iterdir()] == ["run.toml"]


def test_a_file_without_settings_has_none_to_show(folder: Path) -> None:
    done = run("info", folder / "image.nc", "--config")
    assert done.exit_code == 1
    assert "does not" in done.stderr
