"""What the command line advises about elevation models can be done on the command line."""

from __future__ import annotations

import pickle
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray  # gives xarray objects their `rio`
import xarray as xr
from typer.main import get_command

from sarheight.cli import app
from sarheight.cli._session import OPTIONS, option_advice, options_of, with_options
from sarheight.dem import open_dem
from sarheight.errors import DemError, FetchError, GeoidGridMissingError, SarheightError
from tests.cli.commands import SEA, failing, passing, write_dem
from tests.synthetic import synthetic_grid
from tests.worlds.annotations import annotation_xml

FOOT = 0.3048
PYTHON = re.compile(r"\w\(|\bdem\.(?!tif)|=\.\.\.|vertical=|units=|nodata=|like=|band=")
"""What only makes sense in Python."""


def test_warnings_name_options_in_place_of_arguments() -> None:
    text = "align the DEM, or pass coregister='correct', unless crs='EPSG:32632' holds"
    before = OPTIONS.set(frozenset({"--coregister"}))
    try:
        told = "align the DEM, or pass --coregister correct, unless crs='EPSG:32632' holds"
        assert with_options(text) == told
    finally:
        OPTIONS.reset(before)


@pytest.fixture(scope="module")
def annotation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("radar") / "s1a-iw-grd-vv.xml"
    path.write_text(annotation_xml(*synthetic_grid(lines=400, samples=500, looks=4.4)))
    return path


@pytest.fixture(scope="module")
def heights(tmp_path_factory: pytest.TempPathFactory) -> xr.DataArray:
    """Mountains in metres, as a file has them."""
    path = write_dem(tmp_path_factory.mktemp("dem") / "dem.tif", 60.0)
    found = rioxarray.open_rasterio(path)
    assert isinstance(found, xr.DataArray)
    return found.load()


def written(dem: xr.DataArray, path: Path, unit: str = "", datum: str = "") -> Path:
    dem.rio.to_raster(path)
    with rasterio.open(path, "r+") as file:
        if unit:
            file.units = (unit,)
        if datum:
            file.update_tags(VERTICAL_DATUM=datum)
    return path


def masks(annotation: Path, *dems: Path) -> tuple[object, ...]:
    given = [word for dem in dems for word in ("--dem", dem)]
    return ("masks", "--like", annotation, *given, "-o", dems[0].with_name("masks.nc"))


def advice_of(annotation: Path, *dems: Path, options: tuple[str, ...] = SEA) -> str:
    """Return what a command says of elevation models that it cannot use."""
    line = failing(1, *masks(annotation, *dems), *options)
    assert not PYTHON.search(line), line
    return line


def heeded(annotation: Path, dem: Path, line: str) -> None:
    """Do what the first advice of a line says, and see that it helps."""
    found = re.search(r"pass (--\S+ (?:'[^']*'|[^\s,]+))", line)
    assert found, line
    passing(*masks(annotation, dem), *SEA, *shlex.split(found[1]))


def test_feet_that_the_file_states(annotation: Path, heights: xr.DataArray, tmp_path: Path) -> None:
    feet = (heights / FOOT).rio.write_crs(heights.rio.crs)
    dem = written(feet, tmp_path / "dem.tif", unit="US survey foot")
    line = advice_of(annotation, dem)
    assert "--units 'US survey foot'" in line
    heeded(annotation, dem, line)


@pytest.mark.parametrize("mark", [-32768.0, -1234567.8, np.inf])
def test_undeclared_voids(
    annotation: Path, heights: xr.DataArray, tmp_path: Path, mark: float
) -> None:
    holes = heights.copy()
    holes[0, :3, :3] = mark
    dem = written(holes, tmp_path / "dem.tif")
    line = advice_of(annotation, dem)
    heeded(annotation, dem, line[line.index("--nodata") - len("pass ") :])


def test_heights_in_unstated_feet(annotation: Path, heights: xr.DataArray, tmp_path: Path) -> None:
    high = ((heights + 4000.0) / FOOT).rio.write_crs(heights.rio.crs)
    dem = written(high, tmp_path / "dem.tif")
    line = advice_of(annotation, dem)
    assert "pass --units ft" in line
    np.testing.assert_allclose(
        open_dem(dem, units="ft", vertical="ellipsoidal"), heights[0] + 4000.0, rtol=1e-6
    )


