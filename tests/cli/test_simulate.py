"""``sarheight simulate``: outputs, noise, and simulated images through the whole chain."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

from sarheight import plot
from sarheight.output import open_result, save_png
from sarheight.output.radar_images import read_scene
from sarheight.product import open_product
from tests.cli.commands import passing, run
from tests.dems import dem_around, hills
from tests.synthetic import synthetic_grid
from tests.worlds.annotations import annotation_xml
from tests.worlds.products import write_product

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result


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


@pytest.mark.parametrize("noise", ["400", "-1e6", "nan"])
def test_noise_that_no_radar_has(files: Files, tmp_path: Path, noise: str) -> None:
    line = refused(simulate(files, tmp_path / "image.nc", "--noise", noise))
    assert "--noise" in line
    assert not (tmp_path / "image.nc").exists()


@pytest.mark.parametrize("name", ["image.SAFE", "image.SAFE.zip", "image.safe"])
def test_products_are_not_written(files: Files, tmp_path: Path, name: str) -> None:
    line = refused(simulate(files, tmp_path / name))
    assert "--output: " in line
    assert "expected .tif, .nc or .zarr" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("multilook", [(1, 1), (2, 2)])
def test_results_of_a_simulated_product_are_called_simulated(
    files: Files, tmp_path: Path, multilook: tuple[int, int]
) -> None:
    assert simulate(files, tmp_path / "image.nc").exit_code == 0
    scene = read_scene(tmp_path / "image.nc")
    write_product(scene, tmp_path / "image.SAFE")
    product = open_product(tmp_path / "image.SAFE")
    assert "simulated" in dict(product.summary())["what"]
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
    for name in ("look.tif", image.name):
        line = refused(simulate(files, image, "--quicklook", tmp_path / name))
        assert "--quicklook: " in line
        assert not list(tmp_path.iterdir())
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


@pytest.mark.parametrize("resolution", ["-5", "0", "nan"])
def test_cells_have_a_size(files: Files, tmp_path: Path, resolution: str) -> None:
    line = refused(simulate(files, tmp_path / "image.nc", f"--resolution={resolution}"))
    assert f"--resolution: found a resolution of {resolution}, expected the side of a cell" in line
    assert "pass one such as 20 metres, or leave it out" in line
