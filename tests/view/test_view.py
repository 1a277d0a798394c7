"""The page of a result: what it shows, what a click finds, and that a browser draws it."""

from __future__ import annotations

import asyncio
import errno
import http.client
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import rioxarray  # noqa: F401  # the accessor
import xarray as xr
from zarr.storage import LocalStore

from sarheight import layover, output
from sarheight.dem import reproject
from sarheight.errors import DamagedFileError, OutputError
from sarheight.layover.categories import MASK
from sarheight.output.radar_images import write_scene
from sarheight.scene import Scene
from sarheight.view import _page
from sarheight.view._layers import TILE, DatasetReader, LevelReader, ResultView
from sarheight.view._page import PageServer, _open, page_server
from sarheight.view._places import Places
from tests.browser import Browser
from tests.cli.commands import failing
from tests.mountains import LAW, mountain, raster, scene_of
from tests.results import dem_of, result_of, scene
from tests.zarr_2 import write_version_2

FORMATS = ("", ".tif", ".nc", ".zarr")


@pytest.fixture(scope="module")
def dem() -> xr.DataArray:
    heights = mountain(50, 90, 1400.0)
    heights[2:4, 3:6] = np.nan
    return raster(heights)


@pytest.fixture(scope="module")
def image(dem: xr.DataArray) -> Scene:
    return scene_of(dem, lines=220, samples=360)


@pytest.fixture(scope="module")
def result(dem: xr.DataArray, image: Scene) -> xr.Dataset:
    return output.with_heights(layover.reconstruct(image, dem, law=LAW), dem)


