"""Zarr and NetCDF: complete, with checksums, and one family of errors where they are damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from typing import Any

import google_crc32c
import h5py
import numpy as np
import pytest
import rioxarray  # noqa: F401
import xarray as xr
import zarr
from zarr.core.metadata import ArrayV2Metadata, ArrayV3Metadata

from sarheight import _hdf5, output
from sarheight.errors import DamagedFileError
from sarheight.output.grid import check_grid
from sarheight.output.stores import write_zarr
from tests.zarr_2 import write_version_2


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
    """A store of two shards along each side, of four chunks each."""
    write_zarr(check_grid(scene()), tmp_path / "scene.zarr", chunk=15, shard=30)
    return tmp_path / "scene.zarr"


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    return write_version_2(scene(), tmp_path / "earlier.zarr", chunk=30)


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
    values = np.add.outer(np.arange(rows), rows * np.arange(columns)).astype(np.float32)
    made = xr.Dataset(
        {"sigma0": (("y", "x"), values, {"units": "1"})},
        coords={"y": 5.0e6 - 10.0 * np.arange(rows), "x": 5.0e5 + 10.0 * np.arange(columns)},
    ).rio.write_crs("EPSG:32632")
    path = output.write(made.chunk(tiles), tmp_path / "scene.nc")
    with h5py.File(path) as file:
        assert file["sigma0"].chunks == expected
    np.testing.assert_array_equal(output.open_result(path)["sigma0"], values)


def test_what_is_void_has_its_chunks_too(store: Path, earlier: Path) -> None:
    for path, count in ((store, 16), (earlier, 4)):
        assert zarr.open_group(path, mode="r")["sigma0"].nchunks_initialized == count
        xr.testing.assert_equal(
            output.open_result(path)["sigma0"].drop_vars("spatial_ref"),
            scene()["sigma0"].drop_vars("spatial_ref"),
        )


@pytest.mark.parametrize(
    ("name", "lost"),
    [
        ("scene.zarr/sigma0/c/0/0", "4 of 16"),
        ("scene.zarr/sigma0/c/1/1", "4 of 16"),
        ("scene.zarr/mask/c/0/1", "4 of 16"),
        ("scene.zarr/x/c/0", "1 of 1"),
        ("earlier.zarr/sigma0/0.0", "1 of 4"),
        ("earlier.zarr/mask/0.1", "1 of 4"),
        ("earlier.zarr/x/0", "1 of 1"),
    ],
)
@pytest.mark.usefixtures("store", "earlier")
def test_a_deleted_file_does_not_open_as_void(tmp_path: Path, name: str, lost: str) -> None:
    (tmp_path / name).unlink()
    store, array, *_ = name.split("/")
    for chunks in (None, {}):
        with pytest.raises(DamagedFileError, match=f"found no {lost} chunks of '{array}'"):
            output.open_result(tmp_path / store, chunks=chunks)


@pytest.mark.parametrize("name", ["sigma0/c/1/1", "mask/c/0/0"])
def test_a_shard_that_was_cut_short_is_named_when_the_store_is_opened(
    store: Path, name: str
) -> None:
    shard = store / name
    whole = shard.read_bytes()
    for length in np.linspace(0, len(whole) - 1, 23).astype(int):
        shard.write_bytes(whole[:length])
        with pytest.raises(DamagedFileError, match=f"4 of 16 chunks of '{name[:4]}"):
            output.open_result(store, chunks={})


def test_a_chunk_that_a_shard_does_not_hold_is_missing(store: Path) -> None:
    """Also where the list of its chunks has a sound checksum."""
    shard = store / "sigma0" / "c" / "0" / "1"
    data = shard.read_bytes()
    index = np.frombuffer(data[-68:-4], "<u8").reshape(4, 2).copy()
    for place, size in ((2**64 - 1, 2**64 - 1), (len(data), 10), (0, len(data)), (2**63, 2**63)):
        index[2] = place, size
        text = index.tobytes()
        end = google_crc32c.value(text).to_bytes(4, "little")
        shard.write_bytes(data[:-68] + text + end)
        with pytest.raises(DamagedFileError, match="found no 1 of 16 chunks of 'sigma0'"):
            output.open_result(store)


@pytest.mark.parametrize("name", ["scene.zarr/sigma0/c/1/1", "earlier.zarr/sigma0/1.1"])
@pytest.mark.usefixtures("store", "earlier")
def test_a_damaged_chunk_is_found_by_its_checksum(tmp_path: Path, name: str) -> None:
    chunk, path = tmp_path / name, tmp_path / name.split("/", maxsplit=1)[0]
    whole = chunk.read_bytes()
    for position in np.linspace(0, len(whole) - 1, 20).astype(int):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        chunk.write_bytes(bytes(damaged))
        with suppress(DamagedFileError):
            # A bit without meaning, such as that of a reserved field, may pass.
            np.testing.assert_array_equal(output.open_result(path)["sigma0"], scene()["sigma0"])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ("scene.zarr/x/zarr.json", r"x/zarr\.json and zarr\.json differ"),
        ("earlier.zarr/x/.zattrs", r"x/\.zattrs and \.zmetadata differ"),
    ],
)
@pytest.mark.usefixtures("store", "earlier")
def test_metadata_that_contradict_their_copy_are_refused(
    tmp_path: Path, changed: str, words: str
) -> None:
    file = tmp_path / changed
    found = json.loads(file.read_text())
    found.get("attributes", found)["units"] = "feet"
    file.write_text(json.dumps(found))
    with pytest.raises(DamagedFileError, match=words):
        output.open_result(tmp_path / changed.split("/", maxsplit=1)[0])


@pytest.fixture
def looked_for(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Chunks whose names Zarr makes, or whose places in a NetCDF file are listed, from now on."""
    places: list[object] = []

    def noted(place: object) -> object:
        places.append(place)
        return place

    for kind in (ArrayV2Metadata, ArrayV3Metadata):

        def key(self: Any, place: Any, own: Any = kind.encode_chunk_key) -> Any:  # noqa: ANN401
            return own(self, noted(place))

        monkeypatch.setattr(kind, "encode_chunk_key", key)
    monkeypatch.setattr(_hdf5, "product", lambda *sides: map(noted, product(*sides)))
    return places


