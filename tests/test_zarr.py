"""Zarr stores: whole chunks of Blosc are read, others refused; shards are those of Zarr itself."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import zarr
from numcodecs import Blosc
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, TransposeCodec, ZstdCodec
from zarr.storage import LocalStore, MemoryStore

from sarheight._zarr import WholeShards, check_blosc, prepare_zarr
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
    prepare_zarr()
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
def test_frames_of_all_codecs_pass(codec: str) -> None:
    for shuffle, size in product((0, 1, 2), (0, 1, 7, 200, 300_000)):
        numbers = (np.arange(size) // 3).astype(np.float32)
        frame = np.frombuffer(Blosc(codec, shuffle=shuffle).encode(numbers), np.uint8)
        check_blosc(frame, numbers.nbytes)


def test_other_codecs_are_left_to_themselves() -> None:
    memory = MemoryStore()
    zarr.create_array(memory, data=NUMBERS["ramp"], chunks=(20, 30), compressors="auto")
    prepare_zarr()
    np.testing.assert_array_equal(zarr.open_array(memory, mode="r")[...], NUMBERS["ramp"])


@pytest.mark.parametrize("kind", ["version 2", "version 3"])
def test_pickled_arrays_are_checked(tmp_path: Path, kind: str) -> None:
    store = store_of(tmp_path, kind, NUMBERS["ramp"])
    prepare_zarr()
    values = zarr.open_group(store, mode="r")["numbers"]
    file = chunk_files(tmp_path)[0]
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DamagedFileError, match="is damaged: its header states"):
        pickle.loads(pickle.dumps(values))[...]  # noqa: S301


def shards_of(folder: Path, *, own: bool, **options: Any) -> zarr.Array[Any]:  # noqa: ANN401
    """Make an empty array in shards, and open it with our codec of shards or that of Zarr."""
    zarr.create_array(
        folder, shape=(50, 70), dtype="f4", chunks=(10, 15), shards=(20, 30), fill_value=np.nan,
        compressors=ZstdCodec(level=1, checksum=True), **options,
    )  # fmt: skip
    prepare_zarr()
    name = WholeShards.__module__ + "." + WholeShards.__qualname__
    zarrs = "zarr.codecs.sharding.ShardingCodec"
    with zarr.config.set({"codecs.sharding_indexed": name if own else zarrs}):
        return zarr.open_array(folder, mode="r+")


WRITTEN: tuple[Any, ...] = (
    ...,
    (slice(5, 31), slice(20, 44)),  # parts of chunks
    (slice(20, 40), slice(30, 60)),  # a shard
    (slice(40, 50), slice(60, 70)),  # at the edge
)
"""Parts of an array that are written one after the other."""
TURNED = [TransposeCodec(order=(1, 0))]


@pytest.mark.parametrize(
    ("parts", "filters", "empty"),
    [
        (WRITTEN, None, False),
        (WRITTEN, TURNED, True),
        (WRITTEN[:1], TURNED, False),
        (WRITTEN[1:], TURNED, False),
        (WRITTEN[1:], None, True),
    ],
)
def test_shards_have_the_bytes_of_zarr(
    tmp_path: Path,
    parts: tuple[Any, ...],
    filters: Any,  # noqa: ANN401
    empty: bool,  # noqa: FBT001
) -> None:
    random = np.random.default_rng(1)
    numbers = random.gamma(4.4, size=(50, 70)).astype(np.float32)
    numbers[:10, :15] = np.nan  # a chunk, which is not written where empty ones are left out
    options = {"filters": filters, "config": {"write_empty_chunks": empty}}
    ours, theirs = (
        shards_of(tmp_path / name, own=name == "ours", **options) for name in ("ours", "theirs")
    )
    for part in parts:
        ours[part] = theirs[part] = numbers[part]
        np.testing.assert_array_equal(ours[...], theirs[...])
        for piece in WRITTEN:
            np.testing.assert_array_equal(ours[piece], theirs[piece])
    found = []
    for folder in (tmp_path / "ours", tmp_path / "theirs"):
        files = [path for path in folder.rglob("*") if path.is_file()]
        found.append({path.relative_to(folder): path.read_bytes() for path in files})
    assert found[0] == found[1]


def test_a_damaged_chunk_of_a_shard_is_refused(tmp_path: Path) -> None:
    array = shards_of(tmp_path, own=True)
    array[...] = np.random.default_rng(2).gamma(4.4, size=array.shape)
    (first, *_) = sorted((tmp_path / "c").rglob("0"))
    content = bytearray(next(path for path in (first, first / "0") if path.is_file()).read_bytes())
    content[200] ^= 1
    (tmp_path / "c" / "0" / "0").write_bytes(content)
    with pytest.raises(Exception, match=r"(?i)checksum|corrupt|decompress"):
        array[:20, :30]
