"""The code in the README and in the user's guide runs, on a made scene."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from typer.testing import CliRunner

from sarheight import illumination
from sarheight.cli import app
from sarheight.layover import reconstruct
from sarheight.output import write
from sarheight.sentinel1 import read_grid
from tests.annotations import annotation_xml, eof_xml
from tests.dems import geoid_bytes
from tests.flattened_products import hyp3_folder
from tests.mountains import PLAIN, mountain, raster
from tests.products import grd_product, pack
from tests.synthetic import synthetic_grid

ROOT = Path(__file__).parents[1]
BUILT = {"_build", "gallery", "api"}
PAGES = [
    ROOT / "README.md",
    *sorted(
        page
        for page in (ROOT / "docs").rglob("*.md")
        if BUILT.isdisjoint(page.relative_to(ROOT).parts)
    ),
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DATUMS = {"glo30": "EGM2008", "glo90": "EGM2008", "srtm": "EGM96"}
"""The vertical datums of DEMs by their names."""
NAMED_DEM = re.compile(r"""(?:--dem |open_dem\()"?((?!auto)[\w]+\.tif)"?([^\n]*)""")
DIGITAL_NUMBER = 474.0
CACHE = "cache"
UNDULATION = 48.0
"""Height of the geoid above the ellipsoid in metres."""


def stem(page: Path) -> str:
    return page.stem


def blocks(page: Path, language: str) -> list[str]:
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [text for name, text in found if name == language]


def commands(page: Path) -> list[list[str]]:
    whole = [text.replace("\\\n", " ") for text in blocks(page, "console")]
    lines = [line for text in whole for line in text.splitlines()]
    words = [shlex.split(line.removeprefix("$ ")) for line in lines]
    return [each[1:] for each in words if each[0] == "sarheight" and "demo" not in each]


def save_raster(path: Path, values: NDArray[Any]) -> None:
    """Save a raster in radar geometry, with ground control points like those of a product."""
    rows, columns = values.shape
    corners = [
        GroundControlPoint(row, column, 10.0 + column / 1e4, 46.0 - row / 1e4)
        for row in (0, rows - 1)
        for column in (0, columns - 1)
    ]
    profile = {"driver": "GTiff", "count": 1, "height": rows, "width": columns}
    with rasterio.open(
        path, "w", **profile, dtype=values.dtype, gcps=corners, crs="EPSG:4326"
    ) as file:
        file.write(values, 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the files that the pages speak of: a small ridge under a simulated radar."""
    folder = tmp_path_factory.mktemp("scene")
    dem = raster(mountain())
    # As of Copernicus, whose heights refer to a geoid and whose files do not say so.
    geoid = folder / CACHE / "geoid" / "us_nga_egm08_25.tif"
    geoid.parent.mkdir(parents=True)
    geoid.write_bytes(geoid_bytes(UNDULATION))
    above_geoid = (dem - UNDULATION).drop_attrs().rio.write_crs(dem.rio.crs)
    above_geoid.rio.to_raster(folder / "glo30.tif")
    grid, orbit = synthetic_grid(lines=350, samples=450, height=PLAIN, looks=4.4)
    west = (dem.x < dem.x.mean()).broadcast_like(dem).transpose("y", "x")
    cover = xr.where(west, 10, 60).astype("uint8").rio.write_crs(dem.rio.crs)
    cover.rio.to_raster(folder / "landcover.tif")
    (folder / "s1a-iw-grd-vv.xml").write_text(annotation_xml(grid, orbit))
    (folder / "S1A_OPER_AUX_POEORB.EOF").write_text(eof_xml(orbit))
    grid = read_grid(folder / "s1a-iw-grd-vv.xml")
    scene = illumination.simulate(dem, grid, orbit, looks=4.4, seed=1)
    scene.image.to_netcdf(folder / "beta0.nc")
    write(reconstruct(scene, dem), folder / "unfolded.zarr")
    number = np.sqrt(scene.image.values) * DIGITAL_NUMBER
    save_raster(folder / "s1a-iw-grd-vv.tiff", number.round().astype("uint16"))
    save_raster(folder / "beta0.tif", scene.image.values)
    numbers = {"VV": np.rint(np.sqrt(6.25e4 * scene.image.values + 900.0)).astype("uint16")}
    placed = grid, orbit.with_epoch(grid.epoch)
    product = grd_product(folder, polarisations=("VV",), placed=placed, numbers=numbers)
    pack(product.path, folder / "product.SAFE.zip")
    shutil.rmtree(product.path)
    hyp3_folder(folder)
    return folder


@pytest.fixture
def beside_files(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder of one's own that has these files."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SARHEIGHT_CACHE", str(tmp_path / CACHE))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=stem)
@pytest.mark.usefixtures("beside_files")
def test_python_runs_as_it_stands(page: Path) -> None:
    if "open_result" not in page.read_text(encoding="utf-8"):
        shutil.rmtree("unfolded.zarr")
    names: dict[str, Any] = {}
    for number, text in enumerate(blocks(page, "python"), start=1):
        exec(compile(text, f"{page.name}, block {number}", "exec"), names)  # noqa: S102
    if page.name == "README.md":
        assert Path("unfolded/unfolded_gamma0_vv.tif").exists()
        assert np.isfinite(names["result"]["gamma0"]).mean() > 0.5
        lowest = float(names["heights"].min())
        assert lowest == pytest.approx(PLAIN, abs=1.0), "heights are not above the ellipsoid"


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=stem)
@pytest.mark.usefixtures("beside_files")
def test_commands_run_as_they_stand(page: Path) -> None:
    shutil.rmtree("unfolded.zarr")
    for command in commands(page):
        done = CliRunner().invoke(app, command)
        assert done.exit_code == 0, f"{shlex.join(command)}: {done.output} {done.exception}"


def test_every_dem_is_named_with_its_datum() -> None:
    """Check that what a reader copies has the datum of the DEM that it names."""
    texts = [page.read_text("utf-8") for page in PAGES]
    texts += [path.read_text("utf-8") for path in sorted((ROOT / "sarheight/cli").glob("*.py"))]
    found = 0
    for text in texts:
        joined = re.sub(r"\\\n\s*", "", text)
        for names, words in NAMED_DEM.findall(joined):
            datums = {DATUMS[datum] for datum in DATUMS if datum in names}
            stated = re.search(r"""vertical[= ]"?(\w+)""", words)
            assert datums, f"a DEM of no known datum: {names}{words}"
            assert {stated and stated[1]} == datums, f"{names}{words}"
            found += 1
    assert found > 20
