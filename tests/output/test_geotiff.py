"""GeoTIFF files as other programs read them, and results that are larger than memory."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
import tracemalloc
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from sarheight import output
from sarheight.output import _geotiff
from sarheight.output._bands import StoredBand
from sarheight.output._geotiff import Statistics
from sarheight.output.grid import LARGEST_PIECE, check_grid, join_chunks, list_pieces
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


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:4326", "EPSG:3857"])
@pytest.mark.parametrize("passes", [1, 2])
def test_cogs_pass_strict_validation(tmp_path: Path, crs: str, passes: int) -> None:
    rio_cogeo = pytest.importorskip("rio_cogeo", reason="needs rio-cogeo")
    result = result_of(crs, 2, passes)
    for name, dataset in (("result", result), ("mask", masks_of(crs)[["mask"]])):
        path = output.write(dataset, tmp_path / f"{name}.tif")
        valid, errors, warnings = rio_cogeo.cog_validate(path, strict=True)
        assert (valid, errors, warnings) == (True, [], [])


@pytest.mark.parametrize("chunks", [None, {}])
@pytest.mark.parametrize("polarisations", [0, 2])
def test_several_passes_share_a_file(
    tmp_path: Path, polarisations: int, chunks: dict[str, int] | None
) -> None:
    result = result_of(polarisations=polarisations, passes=2)
    path = output.write(result, tmp_path / "result.tif")
    with rasterio.open(path) as file:
        polarisation = "vh" if polarisations else "vv"
        assert f"gamma0_20240101t060016_{polarisation}" in file.descriptions
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
    assert image.attrs["long_name"][:4] == (
        "gamma0_vv",
        "gamma0_vh",
        "gamma0_std_vv",
        "gamma0_std_vh",
    )
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


FULL = """
    import os, resource, sys
    sys.path.insert(0, {root!r})
    from tests.output.test_geotiff import large
    from sarheight import output
    from sarheight.errors import OutputError

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    for suffix in (".tif", ".nc", ".zarr"):
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, limit[1]))
        try:
            output.write(large(1024, 1024), os.path.join({folder!r}, "result" + suffix))
        except OutputError as error:
            print(error)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        assert os.listdir({folder!r}) == [], os.listdir({folder!r})
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_FSIZE")
def test_a_lazy_result_on_a_full_disk_leaves_no_file(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    code = textwrap.dedent(FULL).format(root=root, folder=str(tmp_path), limit=20_000)
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("could not write") == 3
