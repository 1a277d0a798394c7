"""The command line, from a product and a DEM in degrees to layers that other programs open."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr
from typer.testing import CliRunner

from sarheight import dem
from sarheight.cli import app
from sarheight.output import open_result, read_provenance
from sarheight.view._page import PageServer
from tests.browser import Browser
from tests.cli.commands import SEA, failing, passing, run, write_dem
from tests.synthetic import synthetic_grid
from tests.view.test_view import address_of, choose, look, position, serving
from tests.worlds.annotations import eof_xml
from tests.worlds.products import grd_product
from tests.worlds.safe import pack

METHOD = ("--method", "one-step", "--law", "muhleman", "--coregister", "none")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a product of two polarisations, and a DEM in UTM and in degrees."""
    folder = tmp_path_factory.mktemp("layers")
    placed = synthetic_grid(lines=400, samples=500, looks=4.4)
    numbers = np.random.default_rng(0).integers(100, 400, (2, *placed[0].shape), dtype=np.uint16)
    product = grd_product(folder, placed=placed, numbers={"VV": numbers[0], "VH": numbers[1]})
    pack(product.path, folder / "product.SAFE.zip")
    (folder / "precise.EOF").write_text(eof_xml(placed[1]))
    metric = write_dem(folder / "metric.tif", 20.0)
    heights = dem.open_dem(metric, vertical="ellipsoidal")
    degrees = dem.reproject(heights, 4326, 1.0 / 3600.0, resampling="cubic")
    degrees.drop_attrs().rio.write_crs(4326).rio.to_raster(folder / "degrees.tif")
    return folder


def reconstruct(data: Path, *options: object, elevation: str = "degrees.tif") -> Any:  # noqa: ANN401
    command = ("reconstruct", data / "product.SAFE.zip", "--dem", data / elevation, *SEA, *METHOD)
    return passing(*command, *options)


def grid_of(path: Path) -> Any:  # noqa: ANN401
    with rasterio.open(path) as file:
        return file.crs.to_epsg(), tuple(file.transform)[:6], file.shape


def test_one_command_makes_layers_in_utm(data: Path, tmp_path: Path) -> None:
    done = reconstruct(data, "-o", tmp_path / "scene")
    assert "in EPSG:32632; --crs dem keeps" in done.stderr
    item = pystac.Item.from_file(str(tmp_path / "scene/scene.stac.json"))
    assert {"gamma0_vv", "gamma0_vh", "mask"} <= set(item.assets)
    assert item.properties["proj:code"] == "EPSG:32632"
    code, transform, _ = grid_of(tmp_path / "scene/scene_gamma0_vv.tif")
    assert code == 32632
    assert (transform[0], transform[4]) == (30.0, -30.0)
    assert transform[2] % 30.0 == transform[5] % 30.0 == 0.0
    record = read_provenance(tmp_path / "scene")["parameters"]["grid"]
    assert record["dem_crs"] == "EPSG:4326"
    assert record["resampling"] == "cubic"
    odc_stac = pytest.importorskip("odc.stac", reason="needs odc-stac")
    loaded = odc_stac.load([item], bands=["gamma0_vv", "mask"])
    result = open_result(tmp_path / "scene")
    power = result["gamma0"].sel(polarisation="VV")
    np.testing.assert_array_equal(loaded["gamma0_vv"][0], power)
    assert np.isfinite(power).mean() > 0.5
    assert "folder of layers" not in run("info", tmp_path / "scene").output
    assert "gamma0" in run("info", tmp_path / "scene").output
    # The whole can be repeated from what it holds.
    settings = run("info", tmp_path / "scene", "--config").output
    assert "muhleman" in settings


def test_grids_by_options(data: Path, tmp_path: Path) -> None:
    rtc = ("--method", "rtc", "--law", "fit", "--polarisations", "VV", "-o")
    chosen = ("--crs", "EPSG:3035", "--resolution", "40", "--align", "10")
    reconstruct(data, *chosen, *rtc, tmp_path / "laea.tif")
    code, transform, _ = grid_of(tmp_path / "laea.tif")
    assert (code, transform[0]) == (3035, 40.0)
    assert transform[2] % 40.0 == transform[5] % 40.0 == 10.0
    names = ("laea.tif", "store.zarr", "folder", "again.tif")
    for like, name in pairwise(tmp_path / each for each in names):
        reconstruct(data, "--like", like, *rtc, name)
    assert grid_of(tmp_path / "again.tif") == grid_of(tmp_path / "laea.tif")
    # A projected DEM keeps its grid unless another is asked for.
    for options, dem_name in ((("--crs", "dem"), "degrees.tif"), ((), "metric.tif")):
        output = tmp_path / f"own_{dem_name}"
        reconstruct(data, *options, *rtc, output, elevation=dem_name)
        assert grid_of(output) == grid_of(data / dem_name)


