"""One way in: the same files give the same result, from Python and from the command line."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import xarray as xr

import sarheight
from sarheight import dem as elevations
from sarheight.doppler import DopplerLUT
from sarheight.errors import DemError, GeometryError, OptionError, VerticalDatumError
from sarheight.illumination import simulate
from sarheight.layover import (
    RTC,
    PosteriorMean,
    Prior,
    ValueErrors,
    in_layover,
    read_method,
    reconstruct,
)
from sarheight.layover.layers import LAYERS, select_layers
from sarheight.output import open_result
from sarheight.product import open_product
from sarheight.scene import Scene
from sarheight.workflow import ImageConfig, ReconstructConfig, open_image
from tests.cli.commands import passing, run, write_dem
from tests.dems import geoid_bytes, hills
from tests.synthetic import synthetic_grid
from tests.worlds.products import NAME, drawn_scene, grd_product, slc_product, write_product
from tests.worlds.rslc import write_rslc
from tests.worlds.safe import pack

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
UNDULATION = 48.0
"""Height of the geoid above the ellipsoid in metres."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make products, and an elevation model as Copernicus has it: degrees, above the geoid."""
    folder = tmp_path_factory.mktemp("archive")
    metric = elevations.open_dem(write_dem(folder / "metric.tif", 30.0), vertical="ellipsoidal")
    degrees = elevations.reproject(metric, 4326, 1.0 / 3600.0, resampling="cubic")
    above_geoid = (degrees - UNDULATION).drop_attrs().rio.write_crs(4326)
    above_geoid.rio.to_raster(folder / "glo30.tif")
    geoid = folder / "cache" / "geoid" / "us_nga_egm08_25.tif"
    geoid.parent.mkdir(parents=True)
    geoid.write_bytes(geoid_bytes(UNDULATION))
    placed = synthetic_grid(lines=400, samples=500, looks=4.4)
    numbers = np.random.default_rng(0).integers(100, 400, (2, *placed[0].shape), dtype=np.uint16)
    both = {"VV": numbers[0], "VH": numbers[1]}
    grd = grd_product(folder, placed=placed, numbers=both)
    pack(grd.path, folder / "grd.SAFE.zip")
    slc, _ = slc_product(folder)
    pack(slc, folder / "slc.SAFE.zip")
    return folder


