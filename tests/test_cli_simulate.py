"""Tests of ``sarheight simulate`` where it writes a product."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose
from typer.testing import CliRunner

from sarheight.cli import app
from sarheight.output import open_result
from sarheight.output.radar_images import read_scene
from sarheight.product import open_product
from tests.annotations import BURST_STEP, LINES_PER_BURST
from tests.simulated_products import full_annotation
from tests.synthetic import synthetic_grid
from tests.terrain import dem_around, hills

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result


class Files(NamedTuple):
    """What the command is given."""

    vv: Path
    vh: Path
    slc: Path
    elsewhere: Path
    dem: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("annotations")
    made = Files(
        vv=folder / "vv.xml",
        vh=folder / "vh.xml",
        slc=folder / "slc.xml",
        elsewhere=folder / "elsewhere.xml",
        dem=folder / "dem.tif",
    )
    grid, orbit = synthetic_grid(lines=300, samples=300, looks=4.4)
    made.vv.write_bytes(full_annotation(grid, orbit))
    made.vh.write_bytes(full_annotation(grid, orbit, polarisation="VH"))
    bursts = 4
    grid, orbit = synthetic_grid(
        lines=BURST_STEP * (bursts - 1) + LINES_PER_BURST,
        samples=300,
        line_spacing=14.0,
        sample_spacing=4.0,
        ground_range=False,
    )
    made.slc.write_bytes(full_annotation(grid, orbit, bursts=bursts))
    grid, orbit = synthetic_grid(latitude=45.0, lines=300, samples=300)
    made.elsewhere.write_bytes(full_annotation(grid, orbit, polarisation="VH"))
    dem = dem_around(46.0, 10.0, hills((30, 30), relief=50.0) - 1000.0)
    dem.rio.to_raster(made.dem)
    return made


def run(files: Files, output: Path, *arguments: object, like: tuple[Path, ...] = ()) -> Result:
    likes = [word for path in like or (files.vv,) for word in ("--like", path)]
    given = [
        "simulate",
        *likes,
        "--dem",
        files.dem,
        "--vertical",
        "ellipsoidal",
        "-o",
        output,
        *arguments,
    ]
    return CliRunner().invoke(app, [str(argument) for argument in given])


def refused(done: Result) -> str:
    assert done.exit_code != 0, done.output
    assert "Traceback" not in done.output
    return " ".join(done.stderr.split())


@pytest.mark.parametrize("noise", ["400", "-1e6", "nan"])
def test_noise_that_no_radar_has(files: Files, tmp_path: Path, noise: str) -> None:
    line = refused(run(files, tmp_path / "image.nc", "--noise", noise))
    assert "--noise" in line
    assert not (tmp_path / "image.nc").exists()


@pytest.mark.parametrize("name", ["image.SAFE", "image.SAFE.zip"])
def test_a_product_holds_the_image_that_would_be_written(
    files: Files, tmp_path: Path, name: str
) -> None:
    done = run(files, tmp_path / name, "--noise", "-25", "--seed", "3")
    assert done.exit_code == 0, done.output
    assert "called S1A_IW_GRDH_1SSV_2024" in done.stderr
    assert run(files, tmp_path / "image.nc", "--seed", "3", "--noise", "-25").exit_code == 0
    wanted = read_scene(tmp_path / "image.nc")
    product = open_product(tmp_path / name)
    found = product.scene(noise_removal=False).image.values
    known = np.isfinite(found)
    assert known.mean() > 0.9
    assert_allclose(found[known], wanted.image.values[known], rtol=0.05, atol=1e-4)
    clean = product.scene().image.values
    assert_allclose((found - clean)[known], 10.0**-2.5, rtol=1e-3)


@pytest.mark.parametrize("multilook", [(1, 1), (2, 2)])
def test_what_is_simulated_is_called_so_all_the_way(
    files: Files, tmp_path: Path, multilook: tuple[int, int]
) -> None:
    assert run(files, tmp_path / "image.SAFE").exit_code == 0
    product = open_product(tmp_path / "image.SAFE")
    assert "simulated" in dict(product.summary())["what"]
    assert "simulated" in product.scene(multilook=multilook).image.attrs
    result = tmp_path / "result.nc"
    command = ["reconstruct", tmp_path / "image.SAFE", "--dem", files.dem, "--law", "gamma"]
    command += ["--vertical", "ellipsoidal", "--coregister", "none", "-o", result]
    done = CliRunner().invoke(app, [str(word) for word in command])
    assert done.exit_code == 0, done.output
    assert "simulated" in open_result(result).attrs


def test_several_annotations_make_several_polarisations(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "dual.SAFE"
    done = run(files, path, like=(files.vv, files.vh))
    assert done.exit_code == 0, done.output
    product = open_product(path)
    assert product.polarisations == ("VV", "VH")
    image = product.scene().image.values
    lit = np.isfinite(image).all(axis=0) & (image > 0.0).all(axis=0)
    # Each has the speckle of 4.4 looks for itself.
    assert np.std(np.log(image[0] / image[1])[lit]) > 0.5


def test_an_slc_has_the_bursts_that_are_lit(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "slc.SAFE"
    done = run(files, path, "--looks", "0", like=(files.slc,))
    assert done.exit_code == 0, done.output
    product = open_product(path)
    assert product.product_type == "SLC"
    assert 1 <= len(product.annotation().bursts) <= 4
    assert float(product.scene().image.max()) > 0.0


def test_an_annotation_of_another_place_is_left_out(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "one.SAFE"
    done = run(files, path, like=(files.vv, files.elsewhere))
    assert done.exit_code == 0, done.output
    assert "elsewhere.xml is left out" in done.stderr
    assert open_product(path).polarisations == ("VV",)
    done = run(files, path, "--overwrite", like=(files.elsewhere, files.elsewhere))
    assert "none of the 2 annotations shows the elevation model" in refused(done)


@pytest.mark.parametrize(
    ("name", "arguments", "like", "said"),
    [
        ("a.SAFE", ("--multilook", 2, 2), "vv", "a product has the pixels of its annotation"),
        ("a.SAFE", ("--turn-to", 34), "slc", "bursts cannot be moved along with a turned orbit"),
        ("a.nc", ("--like", "vh"), "vv", "write a product, *.SAFE or *.SAFE.zip"),
        ("missing/a.SAFE", (), "vv", "the folder"),
    ],
)
def test_what_cannot_be_is_refused(
    files: Files, tmp_path: Path, name: str, arguments: tuple[object, ...], like: str, said: str
) -> None:
    given = [getattr(files, str(each), each) for each in arguments]
    done = run(files, tmp_path / name, *given, like=(getattr(files, like),))
    assert said in refused(done)
    assert not list(tmp_path.iterdir())


def test_a_product_is_not_replaced_unasked(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "a.SAFE"
    path.mkdir()
    (path / "manifest.safe").touch()
    said = refused(run(files, path))
    assert "exists already" in said
    assert "--overwrite" in said
    assert run(files, path, "--overwrite").exit_code == 0
    assert open_product(path).product_type == "GRD"


def test_a_simulated_image_is_no_annotation_of_a_product(files: Files, tmp_path: Path) -> None:
    image = tmp_path / "image.nc"
    assert run(files, image).exit_code == 0
    said = refused(run(files, tmp_path / "a.SAFE", like=(image,)))
    assert "is not a complete XML file" in said
