from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sarheight.illumination import simulate
from sarheight.output import open_result
from sarheight.output.radar_images import write_scene
from sarheight.scene import Scene
from tests.cli.commands import passing
from tests.dems import hills
from tests.mountains import LAW, look, mountain, raster

SHIFT = (1.5, 4.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a DEM and an image that lies off by a shift."""
    made = tmp_path_factory.mktemp("shifted")
    rough = hills((70, 90), relief=120.0, size=4.0, seed=3) - 1000.0
    dem = raster(mountain(70, 90, height=700.0) + rough)
    dem.drop_attrs().rio.write_crs(dem.rio.crs).rio.to_raster(made / "dem.tif")
    grid, orbit = look(lines=170, samples=210)
    scene = simulate(dem, grid.shift(*SHIFT), orbit, law=LAW, looks=4.4, noise=0.002, seed=1)
    write_scene(Scene(scene.image, grid, orbit, "beta0"), made / "image.nc")
    return made


def reconstructed(folder: Path, *options: str) -> tuple[str, xr.Dataset]:
    output = folder / f"{'_'.join(options) or 'default'}.zarr"
    done = passing(
        *("reconstruct", str(folder / "image.nc"), "--dem", str(folder / "dem.tif")),
        *("--vertical", "ellipsoidal", "--overwrite", "-o", str(output), *options),
    )
    return " ".join(done.output.split()), open_result(output)


def test_a_shift_is_reported_by_default_and_nothing_is_changed(folder: Path) -> None:
    said, result = reconstructed(folder)
    found = json.loads(result.attrs["coregistration"])
    assert found["line"] == pytest.approx(SHIFT[0], abs=0.2)
    assert found["sample"] == pytest.approx(SHIFT[1], abs=0.2)
    assert "across the track from its simulation" in said
    assert "--coregister correct" in said
    _, untouched = reconstructed(folder, "--coregister", "none")
    np.testing.assert_array_equal(result["gamma0"].values, untouched["gamma0"].values)
    assert "coregistration" not in untouched.attrs


def test_a_shift_is_corrected_when_that_is_asked_for(folder: Path) -> None:
    said, result = reconstructed(folder, "--coregister", "correct")
    _, before = reconstructed(folder, "--coregister", "none")
    assert json.loads(result.attrs["coregistration"])["found"] is True
    assert "--coregister correct" not in said
    # Ground that is equally bright everywhere looks more so where each place gets its own energy.
    spread = [
        float(np.log(each["gamma0"].where(each["gamma0"] > 0)).std()) for each in (before, result)
    ]
    assert spread[1] < spread[0]
