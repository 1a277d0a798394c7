"""Zarr and NetCDF: complete, with checksums, and one family of errors where they are damaged."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr
import zarr

from sarheight import output
from sarheight.errors import DamagedFileError

if TYPE_CHECKING:
    from pathlib import Path


def scene(side: int = 60) -> xr.Dataset:
    """Make a result of two chunks along each side, one of them void."""
    values = np.random.default_rng(1).random((side, side), dtype=np.float32)
    values[: side // 2, : side // 2] = np.nan
    dataset = xr.Dataset(
        {
            "sigma0": (("y", "x"), values, {"units": "1"}),
            "mask": (("y", "x"), np.zeros((side, side), np.uint8), {"_FillValue": 255}),
        },
        coords={"y": 5.0e6 - 10.0 * np.arange(side), "x": 5.0e5 + 10.0 * np.arange(side)},
    )
    return dataset.rio.write_crs("EPSG:32632")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    from sarheight.output.grid import check_grid
    from sarheight.output.stores import write_zarr

    write_zarr(check_grid(scene()), tmp_path / "scene.zarr", chunk=30)
    return tmp_path / "scene.zarr"


@pytest.fixture
def netcdf(tmp_path: Path) -> Path:
    return output.write(scene(), tmp_path / "scene.nc")


@pytest.mark.parametrize(
    ("tiles", "expected"),
    [
        ({"y": 300, "x": 1500}, (300, 750)),  # equal parts of a tile, of 1024 cells at most
        ({"y": 300, "x": 1100}, (300, 550)),
        ({"y": 300, "x": 1031}, (1024, 1024)),  # a prime number
        ({"y": 100, "x": 300}, (1024, 1024)),  # too small to read fast
    ],
)
def test_netcdf_has_chunks_that_fill_the_tiles(
    tmp_path: Path, tiles: dict[str, int], expected: tuple[int, int]
) -> None:
    rows, columns = 1200, 3000
    values = np.random.default_rng(2).random((rows, columns), dtype=np.float32)
    made = xr.Dataset(
        {"sigma0": (("y", "x"), values, {"units": "1"})},
        coords={"y": 5.0e6 - 10.0 * np.arange(rows), "x": 5.0e5 + 10.0 * np.arange(columns)},
    ).rio.write_crs("EPSG:32632")
    path = output.write(made.chunk(tiles), tmp_path / "scene.nc")
    with h5py.File(path) as file:
        assert file["sigma0"].chunks == expected
    np.testing.assert_array_equal(output.open_result(path)["sigma0"], values)


def test_what_is_void_has_its_chunks_too(store: Path) -> None:
    assert zarr.open_group(store, mode="r")["sigma0"].nchunks_initialized == 4
    xr.testing.assert_equal(
        output.open_result(store)["sigma0"].drop_vars("spatial_ref"),
        scene()["sigma0"].drop_vars("spatial_ref"),
    )


@pytest.mark.parametrize("chunks", [None, {}])
@pytest.mark.parametrize("name", ["sigma0/0.0", "sigma0/1.1", "mask/0.1", "x/0"])
def test_a_deleted_chunk_does_not_open_as_void(
    store: Path, name: str, chunks: dict[str, int] | None
) -> None:
    (store / name).unlink()
    with pytest.raises(
        DamagedFileError, match=f"found no 1 of . chunks of '{name.partition('/')[0]}'"
    ):
        output.open_result(store, chunks=chunks)


def test_a_damaged_chunk_is_found_by_its_checksum(store: Path) -> None:
    chunk = store / "sigma0" / "1.1"
    whole = chunk.read_bytes()
    for position in np.linspace(0, len(whole) - 1, 40).astype(int):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        chunk.write_bytes(bytes(damaged))
        with suppress(DamagedFileError):
            # A bit without meaning, such as that of a reserved field, may pass.
            np.testing.assert_array_equal(output.open_result(store)["sigma0"], scene()["sigma0"])


def test_metadata_that_contradict_their_copy_are_refused(store: Path) -> None:
    attributes = json.loads((store / "x" / ".zattrs").read_text())
    (store / "x" / ".zattrs").write_text(json.dumps(attributes | {"units": "feet"}))
    with pytest.raises(DamagedFileError, match=r"x/\.zattrs and \.zmetadata differ"):
        output.open_result(store)


def test_a_netcdf_file_without_a_chunk_is_refused(netcdf: Path) -> None:
    with h5py.File(netcdf, "r+") as file:
        values = file["mask"]
        attributes = dict(values.attrs)
        del file["mask"]
        empty = file.create_dataset("mask", (60, 60), "u1", chunks=(60, 60), fillvalue=255)
        for name in ("_FillValue", "grid_mapping"):
            empty.attrs[name] = attributes[name]
    with pytest.raises(DamagedFileError, match="found no 1 of 1 chunks of 'mask'"):
        output.open_result(netcdf)


@pytest.mark.parametrize("address", [0, 1 << 40])
def test_a_netcdf_file_that_lost_the_address_of_a_chunk_is_refused(
    netcdf: Path, address: int
) -> None:
    with h5py.File(netcdf) as file:
        found = file["sigma0"].id.get_chunk_info(0).byte_offset
    data = netcdf.read_bytes()
    old, new = (value.to_bytes(8, "little") for value in (found, address))
    assert data.count(old) == 1
    netcdf.write_bytes(data.replace(old, new))
    with pytest.raises(DamagedFileError, match=r"of 'sigma0'|cannot be read"):
        output.open_result(netcdf)


def test_the_numbers_of_a_netcdf_file_have_checksums(netcdf: Path) -> None:
    with h5py.File(netcdf) as file:
        assert {
            name: file[name].fletcher32 for name in ("sigma0", "mask", "x", "y")
        } == dict.fromkeys(("sigma0", "mask", "x", "y"), True)


@pytest.mark.parametrize("suffix", [".nc", ".zarr", ".tif"])
@pytest.mark.parametrize("reader", [output.open_result, output.read_provenance])
def test_what_is_no_such_file_is_said_in_one_line(
    tmp_path: Path, suffix: str, reader: object
) -> None:
    path = tmp_path / f"text{suffix}"
    path.write_text("not a raster")
    with pytest.raises(DamagedFileError, match="text") as caught:
        reader(path)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        reader(path)  # type: ignore[operator]
    if suffix == ".zarr":
        path.mkdir()
        with pytest.raises(DamagedFileError, match=r"found|not"):
            reader(path)  # type: ignore[operator]
        shutil.rmtree(path)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize("kind", ["<U2", object, np.dtypes.StringDType()])
def test_labels_of_all_kinds_are_texts(tmp_path: Path, suffix: str, kind: object) -> None:
    names = np.array(["VV", "σ⁰"]).astype(kind)  # type: ignore[call-overload]
    made = xr.concat([scene()] * 2, "polarisation").assign_coords(polarisation=names)
    back = output.open_result(output.write(made, tmp_path / f"scene{suffix}"))
    assert [str(name) for name in back["polarisation"].values] == ["VV", "σ⁰"]


def test_numbers_of_either_byte_order_are_written(tmp_path: Path) -> None:
    made = scene().map(lambda each: each.astype(each.dtype.newbyteorder(">"), keep_attrs=True))
    made = made.assign_coords(x=scene()["x"].astype(">f8"))
    back = output.open_result(output.write(made.rio.write_crs(32632), tmp_path / "scene.nc"))
    np.testing.assert_array_equal(back["sigma0"], scene()["sigma0"])
    np.testing.assert_array_equal(back["x"], scene()["x"])
