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
from tests.cli.commands import SEA, Files, failing, passing

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
def annotation(files: Files) -> Path:
    return files.annotation


@pytest.fixture(scope="module")
def heights(files: Files) -> xr.DataArray:
    """Mountains in metres, as a file has them."""
    found = rioxarray.open_rasterio(files.coarse)
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
    output = dems[0].with_name("masks.nc")
    return ("masks", "--like", annotation, *given, "--overwrite", "-o", output)


def advice_of(annotation: Path, *dems: Path, options: tuple[str, ...] = SEA) -> str:
    """Return what a command says of elevation models that it cannot use."""
    line = failing(1, *masks(annotation, *dems), *options)
    assert not PYTHON.search(line), line
    return line


def test_options_that_are_advised_help(
    annotation: Path, heights: xr.DataArray, tmp_path: Path
) -> None:
    feet = (heights / FOOT).rio.write_crs(heights.rio.crs)
    cases = [(feet, "US survey foot", "--units 'US survey foot'")]
    for mark in (-32768.0, -1234567.8, np.inf):
        holes = heights.copy()
        holes[0, :3, :3] = mark
        cases.append((holes, "", "--nodata "))
    for made, unit, advice in cases:
        dem = written(made, tmp_path / "dem.tif", unit)
        line = advice_of(annotation, dem)
        found = re.search(rf"({advice}(?:(?<= )[^\s,]+)?)", line)
        assert found, line
        passing(*masks(annotation, dem), *SEA, *shlex.split(found[1]))


def test_heights_in_unstated_feet(annotation: Path, heights: xr.DataArray, tmp_path: Path) -> None:
    high = ((heights + 4000.0) / FOOT).rio.write_crs(heights.rio.crs)
    dem = written(high, tmp_path / "dem.tif")
    assert "pass --units ft" in advice_of(annotation, dem)
    found = open_dem(dem, units="ft", vertical="ellipsoidal")
    np.testing.assert_allclose(found, heights[0] + 4000.0, rtol=1e-6)


@pytest.mark.parametrize(
    ("stated", "given", "advice"),
    [
        ({"unit": "fathom"}, "ellipsoidal", "pass --units with m, ft or us-ft"),
        ({"datum": "EGM96"}, "ellipsoidal", "leave --vertical out"),
        ({"datum": "EGM96"}, "EGM2008", "leave --vertical out"),
        ({}, "nowhere.gtx", "--vertical.*pyproj sync --file"),
    ],
)
def test_units_and_datums(
    annotation: Path,
    heights: xr.DataArray,
    tmp_path: Path,
    stated: dict[str, str],
    given: str,
    advice: str,
) -> None:
    dem = written(heights, tmp_path / "dem.tif", **stated)
    assert re.search(advice, advice_of(annotation, dem, options=("--vertical", given)))


def test_bands_and_tiles_that_do_not_fit(
    annotation: Path, heights: xr.DataArray, tmp_path: Path
) -> None:
    bands = written(xr.concat([heights, heights], "band"), tmp_path / "bands.tif")
    assert "rio stack --bidx 1" in advice_of(annotation, bands)
    first = written(heights, tmp_path / "first.tif")
    for other, datum, advice in (
        (heights.assign_coords(x=heights.x + 17.0), "", "rio warp"),
        (heights.rio.write_crs("EPSG:32633"), "", "different reference systems.*rio warp"),
        (heights, "EGM96", "different vertical datums"),
    ):
        second = written(other, tmp_path / "other.tif", datum=datum)
        assert re.search(advice, advice_of(annotation, first, second))


def test_no_reference_system(annotation: Path, heights: xr.DataArray, tmp_path: Path) -> None:
    dem = written(heights.drop_vars("spatial_ref"), tmp_path / "dem.tif")
    line = advice_of(annotation, dem)
    command = re.search(r"rio (edit-info --crs) \S+", line)
    assert command
    rio = shutil.which("rio", path=str(Path(sys.executable).parent))
    assert rio is not None
    subprocess.run([rio, *command[1].split(), "EPSG:32632", dem], check=True)
    passing(*masks(annotation, dem), *SEA)


def test_words_for_options() -> None:
    error = DemError("wrong", "call f(x)", options={"nodata": -3.4028234663852886e38})
    assert str(error) == "wrong; call f(x)"
    assert option_advice(error) == "wrong; pass --nodata -3.4028234663852886e+38"
    error = DemError("wrong", "call f(x)", options={"vertical": None}, file_advice="mend it")
    assert option_advice(error, "known-") == ("wrong; leave --known-vertical out, or mend it")
    assert option_advice(DemError("wrong", "call f(x)")) == "wrong; call f(x)"


def test_only_options_that_the_command_has(heights: xr.DataArray, tmp_path: Path) -> None:
    line = failing(1, "info", written(heights, tmp_path / "dem.tif", unit="US survey foot"))
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