def test_an_unknown_unit(annotation: Path, heights: xr.DataArray, tmp_path: Path) -> None:
    dem = written(heights, tmp_path / "dem.tif", unit="fathom")
    assert "pass --units with m, ft or us-ft" in advice_of(annotation, dem)


def test_no_reference_system(annotation: Path, heights: xr.DataArray, tmp_path: Path) -> None:
    dem = written(heights.drop_vars("spatial_ref"), tmp_path / "dem.tif")
    line = advice_of(annotation, dem)
    command = re.search(r"rio (edit-info --crs) \S+", line)
    assert command
    rio = shutil.which("rio", path=str(Path(sys.executable).parent))
    assert rio is not None
    subprocess.run([rio, *command[1].split(), "EPSG:32632", dem], check=True)
    passing(*masks(annotation, dem), *SEA)


def test_several_bands(annotation: Path, heights: xr.DataArray, tmp_path: Path) -> None:
    dem = written(xr.concat([heights, heights], "band"), tmp_path / "dem.tif")
    assert "rio stack --bidx 1" in advice_of(annotation, dem)


def test_tiles_on_different_grids(annotation: Path, heights: xr.DataArray, tmp_path: Path) -> None:
    first = written(heights, tmp_path / "first.tif")
    off = heights.assign_coords(x=heights.x + 17.0)
    assert "rio warp" in advice_of(annotation, first, written(off, tmp_path / "off.tif"))
    other = heights.rio.write_crs("EPSG:32633")
    line = advice_of(annotation, first, written(other, tmp_path / "other.tif"))
    assert "different reference systems" in line
    assert "rio warp" in line


@pytest.mark.parametrize(("stated", "given"), [("EGM96", "ellipsoidal"), ("EGM96", "EGM2008")])
def test_a_datum_against_the_file(
    annotation: Path, heights: xr.DataArray, tmp_path: Path, stated: str, given: str
) -> None:
    dem = written(heights, tmp_path / "dem.tif", datum=stated)
    line = advice_of(annotation, dem, options=("--vertical", given))
    assert "leave --vertical out" in line


def test_tiles_from_different_datums(
    annotation: Path, heights: xr.DataArray, tmp_path: Path
) -> None:
    first = written(heights, tmp_path / "first.tif")
    other = written(heights, tmp_path / "other.tif", datum="EGM96")
    assert "different vertical datums" in advice_of(annotation, first, other)


def test_a_geoid_that_is_not_here(annotation: Path, heights: xr.DataArray, tmp_path: Path) -> None:
    dem = written(heights, tmp_path / "dem.tif")
    line = advice_of(annotation, dem, options=("--vertical", "nowhere.gtx"))
    assert "--vertical" in line
    assert "pyproj sync --file" in line


def test_words_for_options() -> None:
    error = DemError("wrong", "call f(x)", options={"nodata": -3.4028234663852886e38})
    assert str(error) == "wrong; call f(x)"
    assert option_advice(error) == "wrong; pass --nodata -3.4028234663852886e+38"
    error = DemError("wrong", "call f(x)", options={"vertical": None}, file_advice="mend it")
    assert option_advice(error, "known-") == ("wrong; leave --known-vertical out, or mend it")
    assert option_advice(DemError("wrong", "call f(x)")) == "wrong; call f(x)"


def test_only_options_that_the_command_has(heights: xr.DataArray, tmp_path: Path) -> None:
    feet = (heights / FOOT).rio.write_crs(heights.rio.crs)
    dem = written(feet, tmp_path / "dem.tif", unit="US survey foot")
    line = failing(1, "info", dem)
    assert "US survey foot" in line
    assert "--units" not in line
    for name in ("predict", "masks", "fetch"):
        assert ("--units" in options_of(get_command(app).commands[name])) == (name != "fetch")


@pytest.mark.parametrize("kind", [SarheightError, DemError, FetchError, GeoidGridMissingError])
def test_advice_survives_a_process(kind: type[SarheightError]) -> None:
    error = kind("wrong", "call f(x)", options={"units": "ft"}, file_advice="mend it")
    other = pickle.loads(pickle.dumps(error))  # noqa: S301  # just made
    assert str(other) == str(error) == "wrong; call f(x)"
    assert option_advice(other) == option_advice(error)
