"""Options of ``sarheight reconstruct``: settings of a file, co-registration, and a guide."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  # gives xarray objects their `rio`
import xarray as xr
from affine import Affine

from sarheight._runtime import ignore_missing_georeference
from sarheight.dem import open_dem, open_map
from sarheight.errors import DemError
from sarheight.illumination import simulate
from sarheight.layover import reconstruct
from sarheight.output import open_result
from sarheight.output.radar_images import read_scene, write_scene
from sarheight.scene import Scene
from tests.cli.commands import SEA, Files, failing, passing, run
from tests.dems import hills
from tests.mountains import LAW, look, mountain, raster


def test_the_settings_of_a_result_repeat_it(files: Files, tmp_path: Path) -> None:
    options = (*SEA, "--law", "cosine", "--coregister", "correct", "--condition", "fill")
    first, second, third = (tmp_path / f"{name}.nc" for name in ("first", "second", "third"))
    passing("reconstruct", files.image, "--dem", files.coarse, *options, "-o", first)
    extracted = passing("info", first, "--config")
    settings = files.folder / "run.toml"  # paths count from its folder
    settings.write_text(extracted.stdout, encoding="utf-8")
    passing("reconstruct", "--config", settings, "-o", second)
    a, b = open_result(first), open_result(second)
    assert set(a.data_vars) == set(b.data_vars)
    for name in a.data_vars:
        np.testing.assert_array_equal(a[name].values, b[name].values)
    assert run("info", second, "--config").stdout == extracted.stdout
    # The command line has priority.
    passing("reconstruct", "--config", settings, "--law", "gamma", "-o", third)
    changed = run("info", third, "--config").stdout
    assert changed == extracted.stdout.replace('law = "cosine"', 'law = "gamma"')


def test_a_file_without_settings_has_none_to_show(files: Files, tmp_path: Path) -> None:
    write_scene(read_scene(files.image), tmp_path / "image.nc")
    assert "does not" in failing(1, "info", tmp_path / "image.nc", "--config")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"expected [reconstruct]"),
        ("[masks]\n", "found [masks] in"),
        ("[reconstruct\n", "is not TOML"),
        ("[reconstruct]\nbrightness = 3\n", "found the option 'brightness'"),
        ("[reconstruct]\nimage = 'a'\ndem = 'b'\nmethod = 'magic'\n", "--method: "),
        ("[reconstruct]\nimage = 'nowhere.nc'\ndem = 'nowhere.tif'\n", "there is no"),
        ("[reconstruct]\nimage = 'image.nc'\n", "--dem: "),
    ],
)
def test_a_wrong_configuration_is_reported_in_one_line(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "run.toml").write_text(text)
    output = tmp_path / "x.nc"
    assert message in failing(2, "reconstruct", "--config", tmp_path / "run.toml", "-o", output)
    assert [file.name for file in tmp_path.iterdir()] == ["run.toml"]


SHIFT = (1.5, 4.0)


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hold a DEM and an image that lies off by a shift."""
    made = tmp_path_factory.mktemp("shifted")
    rough = hills((70, 90), relief=120.0, size=4.0, seed=3) - 1000.0
    dem = raster(mountain(70, 90, height=700.0) + rough)
    dem.drop_attrs().rio.write_crs(dem.rio.crs).rio.to_raster(made / "dem.tif")
    grid, orbit = look(lines=170, samples=210)
    scene = simulate(dem, grid.shift(*SHIFT), orbit, law=LAW, looks=4.4, noise=0.002, seed=1)
    write_scene(Scene(scene.image, grid, orbit, "beta0"), made / "image.nc")
    return made


def reconstruct_shifted(shifted: Path, *options: str) -> tuple[str, xr.Dataset]:
    output = shifted / f"{'_'.join(options) or 'default'}.zarr"
    done = passing(
        *("reconstruct", str(shifted / "image.nc"), "--dem", str(shifted / "dem.tif")),
        *("--vertical", "ellipsoidal", "--overwrite", "-o", str(output), *options),
    )
    return " ".join(done.output.split()), open_result(output)


def test_a_shift_is_reported_and_only_corrected_when_that_is_asked_for(shifted: Path) -> None:
    said, result = reconstruct_shifted(shifted)
    found = json.loads(result.attrs["coregistration"])
    assert found["line"] == pytest.approx(SHIFT[0], abs=0.2)
    assert found["sample"] == pytest.approx(SHIFT[1], abs=0.2)
    assert "across the track from its simulation" in said
    assert "--coregister correct" in said
    _, untouched = reconstruct_shifted(shifted, "--coregister", "none")
    np.testing.assert_array_equal(result["gamma0"].values, untouched["gamma0"].values)
    assert "coregistration" not in untouched.attrs
    said, corrected = reconstruct_shifted(shifted, "--coregister", "correct")
    assert json.loads(corrected.attrs["coregistration"])["found"] is True
    assert "--coregister correct" not in said
    # Ground that is equally bright everywhere looks more so where each place gets its own energy.
    before, after = (
        float(np.log(each["gamma0"].where(each["gamma0"] > 0)).std())
        for each in (untouched, corrected)
    )
    assert after < before


