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
from tests.cli.commands import passing, run
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
    """It is passed to the work in parts, without what an elevation model in memory takes."""
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
    monkeypatch.setattr("sarheight.layover.tiles.PROCESS_BYTES", (1 << 30) * 0.8 - 1024)
    done = run("composite", *names, *dem, "-o", tmp_path / "c.nc")
    assert done.exit_code == 2
    assert "--memory: the elevation model takes 0 MiB itself" in " ".join(done.stderr.split())


def test_an_elevation_model_may_come_from_a_file(folder: Path, tmp_path: Path) -> None:
    by_result, by_file = tmp_path / "result.tif", tmp_path / "file.tif"
    names = folder / "ascending.nc", folder / "descending.tif"
    passing("composite", *names, "-o", by_result)
    passing("composite", *names, "--dem", folder / "dem.tif", *ELLIPSOIDAL, "-o", by_file)
    first, second = (open_result(each)["gamma0"].values for each in (by_result, by_file))
    np.testing.assert_allclose(first, second, rtol=1e-4)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["ascending.nc"], "found one pass"),
        (["ascending.nc", "without.nc"], "holds no gamma0"),
        (["descending.tif", "descending.tif"], "no result holds its heights"),
        (["ascending.nc", "none.nc"], "RESULT: there is no"),
    ],
)
def test_what_makes_no_composite_is_refused(
    folder: Path, tmp_path: Path, names: list[str], message: str
) -> None:
    done = run("composite", *(folder / name for name in names), "-o", tmp_path / "both.tif")
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []


def test_other_grids_are_refused(folder: Path, tmp_path: Path) -> None:
    done = run(
        "composite", folder / "ascending.nc", folder / "narrow.nc", "-o", tmp_path / "both.tif"
    )
    assert done.exit_code == 1
    assert "expected one grid: reconstruct" in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [("wavelength", 0.031, "wavelengths in cm: 5.5"), ("look_side", "left", "look sides: right")],
)
def test_passes_that_differ_are_refused(
    folder: Path, tmp_path: Path, field: str, value: object, message: str
) -> None:
    other = open_result(folder / "descending.tif")
    geometry = json.loads(other.attrs["geometry"])
    geometry[0]["radar_grid"][field] = value
    write(other.assign_attrs(geometry=json.dumps(geometry)), tmp_path / "other.nc")
    done = run(
        "composite", folder / "ascending.nc", tmp_path / "other.nc", "-o", tmp_path / "both.tif"
    )
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "both.tif").exists()


def test_the_output_replaces_no_input(folder: Path) -> None:
    names = folder / "ascending.nc", folder / "descending.tif"
    assert run("composite", *names, "--overwrite", "-o", names[0]).exit_code == 2
