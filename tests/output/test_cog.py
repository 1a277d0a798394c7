"""Cloud Optimised GeoTIFF from tiles: pieces in any order make one file, byte by byte."""

from __future__ import annotations

import hashlib
import itertools
import struct
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.io import MemoryFile

from sarheight.output import _cog
from sarheight.output._cog import OFFSETS, TILE, Pyramid, compression, read_directory, write_cog
from sarheight.output.levels import halve


def description(shape: tuple[int, int], dtype: Any, count: int = 1) -> bytes:  # noqa: ANN401
    """Describe a file of some bands."""
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=shape[1],
            height=shape[0],
            count=count,
            dtype=dtype,
            crs="EPSG:32632",
            transform=Affine(30.0, 0.0, 6.0e5, 0.0, -30.0, 5.2e6),
            nodata=np.nan if np.dtype(dtype).kind == "f" else 255,
            interleave="band",
            sparse_ok=True,
            **compression(np.dtype(dtype)),
        ) as file:
            file.update_tags(title="of a test")
        return bytes(memory.read())


def values_of(shape: tuple[int, int], dtype: Any, seed: int = 0) -> np.ndarray:  # noqa: ANN401
    """Draw quantities or codes, some of them missing."""
    random = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        values = random.gamma(4.4, 0.03, shape).astype(dtype)
        values[random.random(shape) < 0.1] = np.nan
        return values
    return random.choice(np.array([0, 1, 3, 255], dtype), shape)


def pieces_of(shape: tuple[int, int], cuts: tuple[list[int], list[int]]) -> list[tuple[slice, ...]]:
    """Cut an image at rows and columns."""
    parts = [
        [slice(*ends) for ends in itertools.pairwise(sorted({0, *inside, size}))]
        for size, inside in zip(shape, cuts, strict=True)
    ]
    return list(itertools.product(*parts))


def write(
    path: Path, bands: list[np.ndarray], overviews: int, pieces: list[tuple[slice, ...]]
) -> str:
    """Write bands from pieces in their order."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        pyramids = []
        for number, values in enumerate(bands):
            scratch = stack.enter_context((Path(folder) / str(number)).open("x+b", buffering=0))
            nodata = None if values.dtype.kind == "f" else 255
            pyramids.append(Pyramid(scratch, values.shape, overviews, nodata, lambda same: same))
            for rows, columns in pieces:
                pyramids[-1].add(values[rows, columns], rows.start, columns.start)
        return write_cog(path, description(bands[0].shape, bands[0].dtype, len(bands)), pyramids)


@settings(max_examples=25)
@given(data=st.data())
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_pieces_in_any_order_make_the_same_file(dtype: Any, data: st.DataObject) -> None:  # noqa: ANN401
    shape = data.draw(st.tuples(st.integers(1, 700), st.integers(1, 700)))
    cuts = data.draw(st.tuples(*(st.lists(st.integers(1, size), max_size=3) for size in shape)))
    pieces = data.draw(st.permutations(pieces_of(shape, cuts)))
    overviews, values = data.draw(st.integers(0, 2)), values_of(shape, dtype)
    with tempfile.TemporaryDirectory() as folder:
        whole, parts = Path(folder) / "whole.tif", Path(folder) / "parts.tif"
        digest = write(whole, [values], overviews, pieces_of(shape, ([], [])))
        assert write(parts, [values], overviews, pieces) == digest
        assert hashlib.sha256(parts.read_bytes()).hexdigest() == digest
        with rasterio.open(parts) as file:
            np.testing.assert_array_equal(file.read(1), values)
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert file.tags()["title"] == "of a test"
            assert (file.crs.to_epsg(), file.transform.a) == (32632, 30.0)
        for level in range(overviews):
            values = halve(values, None if dtype is np.float32 else 255)
            with rasterio.open(parts, overview_level=level) as file:
                # Tile by tile, in single precision where no value is missing.
                np.testing.assert_allclose(file.read(1), values, rtol=1e-6)


@pytest.mark.parametrize("limit", [_cog.LARGEST_CLASSIC, 0], ids=["classic", "BigTIFF"])
@pytest.mark.parametrize("count", [1, 3])
def test_files_of_both_kinds_are_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, count: int
) -> None:
    rio_cogeo = pytest.importorskip("rio_cogeo", reason="needs rio-cogeo")
    monkeypatch.setattr(_cog, "LARGEST_CLASSIC", limit)
    shape = 1100, 700
    bands = [values_of(shape, np.float32, seed) for seed in range(count)]
    path = tmp_path / "image.tif"
    write(path, bands, 2, pieces_of(shape, ([300], [])))
    assert struct.unpack("<H", path.read_bytes()[2:4]) == (42 if limit else 43,)
    assert rio_cogeo.cog_validate(path, strict=True) == (True, [], [])
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), np.stack(bands))
        assert file.overviews(count) == [2, 4]


def test_each_tile_lies_between_its_size_and_its_last_bytes(tmp_path: Path) -> None:
    """As the file says that they do, so that readers need not look the sizes up."""
    shape = 600, 520
    path, values = tmp_path / "image.tif", values_of(shape, np.float32)
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patch:
        patch.setattr(_cog, "LARGEST_CLASSIC", 0)
        write(path, [values], 1, pieces_of(shape, ([], [])))
    data = path.read_bytes()
    tags = {tag.number: tag for tag in read_directory(data)}
    places = list(zip(tags[OFFSETS].numbers(), tags[_cog.COUNTS].numbers(), strict=True))
    assert len(places) == -(-shape[0] // TILE) * -(-shape[1] // TILE)
    assert places == sorted(places)
    for offset, size in places:
        assert struct.unpack_from("<I", data, offset - 4) == (size,)
        assert data[offset + size : offset + size + 4] == data[offset + size - 4 : offset + size]


def test_a_scratch_file_that_was_cut_short_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_short(file: Any, data: bytes) -> None:  # noqa: ANN401
        file.write(bytes(data)[:-1])

    monkeypatch.setattr(_cog, "_write", cut_short)
    values = values_of((300, 300), np.float32)
    with pytest.raises(OSError, match="differs from what was written"):
        write(tmp_path / "image.tif", [values], 1, pieces_of((300, 300), ([], [])))
