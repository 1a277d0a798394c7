"""The command line, from a product and a DEM in degrees to layers that other programs open."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from dataclasses import replace
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
from sarheight.illumination import simulate
from sarheight.output import open_result, read_provenance
from sarheight.view._page import PageServer
from tests.browser import Browser
from tests.cli.commands import SEA, failing, passing, run, write_dem
from tests.synthetic import synthetic_grid
from tests.view.test_view import address_of, choose, look, position, serving
from tests.worlds.annotations import eof_xml
from tests.worlds.products import grd_product, write_product
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


def test_a_ceos_folder_in_utm_by_one_command(data: Path, tmp_path: Path) -> None:
    reconstruct(data, "--profile", "ceos-nrb", "-o", tmp_path / "nrb")
    item = pystac.Item.from_file(str(tmp_path / "nrb/nrb.stac.json"))
    assert item.properties["ceosard:specification"] == "NRB"
    odc_stac = pytest.importorskip("odc.stac", reason="needs odc-stac")
    loaded = odc_stac.load([item], bands=["gamma0_vv", "data_mask", "dem"])
    valid = (loaded["data_mask"] & 1) * (loaded["data_mask"] != 255)
    np.testing.assert_array_equal(valid == 1, np.isfinite(loaded["gamma0_vv"]))
    assert 300.0 < float(loaded["dem"].max()) < 700.0


def test_grids_by_options(data: Path, tmp_path: Path) -> None:
    chosen = ("--crs", "EPSG:3035", "--resolution", "40", "--align", "10")
    reconstruct(data, *chosen, "-o", tmp_path / "laea.tif")
    code, transform, _ = grid_of(tmp_path / "laea.tif")
    assert (code, transform[0]) == (3035, 40.0)
    assert transform[2] % 40.0 == transform[5] % 40.0 == 10.0
    reconstruct(data, "--like", tmp_path / "laea.tif", "-o", tmp_path / "again.tif")
    assert grid_of(tmp_path / "again.tif") == grid_of(tmp_path / "laea.tif")
    for name in ("store.zarr", "folder"):
        reconstruct(data, *chosen, "-o", tmp_path / name)
        reconstruct(data, "--like", tmp_path / name, "--overwrite", "-o", tmp_path / "again.tif")
        assert grid_of(tmp_path / "again.tif") == grid_of(tmp_path / "laea.tif")
    reconstruct(data, "--crs", "dem", "-o", tmp_path / "own.tif")
    assert grid_of(tmp_path / "own.tif") == grid_of(data / "degrees.tif")
    # A projected DEM keeps its grid unless another is asked for.
    reconstruct(data, "-o", tmp_path / "metric.tif", elevation="metric.tif")
    assert grid_of(tmp_path / "metric.tif") == grid_of(data / "metric.tif")


def test_a_tile_of_sentinel_2(data: Path, tmp_path: Path) -> None:
    options = ("--mgrs", "32TNR", "--resolution", "180", "-o", tmp_path / "tile.nc")
    reconstruct(data, *options)
    result = open_result(tmp_path / "tile.nc")
    assert dem.grid_like(result) == dem.mgrs_grid("32TNR", 180.0)
    said = failing(
        1,
        *("reconstruct", data / "product.SAFE.zip", "--dem", data / "degrees.tif", *SEA, *METHOD),
        *("--mgrs", "33XVG", "-o", tmp_path / "no.nc"),
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
    said = failing(code, *command, *METHOD, *filled, "-o", tmp_path / "no.tif")
    assert message in said
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
    item = json.loads((output / "scene.stac.json").read_text())
    assert "gamma0_vv" in item["assets"]
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
    reconstruct(data, "--orbit", data / "precise.EOF", "-o", tmp_path / "scene")
    reconstruct(data, "-o", tmp_path / "other")
    for folder in (tmp_path / "scene", tmp_path / "other"):
        texts = [path.read_text() for path in folder.glob("*.stac.json")]
        for path in folder.glob("*.tif"):
            with rasterio.open(path) as file:
                texts += [str(file.tags()), str(file.tags(1))]
        assert any("product.SAFE.zip" in text for text in texts)
        for place in (data, tmp_path):
            assert not any(str(place) in text for text in texts)
    assert "the orbit file precise.EOF" in open_result(tmp_path / "scene").attrs["orbit_source"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--metod", "rtc"), "No such option: --metod; did you mean --method or"),
        (("--method", "rct"), "--method: found method='rct', expected one of 'posterior'"),
        (("--orbit", "dem.tif"), "--orbit: found 'dem.tif', expected an orbit file (.EOF)"),
        (("--memory", "100MB"), "--memory: found a memory limit of '100MB', expected 875 MiB or"),
    ],
)
def test_misuse_is_refused_at_once(options: tuple[str, ...], message: str) -> None:
    # Neither file exists: nothing is read or fetched before the options are right.
    command = ("reconstruct", "none.zip", "--dem", "auto", "-o", "scene")
    assert message in failing(2, *command, *options)


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


# The whole way: simulated products of two dates to what other programs and a browser open.


DATES = ("2024-01-01", "2024-01-13")


def write_date(folder: Path, date: str, heights: xr.DataArray) -> Path:
    """Write a simulated product of VV and VH, with speckle and noise, as the archive has it."""
    epoch = np.datetime64(f"{date}T06:00:00")
    grid, orbit = (
        replace(each, epoch=epoch) for each in synthetic_grid(lines=300, samples=380, looks=4.4)
    )
    scenes = []
    for number, name in enumerate(("VV", "VH")):
        bright = xr.full_like(heights, (1.0, 0.2)[number])
        scenes.append(
            simulate(
                heights,
                replace(grid, polarisations=(name,)),
                orbit,
                reflectivity=bright,
                looks=4.4,
                noise=1e-3,
                seed=2 * DATES.index(date) + number,
            )
        )
    return write_product(scenes, folder / f"{date}.SAFE.zip", noise=1e-3)


@pytest.fixture(scope="module")
def two_dates(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One command for each date, by the default method, with a DEM in degrees."""
    folder = tmp_path_factory.mktemp("two dates")
    metric = dem.open_dem(write_dem(folder / "metric.tif", 20.0), vertical="ellipsoidal")
    elevation = folder / "dem.tif"
    dem.reproject(metric, 4326, 1.0 / 3600.0, resampling="cubic").drop_attrs().rio.write_crs(
        4326
    ).rio.to_raster(elevation)
    made = []
    for date in DATES:
        product = write_date(folder, date, metric)
        made.append(folder / f"nrb_{date}")
        passing(
            *("reconstruct", product, "--dem", elevation, *SEA),
            *("--profile", "ceos-nrb", "-o", made[-1]),
        )
    return made


