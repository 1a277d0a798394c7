"""Masks for stacks of interferograms, as dolphin and MintPy read them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import rasterio
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from rasterio.warp import transform

from sarheight._runtime import ignore_missing_georeference
from sarheight.dem import grid_like
from sarheight.errors import DamagedFileError, OutputError
from sarheight.output import open_result
from sarheight.output.insar import read_insar_mask, write_insar_mask
from sarheight.output.radar_images import read_grid_and_orbit
from tests.cli.commands import EAST, NORTH, SEA, Files, failing, passing
from tests.worlds.cslc import write_cslc

CLEAR = (0, 1)
"""Codes of a mask that neither layover nor shadow nor a lack of data has."""


def masks(files: Files, output: Path, *options: object) -> NDArray[Any]:
    """Write masks by the command, and return the categories of the same cells."""
    common = ("masks", "--like", files.image, "--dem", files.dem, *SEA, *options)
    known = output.with_name("known.nc")
    passing(*common, "-o", known, "--overwrite")
    name = "mintpy" if output.suffix == ".h5" else "dolphin"
    done = passing(*common, "--format", name, "-o", output)
    values = xr.load_dataset(known, mask_and_scale=False)["mask"].values
    good = np.isin(values, CLEAR).mean()
    assert f"{name} leaves out {100 * (1 - good):.1f} % of the cells" in done.stderr
    return values


def slc_grid(path: Path) -> Path:
    """Write a raster on a grid of 10 x 5 m, as that of bursts, which reaches beyond the DEM."""
    transform = Affine(5.0, 0.0, EAST - 1000.0, 0.0, -10.0, NORTH + 800.0)
    profile = {"driver": "GTiff", "height": 160, "width": 300, "count": 1, "dtype": "float32"}
    with rasterio.open(path, "w", crs="EPSG:32632", transform=transform, **profile) as file:
        file.write(np.ones((1, 160, 300), np.float32))
    return path


def test_dolphin_gets_a_byte_of_1_where_a_cell_is_good(files: Files, tmp_path: Path) -> None:
    """On the grid of its raster, or of a burst, which is all that the mask needs."""
    like = slc_grid(tmp_path / "slc.tif")
    categories = masks(files, tmp_path / "by_raster.tif", "--like", like)
    assert (categories == 255).any()
    with rasterio.open(tmp_path / "by_raster.tif") as file, rasterio.open(like) as slc:
        assert (file.count, file.dtypes, file.nodata) == (1, ("uint8",), None)
        np.testing.assert_array_equal(file.read(1), np.isin(categories, CLEAR))
        assert 0.1 < file.read(1).mean() < 0.9
        assert (file.crs, file.transform, file.shape) == (slc.crs, slc.transform, slc.shape)
    grid, orbit = read_grid_and_orbit(files.image)
    slant = replace(
        grid, ground_range=None, near_range=float(grid.slant_range(0, 0)) - 50.0, samples=1500
    )
    burst = write_cslc(tmp_path / "OPERA_L2_CSLC-S1.h5", grid_like(like), slant, orbit)
    output = tmp_path / "t117_249422_iw2.tif"
    command = ("masks", "--like", burst, "--dem", files.dem, *SEA, "--format", "dolphin")
    passing(*command, "-o", output)
    with rasterio.open(output) as file, rasterio.open(like) as slc:
        assert (file.crs, file.transform, file.shape) == (slc.crs, slc.transform, slc.shape)
        same = file.read(1) == np.isin(categories, CLEAR)
    assert same.mean() > 0.99, "times are rounded to microseconds, and samples are finer"
    described = passing("info", burst)
    assert "geocoded burst of OPERA: S1A VV" in described.stdout


def test_mintpy_gets_the_opposite_with_the_corner_of_the_grid(files: Files, tmp_path: Path) -> None:
    output = tmp_path / "shadowMask.h5"
    categories = masks(files, output)
    grid = open_result(tmp_path / "known.nc")
    with h5py.File(output) as file:
        assert list(file) == ["shadowMask"], "MintPy reads the first dataset of a file"
        found = file["shadowMask"][:]
        attributes = {name: text.decode() for name, text in file.attrs.items()}
    assert found.dtype == bool
    np.testing.assert_array_equal(found, ~np.isin(categories, CLEAR))
    west, _, _, north = grid.rio.bounds(recalc=True)
    assert (float(attributes["X_FIRST"]), float(attributes["Y_FIRST"])) == (west, north)
    assert (float(attributes["X_STEP"]), float(attributes["Y_STEP"])) == (20.0, -20.0)
    known = {"UNIT": "1", "LENGTH": str(len(found)), "EPSG": "32632"}
    known |= {"WIDTH": str(found.shape[1]), "X_UNIT": "meters", "UTM_ZONE": "32N"}
    assert known.items() <= attributes.items()
    assert json.loads(attributes["provenance"])["parameters"]["command"] == "masks"
    done = passing("info", output)
    assert "as MintPy reads them" in done.stdout
    assert f"{100 * (1 - np.isin(categories, CLEAR).mean()):.1f} % of the cells" in done.stdout
    settings = passing("info", output, "--config")
    assert f'like = ["{files.image.name}"]' in settings.stdout
    again = read_insar_mask(output)
    assert again is not None
    np.testing.assert_array_equal(again, found)
    whole = output.read_bytes()
    output.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedFileError, match="a mask for MintPy"):
        read_insar_mask(output)
    assert read_insar_mask(files.dem) is None
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["shadowMask"], file["height"] = [[1]], [[2]]
    assert read_insar_mask(tmp_path / "other.h5") is None


def test_mintpy_gets_rows_from_north_to_south_and_degrees(files: Files, tmp_path: Path) -> None:
    options = ("--crs", "EPSG:4326")
    categories = masks(files, tmp_path / "degrees.h5", *options)
    found = open_result(tmp_path / "known.nc")
    write_insar_mask(found.isel(y=slice(None, None, -1)), tmp_path / "turned.h5", "mintpy")
    for name in ("degrees", "turned"):
        with h5py.File(tmp_path / f"{name}.h5") as file:
            np.testing.assert_array_equal(file["shadowMask"], ~np.isin(categories, CLEAR))
            assert file.attrs["X_UNIT"] == b"degrees"
            assert float(file.attrs["Y_STEP"]) < 0.0 < float(file.attrs["X_STEP"])


def test_masks_of_the_pixels_of_an_image(files: Files, tmp_path: Path) -> None:
    known = [
        masks(files, tmp_path / f"radar{end}", "--geometry", "radar") for end in (".h5", ".tif")
    ]
    with h5py.File(tmp_path / "radar.h5") as file:
        found = [~file["shadowMask"][:]]
        assert "X_FIRST" not in file.attrs
    with ignore_missing_georeference(), rasterio.open(tmp_path / "radar.tif") as file:
        found.append(file.read(1).astype(bool))
    for good, categories in zip(found, known, strict=True):
        np.testing.assert_array_equal(good, np.isin(categories, CLEAR))
        assert good.any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--format", "mintpy", "-o", "m.tif"), "use one of .h5"),
        (("--format", "dolphin", "-o", "m.h5"), "use one of .tif, .tiff"),
        (("--format", "dolphin", "-o", "m.png"), "use one of .tif, .tiff"),
        (("-o", "m.h5"), "cannot tell the format of 'm.h5'"),
        (("--format", "snap", "-o", "m.tif"), "snap"),
        (("--format", "mintpy", "-o", "m.h5", "--stac"), "--stac"),
        (("--format", "dolphin", "-o", "m.tif", "--quicklook", "m.png"), "--quicklook"),
        (("--format", "dolphin", "-o", "m.tif", "--geometry", "radar", "--stac"), "--stac"),
    ],
)
def test_formats_that_do_not_fit(
    files: Files,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ("masks", "--like", files.image, "--dem", files.dem, *SEA)
    assert words in failing(2, *command, *options)
    assert not list(tmp_path.iterdir())


def test_a_mask_that_cannot_be_written_leaves_nothing(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks(files, tmp_path / "mask.h5")
    found = open_result(tmp_path / "known.nc")
    before = sorted(tmp_path.iterdir())

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(h5py.Group, "create_dataset", full)
    with pytest.raises(OutputError, match="nothing was left behind"):
        write_insar_mask(found, tmp_path / "other.h5", "mintpy")
    with pytest.raises(OutputError, match="exists already"):
        write_insar_mask(found, tmp_path / "mask.h5", "mintpy")
    assert sorted(tmp_path.iterdir()) == before
    monkeypatch.undo()
    with pytest.raises(ValueError, match="expected one of dolphin, mintpy"):
        write_insar_mask(found, tmp_path / "other.h5", "snap")  # type: ignore[arg-type]
    feet = found.rio.write_crs("EPSG:2264")
    with pytest.raises(ValueError, match="US survey foot, expected one in degrees or metres"):
        write_insar_mask(feet, tmp_path / "other.h5", "mintpy")
    assert sorted(tmp_path.iterdir()) == before


# By the programs themselves, each in a process of its own: they bring their own GDAL.

BY_DOLPHIN = """
import json, sys
import numpy as np
from dolphin import io, masking
path, combined = sys.argv[1:]
left_out = np.asarray(masking.load_mask_as_numpy(path))
masking.combine_mask_files([path, path], combined)
print(json.dumps({
    "left out": left_out.astype(int).tolist(),
    "combined": io.load_gdal(combined).astype(int).tolist(),
    "crs": io.get_raster_crs(path).to_epsg(),
    "geotransform": list(io.get_raster_gt(path)),
}))
"""

BY_MINTPY = """
import json, sys
import numpy as np
from mintpy.cli import generate_mask
from mintpy.objects.coord import coordinate
from mintpy.objects.stackDict import geometryDict
from mintpy.utils import readfile, writefile
path, geometry, coherence, chosen = sys.argv[1:]
values, attributes = readfile.read(path, datasetName="shadowMask")
loaded = geometryDict(processor="hyp3", datasetDict={"shadowMask": path})
loaded.write2hdf5(geometry)
kept, placed = readfile.read(geometry, datasetName="shadowMask")
writefile.write(
    np.ones(values.shape, np.float32), coherence, placed | {"FILE_TYPE": "temporalCoherence"}
)
shadow = ["--base", geometry, "--base-dataset", "shadowMask", "--base-value", "1"]
generate_mask.main([coherence, "-m", "0.7", "-o", chosen, *shadow])
row, column = coordinate(placed).lalo2yx(46.0, 10.0)
print("JSON" + json.dumps({
    "values": values.astype(int).tolist(),
    "kept": kept.astype(int).tolist(),
    "reliable": readfile.read(chosen)[0].astype(int).tolist(),
    "type": attributes["FILE_TYPE"],
    "place": [int(np.squeeze(row)), int(np.squeeze(column))],
}))
"""


def by_program(script: str, *paths: Path) -> dict[str, Any]:
    """Run a script in a process of its own, and return the JSON that it prints last."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1].removeprefix("JSON"))
    return found


