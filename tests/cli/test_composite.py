"""``sarheight composite``: one map of several passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from sarheight.layover import RTC, composite, local_resolution, reconstruct
from sarheight.output import open_result, read_provenance, with_heights, write
from sarheight.scene import Scene
from tests.cli.commands import failing, passing, run
from tests.mountains import mountain, raster, scene_of

ELLIPSOIDAL = ("--vertical", "ellipsoidal")


@pytest.fixture(scope="module")
def dem() -> xr.DataArray:
    return raster(mountain())


@pytest.fixture(scope="module")
def scenes(dem: xr.DataArray) -> list[Scene]:
    return [scene_of(dem, ascending=ascending) for ascending in (True, False)]


@pytest.fixture(scope="module")
def folder(
    dem: xr.DataArray, scenes: list[Scene], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Make results of two passes, the first with its heights, and their elevation model."""
    made = tmp_path_factory.mktemp("passes")
    results = [reconstruct(scene, dem, method=RTC()) for scene in scenes]
    write(with_heights(results[0], dem), made / "ascending.nc")
    write(results[1], made / "descending.tif")
    write(results[1].isel(x=slice(0, -3)), made / "narrow.nc")
    write(results[1].drop_vars("gamma0"), made / "without.nc")
    for field, value in (("wavelength", 0.031), ("look_side", "left")):
        geometry = json.loads(results[1].attrs["geometry"])
        geometry[0]["radar_grid"][field] = value
        other = results[1].assign_attrs(geometry=json.dumps(geometry))
        write(other, made / f"{field}.nc")
    dem.rio.to_raster(made / "dem.tif")
    return made


def test_it_is_the_composite_of_the_results(
    folder: Path, tmp_path: Path, dem: xr.DataArray, scenes: list[Scene]
) -> None:
    output = tmp_path / "both.nc"
    passing("composite", folder / "ascending.nc", folder / "descending.tif", "-o", output)
    found = open_result(output)
    results = [reconstruct(scene, dem, method=RTC()) for scene in scenes]
    expected = composite(results, [local_resolution(scene, dem) for scene in scenes])
    for name in ("gamma0", "gamma0_variance"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4)
    np.testing.assert_allclose(found["weight"], expected["weight"], atol=1e-4)
    assert len(json.loads(found.attrs["acquisition"])) == 2
    assert read_provenance(output)["parameters"]["command"] == "composite"


def test_its_picture_shows_all_polarisations_and_names_its_passes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sarheight import plot

    drawn = []

    def scene(part: xr.Dataset, **options: Any) -> Figure:  # noqa: ANN401
        drawn.append(figure := plot.figures.scene(part, **options))
        return figure

    monkeypatch.setattr(plot, "scene", scene)
    names = folder / "ascending.nc", folder / "descending.tif"
    passing("composite", *names, "-o", tmp_path / "both.png")
    (figure,) = drawn
    assert figure.get_suptitle().startswith("composite of 2 passes: ")
    assert figure.get_suptitle().count("ending") == 2
    assert len([each for each in figure.axes if "reconstructed" in each.get_title("left")]) == 1


def test_the_memory_limit_holds_beside_the_elevation_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is passed to the work in parts, without what an elevation model in memory takes.

    That may be from a file, too, with the same result.
    """
    from sarheight import layover

    limits = []

    def resolution(*given: Any, memory_limit: float) -> xr.DataArray:  # noqa: ANN401
        limits.append(memory_limit)
        return local_resolution(*given)

    monkeypatch.setattr(layover, "local_resolution", resolution)
    names = folder / "ascending.nc", folder / "descending.tif"
    dem = "--dem", folder / "dem.tif", *ELLIPSOIDAL, "--memory", "1 GiB"
    passing("composite", *names, "-o", tmp_path / "a.nc", "--memory", "1 GiB")
    passing("composite", *names, *dem, "-o", tmp_path / "b.nc")
    assert limits[:2] == [1 << 30] * 2
    assert all(each < 1 << 30 for each in limits[2:])
    first, second = (open_result(tmp_path / name)["gamma0"].values for name in ("a.nc", "b.nc"))
    np.testing.assert_allclose(first, second, rtol=1e-4)
    monkeypatch.setattr("sarheight.layover.tiles.PROCESS_BYTES", (1 << 30) * 0.8 - 1024)
    done = run("composite", *names, *dem, "-o", tmp_path / "c.nc")
    assert done.exit_code == 2
    assert "--memory: the elevation model takes 0 MiB itself" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("other", "code", "message"),
    [
        ("", 2, "found one pass"),
        ("descending.tif", 2, "no result holds its heights"),
        ("without.nc", 2, "holds no gamma0"),
        ("none.nc", 2, "RESULT: there is no"),
        ("narrow.nc", 1, "expected one grid: reconstruct"),
        ("wavelength.nc", 2, "wavelengths in cm: 5.5"),
        ("look_side.nc", 2, "look sides: right"),
    ],
)
def test_what_makes_no_composite_is_refused(
    folder: Path, tmp_path: Path, other: str, code: int, message: str
) -> None:
    first = other if other == "descending.tif" else "ascending.nc"
    names = [folder / name for name in (first, other) if name]
    assert message in failing(code, "composite", *names, "-o", tmp_path / "both.tif")
    assert list(tmp_path.iterdir()) == []
