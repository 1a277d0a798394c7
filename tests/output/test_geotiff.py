"""GeoTIFF files from pieces, as other programs read them, and results larger than memory."""

from __future__ import annotations

import hashlib
import itertools
import struct
import sys
import tempfile
import time
import tracemalloc
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.io import MemoryFile

from sarheight import output
from sarheight.errors import OutputError
from sarheight.output import _cog, _geotiff
from sarheight.output._bands import StoredBand
from sarheight.output._cog import OFFSETS, TILE, Pyramid, compression, read_directory, write_cog
from sarheight.output._geotiff import Statistics
from sarheight.output.grid import LARGEST_PIECE, check_grid, join_chunks, list_pieces
from sarheight.output.levels import halve
from tests.results import masks_of, result_of

BLOCK = 256


def large(rows: int = 2048, columns: int = 1536, crs: str = "EPSG:32632") -> xr.Dataset:
    """Make a result of dask blocks that notes how many of them were computed."""

    def block(block_info: dict[Any, Any]) -> np.ndarray:
        (top, bottom), (left, right) = block_info[None]["array-location"]
        LIVE.append((top, left))
        return np.add.outer(np.arange(top, bottom), np.arange(left, right) / 1e4).astype(np.float32)

    def values() -> dask.array.Array:
        chunks = ((BLOCK,) * (rows // BLOCK), (BLOCK,) * (columns // BLOCK))
        return dask.array.map_blocks(block, chunks=chunks, dtype=np.float32)

    return xr.Dataset(
        {name: (("y", "x"), values(), {"units": "1"}) for name in ("gamma0", "sigma0")},
        coords={"y": 5.2e6 - 30.0 * np.arange(rows), "x": 6.0e5 + 30.0 * np.arange(columns)},
    ).rio.write_crs(crs)


LIVE: list[tuple[int, int]] = []


@pytest.mark.parametrize(("crs", "passes"), [("EPSG:32632", 2), ("EPSG:4326", 1), ("EPSG:3857", 1)])
def test_cogs_pass_strict_validation(tmp_path: Path, crs: str, passes: int) -> None:
    rio_cogeo = pytest.importorskip("rio_cogeo", reason="needs rio-cogeo")
    result = result_of(crs, 2, passes)
    for name, dataset in (("result", result), ("mask", masks_of(crs)[["mask"]])):
        path = output.write(dataset, tmp_path / f"{name}.tif")
        assert rio_cogeo.cog_validate(path, strict=True) == (True, [], [])


@pytest.mark.parametrize("polarisations", [0, 2])
def test_several_passes_share_a_file(tmp_path: Path, polarisations: int) -> None:
    result = result_of(polarisations=polarisations, passes=2)
    path = output.write(result, tmp_path / "result.tif")
    with rasterio.open(path) as file:
        polarisation = "vh" if polarisations else "vv"
        assert f"gamma0_20240101t060016_{polarisation}" in file.descriptions
    for chunks in (None, {}):
        with output.open_result(path, chunks=chunks) as back:
            for name, variable in result.data_vars.items():
                assert back[name].dims == variable.dims
                np.testing.assert_array_equal(back[name], variable)
            if polarisations:
                assert list(back["polarisation"].values) == ["VV", "VH"]


def test_large_cogs_are_valid_with_all_their_overviews(tmp_path: Path) -> None:
    rio_cogeo = pytest.importorskip("rio_cogeo", reason="needs rio-cogeo")
    path = output.write(large(), tmp_path / "large.tif")
    assert rio_cogeo.cog_validate(path, strict=True) == (True, [], [])
    with rasterio.open(path) as file:
        assert file.overviews(1) == [2, 4, 8]
        assert file.block_shapes == [(256, 256), (256, 256)]
        assert file.scales == (1.0, 1.0)
        assert file.offsets == (0.0, 0.0)
        assert np.isnan(file.nodatavals).all()
        assert file.units == ("1", "1")


def test_rioxarray_reads_values_coordinates_names_and_units(tmp_path: Path) -> None:
    result = result_of(polarisations=2)
    path = output.write(result, tmp_path / "result.tif")
    image = rioxarray.open_rasterio(path, masked=True, mask_and_scale=True)
    assert image.rio.crs == result.rio.crs
    names = ("gamma0_vv", "gamma0_vh", "gamma0_std_vv", "gamma0_std_vh")
    assert image.attrs["long_name"][:4] == names
    np.testing.assert_array_equal(image[0], result["gamma0"].sel(polarisation="VV"))
    np.testing.assert_array_equal(image["x"], result["x"])
    image.close()
    bands = rioxarray.open_rasterio(path, masked=True, band_as_variable=True)
    assert bands["band_1"].attrs["long_name"] == "gamma0_vv"
    assert bands["band_1"].attrs["units"] == "1"
    bands.close()


def test_a_mask_alone_is_masked_by_rioxarray_and_coloured_for_maps(tmp_path: Path) -> None:
    masks = masks_of()
    masks["mask"].values[:3] = 255
    path = output.write(masks[["mask"]], tmp_path / "mask.tif")
    image = rioxarray.open_rasterio(path, masked=True)
    assert np.isnan(image[0, :3]).all()
    known = masks["mask"].values != 255
    np.testing.assert_array_equal(image.values[0], np.where(known, masks["mask"], np.nan))
    image.close()
    with rasterio.open(path) as file:
        assert (file.dtypes, file.nodata) == (("uint8",), 255)
        assert (file.read(1)[:3] == 255).all()
        assert file.colorinterp[0].name == "palette"
        colours = file.colormap(1)
        assert colours[2] == (0xD5, 0x5E, 0x00, 255)
        assert colours[4] == (0x00, 0x72, 0xB2, 255)
        assert colours[255][3] == 0
    back = output.open_result(path)
    np.testing.assert_array_equal(back["mask"], masks["mask"])
    assert "STATISTICS_MEAN" not in back["mask"].attrs


def test_the_statistics_are_those_of_the_band(tmp_path: Path) -> None:
    result = result_of()
    with rasterio.open(output.write(result, tmp_path / "result.tif")) as file:
        for index, name in enumerate(file.descriptions, start=1):
            values, tags = file.read(index), file.tags(index)
            known = values[np.isfinite(values)].astype(np.float64)
            for key, number in (
                ("MINIMUM", known.min()),
                ("MAXIMUM", known.max()),
                ("MEAN", known.mean()),
                ("STDDEV", known.std()),
                ("VALID_PERCENT", 100.0 * known.size / values.size),
            ):
                found = float(tags[f"STATISTICS_{key}"])
                assert found == pytest.approx(number, rel=1e-7, abs=1e-12), name


@given(
    st.lists(st.lists(st.floats(-1e6, 1e6, width=32) | st.just(np.nan), max_size=20), max_size=6)
)
def test_statistics_do_not_depend_on_the_pieces(pieces: list[list[float]]) -> None:
    statistics = Statistics()
    for piece in pieces:
        statistics.add(np.array(piece, dtype=np.float32), np.float32(np.nan))
    values = np.array([value for piece in pieces for value in piece], dtype=np.float64)
    known = values[np.isfinite(values)]
    if known.size == 0:
        assert statistics.tags() == {}
        return
    tags = {name: float(text) for name, text in statistics.tags().items()}
    assert tags["STATISTICS_MEAN"] == pytest.approx(known.mean(), rel=1e-6, abs=1e-6)
    assert tags["STATISTICS_STDDEV"] == pytest.approx(known.std(), rel=1e-6, abs=1e-3)
    assert tags["STATISTICS_MINIMUM"] == pytest.approx(known.min())
    assert tags["STATISTICS_VALID_PERCENT"] == pytest.approx(100 * known.size / values.size)


# ---- larger than memory


@pytest.mark.parametrize("suffix", [".tif", ".nc", ".zarr"])
def test_a_lazy_result_is_written_in_bounded_memory(tmp_path: Path, suffix: str) -> None:
    dataset = large(4096, 2048)
    output.write(large(512, 512), tmp_path / f"first{suffix}")  # so that libraries are loaded
    LIVE.clear()
    tracemalloc.start()
    try:
        output.write(dataset, tmp_path / f"result{suffix}")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    blocks = dataset["gamma0"].data.npartitions
    assert len(LIVE) == blocks, "both variables are of the same blocks, each computed once"
    # What waits to be written, 20 to 23 MB by the threads' timing, does not grow with the result.
    assert peak < 0.4 * dataset.nbytes
    with output.open_result(tmp_path / f"result{suffix}", chunks={}) as back:
        corner = back["gamma0"][2000:2010, 2000:2010].values
    expected = np.add.outer(np.arange(2000, 2010), np.arange(2000, 2010) / 1e4)
    np.testing.assert_allclose(corner, expected, rtol=1e-6)


@pytest.mark.parametrize("chunks", [{}, 512, {"y": 512, "x": 512}])
def test_only_the_window_of_a_lazy_result_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunks: int | dict[str, int]
) -> None:
    path = output.write(large(1024, 1280)[["gamma0"]], tmp_path / "result.tif")
    windows: list[tuple[slice, slice]] = []
    read = StoredBand.read

    def noted(band: StoredBand, rows: slice, columns: slice) -> np.ndarray:
        windows.append((rows, columns))
        return read(band, rows, columns)

    monkeypatch.setattr(StoredBand, "read", noted)
    layer = output.open_result(path, chunks=chunks)["gamma0"]
    part = layer.isel(y=slice(10, 20), x=slice(600, 640)).values
    assert windows == [(slice(10, 20), slice(600, 640))]
    expected = np.add.outer(np.arange(10, 20), np.arange(600, 640) / 1e4)
    np.testing.assert_allclose(part, expected, rtol=1e-6)
    assert layer.chunksizes["y"] == ((512, 512) if chunks else (1024,))


def test_pieces_follow_the_chunks_and_stay_below_the_limit() -> None:
    pieces = list_pieces(check_grid(large(1024, 1024)))
    assert [piece["y"] for piece in pieces] == [slice(k, k + 256) for k in range(0, 1024, 256)]
    assert join_chunks((10, 10, 10, 10), 25) == (20, 20)
    assert join_chunks((10, 10, 10), 5) == (10, 10, 10)
    assert sum(join_chunks(tuple(range(1, 50)), 100)) == sum(range(1, 50))
    wide = 30_000
    values = dask.array.zeros((2048, wide), chunks=(1024, 1000), dtype=np.float32)
    dataset = xr.Dataset(
        {str(index): (("y", "x"), values) for index in range(16)},
        coords={"y": np.arange(2048.0), "x": np.arange(float(wide))},
    )
    sizes = [
        (piece["y"].stop - piece["y"].start) * (piece["x"].stop - piece["x"].start)
        for piece in list_pieces(dataset)
    ]
    assert max(sizes) * 16 * 4 <= LARGEST_PIECE
    assert sum(sizes) == 2048 * wide


def test_pieces_are_computed_while_others_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than one is ahead, and the values are those of the same pieces one by one."""
    write = _geotiff.BandWriter.write
    ahead: list[int] = []
    written: list[int] = []

    def write_slowly(*arguments: Any, **options: Any) -> None:  # noqa: ANN401
        time.sleep(0.1)
        written.append(1)
        ahead.append(2 * len(LIVE) - len(written))
        write(*arguments, **options)

    monkeypatch.setattr(_geotiff.BandWriter, "write", write_slowly)
    dataset = check_grid(large(1024, 256))
    expected = dataset.compute()
    LIVE.clear()
    output.write(dataset, tmp_path / "a.tif")
    assert (len(LIVE), len(written)) == (4, 2 * 4)
    # Two bands of each piece: beside the one that is written there is one more, and never a third.
    assert 2 <= max(ahead) <= 3
    found = output.open_result(tmp_path / "a.tif")
    for name, variable in expected.data_vars.items():
        np.testing.assert_array_equal(found[name].values, variable.values)


def test_a_piece_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fail(block: Any, block_info: Any = None) -> Any:  # noqa: ANN401  # of dask
        if block_info and block_info[0]["chunk-location"][0] == 2:
            msg = "the third row of chunks is broken"
            raise RuntimeError(msg)
        return block

    dataset = check_grid(large(1024, 256))
    broken = dataset.map(lambda one: one.copy(data=one.data.map_blocks(fail, dtype=one.dtype)))
    with pytest.raises((OSError, RuntimeError), match="third row"):
        output.write(broken.assign_attrs(dataset.attrs), tmp_path / "a.tif")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_FSIZE")
@pytest.mark.parametrize("suffix", [".tif", ".nc", ".zarr"])
def test_a_lazy_result_on_a_full_disk_leaves_no_file(tmp_path: Path, suffix: str) -> None:
    import resource

    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, usual[1]))
    try:
        with pytest.raises(OutputError, match="could not write"):
            output.write(large(1024, 1024), tmp_path / f"result{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert list(tmp_path.iterdir()) == []


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


def write_pieces(
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
        digest = write_pieces(whole, [values], overviews, pieces_of(shape, ([], [])))
        assert write_pieces(parts, [values], overviews, pieces) == digest
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
    write_pieces(path, bands, 2, pieces_of(shape, ([300], [])))
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
        write_pieces(path, [values], 1, pieces_of(shape, ([], [])))
    data = path.read_bytes()
    tags = {tag.number: tag for tag in read_directory(data)}
    places = list(zip(tags[OFFSETS].numbers(), tags[_cog.COUNTS].numbers(), strict=True))
    assert len(places) == -(-shape[0] // TILE) * -(-shape[1] // TILE)
    assert places == sorted(places)
    for offset, size in places:
        assert struct.unpack_from("<I", data, offset - 4) == (size,)
        assert data[offset + size : offset + size + 4] == data[offset + size - 4 : offset + size]