@pytest.fixture(scope="module")
def folded(result: xr.Dataset) -> tuple[int, int]:
    """A cell in layover whose pixels belong mostly to places far from it."""
    count, share = result["fold_count"].values, result["contribution_share"].values
    several = np.argwhere((count == 3) & (share > 0.02) & (share < 0.3))
    row, column = several[len(several) // 2].tolist()
    return row, column


def large(rows: int = 700, columns: int = 900) -> xr.Dataset:
    """A made result of several tiles."""
    row, column = np.mgrid[:rows, :columns]
    power = (0.05 + 0.04 * np.sin(row / 9.0) * np.cos(column / 7.0)).astype(np.float32)
    power[:40, :60] = np.nan
    codes = ((row // 64 + column // 64) % 3).astype(np.uint8)
    codes[:40, :60] = 255
    dataset = xr.Dataset(
        {"gamma0": (("y", "x"), power), "mask": (("y", "x"), codes)},
        coords={"y": 5_100_000.0 - 20.0 * np.arange(rows), "x": 6e5 + 20.0 * np.arange(columns)},
    )
    dataset["gamma0"].attrs["_FillValue"] = np.float32(np.nan)
    dataset["mask"].attrs = dict(MASK)
    dataset = dataset.assign_coords(time=np.datetime64("2024-01-01T00:00:00", "ns"))
    dataset.attrs["acquisition"] = result_of().attrs["acquisition"]
    return dataset.rio.write_crs(32632)


# Layers and tiles.


@pytest.mark.parametrize("suffix", [*FORMATS, "memory"])
def test_every_format_shows_the_same_numbers(tmp_path: Path, suffix: str) -> None:
    made = result_of(polarisations=2, passes=2)
    path = tmp_path / f"alps{suffix}"
    opened = ResultView.open(made if suffix == "memory" else output.write(made, path))
    assert opened.shape == (30, 40)
    everything = slice(0, 30), slice(0, 40)
    for time in (0, 1):
        for polarisation in (0, 1):
            entry = {"time": time, "polarisation": polarisation}
            one = made.isel(entry)
            names = ("gamma0", "mask", "gamma0_std")
            layers = [opened.index_of(name, entry) for name in names]
            assert None not in layers
            power, mask, std = (opened.values(layer, *everything) for layer in layers)  # type: ignore[arg-type]
            decibels = 10.0 * np.log10(one["gamma0"].where(one["gamma0"] > 0.0))
            np.testing.assert_allclose(power, decibels, atol=1e-4)
            np.testing.assert_array_equal(mask, one["mask"].where(one["mask"] != 255))
            deviation = 10.0 / np.log(10.0) * one["gamma0_variance"] ** 0.5 / abs(one["gamma0"])
            np.testing.assert_allclose(std, deviation, rtol=1e-4)


def test_decibels_of_layers_are_read_as_power(tmp_path: Path) -> None:
    made = result_of(polarisations=1)
    for form in ("db", "amplitude", "db-int16"):
        path = output.write(made, tmp_path / form.replace("-", "_"), scale=form)  # type: ignore[arg-type]
        opened = ResultView.open(path)
        shown = opened.values(opened.index_of("gamma0", {}) or 0, slice(0, 30), slice(0, 40))
        power = made["gamma0"].values.squeeze()
        known = np.isfinite(shown)
        np.testing.assert_allclose(shown[known], 10.0 * np.log10(power[known]), atol=0.006)


@pytest.mark.parametrize("suffix", FORMATS[:-1])
def test_coarse_tiles_are_means_of_power_and_never_mix_codes(tmp_path: Path, suffix: str) -> None:
    made = large()
    opened = ResultView.open(output.write(made, tmp_path / f"large{suffix}"))
    assert opened.levels == 3
    layer = opened.index_of("gamma0", {}) or 0
    for level in range(3):
        step = 1 << level
        tile = opened.tile(layer, level, 0, 0)
        assert tile.shape == (min(TILE, -(-700 // step)), min(TILE, -(-900 // step)))
        power = made["gamma0"].values[: TILE * step, : TILE * step]
        rows, columns = (size // step for size in power.shape)
        squares = power[: rows * step, : columns * step].reshape(rows, step, columns, step)
        inner = slice(60 // step + 2, rows), slice(80 // step + 2, columns)
        expected = 10.0 * np.log10(squares.mean(axis=(1, 3)))
        np.testing.assert_allclose(tile[inner], expected[inner], atol=0.01)
        assert np.isnan(tile[: 30 // step, : 50 // step]).all()
    codes = opened.tile(opened.index_of("mask", {}) or 0, 2, 0, 0)
    assert set(np.unique(codes[np.isfinite(codes)])) == {0.0, 1.0, 2.0}
    last = opened.tile(layer, 0, 2, 3)
    assert last.shape == (700 - 2 * TILE, 900 - 3 * TILE)
    for place in ((len(opened.layers), 0, 0, 0), (0, 3, 0, 0), (0, 0, 3, 0), (0, 1, 0, 2)):
        with pytest.raises(IndexError):
            opened.tile(*place)


@pytest.mark.parametrize("step", [1, 2, 8, 16])
def test_any_window_has_its_own_shape(tmp_path: Path, step: int) -> None:
    """Also windows that begin and end within squares, as strips do."""
    made = large(150, 170)[["mask"]].assign(
        gamma0=(("y", "x"), np.add.outer(np.arange(150.0), np.arange(170.0)).astype(np.float32))
    )
    path = output.write(made, tmp_path / "ramp.tif")
    random = np.random.default_rng(step)
    for source in (made, path):
        opened = ResultView.open(source)
        for _ in range(30):
            rows, columns = (
                slice(first, int(random.integers(first + 16, size + 1)))
                for first, size in (
                    (int(random.integers(0, size - 16)), size) for size in opened.shape
                )
            )
            values = opened.reader.read("gamma0", {}, rows, columns, step)
            counts = [-(-(part.stop - part.start) // step) for part in (rows, columns)]
            assert list(values.shape) == counts
            middle = rows.start + columns.start + step - 1
            assert values[0, 0] == pytest.approx(middle, abs=2 * step)
            assert opened.reader.read("mask", {}, rows, columns, step).shape == values.shape
        opened.close()


def test_a_tile_reads_only_its_own_chunks() -> None:
    """Of a lazy scene of 16,384 x 16,384 cells."""
    read: list[int] = []

    def chunk(block_info: Any = None) -> np.ndarray[Any, Any]:  # noqa: ANN401
        read.append(1)
        return np.full(block_info[None]["chunk-shape"], 0.1, np.float32)

    size = 16_384
    power = da.map_blocks(chunk, chunks=((1024,) * 16, (1024,) * 16), dtype=np.float32)
    dataset = xr.Dataset(
        {"gamma0": (("y", "x"), power)},
        coords={"y": -20.0 * np.arange(size), "x": 20.0 * np.arange(size)},
    ).rio.write_crs(32632)
    opened = ResultView.open(dataset)
    assert isinstance(opened.reader, DatasetReader)
    read.clear()
    np.testing.assert_allclose(opened.tile(0, 0, 33, 20), -10.0, atol=1e-4)
    assert len(read) == 1
    opened.tile(0, 1, 9, 9)
    assert len(read) <= 5
    assert opened.limits(0) == (-10.0, -9.0)
    assert len(read) <= 5 + 8 * 4


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return output.write(large(), tmp_path_factory.mktemp("store") / "large.zarr")


@pytest.mark.parametrize("level", [0, 1, 2])
def test_tiles_of_a_store_are_averages_of_its_cells(store: Path, level: int) -> None:
    opened, made = ResultView.open(store), large()
    assert isinstance(opened.reader, LevelReader)
    step = 1 << level
    power = made["gamma0"].coarsen(y=step, x=step, boundary="pad").mean().values
    codes = made["mask"].values
    for row, column in np.ndindex(-(-700 // (256 * step)), -(-900 // (256 * step))):
        window = tuple(slice(256 * index, 256 * (index + 1)) for index in (row, column))
        tile = opened.tile(0, level, row, column)
        np.testing.assert_allclose(10.0 ** (0.1 * tile), power[window], rtol=1e-5)
        shown = opened.tile(1, level, row, column)
        # Blocks of 64 cells have one code each.
        expected = codes[::step, ::step][window].astype(float)
        np.testing.assert_array_equal(shown, np.where(expected == 255, np.nan, expected))


def test_a_first_look_from_afar_reads_one_overview(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither cells of the full resolution nor what is outside the tile."""
    opened = ResultView.open(store)
    read: dict[str, int] = {}
    get = LocalStore.get

    async def count(self: LocalStore, key: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        found = await get(self, key, *arguments, **options)
        if found is not None:
            read[key] = read.get(key, 0) + len(found)
        return found

    monkeypatch.setattr(LocalStore, "get", count)
    opened.tile(0, opened.levels - 1, 0, 0)
    assert {key.split("/c/")[0] for key in read} == {"2/gamma0"}
    assert sum(read.values()) <= (store / "2/gamma0/c/0/0").stat().st_size + 1000
    read.clear()
    opened.tile(0, 0, 1, 1)
    assert list(read) == ["0/gamma0/c/0/0"]
    assert read["0/gamma0/c/0/0"] < 0.25 * (store / "0/gamma0/c/0/0").stat().st_size


@pytest.mark.parametrize("flip", [("y",), ("y", "x")])
def test_rows_to_the_north_and_stores_of_version_2_show_the_same(
    tmp_path: Path, flip: tuple[str, ...]
) -> None:
    made = large(601, 301)
    turned = made.isel({axis: slice(None, None, -1) for axis in flip})
    usual = ResultView.open(made)
    for source in (
        turned,
        output.write(turned, tmp_path / "turned.zarr"),
        write_version_2(made, tmp_path / "earlier.zarr"),
    ):
        opened = ResultView.open(source)
        for level in range(usual.levels):
            np.testing.assert_array_equal(opened.tile(0, level, 0, 0), usual.tile(0, level, 0, 0))


@pytest.mark.parametrize("scale", ["db", "amplitude"])
def test_overviews_of_other_scales_are_shown_in_decibels(tmp_path: Path, scale: Any) -> None:  # noqa: ANN401
    made = large()
    opened = ResultView.open(output.write(made, tmp_path / "scaled.zarr", scale=scale))
    decibels = 10.0 * np.log10(made["gamma0"])
    np.testing.assert_allclose(
        opened.tile(0, 0, 0, 0), decibels.values[:256, :256], atol=1e-4, rtol=1e-4
    )
    held = decibels if scale == "db" else np.sqrt(made["gamma0"])
    mean = held.coarsen(y=4, x=4, boundary="pad").mean().values[:256, :256]
    expected = mean if scale == "db" else 20.0 * np.log10(mean)
    np.testing.assert_allclose(opened.tile(0, 2, 0, 0), expected, atol=1e-3)


def test_damage_of_a_store_that_is_shown_is_named(tmp_path: Path) -> None:
    path = output.write(large(), tmp_path / "large.zarr")
    opened = ResultView.open(path)
    shard = path / "1" / "gamma0" / "c" / "0" / "0"
    data = bytearray(shard.read_bytes())
    data[:200] = bytes(200)
    shard.write_bytes(bytes(data))
    with pytest.raises(DamagedFileError, match=r"large\.zarr"):
        opened.tile(0, 1, 0, 0)


@pytest.mark.parametrize("suffix", ["", ".zarr"])
def test_the_stretch_holds_speckle_too(tmp_path: Path, suffix: str) -> None:
    made = large(1300, 1100)
    random = np.random.default_rng(0)
    made["gamma0"].values[:] = random.gamma(4.4, 0.1 / 4.4, made["gamma0"].shape)
    opened = ResultView.open(output.write(made, tmp_path / f"large{suffix}"))
    low, high = opened.limits(opened.index_of("gamma0", {}) or 0)
    decibels = 10.0 * np.log10(made["gamma0"].values)
    assert (low, high) == pytest.approx(np.percentile(decibels, (2, 98)), abs=1.6)


def test_relief_is_bright_towards_the_light() -> None:
    row, column = np.mgrid[:40, :50].astype(np.float32)
    for slope, expected in ((10.0 * (row + column), "light"), (-10.0 * (row + column), "dark")):
        made = large(40, 50).assign(dem=(("y", "x"), slope.astype(np.float32)))
        opened = ResultView.open(made)
        shade = opened.values(opened.index_of("relief", {}) or 0, slice(0, 40), slice(0, 50))
        # Ground that rises to the south-east faces the light in the north-west.
        assert (shade > 0.75).all() if expected == "light" else (shade < 0.45).all()


# Places that share pixels.


def all_shares(
    result: xr.Dataset, dem: xr.DataArray, image: Scene, place: tuple[int, int]
) -> tuple[dict[tuple[int, int], float], dict[tuple[int, int], float]]:
    """Shares of area and RCS by the mapping of the whole DEM."""
    lit = result["mask"] < 4
    whole = layover.mapping(dem, image.grid, image.orbit, illuminated=lit)
    found = []
    for reflectivity in (None, result["gamma0"]):
        shares = whole.sharing(*place, reflectivity)
        places = zip(shares.row.values.tolist(), shares.column.values.tolist(), strict=True)
        found.append(dict(zip(places, shares.share.values.tolist(), strict=True)))
    return found[0], found[1]


def compare(answer: dict[str, Any], expected: Any, tolerance: float) -> None:  # noqa: ANN401
    """Compare the cells of an answer with the shares of area and RCS."""
    assert "problem" not in answer, answer["problem"]
    listed = {(one[0], one[1]): one for one in answer["cells"]}
    for index, shares in enumerate(expected):
        total = 0.0
        for place, share in shares.items():
            found = listed[place][2 + index] if place in listed else 0.0
            assert found == pytest.approx(share, abs=tolerance)
            total += found
        assert total + answer["outside"][index] == pytest.approx(1.0, abs=10 * tolerance)


@pytest.mark.parametrize("suffix", ["", ".nc"])
def test_a_click_finds_all_places_that_share_pixels(
    tmp_path: Path,
    result: xr.Dataset,
    dem: xr.DataArray,
    image: Scene,
    folded: tuple[int, int],
    suffix: str,
) -> None:
    """What the whole mapping says, from a strip, in layover and outside."""
    path = output.write(result.assign_coords(polarisation="VV"), tmp_path / f"hill{suffix}")
    _, places = _open(path, None, None)
    for place in (folded, (25, 10), (25, 86), (48, 45)):
        answer = places.at(*place, {})
        compare(answer, all_shares(result, dem, image, place), 1e-3)
    answer = places.at(*folded, {})
    far = [one for one in answer["cells"] if abs(one[1] - folded[1]) > 3]
    assert sum(one[2] for one in far) > 0.3
    # Places at one slant range: farther by d and higher by d tan(incidence).
    tangent = np.tan(np.radians(answer["incidence"]))
    for row, column, area, _, height in far:
        if area > 0.02:
            along = np.subtract((row, column), folded) @ np.array(
                places.direction(*folded, answer["azimuth"])
            )
            along /= np.sum(np.square(places.direction(*folded, answer["azimuth"])))
            assert height - answer["height"] == pytest.approx(along * tangent, abs=60.0)
    distance, height = np.transpose(answer["profile"])
    assert (np.diff(distance) > 0.0).all()
    assert height[np.argmin(abs(distance))] == pytest.approx(answer["height"], abs=30.0)


def test_a_dem_and_an_image_can_stand_in_for_what_a_result_lacks(
    result: xr.Dataset, dem: xr.DataArray, image: Scene, folded: tuple[int, int]
) -> None:
    bare = result.drop_vars(["dem", "mask"]).drop_attrs(deep=False)
    bare["gamma0"].attrs["_FillValue"] = np.float32(np.nan)
    assert "--like" in Places(ResultView.open(bare), []).problem
    without = Places(ResultView.open(bare), [(image.grid, image.orbit)])
    assert "--dem" in without.problem
    assert without.at(*folded, {})["problem"] == without.problem
    opened, places = _open(bare, dem, [(image.grid, image.orbit)])
    compare(places.at(*folded, {}), all_shares(result, dem, image, folded), 2e-3)
    assert opened.quantities[-1].name == "relief"
    wide = reproject(dem.fillna(500.0), 4326, 1.0 / 3600.0, resampling="cubic")
    asked: list[Any] = []

    def part(bounds: tuple[float, float, float, float]) -> xr.DataArray:
        asked.append(bounds)
        return wide

    _, places = _open(bare, part, [(image.grid, image.orbit)])
    assert sum(one[2] for one in places.at(*folded, {})["cells"]) == pytest.approx(1.0, abs=0.01)
    assert all(9.0 < west < east < 11.0 for west, _, east, _ in asked)


def test_what_has_no_places_says_why(result: xr.Dataset, dem: xr.DataArray, image: Scene) -> None:
    part = image.grid.crop(slice(0, 40), slice(0, image.grid.samples))
    _, places = _open(result, dem, [(part, image.orbit)])
    row = 2 if "problem" in places.at(2, 45, {}) else 47
    assert "beside the image" in places.at(row, 45, {})["problem"]
    _, places = _open(result, None, None)
    assert "no height" in places.at(2, 4, {})["problem"]
    dark = result.copy()
    dark["mask"] = dark["mask"].copy(data=np.full((50, 90), 5, np.uint8))
    _, places = _open(dark, None, None)
    assert "shadow" in places.at(25, 45, {})["problem"]


def test_two_dates_have_places_of_their_own() -> None:
    both = output.with_heights(result_of(polarisations=2, passes=2), dem_of())
    _, places = _open(both, None, None)
    assert not places.problem
    azimuths = [places.at(15, 20, {"time": date})["azimuth"] for date in (0, 1)]
    assert abs(azimuths[0] - azimuths[1]) > 100.0
    joined = both.isel(time=[0, 1, 0])
    assert "--like" in _open(joined, None, None)[1].problem


# What it refuses.


def test_what_is_no_result_is_named(tmp_path: Path) -> None:
    write_scene(scene(polarisations=1), tmp_path / "radar.nc")
    (tmp_path / "text.nc").write_text("not a result")
    (tmp_path / "folder").mkdir()
    plain = raster(mountain(10, 10))
    plain.drop_attrs().rio.write_crs(plain.rio.crs).rio.to_raster(tmp_path / "dem.tif")
    cells = xr.Dataset({"a": (("y", "x"), np.zeros((3, 3)))})
    for source, error, words in (
        ("radar.nc", ValueError, r"image in radar geometry in 'radar.nc'.*reconstruct it"),
        ("text.nc", DamagedFileError, "text"),
        ("folder", ValueError, "no folder of layers"),
        ("dem.tif", DamagedFileError, "no result of sarheight"),
        ("nothing.nc", FileNotFoundError, "nothing"),
        (cells, ValueError, "no map grid"),
    ):
        with pytest.raises(error, match=words):
            ResultView.open(tmp_path / source if isinstance(source, str) else source)


@contextmanager
def serving(result: Any, places: Places | None = None) -> Iterator[PageServer]:  # noqa: ANN401
    with page_server(*((result, places) if places else _open(result, None, None))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def address_of(server: PageServer, path: str = "/") -> str:
    return f"http://127.0.0.1:{server.server_address[1]}{path}"


def asked(server: PageServer, path: str = "/", method: str = "GET", **headers: str) -> Any:  # noqa: ANN401
    """Return the status and the headers of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1])
    with closing(connection):
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers


def test_only_this_machine_is_served_and_no_file_by_name(result: xr.Dataset) -> None:
    with serving(result) as server:
        assert server.server_address[0] == "127.0.0.1"
        code, headers = asked(server)
        assert code == 200
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        for path in (
            "/../../etc/passwd", "/page.js", "//etc/passwd", "/%2e%2e/pyproject.toml",
            "/tile/0/0/0", "/tile/0/0/0/9", "/tile/999/0/0/0", "/tile/-1/0/0/0",
            "/tile/99999999999999999999/0/0/0", "/limits/99", "/places/99/0/0/0",
            "/places/0/0/7/0",
        ):  # fmt: skip
            assert asked(server, path)[0] == 404, path
        # A name of another site that points to this machine, and other methods.
        assert asked(server, Host="evil.example")[0] == 403
        assert asked(server, Host=f"localhost:{server.server_address[1]}")[0] == 200
        assert asked(server, method="POST")[0] == 501
        with pytest.raises(OutputError, match="in use by another program"):
            page_server(server.view, server.places, server.server_address[1])


def test_many_requests_and_slow_clients_hold_up_nobody(
    result: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_page, "SLOWEST", 2.0)
    count = 1000

    async def ask(port: int, text: str, wait: float = 0.0) -> int:
        """Return the status of the answer; 0 where the connection ends without one."""
        head = f"{text}\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head[:40].encode())
            await asyncio.sleep(wait)
            writer.write(head[40:].encode())
            status = (await reader.read()).split()[1:2]
            writer.close()
        except ConnectionError:
            return 0
        return int(status[0]) if status else 0

    async def ask_all(port: int) -> tuple[list[int], list[int]]:
        slow = [asyncio.create_task(ask(port, "GET / HTTP/1.1", 3.5)) for _ in range(50)]
        await asyncio.sleep(0.5)
        words = "GET /tile/0/0/0/0 HTTP/1.1"
        async with asyncio.timeout(10.0):
            answers = await asyncio.gather(*(ask(port, words) for _ in range(count)))
        return answers, await asyncio.gather(*slow)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4 * count), hard), hard))
    before = threading.active_count()
    with serving(result) as server:
        answers, slow = asyncio.run(ask_all(server.server_address[1]))
        assert threading.active_count() <= before + 1 + _page.MOST_THREADS
        assert asked(server)[0] == 200
    assert set(answers) <= {200, 503, 0}
    assert answers.count(200) >= 100
    assert set(slow) == {0}


def test_a_port_that_may_not_be_used_is_said(
    result: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    opened = _open(result, None, None)
    with monkeypatch.context() as patched:
        patched.setattr(_page.socket, "create_server", refuse)
        with pytest.raises(OutputError, match=r"port 80 is for programs of the administrator"):
            page_server(*opened, 80)
    with pytest.raises(OutputError, match="found port 99999, expected one from 1024 to 65535"):
        page_server(*opened, 99_999)
    with page_server(*opened) as server:
        monkeypatch.setattr(server, "server_address", ("127.0.0.1", 80))
        assert {"127.0.0.1", "127.0.0.1:80"} < server.hosts  # browsers omit this port


def test_the_command_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, result: xr.Dataset, dem: xr.DataArray
) -> None:
    monkeypatch.chdir(tmp_path)
    output.write(result, tmp_path / "hill.nc")
    dem.drop_attrs().rio.write_crs(dem.rio.crs).rio.to_raster(tmp_path / "dem.tif")
    for words, code, found in (
        (("hill.nc", "--orbit", "hill.nc"), 2, "--like"),
        (("hill.nc", "--like", "no.xml"), 2, "there is no"),
        (("nothing.nc",), 2, "nothing.nc"),
        (("hill.nc", "--dem", "dem.tif"), 1, "--vertical"),
    ):
        assert found in failing(code, "view", *words)


def test_the_command_serves_until_it_is_interrupted(tmp_path: Path, result: xr.Dataset) -> None:
    output.write(result, tmp_path / "hill.nc")
    command = [sys.executable, "-m", "sarheight", "view", tmp_path / "hill.nc", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[0]
        port = int(address.removeprefix("http://127.0.0.1:").rstrip("/"))
        with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
            connection.request("GET", "/")
            assert b"hill.nc" in connection.getresponse().read()
        taken = failing(1, "view", tmp_path / "hill.nc", "--no-browser", "--port", port)
        assert "in use by another program" in taken
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


# In a browser.


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


READY = "document.body.dataset.ready === 'true'"
ANSWERED = "document.body.dataset.asking === 'false'"


def look(browser: Browser, address: str) -> None:
    browser.problems.clear()
    browser.open(address)
    browser.wait(READY)


def brightness(browser: Browser, x: int, y: int) -> list[int]:
    """Colour of the map at a pixel."""
    script = (
        f"[...document.getElementById('canvas').getContext('2d').getImageData({x}, {y}, 1, 1).data]"
    )
    return list(browser.evaluate(script))


def position(browser: Browser, row: float, column: float) -> tuple[float, float]:
    x, y = browser.evaluate(f"[sarheight.toX({column + 0.5}), sarheight.toY({row + 0.5})]")
    return x, y


def choose(browser: Browser, menu: str, label: str) -> None:
    browser.evaluate(
        f"(() => {{ const menu = document.getElementById('{menu}'); menu.value = [...menu.options]"
        f".find((one) => one.text === '{label}').value; "
        "menu.dispatchEvent(new Event('change')); })()"
    )
    browser.wait(READY)


def click_and_check(browser: Browser, folded: tuple[int, int], expected: Any) -> None:  # noqa: ANN401
    """Click a cell; compare what is drawn and listed with the shares."""
    place = position(browser, *folded)
    browser.mouse("mouseMoved", *place)
    browser.evaluate("document.body.dataset.asking = 'true'")
    browser.drag(place)
    browser.wait(ANSWERED)
    answer = browser.evaluate("sarheight.state.answer")
    assert (answer["row"], answer["column"]) == folded
    compare(answer, expected, 1e-3)
    drawn = browser.evaluate("document.querySelectorAll('#cells rect').length")
    assert drawn == len(answer["cells"]) > 3
    letters = browser.evaluate(
        "[...document.querySelectorAll('#labels text')].map(t => t.textContent)"
    )
    assert {"A", "B"} <= set(letters)
    boxes = browser.evaluate(
        "(() => { const b = document.querySelector('#cells rect').getBoundingClientRect();"
        " const m = document.getElementById('map').getBoundingClientRect();"
        " return b.left >= m.left && b.right <= m.right && b.width > 1; })()"
    )
    assert boxes
    rows = browser.evaluate("document.querySelectorAll('#answer tbody tr').length")
    named = [one for one in answer["places"] if one["letter"]]
    assert rows >= len(named) + 1
    assert browser.evaluate("document.querySelectorAll('#profile circle').length") > 1


def test_a_browser_shows_the_page(
    tmp_path: Path,
    browser: Browser,
    result: xr.Dataset,
    dem: xr.DataArray,
    image: Scene,
    folded: tuple[int, int],
) -> None:
    path = output.write(result, tmp_path / "hill.zarr")
    with serving(path) as server:
        look(browser, address_of(server))
        assert browser.evaluate("document.getElementById('title').textContent") == "hill.zarr"
        names = browser.evaluate(
            "['left-name', 'right-name'].map(n => document.getElementById(n).textContent)"
        )
        assert names == ["geocoded σ⁰", "reconstructed γ⁰"]

        # The swipe moves the border: the same pixel shows one layer, then the other.
        x, y = (round(each) for each in position(browser, *folded))
        shown = []
        for part in (0.98, 0.02):
            handle = browser.evaluate(
                "(() => { const b = document.getElementById('swipe').getBoundingClientRect();"
                " return [b.left + b.width / 2, b.top + b.height / 2]; })()"
            )
            width = browser.evaluate("document.getElementById('map').clientWidth")
            browser.drag(
                handle, (0.5 * (handle[0] + part * width), handle[1]), (part * width, handle[1])
            )
            browser.wait(READY)
            now = int(
                browser.evaluate("document.getElementById('swipe').getAttribute('aria-valuenow')")
            )
            assert now == pytest.approx(100 * part, abs=1)
            browser.evaluate("new Promise(requestAnimationFrame)")
            shown.append(brightness(browser, x, y))
        values = [
            10.0 * np.log10(float(result[name][folded])) for name in ("sigma0_geocoded", "gamma0")
        ]
        low, high = browser.evaluate("sarheight.state.stretch")
        for colour, value in zip(shown, values, strict=True):
            grey = 255.0 * np.clip((value - low) / (high - low), 0.0, 1.0)
            assert colour[:3] == pytest.approx([grey] * 3, abs=3)

        # By the keyboard, and another stretch.
        browser.evaluate(
            "document.getElementById('swipe').dispatchEvent("
            "new KeyboardEvent('keydown', {key: 'ArrowRight'}))"
        )
        browser.evaluate("new Promise(requestAnimationFrame)")
        assert browser.evaluate("sarheight.state.swipe") > 0.03
        browser.evaluate(
            "(() => { const low = document.getElementById('low'); low.value = -60;"
            " low.dispatchEvent(new Event('change')); })()"
        )
        browser.wait(READY)
        browser.evaluate("new Promise(requestAnimationFrame)")
        brighter = brightness(browser, x, y)
        assert brighter[0] >= shown[1][0]
        assert brighter != shown[1]
        browser.evaluate("document.getElementById('auto').click()")

        for label in ("fold count", "layover and shadow", "uncertainty of γ⁰", "elevation"):
            choose(browser, "left", label)
            legend = browser.evaluate("document.getElementById('legends').textContent")
            assert label in legend
        click_and_check(browser, folded, all_shares(result, dem, image, folded))
        before = position(browser, *folded)
        browser.call(
            "Input.dispatchMouseEvent", type="mouseWheel", x=300, y=300, deltaX=0, deltaY=-300
        )
        browser.evaluate("new Promise(requestAnimationFrame)")
        assert position(browser, *folded) != before
        browser.wait(READY)
        browser.screenshot(tmp_path / "page.png")
        assert (tmp_path / "page.png").stat().st_size > 20_000
    assert browser.problems == []


def test_names_are_text_and_never_markup(browser: Browser, result: xr.Dataset) -> None:
    evil = "<img src=x onerror=document.title='caught'>"
    named = result.copy()
    named.attrs["title"] = f"</script><script>document.title='caught'</script>{evil}"
    named["contribution_share"] = named["contribution_share"].assign_attrs(long_name=evil)
    named["mask"] = named["mask"].assign_attrs(
        flag_meanings=f"clear {evil.replace(' ', '_')} a b c d e",
        flag_colors="red;} url(x) 3 4 5 6 7",
    )
    named = named.assign(
        {"</script><b>": named["gamma0"] * 1.0, "/*script*/": named["gamma0"] * 1.0}
    )
    opened = ResultView.open(named)
    opened.name = f"{evil}</title>"
    with serving(opened, Places(opened, [])) as server:
        look(browser, address_of(server))
        choose(browser, "left", "contribution share")
        choose(browser, "right", "layover and shadow")
        assert browser.evaluate("document.title").startswith("<img src=x")
        assert browser.evaluate("document.querySelectorAll('img, b').length") == 0
        shown = browser.evaluate("document.getElementById('hint').textContent")
        assert "--like" in shown
    assert browser.problems == []