@pytest.fixture
def place(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder of one's own, beside the elevation model."""
    shutil.copy(archive / "glo30.tif", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SARHEIGHT_CACHE", str(archive / "cache"))
    return tmp_path


def block(language: str) -> str:
    """Return the first block of a language in the README that reconstructs."""
    found = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return next(text for text in found if "reconstruct" in text)


def layers(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Read all layers of a folder by what follows the name of the folder."""
    found = {}
    for path in sorted(folder.glob("*.tif")):
        with rasterio.open(path) as file:
            found[path.stem.removeprefix(folder.name)] = file.read()
            assert file.crs.to_epsg() == 32632, "the UTM zone of a DEM in degrees"
    return found


@pytest.mark.parametrize("kind", ["grd", "slc"])
def test_python_and_command_of_the_readme_give_the_same_bits(
    archive: Path, place: Path, kind: str
) -> None:
    shutil.copy(archive / f"{kind}.SAFE.zip", place / "product.SAFE.zip")
    names: dict[str, Any] = {}
    exec(compile(block("python"), "README.md", "exec"), names)  # noqa: S102
    lines = block("console").splitlines()
    command = next(line for line in lines if "reconstruct product.SAFE.zip" in line)
    done = passing(*shlex.split(command.removeprefix("$ "))[1:])
    assert ("averaging the SLC to 20 m" in done.stderr) == (kind == "slc")
    by_python, by_command = layers(place / "unfolded"), layers(place / "scene")
    assert by_python.keys() == by_command.keys()
    kinds = {name.rpartition("_vv")[0] or name for name in by_python if not name.endswith("_vh")}
    assert kinds == {f"_{name}" for name in select_layers("main")}
    for name, values in by_python.items():
        np.testing.assert_array_equal(values, by_command[name], err_msg=name)
    assert any(np.isfinite(values).any() for name, values in by_python.items() if "gamma0" in name)
    # The other records are the same, too.
    result: xr.Dataset = names["result"]
    parameters = json.loads(json.dumps(result.attrs["provenance"]))["parameters"]
    assert parameters["settings"]["image"] == "product.SAFE.zip"
    assert parameters["settings"]["vertical"] == "EGM2008"


def test_a_prior_of_ones_own_repeats_bit_for_bit(archive: Path, place: Path) -> None:
    """By the file of settings that a result holds, and by its description."""
    method = PosteriorMean(steps=1, prior=Prior(edges=0.7, errors=ValueErrors(height_error=8.1)))
    given: dict[str, Any] = {"vertical": "EGM2008", "polarisations": "VV", "coregister": "none"}
    image = archive / "grd.SAFE.zip"
    made = sarheight.reconstruct(image, "glo30.tif", method=method, **given)
    usual = sarheight.reconstruct(image, "glo30.tif", **given)
    assert not made["gamma0"].equals(usual["gamma0"])
    sarheight.output.write(made, place / "first.nc")
    shutil.copy(image, place)
    settings = run("info", "first.nc", "--config").stdout
    (place / "run.toml").write_text(settings, encoding="utf-8")
    reported("reconstruct", "--config", "run.toml", "-o", "second.nc")
    second = open_result(place / "second.nc")
    tables = {"prior": {"edges": 0.7, "errors": {"height_error": 8.1}}, "steps": 1}
    third = sarheight.reconstruct(image, "glo30.tif", method={"PosteriorMean": tables}, **given)
    for name in made.data_vars:
        np.testing.assert_array_equal(second[name].values, made[name].values, err_msg=name)
        np.testing.assert_array_equal(third[name].values, made[name].values, err_msg=name)
    assert run("info", "second.nc", "--config").stdout == settings
    assert read_method(json.loads(second.attrs["parameters"])["method"]) == method


def test_layers_are_those_that_are_named(archive: Path, place: Path) -> None:
    def found(*options: str) -> set[str]:
        product, dem = archive / "slc.SAFE.zip", place / "glo30.tif"
        made = sarheight.reconstruct(
            product, dem=dem, vertical="EGM2008", coregister="none", method="one-step",
            spacing=40, variables=options,
        )  # fmt: skip
        return set(map(str, made.data_vars)) - {"spatial_ref"}

    assert found("gamma0,mask") == {"gamma0", "mask"}
    assert found("all") == set(LAYERS)
    with pytest.raises(OptionError, match="found variables 'sigma', expected 'all', 'main'"):
        found("sigma")


def test_what_is_opened_gives_what_its_file_gives(archive: Path, place: Path) -> None:
    path, options = archive / "grd.SAFE.zip", {"method": "rtc", "polarisations": "VV"}
    heights = elevations.open_dem("glo30.tif", vertical="EGM2008")
    expected = sarheight.reconstruct(path, dem="glo30.tif", vertical="EGM2008", **options)
    config = ReconstructConfig(
        image=str(path), dem=("glo30.tif",), vertical="EGM2008", method="rtc", polarisations=("VV",)
    )
    scene = open_image(path, polarisations="vv")
    assert scene.grid.polarisations == ("VV",)
    for found in (
        sarheight.reconstruct(config, method=RTC, coregister="report"),
        sarheight.reconstruct(open_product(path), dem=heights, **options),
        sarheight.reconstruct(scene, ["glo30.tif"], vertical="EGM2008", method=RTC()),
    ):
        assert found.data_vars.keys() == expected.data_vars.keys()
        for name in expected.data_vars:
            np.testing.assert_array_equal(found[name].values, expected[name].values, err_msg=name)
    assert place.exists()


def test_an_image_is_opened_in_one_way(archive: Path) -> None:
    path = archive / "slc.SAFE.zip"
    coarse = open_image(path)
    assert coarse.grid.shape == open_image(open_product(path)).grid.shape
    assert coarse.grid.shape == open_image(path, ImageConfig(spacing=20.0)).grid.shape
    whole = ReconstructConfig(image=str(path), dem=("dem.tif",), spacing=20.0)
    assert coarse.grid.shape == open_image(path, whole).grid.shape
    full = open_image(path, multilook=(1, 1))
    assert full.grid.lines * full.grid.samples > 4 * coarse.grid.lines * coarse.grid.samples
    scene = open_image(archive / "grd.SAFE.zip")
    again = open_image(scene, polarisations=("VH",))
    np.testing.assert_array_equal(again.image.values, scene.image.sel(polarisation="VH").values)
    assert again.grid.polarisations == ("VH",)


SEA = ("--dem", "glo30.tif", "--vertical", "EGM2008")


def reported(*arguments: str) -> str:
    return passing(*arguments).stderr


def grid_of(name: str) -> tuple[Any, ...]:
    with xr.open_dataset(name, decode_coords="all") as result:
        return result.rio.crs, result["y"].values.tolist(), result["x"].values.tolist()


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("grid", [(), ("--resolution", "40"), ("--like", "{like}")])
def test_all_commands_write_on_the_grid_of_a_reconstruction(
    archive: Path, grid: tuple[str, ...]
) -> None:
    shutil.copy(archive / "grd.SAFE.zip", "product.SAFE.zip")
    rtc = ("--method", "rtc", "--polarisations", "VV", "--coregister", "none")
    refined = ("--factor", "2", "--iterations", "1", "--coregister", "none", "--polarisation", "VV")
    if "--like" in grid:
        laea = ("--crs", "EPSG:3035", "--resolution", "35", "-o", "like.tif")
        reported("reconstruct", "product.SAFE.zip", *SEA, *rtc, *laea)
        grid = tuple(text.format(like="like.tif") for text in grid)
    reported("reconstruct", "product.SAFE.zip", *SEA, *rtc, *grid, "-o", "scene.nc")
    reported("masks", "--like", "product.SAFE.zip", *SEA, *grid, "-o", "masks.nc")
    reported("refine", "product.SAFE.zip", *SEA, *grid, *refined, "-o", "heights.nc")
    expected = grid_of("scene.nc")
    assert grid_of("masks.nc") == expected
    crs, *axes = grid_of("heights.nc")
    if not grid:  # two cells of the heights in one along each axis
        axes = [np.reshape(axis, (-1, 2)).mean(axis=1).tolist() for axis in axes]
    assert (crs, *axes) == expected
    # The simulation is that of the same heights: the image made of it has no shift.
    said = reported("simulate", "--like", "product.SAFE.zip", *SEA, *grid, "-o", "image.nc")
    rows, columns = (len(axis) for axis in expected[1:])
    assert f"the result has {rows} x {columns} cells" in said


@pytest.mark.usefixtures("place")
def test_a_refinement_divides_the_cells_of_the_elevation_model(archive: Path) -> None:
    image, refined = str(archive / "grd.SAFE.zip"), ("--iterations", "1", "--coregister", "none")
    like = ("--crs", "EPSG:3035", "--resolution", "31", "-o", "like.nc")
    reported("masks", "--like", image, *SEA, *like)
    given = (image, *SEA, *refined, "--polarisation", "VV")
    reported("refine", *given, "--like", "like.nc", "--factor", "2", "-o", "fine.nc")
    assert grid_of("fine.nc") == grid_of("like.nc")
    # Where the elevation model does not reach there are no heights.
    with xr.open_dataset("fine.nc") as fine, xr.open_dataset("like.nc") as masks:
        reached = (masks["mask"].values != 255) & np.isfinite(masks["mask"].values)
        assert np.isfinite(fine["height"].values[reached]).mean() > 0.97
        assert np.isnan(fine["height"].values[0, 0])
    reported("refine", *given, "--resolution", "20", "-o", "own.nc")
    crs, rows, _ = grid_of("own.nc")
    assert crs.to_epsg() == 32632
    assert rows[0] - rows[1] == 20.0
    assert (rows[0] - 10.0) % 20.0 == 0.0


@pytest.mark.usefixtures("place")
def test_layover_is_one_number(archive: Path) -> None:
    """By the same definition, in the same cells, for masks and a reconstruction."""
    image = str(archive / "grd.SAFE.zip")
    said = (
        reported("masks", "--like", image, *SEA, "-o", "masks.nc"),
        reported("reconstruct", image, *SEA, "--method", "rtc", "-o", "scene.nc"),
    )
    told = [re.findall(r"[\d.]+ % [a-z ]+", text.splitlines()[-1]) for text in said]
    assert told[0] == told[1]
    assert len(told[0]) == 3
    masks, scene = open_result("masks.nc"), open_result("scene.nc")
    np.testing.assert_array_equal(masks["mask"], scene["mask"])
    outside = masks["fold_count"] == 255
    assert 0.05 < float(outside.mean()) < 0.9
    np.testing.assert_array_equal(masks["mask"] == 255, outside)
    fraction = float(in_layover(scene["mask"]).sum() / (~outside).sum())
    assert told[0][1] == f"{100 * fraction:.1f} % of these in layover"


@pytest.mark.usefixtures("place")
def test_a_result_is_clipped_to_polygons(archive: Path) -> None:
    """It has the values that it has without, and none outside."""
    image = str(archive / "grd.SAFE.zip")
    method = ("--method", "rtc", "--polarisations", "VV", "--coregister", "none")
    reported("reconstruct", image, *SEA, *method, "-o", "whole.nc")
    whole = open_result("whole.nc")
    to_degrees = pyproj.Transformer.from_crs(whole.rio.crs, 4326, always_xy=True)
    seen = np.argwhere(whole["mask"].values != 255).mean(axis=0).astype(int)
    east, north = float(whole["x"][seen[1]]), float(whole["y"][seen[0]])
    triangle = [(-400.0, -300.0), (400.0, -300.0), (0.0, 500.0), (-400.0, -300.0)]
    ring = [to_degrees.transform(east + across, north + up) for across, up in triangle]
    area = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}}
    Path("area.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [area]}))
    for command in (
        ("reconstruct", image, *method, "-o", "part.nc"),
        ("masks", "--like", image, "-o", "masks.nc"),
    ):
        reported(*command, *SEA, "--clip", "area.geojson")
        part = open_result(command[-1])
        assert part.sizes["y"] < 40 > part.sizes["x"]
        same = whole.sel(y=part["y"], x=part["x"])
        inside = (abs(part["x"] - east) < 0.5 * (north + 500.0 - part["y"]) - 40.0) & (
            part["y"] > north - 270.0
        )
        for name in part.data_vars:
            kept = part[name].where(inside).values
            np.testing.assert_array_equal(kept, same[name].where(inside).values, err_msg=name)
        assert (part["mask"].values[0, [0, -1]] == 255).all()
        assert (part["mask"].values[-2] != 255).mean() > 0.8


@pytest.mark.filterwarnings("default:the noise vectors:UserWarning")
def test_a_noise_of_zero_is_told_and_makes_no_layer(
    archive: Path, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_product(drawn_scene(), place / NAME)
    options: dict[str, Any] = {"profile": "ceos-nrb", "method": "rtc", "coregister": "none"}
    with caplog.at_level("WARNING"):
        found = sarheight.reconstruct(path, "glo30.tif", vertical="EGM2008", **options)
    assert "states a thermal noise of zero" in caplog.text
    assert "noise_power" not in found
    assert "data_mask" in found
    noisy = sarheight.reconstruct(
        archive / "grd.SAFE.zip", "glo30.tif", vertical="EGM2008", **options
    )
    assert float(noisy["noise_power"].max()) > 0.0


def test_an_rslc_is_opened_at_its_native_doppler(archive: Path, place: Path) -> None:
    grid, orbit = synthetic_grid(ground_range=False, lines=60, samples=80, sample_spacing=6.0)
    grid = replace(grid, wavelength=0.24)
    times, ranges = [grid.first_time - 0.5, grid.last_time + 0.5], [grid.near_range - 500.0] * 2
    ranges[1] += 2500.0
    doppler = DopplerLUT(np.array(times), np.array(ranges), [[90.0, 80.0], [92.0, 82.0]])
    image = np.ones(grid.shape, np.complex64)
    path = write_rslc(place / "r.h5", {"A": {"HH": image}}, {"A": grid}, orbit, doppler=doppler)
    assert open_image(path, multilook=(1, 1)).grid.doppler is None
    native = open_image(path, multilook=(1, 1), focusing="native").grid.doppler
    assert native is not None
    assert float(native.frequency.max()) == pytest.approx(92.0)
    for other in (archive / "grd.SAFE.zip", open_image(path)):
        with pytest.raises(OptionError, match=r"focusing: .*only a NISAR RSLC"):
            open_image(other, focusing="native")


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dem": None}, "dem: it is missing"),
        ({"dem": "nowhere.tif"}, "dem: there is no 'nowhere.tif'"),
        ({"brightness": 3}, "found the option 'brightness', expected some of"),
        ({"method": '{"RTC": {"blur": -1}}'}, "method: found blur=-1"),
        ({"method": {"RTC": 3}}, "method: .*expected a method with its para"),
        ({"method": {"Magic": {}}}, "method: found Magic, expected one meth"),
        ({"multilook": 3}, "multilook: found 3, expected 2 values"),
        ({"resolution": 20, "crs": "dem"}, "omit resolution and align, or crs"),
        ({"polarisations": 7}, "polarisations: "),
        ({"coregister": True}, "coregister: found True, expected one of"),
        ({"clip": "point.geojson", "vertical": 0.0, "method": "rtc"}, "clip: .*found Point"),
        ({"clip": "far.geojson", "vertical": 0.0, "method": "rtc"}, "clip: .*does not meet"),
    ],
)
def test_mistakes_are_told_in_words_of_python(
    archive: Path, options: dict[str, Any], message: str
) -> None:
    Path("point.geojson").write_text('{"type": "Point", "coordinates": [10.0, 46.0]}')
    ring = [[30.0, 46.0], [30.1, 46.0], [30.1, 46.1], [30.0, 46.0]]
    Path("far.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    with pytest.raises(OptionError, match=message):
        sarheight.reconstruct(archive / "grd.SAFE.zip", **({"dem": "glo30.tif"} | options))


def test_what_is_no_image_or_has_no_datum_is_refused(archive: Path, place: Path) -> None:
    heights = elevations.open_dem(place / "glo30.tif", vertical="EGM2008")
    with pytest.raises(TypeError, match="found DataArray, expected a path or URL of an image"):
        open_image(heights)  # type: ignore[arg-type]
    with pytest.raises(VerticalDatumError, match="pass vertical= with ellipsoidal, EGM96"):
        sarheight.reconstruct(archive / "grd.SAFE.zip", dem="glo30.tif")
    scene = open_image(archive / "grd.SAFE.zip")
    for option, value, message in (
        ("polarisations", "HH", "polarisations: found HH, expected some of VV, VH"),
        ("calibration", "gamma0", "calibration: found 'gamma0', and the scene is"),
        ("swaths", "IW1", "swaths, burst and no_noise_removal are for products"),
    ):
        with pytest.raises(OptionError, match=message):
            open_image(scene, **{option: value})
    with pytest.raises(ValueError, match="'magic', expected one of 'posterior', 'one-step', 'rtc"):
        reconstruct(scene, heights, method="magic")
    with pytest.raises(TypeError, match="found method=3, expected one of"):
        reconstruct(scene, heights, method=3)  # type: ignore[call-overload]


def world_at(longitude: float) -> tuple[xr.DataArray, Scene]:
    """Make mountains in degrees around a longitude, at the edge of a zone of UTM, and an image."""
    side = 80
    steps = (np.arange(side) + 0.5 - side / 2) / 1200
    heights = hills((side, side), relief=150.0, seed=3).astype(np.float32)
    axes = {"y": 46.0 - steps, "x": longitude + steps}
    dem = xr.DataArray(heights, axes, attrs={"units": "m", "vertical_datum": "ellipsoid"})
    dem = dem.rio.write_crs(4326)
    grid, orbit = synthetic_grid(46.0, longitude, lines=220, samples=260, looks=4.4, height=1e3)
    return dem, simulate(dem, grid, orbit, seed=1)


def test_a_scene_across_the_antimeridian_is_as_any_other(tmp_path: Path) -> None:
    """By symmetry: the zones of UTM are alike, and orbits turn with the Earth."""
    given: dict[str, Any] = {"law": "muhleman", "vertical": "ellipsoidal"}
    expected = sarheight.reconstruct(world_at(6.01)[1], world_at(6.01)[0], **given)
    for longitude in (180.01, -179.99):
        dem, scene = world_at(longitude)
        found = sarheight.reconstruct(scene, dem, **given)
        assert found.rio.crs.to_epsg() == 32601
        np.testing.assert_array_equal(found["mask"], expected["mask"])
        np.testing.assert_allclose(found["gamma0"], expected["gamma0"], rtol=1e-5)
    dem, scene = world_at(180.01)
    # One array from 179.98 to -179.96, tiles on either side, and bounds from east to west.
    beyond = np.where(dem["x"] > 180.0, dem["x"] - 360.0, dem["x"])
    jumping = sarheight.reconstruct(scene, dem.assign_coords(x=beyond), **given)
    west, east = (dem.isel(x=half) for half in (slice(0, 30), slice(30, None)))
    paths = [tmp_path / "east.tif", tmp_path / "west.tif"]
    east.assign_coords(x=east["x"] - 360.0).rio.to_raster(paths[0])
    west.rio.to_raster(paths[1])
    tiles = sarheight.reconstruct(scene, paths, **given)
    for other in (jumping, tiles):
        np.testing.assert_allclose(other["gamma0"], found["gamma0"], rtol=1e-4)
    part = sarheight.reconstruct(scene, paths, bounds=(179.99, 45.98, -179.99, 46.02), **given)
    assert 0 < part.sizes["x"] < found.sizes["x"]
    assert np.isfinite(part["gamma0"]).any()


def test_near_a_pole_a_map_has_to_be_chosen() -> None:
    dem, scene = world_at(20.0)
    polar = dem.assign_coords(y=dem["y"] + 43.9)
    with pytest.raises(DemError, match=r"no UTM zone at latitude 89\.90: pass .* EPSG:3413"):
        sarheight.reconstruct(scene, polar)
    with pytest.raises(GeometryError):
        sarheight.reconstruct(scene, polar, crs="EPSG:3413")