def test_a_tile_of_sentinel_2(data: Path, tmp_path: Path) -> None:
    options = ("--mgrs", "32TNR", "--resolution", "180", "-o", tmp_path / "tile.nc")
    reconstruct(data, *options)
    result = open_result(tmp_path / "tile.nc")
    assert dem.grid_like(result) == dem.mgrs_grid("32TNR", 180.0)
    said = failing(
        1,
        *("reconstruct", data / "product.SAFE.zip", "--dem", data / "degrees.tif", *SEA, *METHOD),
        *("--mgrs", "33XVG", "--polarisations", "VV", "-o", tmp_path / "no.nc"),
    )
    assert "does not reach the tile 33XVG: its middle lies in the tile 32TNR" in said
    assert not (tmp_path / "no.nc").exists()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--mgrs", "32TNR", "--crs", "EPSG:32632"), 2, "omit --crs and --align, or --mgrs"),
        (("--crs", "dem", "--resolution", "20"), 2, "omit --resolution and --align, or --crs"),
        (("--crs", "EPSG:32632", "--resolution", "0.0003"), 1, "expected it in units of"),
        (("--crs", "somewhere"), 1, "is not a coordinate reference system"),
        (("--mgrs", "32TIO"), 1, "no MGRS tile"),
        (("--like", "{metric}", "--resolution", "20"), 2, "has a grid: omit"),
    ],
)
def test_wrong_grids_are_refused(
    data: Path, tmp_path: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    command = ("reconstruct", data / "product.SAFE.zip", "--dem", data / "degrees.tif", *SEA)
    filled = [text.format(metric=data / "metric.tif") for text in options]
    assert message in failing(code, *command, *filled, "-o", tmp_path / "no.tif")
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("default:the grid:UserWarning")
def test_a_far_finer_resolution_is_warned_of(data: Path, tmp_path: Path) -> None:
    done = reconstruct(data, "--resolution", "6", "-o", tmp_path / "fine.zarr")
    assert "times finer than the DEM's posting" in done.stderr


def test_layers_in_decibels_and_a_second_run(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "scene"
    reconstruct(data, "--scale", "db-int16", "-o", output)
    with rasterio.open(output / "scene_gamma0_vh.tif") as file:
        assert (file.dtypes, file.scales, file.units) == (("int16",), (0.01,), ("dB",))
    command = ("reconstruct", data / "product.SAFE.zip", "--dem", data / "degrees.tif", *SEA)
    assert "--overwrite" in failing(2, *command, *METHOD, "-o", output)
    reconstruct(data, "--polarisations", "VV", "--overwrite", "-o", output)
    assert not list(output.glob("*_vh.tif"))
    assert "gamma0_vv" in json.loads((output / "scene.stac.json").read_text())["assets"]
    assert isinstance(open_result(output), xr.Dataset)


@pytest.mark.usefixtures("_forked_jobs")
def test_a_batch_makes_folders_of_layers_once(data: Path, tmp_path: Path) -> None:
    settings = ("vertical=ellipsoidal", "method=one-step", "law=muhleman", "coregister=none")
    command = ("batch", data / "product.SAFE.zip", "--dem", data / "degrees.tif", "--suffix", "/")
    options = [text for setting in settings for text in ("--set", setting)]
    passing(*command, *options, "-o", tmp_path / "results")
    (item,) = (tmp_path / "results").glob("*/*.stac.json")
    before = item.stat().st_mtime_ns
    passing(*command, *options, "-o", tmp_path / "results")
    assert item.stat().st_mtime_ns == before
    assert "gamma0_vh" in pystac.Item.from_file(str(item)).assets


def test_results_name_no_folders(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scene"
    reconstruct(data, "--orbit", data / "precise.EOF", "-o", folder)
    texts = [path.read_text() for path in folder.glob("*.stac.json")]
    for path in folder.glob("*.tif"):
        with rasterio.open(path) as file:
            texts += [str(file.tags()), str(file.tags(1))]
    assert any("product.SAFE.zip" in text for text in texts)
    for place in (data, tmp_path):
        assert not any(str(place) in text for text in texts)
    assert "the orbit file precise.EOF" in open_result(folder).attrs["orbit_source"]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--vertical", {"ellipsoidal", "EGM96", "EGM2008"}),
        ("--law", {"fit", "gamma", "lambert", "cosine", "muhleman"}),
        ("--units", {"m", "ft", "us-ft"}),
        ("--method", {"posterior", "one-step", "rtc"}),
        ("--profile", {"ceos-nrb"}),
    ],
)
def test_the_shell_completes_what_an_option_knows(option: str, words: set[str]) -> None:
    done = CliRunner().invoke(
        app,
        prog_name="sarheight",
        env={
            "_SARHEIGHT_COMPLETE": "complete_bash",
            "COMP_WORDS": f"sarheight reconstruct {option} ",
            "COMP_CWORD": "3",
        },
    )
    assert set(done.output.split()) == words


@pytest.fixture(scope="module")
def nrb(data: Path) -> Path:
    """What one command made, for other programs and a browser."""
    reconstruct(data, "--profile", "ceos-nrb", "-o", data / "nrb")
    return data / "nrb"


def test_other_programs_load_what_one_command_made(nrb: Path) -> None:
    item = pystac.Item.from_file(str(nrb / "nrb.stac.json"))
    assert item.properties["ceosard:specification"] == "NRB"
    odc_stac = pytest.importorskip("odc.stac", reason="needs odc-stac")
    loaded = odc_stac.load([item], bands=["gamma0_vv", "data_mask", "dem"])
    valid = (loaded["data_mask"] & 1) * (loaded["data_mask"] != 255)
    np.testing.assert_array_equal(valid == 1, np.isfinite(loaded["gamma0_vv"]))
    assert 300.0 < float(loaded["dem"].max()) < 700.0


def answer_of(server: PageServer, path: str) -> bytes:
    with closing(http.client.HTTPConnection("127.0.0.1", server.server_address[1])) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read()


def test_the_viewer_serves_what_one_command_made(nrb: Path) -> None:
    with serving(nrb) as server:
        assert nrb.name.encode() in answer_of(server, "/")
        view = server.view
        layer = view.index_of("gamma0", {"polarisation": 0})
        tile = np.frombuffer(answer_of(server, f"/tile/{layer}/0/0/0"), "<f4")
        power = open_result(nrb)["gamma0"].sel(polarisation="VV").values
        expected = 10.0 * np.log10(np.where(power > 0.0, power, np.nan))
        np.testing.assert_allclose(tile.reshape(power.shape), expected, atol=1e-4)
        drawn = {one.name: one for one in view.quantities}
        assert drawn["noise_power"].unit == "dB"
        assert [label for _, label, _ in drawn["acquisition_id"].classes] == ["image 1"]
        classes = {code: label for code, label, _ in drawn["data_mask"].classes}
        assert (classes[3.0], classes[4.0]) == ("valid, layover", "radar shadow")
        noise = view.index_of("noise_power", {"polarisation": 0})
        levels = np.frombuffer(answer_of(server, f"/tile/{noise}/0/0/0"), "<f4")
        assert -60.0 < np.nanmedian(levels) < -20.0
        low, high = json.loads(answer_of(server, f"/limits/{layer}"))
        assert (low, high) == pytest.approx(np.nanpercentile(expected, (2, 98)), abs=1.0)
        # A place in layover shares its pixels with others, also without a DEM beside the result.
        folds = open_result(nrb)["fold_count"].values
        row, column = np.argwhere((folds >= 3) & (folds < 255))[0].tolist()
        found = json.loads(answer_of(server, f"/places/{row}/{column}/0/0"))
        assert sum(one[2] for one in found["cells"]) + found["outside"][0] == pytest.approx(
            1.0, abs=0.01
        )


def test_a_browser_shows_what_one_command_made(nrb: Path, tmp_path: Path) -> None:
    with Browser(tmp_path / "browser") as browser, serving(nrb) as server:
        look(browser, address_of(server))
        choose(browser, "left", "layover and shadow")
        # Beside the swipe, which is in the middle.
        browser.drag(position(browser, 0.5 * server.view.shape[0], 0.6 * server.view.shape[1]))
        browser.wait("document.querySelectorAll('#cells rect').length > 0")
        assert browser.problems == []
