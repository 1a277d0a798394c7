"""Chunks of Zarr stores that Blosc compressed: whole ones are read, others are refused."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import zarr
from numcodecs import Blosc
from numpy.typing import NDArray
from zarr.codecs import BloscCodec
from zarr.storage import LocalStore, MemoryStore

from sarheight._zarr import check_blosc, check_chunks
from sarheight.errors import DamagedFileError

RANDOM = np.random.default_rng(7)
NUMBERS = {
    "speckle": RANDOM.integers(0, 2**16, (40, 60), dtype=np.uint16),  # stored as they are
    "ramp": np.arange(2400, dtype=np.uint16).reshape(40, 60),
    "void": np.zeros((40, 60), np.uint16),
}
KINDS = ("version 2", "version 3", "shards", "shards with the index first")


def store_of(folder: Path, kind: str, values: NDArray[Any]) -> LocalStore:
    """Write an array in a group, in four chunks, by the kind of store."""
    group = zarr.create_group(folder, zarr_format=2 if kind == "version 2" else 3)
    options: dict[str, Any] = {"shape": values.shape, "dtype": values.dtype}
    if kind == "version 2":
        options |= {"chunks": (20, 30), "compressors": Blosc("lz4", clevel=5)}
    else:
        options |= {"chunks": (20, 30), "compressors": BloscCodec(cname="zstd", typesize=2)}
    if kind.startswith("shards"):
        place: Literal["start", "end"] = "start" if kind.endswith("first") else "end"
        options |= {"chunks": (10, 15), "shards": {"shape": (20, 30), "index_location": place}}
    options["config"] = {"write_empty_chunks": True}
    group.create_array("numbers", **options)[...] = values
    return LocalStore(folder, read_only=True)


def read(store: LocalStore, part: Any = ...) -> NDArray[Any]:  # noqa: ANN401
    check_chunks()
    values = zarr.open_group(store, mode="r")["numbers"]
    return np.asarray(values[part])


def chunk_files(folder: Path) -> list[Path]:
    files = [each for each in (folder / "numbers").rglob("*") if each.is_file()]
    return sorted(each for each in files if each.name not in {".zarray", ".zattrs", "zarr.json"})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("kind", KINDS)
def test_whole_chunks_are_read(tmp_path: Path, kind: str, name: str) -> None:
    store = store_of(tmp_path, kind, NUMBERS[name])
    assert len(chunk_files(tmp_path)) == 4
    np.testing.assert_array_equal(read(store), NUMBERS[name])
    part = (slice(3, 7), slice(28, 47))
    np.testing.assert_array_equal(read(store, part), NUMBERS[name][part])


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("kind", ["version 2", "version 3"])
def test_chunks_of_another_length_are_refused(tmp_path: Path, kind: str, name: str) -> None:
    store = store_of(tmp_path, kind, NUMBERS[name])
    file = chunk_files(tmp_path)[0]
    content = file.read_bytes()
    for wrong in (content[:9], content[:-1], content[: len(content) // 2], content + b"\0"):
        file.write_bytes(wrong)
        with pytest.raises(DamagedFileError, match="is damaged: it"):
            read(store)


@pytest.mark.parametrize("part", [..., (slice(3, 7), slice(2, 47))])
@pytest.mark.parametrize("kind", KINDS[2:])
def test_chunks_of_shards_are_checked(tmp_path: Path, kind: str, part: Any) -> None:  # noqa: ANN401
    store = store_of(tmp_path, kind, NUMBERS["speckle"])
    file = chunk_files(tmp_path)[0]
    content = bytearray(file.read_bytes())
    first = 4 * 16 + 4 if kind.endswith("first") else 0  # after or without the index
    content[first + 12 : first + 16] = (10**6).to_bytes(4, "little")
    file.write_bytes(content)
    with pytest.raises(DamagedFileError, match="header states 1000000 bytes"):
        read(store, part)
    file.write_bytes(content[:20])
    with pytest.raises(Exception, match=r"damaged|index|checksum|buffer|offset"):
        read(store, ...)


def headers(frame: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield what may be wrong in a header, with its error."""

    def changed(place: int, value: int, size: int = 4) -> bytes:
        return frame[:place] + value.to_bytes(size, "little") + frame[place + size :]

    yield "version 3", changed(0, 3, 1)
    yield "numbers of 1201 bytes", changed(4, 1201)
    yield "blocks of 0 bytes", changed(8, 0)
    yield "blocks of 4000 bytes", changed(8, 4000)
    yield "1200 blocks", changed(8, 1)
    yield "begins outside", changed(16, 3)
    yield "begins outside", changed(16, len(frame) - 3)
    yield "stored as they are", changed(2, frame[2] | 2, 1)


def test_headers_that_disagree_are_refused() -> None:
    frame = Blosc("zstd").encode(NUMBERS["ramp"][:20, :30].copy())
    check_blosc(np.frombuffer(frame, np.uint8), 1200)
    for message, wrong in headers(bytes(frame)):
        with pytest.raises(ValueError, match=message):
            check_blosc(np.frombuffer(wrong, np.uint8), 1200)


@pytest.mark.parametrize("codec", ["blosclz", "lz4", "lz4hc", "zlib", "zstd"])
@pytest.mark.parametrize("shuffle", [0, 1, 2])
@pytest.mark.parametrize("size", [0, 1, 7, 200, 300_000])
def test_frames_of_all_codecs_pass(codec: str, shuffle: int, size: int) -> None:
    numbers = (np.arange(size) // 3).astype(np.float32)
    frame = np.frombuffer(Blosc(codec, shuffle=shuffle).encode(numbers), np.uint8)
    check_blosc(frame, numbers.nbytes)


def test_other_codecs_are_left_to_themselves() -> None:
    memory = MemoryStore()
    zarr.create_array(memory, data=NUMBERS["ramp"], chunks=(20, 30), compressors="auto")
    check_chunks()
    np.testing.assert_array_equal(zarr.open_array(memory, mode="r")[...], NUMBERS["ramp"])


@pytest.mark.parametrize("kind", ["version 2", "version 3"])
def test_pickled_arrays_are_checked(tmp_path: Path, kind: str) -> None:
    store = store_of(tmp_path, kind, NUMBERS["ramp"])
    check_chunks()
    values = zarr.open_group(store, mode="r")["numbers"]
    file = chunk_files(tmp_path)[0]
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DamagedFileError, match="is damaged: its header states"):
        pickle.loads(pickle.dumps(values))[...]  # noqa: S301