def require(*libraries: str) -> None:
    """Skip a test where a library is not installed."""
    missing = [name for name in libraries if find_spec(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: see docs/how-to/masks.md")


def test_dolphin_reads_its_mask(files: Files, tmp_path: Path) -> None:
    require("dolphin", "osgeo")
    output = tmp_path / "t117_249422_iw2.tif"
    categories = masks(files, output)
    good = np.isin(categories, CLEAR)
    found = by_program(BY_DOLPHIN, output, tmp_path / "combined.tif")
    np.testing.assert_array_equal(found["left out"], ~good)
    np.testing.assert_array_equal(found["combined"], good)
    with rasterio.open(output) as file:
        assert found["crs"] == file.crs.to_epsg()
        assert found["geotransform"] == list(file.transform.to_gdal())


def test_mintpy_reads_its_mask(files: Files, tmp_path: Path) -> None:
    require("mintpy")
    output = tmp_path / "shadowMask.h5"
    categories = masks(files, output)
    good = np.isin(categories, CLEAR)
    others = (tmp_path / f"{name}.h5" for name in ("geometryGeo", "coherence", "maskTempCoh"))
    found = by_program(BY_MINTPY, output, *others)
    assert found["type"] == "shadowMask"
    np.testing.assert_array_equal(found["values"], ~good)
    np.testing.assert_array_equal(found["kept"], ~good)
    np.testing.assert_array_equal(found["reliable"], good)
    (east,), (north,) = transform("EPSG:4326", "EPSG:32632", [10.0], [46.0])
    known = open_result(tmp_path / "known.nc")
    row, column = (
        abs(known[axis].values - at).argmin() for axis, at in (("y", north), ("x", east))
    )
    assert found["place"] == [row, column]
