"""One way in: the same files give the same result, from Python and from the command line."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from typer.testing import CliRunner

import sarheight
from sarheight import dem as elevations
from sarheight.cli import app
from sarheight.errors import OptionError, VerticalDatumError
from sarheight.layover import RTC, PosteriorMean, reconstruct
from sarheight.layover.layers import LAYERS, select_layers
from sarheight.product import open_product
from sarheight.workflow import ImageConfig, ReconstructConfig, open_image
from tests.cli.test_commands import write_dem
from tests.dems import geoid_bytes
from tests.synthetic import synthetic_grid
from tests.worlds.products import grd_product, slc_product
from tests.worlds.safe import pack

if TYPE_CHECKING:
    import xarray as xr

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
    done = CliRunner().invoke(app, shlex.split(command.removeprefix("$ "))[1:])
    assert done.exit_code == 0, done.output
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


def test_layers_are_those_that_are_named(archive: Path, place: Path) -> None:
    def found(*options: str) -> set[str]:
        product, dem = archive / "slc.SAFE.zip", place / "glo30.tif"
        made = sarheight.reconstruct(
            product, dem=dem, vertical="EGM2008", coregister="none", method="one-step",
            spacing=40, variables=options,
        )  # fmt: skip
        return set(map(str, made.data_vars)) - {"spatial_ref"}

    assert found("gamma0,mask") == found("gamma0", "mask") == {"gamma0", "mask"}
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
        sarheight.reconstruct(config),
        sarheight.reconstruct(str(path), dem=["glo30.tif"], vertical="EGM2008", **options),
        sarheight.reconstruct(open_product(path), dem=heights, **options),
        sarheight.reconstruct(scene, heights, method=RTC()),
        sarheight.reconstruct(config, method=RTC, coregister="report"),
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


@pytest.mark.usefixtures("place")
def test_masks_lie_on_the_grid_of_a_reconstruction(archive: Path) -> None:
    shutil.copy(archive / "grd.SAFE.zip", "product.SAFE.zip")
    given = ("--dem", "glo30.tif", "--vertical", "EGM2008", "-o")
    for command in (
        ("masks", "--like", "product.SAFE.zip", *given, "masks.tif"),
        ("reconstruct", "product.SAFE.zip", "--method", "rtc", *given, "scene.tif"),
    ):
        assert CliRunner().invoke(app, command).exit_code == 0
    with rasterio.open("masks.tif") as masks, rasterio.open("scene.tif") as scene:
        assert (masks.crs, masks.transform, masks.shape) == (
            scene.crs,
            scene.transform,
            scene.shape,
        )


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "dem: it is missing"),
        ({"dem": "nowhere.tif"}, "dem: there is no 'nowhere.tif'"),
        ({"dem": "glo30.tif", "brightness": 3}, "found the option 'brightness', expected some of"),
        ({"dem": "glo30.tif", "method": "magic"}, "method: found 'magic', expected one of 'post"),
        (
            {"dem": "glo30.tif", "method": PosteriorMean(steps=5)},
            "found a PosteriorMean of other parameters",
        ),
        ({"dem": "glo30.tif", "multilook": 3}, "multilook: found 3, expected 2 values"),
        ({"dem": "glo30.tif", "resolution": 20, "crs": "dem"}, "omit resolution and align, or crs"),
        ({"dem": "glo30.tif", "polarisations": 7}, "polarisations: "),
        ({"dem": "glo30.tif", "coregister": True}, "coregister: found True, expected one of"),
    ],
)
def test_mistakes_are_told_in_words_of_python(
    archive: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        sarheight.reconstruct(archive / "grd.SAFE.zip", **options)


def test_what_is_no_image_or_has_no_datum_is_refused(archive: Path, place: Path) -> None:
    heights = elevations.open_dem(place / "glo30.tif", vertical="EGM2008")
    with pytest.raises(TypeError, match="found DataArray, expected a path or URL of an image"):
        open_image(heights)  # type: ignore[arg-type]
    with pytest.raises(VerticalDatumError, match="pass vertical= with ellipsoidal, EGM96"):
        sarheight.reconstruct(archive / "grd.SAFE.zip", dem="glo30.tif")
    scene = open_image(archive / "grd.SAFE.zip")
    with pytest.raises(OptionError, match="polarisations: found HH, expected some of VV, VH"):
        open_image(scene, polarisations="HH")
    with pytest.raises(OptionError, match="calibration: found 'gamma0', and the scene is"):
        open_image(scene, calibration="gamma0")
    with pytest.raises(OptionError, match="swaths, burst and no_noise_removal are for products"):
        open_image(scene, swaths="IW1")


def test_methods_by_name_and_paths_are_understood_by_the_core(archive: Path) -> None:
    heights = elevations.open_dem(archive / "metric.tif", vertical="ellipsoidal")
    scene = open_image(archive / "grd.SAFE.zip", polarisations="VV")
    expected = reconstruct(scene, heights, method=RTC())["gamma0"].values
    for method in ("rtc", RTC):
        found = reconstruct(scene, heights, method=method)["gamma0"].values
        np.testing.assert_array_equal(found, expected)
    named = open_product(archive / "grd.SAFE.zip").scene(polarisations="VV")
    np.testing.assert_array_equal(named.image.values, scene.image.values)
    for wrong, kind, message in (
        (
            "magic",
            ValueError,
            "found method='magic', expected one of 'posterior', 'one-step', 'rtc",
        ),
        (3, TypeError, "found method=3, expected one of"),
    ):
        with pytest.raises(kind, match=message):
            reconstruct(scene, heights, method=wrong)
    for path in ("product.SAFE.zip", Path("product.SAFE.zip")):
        with pytest.raises(TypeError, match=r"found the path 'product.SAFE.zip', expected a Scene"):
            reconstruct(path, heights)  # type: ignore[call-overload]