@contextmanager
def changed_array(store: Path) -> Iterator[dict[str, Any]]:
    """Yield the metadata of an array, which are written in both their places afterwards."""
    root, own = store / "zarr.json", store / "sigma0" / "zarr.json"
    metadata = json.loads(root.read_bytes())
    array = metadata["consolidated_metadata"]["metadata"]["sigma0"]
    yield array
    root.write_text(json.dumps(metadata))
    own.write_text(json.dumps(json.loads(own.read_bytes()) | array))


@pytest.mark.parametrize("kind", ["shards", "chunks", "version 2", "netcdf"])
def test_more_chunks_than_there_are_files_for_are_not_counted_one_by_one(
    looked_for: list[object], kind: str, store: Path, earlier: Path, netcdf: Path
) -> None:
    """Metadata that agree with each other may claim any number of them."""
    side = 4000
    path = {"version 2": earlier, "netcdf": netcdf}.get(kind, store)
    if kind == "netcdf":
        with h5py.File(netcdf, "r+") as file:
            del file["mask"]
            file.create_dataset("mask", (side, side), "u1", chunks=(1, 1))
    elif kind == "version 2":
        for name in (".zmetadata", "sigma0/.zarray"):
            metadata = json.loads((earlier / name).read_bytes())
            array = metadata["metadata"]["sigma0/.zarray"] if name == ".zmetadata" else metadata
            array |= {"shape": [side, side], "chunks": [1, 1]}
            (earlier / name).write_text(json.dumps(metadata))
    else:
        with changed_array(store) as array:
            array["shape"] = [side, side]
            array["chunk_grid"]["configuration"]["chunk_shape"] = [1, 1]
            if kind == "shards":
                array["codecs"][0]["configuration"]["chunk_shape"] = [1, 1]
            else:
                array["codecs"] = [{"name": "bytes", "configuration": {"endian": "little"}}]
    with pytest.raises(DamagedFileError, match=r"found no (16000000|1599999\d) of 16000000 chunks"):
        output.open_result(path)
    assert 0 < len(looked_for) < 100


def test_a_shard_that_claims_more_chunks_than_it_has_bytes_is_damaged(store: Path) -> None:
    """No memory is made for their places."""
    with changed_array(store) as array:
        array["chunk_grid"]["configuration"]["chunk_shape"] = [15_000_000, 15_000_000]
    with pytest.raises(DamagedFileError, match="found no 16 of 16 chunks of 'sigma0'"):
        output.open_result(store)


@pytest.mark.parametrize("kind", ["store", "earlier"])
def test_an_array_that_the_gathered_metadata_do_not_list_is_not_overlooked(
    kind: str, store: Path, earlier: Path
) -> None:
    path, name = (store, "zarr.json") if kind == "store" else (earlier, ".zmetadata")
    root = json.loads((path / name).read_bytes())
    if kind == "store":
        del root["consolidated_metadata"]["metadata"]["mask"]
    else:
        del root["metadata"]["mask/.zarray"], root["metadata"]["mask/.zattrs"]
    (path / name).write_text(json.dumps(root))
    with pytest.raises(DamagedFileError, match=rf"mask/\.?z\w+.* and {name} differ"):
        output.open_result(path)


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
