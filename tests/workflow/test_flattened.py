"""Terrain-flattened products go where images in radar geometry go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import sarheight
from sarheight import archives, layover
from sarheight.errors import OptionError
from sarheight.output import open_result
from sarheight.scene import Scene
from sarheight.series import open_stack
from sarheight.terrain import refine_files
from tests.cli.commands import passing
from tests.flattened_products import hyp3_folder, hyp3_of, opera_of, planetary_of
from tests.mountains import mountain, raster, scene_of
from tests.worlds.annotations import eof_xml

DEM = raster(mountain(50, 70, 500.0))


def later(scene: Scene, days: int) -> Scene:
    """Return the scene of a later date."""
    by = np.timedelta64(days, "D")
    return replace(
        scene,
        grid=replace(scene.grid, epoch=scene.grid.epoch + by),
        orbit=replace(scene.orbit, epoch=scene.orbit.epoch + by),
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make products of OPERA of two dates, and the elevation model."""
    folder = tmp_path_factory.mktemp("opera")
    (folder / "dates").mkdir()
    DEM.rio.to_raster(folder / "dem.tif")
    for number in range(2):
        scene = later(scene_of(DEM, seed=number), 12 * number)
        flat = layover.reconstruct(scene, DEM, method="rtc", variables=("gamma0",))
        opera_of(flat.gamma0, scene, folder / "dates" / "product.h5")
    return folder


def products(place: Path) -> list[Path]:
    return sorted((place / "dates").glob("*.h5"))


OPTIONS = {"vertical": "ellipsoidal"}


def test_a_product_is_reconstructed_from_python_and_by_the_command(place: Path) -> None:
    """Both give what `to_radar` and `reconstruct` give, to the bit."""
    path = products(place)[0]
    assert archives.is_rtc(path)
    found = sarheight.reconstruct(path, dem=place / "dem.tif", **OPTIONS)
    heights = sarheight.dem.open_dem(place / "dem.tif", vertical="ellipsoidal")
    by_hand = layover.reconstruct(archives.to_radar(path, heights), heights)
    np.testing.assert_allclose(
        found.gamma0.values.squeeze(), by_hand.gamma0.values.squeeze(), rtol=1e-5, equal_nan=True
    )
    out = place / "result.nc"
    command = ["reconstruct", str(path), "--dem", str(place / "dem.tif"), "-o", str(out)]
    made = passing(*command, "--vertical", "ellipsoidal", "--overwrite")
    assert "taken back" in made.output
    written = open_result(out)
    np.testing.assert_array_equal(written.gamma0.values, found.gamma0.values)
    assert "gamma0" in written


def test_an_image_is_opened_with_an_elevation_model(place: Path) -> None:
    path = products(place)[0]
    scene = sarheight.open_image(path, dem=DEM)
    assert scene.grid.product == "RTC"
    averaged = sarheight.open_image(path, dem=DEM, multilook=(2, 2))
    assert averaged.grid.shape == tuple(size // 2 for size in scene.grid.shape)
    with pytest.raises(OptionError, match="is terrain-flattened"):
        sarheight.open_image(path)


@pytest.mark.parametrize("archive", ["HyP3", "Planetary Computer"])
def test_a_product_without_orbit_gets_the_best_that_is_fetched(
    archive: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the one that is given; both as OPERA's own."""
    scene = scene_of(DEM, seed=0)
    flat = layover.reconstruct(scene, DEM, method="rtc", variables=("gamma0",)).gamma0
    made = (
        hyp3_of(flat, scene, DEM, tmp_path)
        if archive == "HyP3"
        else planetary_of(flat, scene, tmp_path)
    )
    orbit = tmp_path / "S1A_OPER_AUX_POEORB.EOF"
    orbit.write_text(eof_xml(scene.orbit))
    asked = []

    def fetched(mission: str, start: object, stop: object, **_: object) -> Path:
        asked.append((mission, str(start)[:10], str(stop)[:10]))
        return orbit

    monkeypatch.setattr("sarheight.fetch.orbit", fetched)
    found = sarheight.open_image(made, dem=DEM)
    assert asked == [("S1A", "2024-01-01", "2024-01-01")]
    given = sarheight.open_image(made, dem=DEM, orbit=str(orbit))
    assert len(asked) == 1
    own = sarheight.open_image(products(place)[0], dem=DEM)
    for image in (found, given):
        np.testing.assert_allclose(
            np.nansum(image.image.values), np.nansum(own.image.values), rtol=1e-3
        )


@pytest.mark.usefixtures("_forked_jobs")
def test_a_product_in_a_list_of_jobs_and_dates_in_a_stack(place: Path, tmp_path: Path) -> None:
    dem = ("--dem", place / "dem.tif")
    command = ("batch", products(place)[0], *dem, "--set", "method=rtc")
    passing(*command, "--set", "vertical=ellipsoidal", "-o", tmp_path / "many")
    assert len(list((tmp_path / "many").glob("OPERA*"))) >= 1
    output = tmp_path / "stack.zarr"
    passing("series", place / "dates", *dem, "--vertical", "ellipsoidal", "-o", output)
    assert open_stack(output).sizes["time"] == 2


def test_heights_need_the_elevation_model_of_the_provider(place: Path) -> None:
    paths = str(products(place)[0]), str(place / "dem.tif")
    with pytest.raises(OptionError, match="only that one puts them back"):
        refine_files(*paths, **OPTIONS)
    little: dict[str, Any] = {"factor": 1, "iterations": 1, "coregister": "none"}
    refined = refine_files(*paths, provider_dem=place / "dem.tif", **little, **OPTIONS)
    assert np.isfinite(refined["height"].values).mean() > 0.9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"coregister": "correct"}, "shows no shift"),
        ({"calibration": "sigma0"}, "becomes an image in beta0"),
        ({"burst": 1}, "are for products"),
        ({"polarisations": "VH"}, "found VH, expected some of VV"),
        ({"verify": True}, "only a product has checksums"),
    ],
)
def test_options_that_do_not_apply(place: Path, options: dict[str, str], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        sarheight.reconstruct(products(place)[0], dem=place / "dem.tif", **OPTIONS, **options)


def test_only_products_are_recognised(place: Path, tmp_path: Path) -> None:
    assert archives.is_rtc(hyp3_folder(tmp_path))
    for other in (place / "dem.tif", place / "dates", tmp_path / "absent.zip", xr.Dataset()):
        assert not archives.is_rtc(other)
