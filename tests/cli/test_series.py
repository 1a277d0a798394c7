"""``sarheight series`` on simulated dates."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from sarheight import series
from sarheight.output.radar_images import write_scene
from tests.cli.commands import failing, passing
from tests.mountains import mountain, raster
from tests.series.dates import date_of

PLAIN = ("--vertical", "ellipsoidal", "--coregister", "none")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("series")
    dem = raster(mountain())
    dem.drop_attrs().rio.write_crs(32632).rio.to_raster(folder / "dem.tif")
    for number in range(3):
        write_scene(date_of(dem, number, baseline=50.0 * number), folder / f"date{number}.nc")
    write_scene(date_of(dem, 5, ascending=False), folder / "other.nc")
    return folder


def test_a_stack_is_made_and_grows(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "stack.zarr"
    images = [data / f"date{number}.nc" for number in range(3)]
    done = passing("series", *images[:2], "--dem", data / "dem.tif", *PLAIN, "-o", path)
    assert "2 dates appended, 2 in all" in done.stderr
    folder = tmp_path / "track"
    folder.mkdir()
    for image in images:
        shutil.copy(image, folder)
    more = passing("series", folder, "--coregister", "none", "-o", path)
    assert "2 dates were there already" in more.stderr
    assert "1 dates appended, 3 in all" in more.stderr
    found = series.open_stack(path, chunks=None)
    assert found.sizes["time"] == 3
    assert np.isfinite(found.gamma0).mean() > 0.9
    assert "date1.nc" in str(found.provenance.values[1])


def test_damaged_and_other_images(data: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.nc"
    broken.write_bytes(b"not a file of ours")
    path = tmp_path / "stack.zarr"
    base = ("series", data / "date0.nc", broken, "--dem", data / "dem.tif", *PLAIN, "-o", path)
    failing(1, *base, "--strict")
    assert not path.exists()
    done = passing(*base)
    assert "broken.nc was skipped" in done.stderr
    message = failing(1, "series", data / "other.nc", "-o", path)
    assert "pass descending instead of ascending" in message


def test_misuse(data: Path, tmp_path: Path) -> None:
    given = ("series", data / "date0.nc", "-o", tmp_path / "s.zarr")
    assert "--dem" in failing(2, *given)
    assert "there is no" in failing(2, *given, "--dem", data / "no.tif")
    given += ("--dem", data / "dem.tif")
    assert ".zarr" in failing(2, *given, "-o", tmp_path / "s.nc")
    assert "odd number" in failing(2, *given, "--window", 4)
