"""Audits find what is wrong with a flattened image, and nothing where nothing is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sarheight import archives, layover, output, plot
from sarheight.archives.audit import Audit, explained
from sarheight.illumination import CosinePower, simulate
from sarheight.scene import Scene
from tests.archives.test_to_radar import product
from tests.cli.commands import passing, run
from tests.flattened_products import opera_of
from tests.mountains import look, mountain, random_terrain, raster

DEM = raster(0.35 * random_terrain(2, 90, 140, 220.0) + mountain(90, 140, 500.0))
GRID, ORBIT = look(lines=400, samples=600)
SCENE = simulate(DEM, GRID, ORBIT, law=CosinePower(0.2, 3.0), looks=20.0, seed=0)


def flattened(scene: Scene = SCENE, name: str = "gamma0") -> xr.DataArray:
    return layover.reconstruct(scene, DEM, method="rtc", variables=(name,))[name]


FLAT = flattened()


def audit_of(gamma0: xr.DataArray, **layers: xr.DataArray) -> Audit:
    return archives.audit(product(gamma0).assign(layers), DEM, ORBIT)


def check(found: Audit, name: str) -> archives.Check:
    return next(each for each in found.checks if each.name.startswith(name))


def test_a_good_image_passes_and_keeps_its_angular_law() -> None:
    found = audit_of(FLAT)
    assert found.passed, [each for each in found.checks if each.passed is False]
    assert check(found, "displacement").value <= 1.0
    # gamma0 falls with the square of the cosine: from 10 to 40 degrees by 2 dB.
    assert check(found, "variance explained by local incidence").value > 0.3
    assert 1.0 < check(found, "brighter").value < 4.0
    assert found.layers["gamma0"].shape == found.layers["mask"].shape == FLAT.shape
    assert float(found.curve["cells"].sum()) > 5000


def moved(gamma0: xr.DataArray) -> xr.DataArray:
    return gamma0.copy(data=np.roll(gamma0.values, (3, -2), axis=(0, 1)))


def with_seam(sample: int) -> xr.DataArray:
    """Flatten an image that is brighter by 1.5 dB beyond a sample."""
    brighter = np.where(np.arange(SCENE.grid.samples) > sample, 10.0**0.15, 1.0).astype(np.float32)
    return flattened(replace(SCENE, image=SCENE.image * brighter))


def failed(gamma0: xr.DataArray, name: str) -> archives.Check:
    """Return the check that finds what is wrong with an image."""
    found = audit_of(gamma0)
    assert check(found, name).passed is False
    assert not found.passed
    assert json.loads(found.to_json())["passed"] is False
    return check(found, name)


def test_displacement_is_told_to_the_cell() -> None:
    found = failed(moved(FLAT), "displacement")
    assert found.value == pytest.approx(np.hypot(3, 2), abs=1.0)


def test_zeros_are_found() -> None:
    failed(FLAT.where(FLAT.x > FLAT.x[10], 0.0), "cells that are exactly 0")


def test_seams_are_told_where_they_are() -> None:
    """From the nearest pixel outwards, in the direction of slant range."""
    places = []
    for sample in (270, 350):
        found = failed(with_seam(sample), "largest step along slant range")
        assert found.value == pytest.approx(1.5, abs=0.4)
        places.append(float(found.note.split()[1]))
    apart = 80 * GRID.sample_spacing / 1000.0
    assert places[1] - places[0] == pytest.approx(apart, abs=0.3)


def test_an_image_that_is_flattened_depends_on_area_no_more() -> None:
    """Areas tell what incidence does not where an image is not flattened."""
    steep = audit_of(FLAT.copy(data=flattened(name="sigma0_geocoded").values))
    name = "variance explained by area beyond"
    assert 0.0 <= check(audit_of(FLAT), name).value < 0.03 < check(steep, name).value
    assert check(steep, "brighter at 0 to 20").passed is False
    assert not steep.passed


def test_masks_and_heights_of_the_product() -> None:
    """A mask of ours agrees, an empty one does not; heights that were repeated are plateaus."""
    ours = layover.masks(DEM, GRID, ORBIT)["mask"]
    found = audit_of(FLAT, mask=ours, height=DEM.drop_attrs())
    assert check(found, "layover in both").value > 0.9
    assert check(found, "plateaus").passed
    repeated = DEM.copy(data=np.repeat(DEM.values[:, ::2], 2, axis=1)).drop_attrs()
    bad = audit_of(FLAT, mask=xr.zeros_like(ours), height=repeated)
    assert check(bad, "layover in both").value == 0.0
    assert check(bad, "plateaus").passed is False


def test_level_ground_tells_nothing_and_fails_nothing() -> None:
    level = DEM.copy(data=np.full(DEM.shape, 500.0, dtype=np.float32))
    noise = np.random.default_rng(0).gamma(10.0, 0.02, DEM.shape).astype(np.float32)
    found = archives.audit(product(DEM.copy(data=noise)), level, ORBIT)
    assert found.passed
    assert check(found, "displacement").passed is None
    assert np.isnan(check(found, "layover brighter").value)


def test_explained_variance_is_that_of_an_analysis_of_variance() -> None:
    random = np.random.default_rng(0)
    kind = random.integers(0, 5, 20_000)
    values = kind + random.standard_normal(kind.size)
    # The variance of five levels is 2, that of the noise 1.
    assert explained(values, kind) == pytest.approx(2.0 / 3.0, abs=0.02)
    assert explained(random.permutation(values), kind) < 1e-3


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A product in a file, and options that name the DEM."""
    folder = tmp_path_factory.mktemp("audit")
    DEM.rio.to_raster(folder / "dem.tif")
    path = opera_of(FLAT, SCENE, folder / "product.h5")
    return path, ["--dem", str(folder / "dem.tif"), "--vertical", "ellipsoidal"]