@pytest.fixture(scope="module")
def maps(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make maps of land cover and of an optical band on the grid of the elevation model."""
    folder = tmp_path_factory.mktemp("guide")
    (folder / "text.tif").write_text("no raster")
    cover = np.where(np.indices((90, 90))[1] // 10 % 2, 40, 10).astype(np.uint8)
    cover[:3] = 255
    with rasterio.open(files.dem) as file:
        placed = {"crs": file.crs, "transform": file.transform}
    save(folder / "cover.tif", cover, nodata=255, **placed)
    optical = np.random.default_rng(0).normal(cover, 3.0).astype(np.float32)
    save(folder / "optical.tif", optical, **placed)
    save(folder / "beside.tif", cover, crs=placed["crs"], transform=Affine(30, 0, 1e5, 0, -30, 5e6))
    save(folder / "no_grid.tif", cover)
    save(folder / "bands.tif", np.stack([cover, cover]), **placed)
    return folder


def save(path: Path, values: np.ndarray, **more: object) -> None:
    """Write a raster of one band or several."""
    bands = values.reshape(-1, *values.shape[-2:])
    size = {"count": bands.shape[0], "height": bands.shape[1], "width": bands.shape[2]}
    profile = {"driver": "GTiff", "dtype": values.dtype, **size, **more}
    with ignore_missing_georeference(), rasterio.open(path, "w", **profile) as file:
        file.write(bands)


def guided(files: Files, guide: Path, *options: object) -> tuple[object, ...]:
    """A reconstruction with a guide."""
    given = ("reconstruct", files.image, "--dem", files.dem, *SEA)
    return *given, "--coregister", "none", "--guide", guide, *options


@pytest.mark.parametrize("name", ["cover.tif", "optical.tif"])
def test_a_guide_is_used_as_in_python(files: Files, maps: Path, tmp_path: Path, name: str) -> None:
    output = tmp_path / "guided.nc"
    passing(*guided(files, maps / name, "-o", output))
    found = open_result(output)
    dem = open_dem(files.dem, vertical="ellipsoidal")
    expected = reconstruct(read_scene(files.image), dem, guide=open_map(maps / name))
    np.testing.assert_allclose(found.gamma0.values, expected.gamma0.values, rtol=1e-5)
    (kinds,) = json.loads(found.attrs["parameters"])["kinds"]
    if name == "cover.tif":
        assert set(kinds) <= {"10", "40"}
    record = json.loads(found.attrs["provenance"])
    assert record["parameters"]["settings"]["guide"] == name
    assert name in json.dumps(record["inputs"]["guide"])


@pytest.mark.filterwarnings("default:the guide of")
def test_a_guide_that_does_not_fit_is_an_error(files: Files, maps: Path, tmp_path: Path) -> None:
    output = ("-o", tmp_path / "x.nc")
    for code, words, name, *options in (
        (2, "--guide: there is no", "nowhere.tif"),
        (1, "no coordinate reference system", "no_grid.tif"),
        (1, "(2 bands), expected one band", "bands.tif"),
        (1, "not a raster", "text.tif"),
        (2, "--guide: found it beside", "cover.tif", "--method", "rtc"),
        (2, "--guide: found it beside", "cover.tif", "--law", "gamma"),
    ):
        assert words in failing(int(code), *guided(files, maps / str(name), *options, *output))
    done = run(*guided(files, maps / "beside.tif", *output))
    assert done.exit_code == 1
    assert "warning: the guide of (90, 90) cells" in done.stderr
    assert "covers 0 % of the DEM" in done.stderr
    assert not list(tmp_path.iterdir())


def test_maps_are_opened_by_formats_that_hold_their_own_pixels(maps: Path, tmp_path: Path) -> None:
    cover = open_map(maps / "cover.tif")
    assert isinstance(cover, xr.DataArray)
    assert cover.dims == ("y", "x")
    assert np.isnan(cover[:3]).all()
    assert set(np.unique(cover[3:])) == {10.0, 40.0}
    assert open_map(maps / "bands.tif", band=2).shape == cover.shape
    disguised = tmp_path / "cover.tif"
    disguised.write_text(
        '<VRTDataset rasterXSize="90" rasterYSize="90"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><SourceFilename>{maps / 'cover.tif'}</SourceFilename></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(DemError, match="is a VRT"):
        open_map(disguised)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        open_map(tmp_path / "nowhere.tif")
