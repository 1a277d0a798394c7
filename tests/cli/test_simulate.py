"""``sarheight simulate``: outputs, noise, and simulated images through the whole chain."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from typer.testing import Result

from sarheight import plot
from sarheight.output import open_result, save_png
from sarheight.output.radar_images import read_scene
from sarheight.product import open_product
from tests.cli.commands import passing, run
from tests.dems import dem_around, hills
from tests.synthetic import synthetic_grid
from tests.worlds.annotations import annotation_xml
from tests.worlds.products import write_product


class Files(NamedTuple):
    """Inputs of the command."""

    annotation: Path
    dem: Path
    pitted: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("annotations")
    made = Files(folder / "vv.xml", folder / "dem.tif", folder / "pitted.tif")
    grid, orbit = synthetic_grid(lines=300, samples=300, looks=4.4)
    made.annotation.write_text(annotation_xml(grid, orbit))
    heights = hills((30, 30), relief=50.0) - 1000.0
    dem_around(46.0, 10.0, heights).rio.to_raster(made.dem)
    # Single cells 400 m too low, as voids of a coarse model are filled in by mistake.
    heights[8:24:8, 8:24:8] -= 400.0
    dem_around(46.0, 10.0, heights).rio.to_raster(made.pitted)
    return made


def simulate(files: Files, output: Path, *arguments: object) -> Result:
    common = ("--like", files.annotation, "--dem", files.dem, "--vertical", "ellipsoidal")
    return run("simulate", *common, "-o", output, *arguments)


def refused(done: Result, code: int = 2) -> str:
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    (line,) = done.stderr.splitlines()
    return str(line)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--noise", "400"), "--noise"),
        (("--noise", "-1e6"), "--noise"),
        (("--noise", "nan"), "--noise"),
        (("-o", "image.SAFE"), "--output: .*expected .tif, .nc or .zarr"),
        (("-o", "image.SAFE.zip"), "--output: .*expected .tif, .nc or .zarr"),
        (("-o", "image.safe"), "--output: .*expected .tif, .nc or .zarr"),
        (("--resolution=-5",), "--resolution: found a resolution of -5, expected the side of a"),
        (("--resolution=0",), "--resolution: .*pass one such as 20 metres, or leave it out"),
        (("--resolution=nan",), "--resolution: found a resolution of nan"),
        (("--quicklook", "look.tif"), "--quicklook: "),
        (("--quicklook", "{folder}/image.nc"), "--quicklook: "),
    ],
)
def test_options_that_make_no_image(
    files: Files, tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    given = [text.format(folder=tmp_path) for text in options]
    assert re.search(words, refused(simulate(files, tmp_path / "image.nc", *given)))
    assert not list(tmp_path.iterdir())


def test_results_of_a_simulated_product_are_called_simulated(files: Files, tmp_path: Path) -> None:
    assert simulate(files, tmp_path / "image.nc").exit_code == 0
    scene = read_scene(tmp_path / "image.nc")
    write_product(scene, tmp_path / "image.SAFE")
    product = open_product(tmp_path / "image.SAFE")
    assert "simulated" in dict(product.summary())["what"]
    for multilook in ((1, 1), (2, 2)):
        assert "simulated" in product.scene(multilook=multilook).image.attrs
    result = tmp_path / "result.nc"
    common = ("--dem", files.dem, "--vertical", "ellipsoidal", "--law", "gamma")
    passing("reconstruct", tmp_path / "image.SAFE", *common, "--coregister", "none", "-o", result)
    assert "simulated" in open_result(result).attrs


def test_conditioning_removes_the_false_layover_of_pits(files: Files, tmp_path: Path) -> None:
    layover = {}
    for dem, condition in ((files.dem, ()), (files.pitted, ()), (files.pitted, ("fill",))):
        output = tmp_path / f"{dem.stem}{''.join(condition)}.nc"
        given = ("--condition", *condition) if condition else ()
        common = ("--like", files.annotation, "--dem", dem, "--vertical", "ellipsoidal")
        passing("masks", *common, *given, "-o", output)
        masks = open_result(output)
        layover[output.stem] = float(np.isin(masks["mask"].values, (2, 3, 6)).mean())
        settings = json.loads(masks.attrs["provenance"])["parameters"]["settings"]
        assert settings.get("condition") == (condition[0] if condition else None)
    assert layover["dem"] == 0.0
    assert layover["pitted"] > 0.005
    assert layover["pittedfill"] < 0.2 * layover["pitted"]


def test_a_picture_shows_the_simulated_image(files: Files, tmp_path: Path) -> None:
    image, picture = tmp_path / "image.nc", tmp_path / "image.png"
    assert simulate(files, image, "--quicklook", picture).exit_code == 0
    drawn = tmp_path / "drawn.png"
    save_png(plot.backscatter(read_scene(image).image), drawn)
    assert picture.read_bytes() == drawn.read_bytes()
    line = refused(simulate(files, tmp_path / "other.nc", "--quicklook", picture))
    assert "exists already" in line


@pytest.mark.parametrize("suffix", [".nc", ".tif"])
def test_an_image_is_no_elevation_model(files: Files, tmp_path: Path, suffix: str) -> None:
    image, output = tmp_path / f"image{suffix}", tmp_path / "masks.nc"
    assert simulate(files, image).exit_code == 0
    command = ("masks", "--like", files.annotation, "--dem", image, "--vertical", "ellipsoidal")
    line = refused(run(*command, "-o", output), 1)
    assert f"image{suffix} is an image in radar geometry" in line
    assert "expected an elevation model; pass a raster of heights on a map grid" in line