def test_the_command_writes_a_picture_and_figures(
    command: tuple[Path, list[str]], tmp_path: Path
) -> None:
    path, dem = command
    files = ["--quicklook", str(tmp_path / "a.png"), "--json", str(tmp_path / "a.json")]
    made = passing("audit", str(path), *dem, *files)
    assert "displacement" in made.output
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "a.json").read_text("utf-8"))["passed"] is True
    bad = opera_of(with_seam(300), SCENE, tmp_path / "product.h5")
    for given, code, said in (
        ([str(path), *dem, *files], 2, "--overwrite"),
        ([dem[1], *dem], 2, "no terrain-flattened product"),
        ([str(bad), *dem], 1, "NOT OK"),
    ):
        done = run("audit", *given)
        assert done.exit_code == code
        assert said in done.output


def test_an_audit_that_takes_more_memory_than_the_limit_is_refused(
    command: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sarheight.layover.tiles.PROCESS_BYTES", 0)
    done = run("audit", str(command[0]), *command[1], "--memory", "10 kiB")
    assert done.exit_code == 2
    assert "--memory: an audit is done in memory and takes about" in done.output
    passing("audit", str(command[0]), *command[1], "--memory", "1 GiB")


def test_the_picture_has_four_panels() -> None:
    figure = plot.audit(audit_of(FLAT))
    assert len([axes for axes in figure.axes if axes.get_title(loc="left")]) == 4
    assert {axes.get_ylabel() for axes in figure.axes} >= {"γ⁰ (dB)", "mean γ⁰ (dB)"}
    # Where no incidence is predicted the map is hatched, as cells without data are everywhere.
    assert any(each.get_hatch() for each in figure.axes[1].patches)


def test_a_result_of_ours_is_audited_like_a_product(
    command: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """From a file, and from a folder of layers."""
    result = layover.reconstruct(SCENE, DEM, method="rtc")
    found = archives.audit(result, DEM)
    assert found.archive == "sarheight"
    assert check(found, "displacement").value <= 1.0
    for name in ("ours.nc", "ours"):
        output.write(result, tmp_path / name)
        passing("audit", str(tmp_path / name), *command[1])