def test_two_dates_are_loaded_by_name_and_joined_along_time(two_dates: list[Path]) -> None:
    items = [pystac.Item.from_file(str(next(each.glob("*.stac.json")))) for each in two_dates]
    assert {item.properties["proj:code"] for item in items} == {"EPSG:32632"}
    assert [item.datetime.date().isoformat() for item in items if item.datetime] == list(DATES)
    results = [open_result(each) for each in two_dates]
    series = xr.concat(results, "time", combine_attrs="override")
    assert dict(series["gamma0"].sizes) | {"time": 2, "polarisation": 2} == series["gamma0"].sizes
    assert list(np.datetime_as_string(series["time"], unit="D")) == list(DATES)
    power = series["gamma0"].sel(polarisation="VV")
    assert np.isfinite(power).mean() > 0.4
    assert ((series["mask"] > 0) & (series["mask"] != 255)).mean() > 0.02
    # Two draws of speckle on the same ground.
    means = power.mean(("y", "x"))
    assert abs(10.0 * np.log10(float(means[1] / means[0]))) < 0.3
    odc_stac = pytest.importorskip("odc.stac", reason="needs odc-stac")
    loaded = odc_stac.load(items, bands=["gamma0_vv", "mask"])
    assert dict(loaded.sizes) == {"time": 2, "y": series.sizes["y"], "x": series.sizes["x"]}
    assert loaded["mask"].dtype == np.uint8
    np.testing.assert_array_equal(loaded["gamma0_vv"], power.transpose("time", "y", "x"))
    np.testing.assert_array_equal(loaded["mask"], series["mask"].transpose("time", "y", "x"))


def answer_of(server: PageServer, path: str) -> bytes:
    with closing(http.client.HTTPConnection("127.0.0.1", server.server_address[1])) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read()


def test_the_viewer_serves_what_one_command_made(two_dates: list[Path]) -> None:
    with serving(two_dates[0]) as server:
        assert two_dates[0].name.encode() in answer_of(server, "/")
        view = server.view
        layer = view.index_of("gamma0", {"polarisation": 0})
        tile = np.frombuffer(answer_of(server, f"/tile/{layer}/0/0/0"), "<f4")
        power = open_result(two_dates[0])["gamma0"].sel(polarisation="VV").values
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
        folds = open_result(two_dates[0])["fold_count"].values
        row, column = np.argwhere((folds >= 3) & (folds < 255))[0].tolist()
        found = json.loads(answer_of(server, f"/places/{row}/{column}/0/0"))
        assert sum(one[2] for one in found["cells"]) + found["outside"][0] == pytest.approx(
            1.0, abs=0.01
        )


def test_a_browser_shows_what_one_command_made(two_dates: list[Path], tmp_path: Path) -> None:
    with Browser(tmp_path / "browser") as browser, serving(two_dates[0]) as server:
        look(browser, address_of(server))
        choose(browser, "left", "layover and shadow")
        # Beside the swipe, which is in the middle.
        browser.drag(position(browser, 0.5 * server.view.shape[0], 0.6 * server.view.shape[1]))
        browser.wait("document.querySelectorAll('#cells rect').length > 0")
        assert browser.problems == []
