"""The command line with a guide: a raster that tells kinds of ground apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine

from sarheight._runtime import ignore_missing_georeference
from sarheight.dem import open_dem, open_map
from sarheight.errors import DemError
from sarheight.layover import reconstruct
from sarheight.output import open_result
from sarheight.output.radar_images import read_scene
from tests.cli.commands import SEA, failing, passing, run, write_dem
from tests.synthetic import synthetic_grid
from tests.worlds.annotations import annotation_xml

POSTING = 30.0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an image, a DEM, and maps of land cover and of an optical band on its grid."""
    folder = tmp_path_factory.mktemp("guide")
    grid, orbit = synthetic_grid(lines=400, samples=500, looks=4.4)
    (folder / "annotation.xml").write_text(annotation_xml(grid, orbit))
    heights = write_dem(folder / "dem.tif", POSTING)
    cover = np.where(np.indices((60, 60))[1] // 10 % 2, 40, 10).astype(np.uint8)
    cover[:3] = 255
    with rasterio.open(heights) as file:
        placed = {"crs": file.crs, "transform": file.transform}
    save(folder / "cover.tif", cover, nodata=255, **placed)
    optical = np.random.default_rng(0).normal(cover, 3.0).astype(np.float32)
    save(folder / "optical.tif", optical, **placed)
    save(folder / "beside.tif", cover, crs=placed["crs"], transform=Affine(30, 0, 1e5, 0, -30, 5e6))
    save(folder / "no_grid.tif", cover)
    save(folder / "bands.tif", np.stack([cover, cover]), **placed)
    image = ("simulate", "--like", folder / "annotation.xml", "--dem", heights, *SEA)
    passing(*image, "-o", folder / "image.nc")
    return folder


def save(path: Path, values: np.ndarray, **more: object) -> None:
    """Write a raster of one band or several."""
    bands = values.reshape(-1, *values.shape[-2:])
    size = {"count": bands.shape[0], "height": bands.shape[1], "width": bands.shape[2]}
    profile = {"driver": "GTiff", "dtype": values.dtype, **size, **more}
    with ignore_missing_georeference(), rasterio.open(path, "w", **profile) as file:
        file.write(bands)


def command(data: Path, guide: str, *options: object) -> tuple[object, ...]:
    """A reconstruction with a guide."""
    given = ("reconstruct", data / "image.nc", "--dem", data / "dem.tif", *SEA)
    return *given, "--coregister", "none", "--guide", data / guide, *options


@pytest.mark.parametrize("name", ["cover.tif", "optical.tif"])
def test_a_guide_is_used_as_in_python(data: Path, tmp_path: Path, name: str) -> None:
    output = tmp_path / "guided.nc"
    passing(*command(data, name, "-o", output))
    found = open_result(output)
    dem = open_dem(data / "dem.tif", vertical="ellipsoidal")
    expected = reconstruct(read_scene(data / "image.nc"), dem, guide=open_map(data / name))
    np.testing.assert_allclose(found.gamma0.values, expected.gamma0.values, rtol=1e-5)
    (kinds,) = json.loads(found.attrs["parameters"])["kinds"]
    if name == "cover.tif":
        assert set(kinds) <= {"10", "40"}
    record = json.loads(found.attrs["provenance"])
    assert record["parameters"]["settings"]["guide"] == name
    assert name in json.dumps(record["inputs"]["guide"])


@pytest.mark.filterwarnings("default:the guide of")
def test_a_guide_that_does_not_fit_is_an_error(data: Path, tmp_path: Path) -> None:
    output = ("-o", tmp_path / "x.nc")
    line = failing(2, *command(data, "nowhere.tif", *output))
    assert "--guide: there is no" in line
    assert "no coordinate reference system" in failing(1, *command(data, "no_grid.tif", *output))
    assert "(2 bands), expected one band" in failing(1, *command(data, "bands.tif", *output))
    assert "not a raster" in failing(1, *command(data, "annotation.xml", *output))
    done = run(*command(data, "beside.tif", *output))
    assert done.exit_code == 1
    assert "warning: the guide of (60, 60) cells" in done.stderr
    assert "covers 0 % of the DEM" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [("--method", "rtc"), ("--law", "gamma")])
def test_a_guide_needs_laws_that_are_fitted(
    data: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    line = failing(2, *command(data, "cover.tif", *options, "-o", tmp_path / "x.nc"))
    assert "--guide: found it beside" in line


def test_maps_are_opened_by_formats_that_hold_their_own_pixels(data: Path, tmp_path: Path) -> None:
    cover = open_map(data / "cover.tif")
    assert isinstance(cover, xr.DataArray)
    assert cover.dims == ("y", "x")
    assert np.isnan(cover[:3]).all()
    assert set(np.unique(cover[3:])) == {10.0, 40.0}
    assert open_map(data / "bands.tif", band=2).shape == cover.shape
    disguised = tmp_path / "cover.tif"
    disguised.write_text(
        '<VRTDataset rasterXSize="60" rasterYSize="60"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><SourceFilename>{data / 'cover.tif'}</SourceFilename></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(DemError, match="is a VRT"):
        open_map(disguised)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        open_map(tmp_path / "nowhere.tif")
