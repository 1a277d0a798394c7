"""Writing and reading results in all formats, and failures to write."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from sarheight import output
from sarheight.errors import OutputError, SarheightError
from sarheight.output import atomic as _atomic
from sarheight.output.grid import decode_attributes, encode_attributes

READABLE = (".tif", ".nc", ".zarr")
WRITABLE = (*READABLE, ".png")
# Whether there is an earlier result; pictures take long, so there is none.
BEFORE = [(suffix, before) for suffix in READABLE for before in (False, True)] + [(".png", False)]
VOID = (slice(10, 20), slice(30, 50))


def result(rows: int = 70, columns: int = 90, polarisations: int = 2) -> xr.Dataset:
    """Make a dataset of the kind that a reconstruction returns."""
    rng = np.random.default_rng(7)
    shape = (rows, columns)
    dims = ("y", "x")
    if polarisations:
        shape, dims = (polarisations, *shape), ("polarisation", *dims)
    power = rng.gamma(4.4, 0.03, shape).astype(np.float32)
    power[..., *VOID] = np.nan
    mask = rng.integers(0, 4, (rows, columns)).astype(np.uint8)
    count = rng.integers(1, 5, (rows, columns)).astype(np.int16)
    mask[VOID] = 255
    count[VOID] = 255
    flags = {
        "flag_values": np.arange(4, dtype=np.uint8),
        "flag_meanings": "clear foreshortening active_layover active_shadow",
    }
    dataset = xr.Dataset(
        {
            "sigma0": (dims, power, {"long_name": "reconstructed σ⁰", "units": "1"}),
            "sigma0_geocoded": (dims, power[...], {"long_name": "geocoded σ⁰", "units": "1"}),
            "mask": (("y", "x"), mask, {"long_name": "layover and shadow", "units": "1"} | flags),
            "fold_count": (("y", "x"), count, {"long_name": "fold count", "units": "1"}),
            "local_incidence": (
                ("y", "x"),
                rng.uniform(0, 90, (rows, columns)).astype(np.float32),
                {"long_name": "local incidence angle", "units": "degree"},
            ),
        },
        coords={"y": 5.2e6 - 30.0 * np.arange(rows), "x": 6.0e5 + 30.0 * np.arange(columns)},
        attrs={"title": "test", "look_azimuth": 79.5, "provenance": {"method": "one-step"}},
    )
    if polarisations:
        dataset = dataset.assign_coords(polarisation=["VV", "VH"][:polarisations])
    dataset["mask"].encoding["_FillValue"] = 255
    dataset["fold_count"].attrs["_FillValue"] = 255
    return dataset.rio.write_crs("EPSG:32632")


def folder_is_clean(folder: Path, *names: str) -> bool:
    """Tell whether a folder holds these names and nothing else, hidden files included."""
    return sorted(path.name for path in folder.iterdir()) == sorted(names)


@pytest.mark.parametrize("suffix", READABLE)
@pytest.mark.parametrize(
    ("polarisations", "chunks"), [(0, None), (1, None), (2, None), (2, {"y": 32, "x": 50})]
)
def test_results_are_restored_from_every_format(
    tmp_path: Path, suffix: str, polarisations: int, chunks: dict[str, int] | None
) -> None:
    dataset = result(polarisations=polarisations)
    given_ = dataset if chunks is None else dataset.chunk(chunks)
    path = tmp_path / f"result{suffix}"
    assert output.write(given_, path) == path
    assert folder_is_clean(tmp_path, path.name)

    back = output.open_result(path)
    assert set(back.data_vars) == set(dataset.data_vars)
    assert back.rio.crs == dataset.rio.crs
    for name, variable in dataset.data_vars.items():
        restored = back[name]
        assert restored.dims == variable.dims
        assert restored.dtype == variable.dtype
        np.testing.assert_array_equal(restored, variable)
        for coordinate in variable.dims:
            np.testing.assert_array_equal(restored[coordinate], variable[coordinate])
        assert restored.attrs["long_name"] == variable.attrs["long_name"]
        assert restored.attrs["units"] == variable.attrs["units"]
        assert restored.encoding["grid_mapping"] == "spatial_ref"
        assert restored.rio.crs == dataset.rio.crs
        np.testing.assert_equal(restored.attrs["_FillValue"], output.nodata_value(variable))
    flags = back["mask"].attrs["flag_values"]
    np.testing.assert_array_equal(flags, [0, 1, 2, 3])
    assert back["mask"].attrs["flag_meanings"] == dataset["mask"].attrs["flag_meanings"]
    assert back.attrs["title"] == "test"
    assert back.attrs["look_azimuth"] == pytest.approx(79.5)
    assert json.loads(back.attrs["provenance"]) == {"method": "one-step"}


@pytest.mark.parametrize("suffix", READABLE)
def test_results_are_read_lazily_and_written_again(tmp_path: Path, suffix: str) -> None:
    """The same values each time, and writing does not change the dataset."""
    dataset, untouched = result(), result()
    path = output.write(dataset, tmp_path / f"first{suffix}")
    xr.testing.assert_identical(dataset, untouched)
    for name in dataset.variables:
        assert dataset[name].encoding == untouched[name].encoding
    once = output.open_result(path)
    with output.open_result(path, chunks={}) as lazy:
        assert lazy["sigma0"].chunks is not None
        xr.testing.assert_identical(lazy.compute(), once)
    twice = output.open_result(output.write(once, tmp_path / f"second{suffix}"))
    xr.testing.assert_identical(once, twice)


ROW, COLUMN = np.arange(40), np.arange(50)


@pytest.mark.parametrize(
    ("suffix", "crs", "y", "x"),
    [
        (".tif", "EPSG:4326", -20.0 + ROW / 1200, 179.99 + COLUMN / 1200),
        (".tif", "EPSG:3031", -1.5e6 + 90.0 * ROW, 4.0e5 - 90.0 * COLUMN),
        (".tif", "EPSG:3857", 5.7e6 - 33.1 * ROW, 1.2e6 + 33.1 * COLUMN),
        (".nc", "EPSG:4326", -20.0 + ROW / 1200, 179.99 + COLUMN / 1200),
        (".zarr", "EPSG:3031", -1.5e6 + 90.0 * ROW, 4.0e5 - 90.0 * COLUMN),
    ],
)
def test_coordinates_survive_for_axes_of_all_directions(
    tmp_path: Path, suffix: str, crs: str, y: np.ndarray, x: np.ndarray
) -> None:
    dataset = result(40, 50).assign_coords(y=y, x=x).rio.write_crs(crs)
    back = output.open_result(output.write(dataset, tmp_path / f"result{suffix}"))
    assert back.rio.crs == dataset.rio.crs
    aligned = back.sel(y=y, x=x, method="nearest", tolerance=1e-6 * abs(x[1] - x[0]))
    np.testing.assert_array_equal(aligned["sigma0"], dataset["sigma0"])


BANDS = ("sigma0_vv", "sigma0_vh", "sigma0_geocoded_vv", "sigma0_geocoded_vh", "mask")
BANDS += ("fold_count", "local_incidence")


def test_geotiff_has_tags_units_and_overviews_that_never_mix_codes(tmp_path: Path) -> None:
    dataset = result(700, 900)
    dataset["mask"].values[:350] = np.random.default_rng(0).choice([0, 3], (350, 900), p=[0.4, 0.6])
    dataset["mask"].values[350:] = 255
    path = output.write(dataset, tmp_path / "result.tif")
    with rasterio.open(path) as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.descriptions == BANDS
        assert set(file.dtypes) == {"float32"}
        assert np.isnan(file.nodatavals).all()
        assert file.units[-1] == "degree"
        assert (file.crs.to_epsg(), file.transform.e) == (32632, -30.0)
        assert file.tags(5)["flag_meanings"].startswith("clear ")
        assert file.tags(5)["flag_values"] == "[0, 1, 2, 3]"
        assert json.loads(file.tags()["provenance"]) == {"method": "one-step"}
        assert file.overviews(1) == file.overviews(5) == [2, 4]
    with rasterio.open(path, overview_level=0) as file:
        power, codes = file.read(1), file.read(5)
    blocks = dataset["sigma0"][0].values.reshape(350, 2, 450, 2)
    whole = np.isfinite(blocks).all(axis=(1, 3))
    np.testing.assert_allclose(power[whole], blocks.mean(axis=(1, 3))[whole], rtol=1e-6)
    assert set(np.unique(codes[:175])) == {0.0, 3.0}
    assert np.isnan(codes[175:]).all()


def test_a_float_nodata_value_becomes_nan_in_a_geotiff(tmp_path: Path) -> None:
    dataset = result()[["local_incidence"]]
    dataset["local_incidence"].values[VOID] = -9999
    dataset["local_incidence"].attrs["_FillValue"] = -9999
    back = output.open_result(output.write(dataset, tmp_path / "result.tif"))
    assert np.isnan(back["local_incidence"].values[VOID]).all()
    assert np.isnan(back["local_incidence"]).sum() == 200


@pytest.mark.parametrize("shape", [(2, 2), (2, 900), (900, 254), (255, 600), (257, 256)])
def test_odd_shapes_are_written(tmp_path: Path, shape: tuple[int, int]) -> None:
    dataset = result(*shape)
    back = output.open_result(output.write(dataset, tmp_path / "result.tif"))
    np.testing.assert_array_equal(back["sigma0"], dataset["sigma0"])


def test_gdal_reads_crs_and_transform_of_netcdf(tmp_path: Path) -> None:
    """A crop has a transform of its own."""
    dataset = result()
    output.write(dataset, tmp_path / "result.nc")
    with rasterio.open(f"netcdf:{tmp_path}/result.nc:sigma0") as file:
        assert file.crs.to_epsg() == 32632
        np.testing.assert_allclose(file.transform[:6], (30, 0, 599985, 0, -30, 5200015))
        np.testing.assert_array_equal(file.read(), dataset["sigma0"])
    crop = dataset.rio.write_transform().isel(y=slice(20, 60), x=slice(40, 80))
    output.write(crop, tmp_path / "crop.nc")
    with rasterio.open(f"netcdf:{tmp_path}/crop.nc:mask") as file:
        assert (file.transform.c, file.transform.f) == (6.0e5 + 1185, 5.2e6 - 585)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z_]{0,10}", fullmatch=True),
        st.text(st.characters(exclude_categories=("Cs",)))
        | st.integers(-(2**53), 2**53)
        | st.floats(allow_nan=False)
        | st.lists(st.floats(allow_nan=False)),
        max_size=4,
    )
)
def test_attributes_survive_as_tags(attributes: dict[str, object]) -> None:
    tags = encode_attributes(attributes)
    assert all(text.isprintable() and text == text.strip() != "" for text in tags.values())
    assert decode_attributes(tags) == attributes


def test_texts_of_all_kinds_survive_in_a_geotiff(tmp_path: Path) -> None:
    dataset = result()
    texts = {"a": "<&>'\"", "b": " spaces ", "c": "two\nlines\r\n", "d": ""}
    texts |= {"e": "σ⁰ ≥ 1°", "f": "[1]"}
    dataset.attrs = dict(texts)
    dataset["sigma0"].attrs |= texts
    back = output.open_result(output.write(dataset, tmp_path / "result.tif"))
    assert back.attrs == texts
    assert texts.items() <= back["sigma0"].attrs.items()


# ---- what cannot be written


@pytest.mark.parametrize("name", ["result", "result.jpg", "result.tif.gz", ".tif"])
def test_an_unknown_suffix_lists_the_supported_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"\.tif, \.tiff, \.nc, \.zarr, \.png"):
        output.check_writable(tmp_path / name)


@pytest.mark.parametrize("suffix", WRITABLE)
def test_a_missing_folder_is_reported_before_any_work(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "absent" / f"result{suffix}"
    with pytest.raises(OutputError, match="does not exist"):
        output.check_writable(path)
    with pytest.raises(OutputError, match="does not exist"):
        output.write(exploding(KeyboardInterrupt()), path)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that takes no files")
def test_a_folder_that_takes_no_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file, not a folder"):
        output.check_writable(tmp_path / "file" / "result.nc")
    with pytest.raises(OutputError, match="no file can be created"):
        output.check_writable("/proc/result.nc")


@pytest.mark.parametrize("suffix", READABLE)
def test_existing_files_are_replaced_only_when_allowed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"result{suffix}"
    output.write(result(), path)
    with pytest.raises(OutputError, match="exists already"):
        output.write(result(), path)
    changed = result() * 2
    output.write(changed.assign(mask=result()["mask"]), path, overwrite=True)
    assert folder_is_clean(tmp_path, path.name)
    np.testing.assert_array_equal(output.open_result(path)["sigma0"], changed["sigma0"])


def test_a_folder_that_is_no_zarr_store_is_never_replaced(tmp_path: Path) -> None:
    precious = tmp_path / "photos.zarr" / "letter.txt"
    precious.parent.mkdir()
    precious.touch()
    with pytest.raises(OutputError, match="not a Zarr store"):
        output.write(result(), precious.parent, overwrite=True)
    (tmp_path / "photos.tif").mkdir()
    with pytest.raises(OutputError, match="not a file"):
        output.write(result(), tmp_path / "photos.tif", overwrite=True)
    assert precious.exists()


def test_symbolic_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link.nc").symlink_to(tmp_path / "disk" / "real.nc")
    output.write(result(), tmp_path / "link.nc")
    assert (tmp_path / "link.nc").is_symlink()
    assert folder_is_clean(tmp_path / "disk", "real.nc")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda made: made["sigma0"], TypeError, "DataArray"),
        (lambda made: made[[]], ValueError, "no variables"),
        (lambda made: made.drop_vars("spatial_ref"), ValueError, "no CRS"),
        (lambda made: made.assign_coords(x=made["x"] ** 2), ValueError, "'x' is not regular"),
        (lambda made: made.isel(y=[0]), ValueError, "'y' with two or more"),
        (lambda made: made.assign(curve=("a", [1.0, 2.0])), ValueError, "cannot hold 'curve'"),
        (lambda made: made.assign(seen=made["mask"] > 0), ValueError, "convert it to uint8"),
        (lambda made: made.assign(a=made["fold_count"].astype("i4") * 2**25), ValueError, "beyond"),
    ],
)
def test_unsuitable_datasets_are_refused(
    tmp_path: Path, change: Callable[[xr.Dataset], Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        output.write(change(result()), tmp_path / "result.tif")
    assert folder_is_clean(tmp_path)


def test_files_of_another_origin_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.tif, \.tiff, \.nc, \.zarr"):
        output.open_result(tmp_path / "result.png")
    with pytest.raises(FileNotFoundError, match="there is no"):
        output.open_result(tmp_path / "result.nc")
    result()["fold_count"].rio.to_raster(tmp_path / "foreign.tif")
    with pytest.raises(ValueError, match="no result"):
        output.open_result(tmp_path / "foreign.tif")


# ---- what fails half-way


def exploding(error: BaseException) -> xr.Dataset:
    """Make a result whose lower half cannot be computed."""
    import dask.array

    def block(block_info: dict[int, dict[str, list[tuple[int, int]]]]) -> np.ndarray:
        if block_info[None]["array-location"][0][0] > 0:
            raise error
        return np.ones((64, 90), np.float32)

    dataset = result(128, 90, polarisations=0)
    data = dask.array.map_blocks(block, chunks=((64, 64), (90,)), dtype=np.float32)
    return dataset.assign(sigma0=(("y", "x"), data, dataset["sigma0"].attrs))


@pytest.mark.parametrize(("suffix", "before"), BEFORE)
def test_a_failure_while_computing_leaves_no_new_file(
    tmp_path: Path,
    suffix: str,
    before: bool,  # noqa: FBT001
) -> None:
    path = tmp_path / f"result{suffix}"
    if before:
        output.write(result(), path)
    kept = fingerprint(path)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(OSError, match=r"[Nn]o space left") as caught:
        output.write(exploding(full), path, overwrite=True)
    if suffix != ".png":
        assert isinstance(caught.value, OutputError)
        assert isinstance(caught.value, SarheightError)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
        assert ("the earlier one was kept" if before else "nothing was left") in str(caught.value)
    assert folder_is_clean(tmp_path, *([path.name] if before else []))
    assert fingerprint(path) == kept


@pytest.mark.parametrize("suffix", WRITABLE)
def test_an_interruption_leaves_no_file(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        output.write(exploding(KeyboardInterrupt()), tmp_path / f"result{suffix}")
    assert folder_is_clean(tmp_path)


@dataclass
class Failing:
    """Something that fails when it is called, or the n-th time that it is."""

    error: BaseException
    calls: int = 1

    def __call__(self, *_: object, **__: object) -> None:
        self.calls -= 1
        if self.calls == 0:
            raise self.error


@pytest.mark.parametrize(("suffix", "before"), BEFORE)
def test_a_failure_while_renaming_leaves_no_new_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    before: bool,  # noqa: FBT001
) -> None:
    path = tmp_path / f"result{suffix}"
    if before:
        output.write(result(), path)
    kept = fingerprint(path)
    layers = ((_atomic.os, "fsync"), (_atomic.Path, "replace"), (_atomic.Path, "mkdir"))
    for place, name in layers if suffix != ".png" else layers[:1]:  # a picture takes long
        broken = Failing(OSError(errno.EIO, os.strerror(errno.EIO)))
        with monkeypatch.context() as patch:
            patch.setattr(place, name, broken)
            with pytest.raises(OutputError, match="error"):
                output.write(result(), path, overwrite=True)
        assert folder_is_clean(tmp_path, *([path.name] if before else []))
        assert fingerprint(path) == kept


def test_damage_to_a_scratch_file_is_detected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sarheight.output import _cog

    def write_with_damage(file: IO[bytes], data: bytes) -> None:
        changed = bytearray(data)
        changed[len(changed) // 2] ^= 1
        file.write(changed)

    def cut_short(file: IO[bytes], data: bytes) -> None:
        file.write(bytes(data)[:-1])

    for damaged in (write_with_damage, cut_short):
        monkeypatch.setattr(_cog, "_write", damaged)
        with pytest.raises(OutputError, match="differs from what was written"):
            output.write(result(), tmp_path / "result.tif")
        assert folder_is_clean(tmp_path)


def fingerprint(path: Path) -> list[tuple[str, bytes]]:
    """Return the names and contents of a file or of all in a folder."""
    files: Iterator[Path] = iter([path]) if path.is_file() else path.rglob("*")
    return sorted((str(file), file.read_bytes()) for file in files if file.is_file())


def test_a_picture_keeps_the_attributes(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "result.png").touch()
    with pytest.raises(OutputError, match="exists already"):
        output.write(result(), tmp_path / "result.png")
    output.write(result(), tmp_path / "result.png", overwrite=True)
    with Image.open(tmp_path / "result.png") as picture:
        assert picture.info["title"] == "test"
        assert json.loads(picture.info["provenance"]) == {"method": "one-step"}
    with pytest.raises(OutputError, match=r"saved as \.png"):
        output.save_png(None, tmp_path / "result.pdf")  # type: ignore[arg-type]


def test_links_in_a_circle_are_not_written_to(tmp_path: Path) -> None:
    """One error of one line, and nothing has changed."""
    for name, other in (("one.nc", "two.nc"), ("two.nc", "one.nc"), ("folder", "folder")):
        (tmp_path / name).symlink_to(tmp_path / other)
    for path in (tmp_path / "one.nc", tmp_path / "folder" / "result.nc"):
        for overwrite in (False, True):
            with pytest.raises(OutputError, match=r"cannot write|exists already"):
                output.check_writable(path, overwrite=overwrite)
        with pytest.raises(FileNotFoundError, match="there is no"):
            output.open_result(path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "one.nc", "two.nc"]
