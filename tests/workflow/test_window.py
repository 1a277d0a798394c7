"""A window of an image: what is read for it, and how it compares with the same cells of the whole.

The world is a product of 17 x 17 km over mountains; windows of 2 km are small beside the 3 km
around them on which statistics rest.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from odc.geo.geobox import GeoBox

import sarheight
from sarheight import dem as elevations
from sarheight.errors import DemError, GeometryError, OptionError
from sarheight.illumination import Muhleman, simulate
from sarheight.layover import RTC, PosteriorMean, Reallocation, reconstruct, surroundings
from sarheight.output import open_result, read_provenance
from sarheight.scene import Scene
from sarheight.sentinel1._files import ProductFiles
from sarheight.workflow.window import STATISTICS_MARGIN
from tests.cli.commands import EAST, NORTH, failing, passing, run
from tests.dems import ranges
from tests.servers import alone, running
from tests.synthetic import synthetic_grid
from tests.worlds.products import NAME, write_product

CRS, POSTING, CELLS, PIXELS = "EPSG:32632", 30.0, 560, 1700
SIDE = 66
"""Cells along a window."""
GIVEN: dict[str, Any] = {"vertical": "ellipsoidal", "coregister": "none"}


@dataclass(frozen=True)
class World:
    """A product and its elevation model."""

    product: Path
    dem: Path
    whole: xr.DataArray

    def grid(self, row: int = 250, column: int = 260, side: int = SIDE) -> GeoBox:
        """Return the grid of a window, whose cells are those of the elevation model."""
        dem = self.whole
        left, top = float(dem.x[column]) - 0.5 * POSTING, float(dem.y[row]) + 0.5 * POSTING
        box = (left, top - side * POSTING, left + side * POSTING, top)
        return GeoBox.from_bbox(box, CRS, resolution=POSTING, tight=True)

    def window(self, **options: Any) -> xr.Dataset:  # noqa: ANN401
        """Reconstruct the window in the middle."""
        return sarheight.reconstruct(self.product, self.dem, grid=self.grid(), **(GIVEN | options))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("window")
    steps = POSTING * (np.arange(CELLS) - 0.5 * (CELLS - 1))
    # A mountain beside the window shares pixels with the ground in front of it.
    away = np.hypot(steps[:, None] - steps[283], steps - steps[336])
    heights = ranges((CELLS, CELLS), relief=300.0, exponent=4.0, seed=3)
    heights += 1000.0 * np.exp(-0.5 * (away / 450.0) ** 2)
    dem = xr.DataArray(
        heights.astype(np.float32), dims=("y", "x"), coords={"y": NORTH - steps, "x": EAST + steps}
    ).rio.write_crs(CRS)
    dem.rio.to_raster(folder / "dem.tif", tiled=True, compress="deflate")
    opened = elevations.open_dem(folder / "dem.tif", vertical="ellipsoidal")
    grid, orbit = synthetic_grid(lines=PIXELS, samples=PIXELS, height=1000.0, looks=4.4)
    bright = np.exp(0.4 * np.random.default_rng(1).standard_normal(dem.shape)).astype(np.float32)
    image = simulate(opened, grid, orbit, reflectivity=opened.copy(data=bright), looks=4.4, seed=2)
    product = write_product(Scene(image.image.fillna(0.0), grid, orbit, "beta0"), folder / NAME)
    return World(product, folder / "dem.tif", opened)


@pytest.fixture(scope="module")
def whole(world: World) -> dict[str, xr.Dataset]:
    """The results of the whole image, by method."""
    return {
        method: sarheight.reconstruct(world.product, world.dem, method=method, **GIVEN)
        for method in ("rtc", "posterior")
    }


@pytest.fixture(scope="module")
def windows(world: World) -> dict[str, xr.Dataset]:
    """The results of the window, by method."""
    return {method: world.window(method=method) for method in ("rtc", "posterior")}


def decibels(window: xr.Dataset, whole: xr.Dataset, name: str = "gamma0") -> np.ndarray[Any, Any]:
    """Return the differences of a layer in decibels, where both have a value."""
    same = whole[name].sel(y=window["y"], x=window["x"], method="nearest")
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = 10.0 * np.log10(window[name].values / same.values)
    known = np.isfinite(window[name].values)
    np.testing.assert_array_equal(known, np.isfinite(same.values))
    assert known.mean() > 0.7
    return np.asarray(difference[known & (same.values > 0.0)])


def only_balanced(window: xr.Dataset, whole: xr.Dataset) -> bool:
    """Tell whether values differ by a small factor, by which RCS is balanced, and at edges.

    Profiles through an elevation model lie where it begins, so that few cells at the edges of
    layover and shadow are classified otherwise.
    """
    difference = decibels(window, whole)
    factor = np.median(difference)
    same = whole["mask"].sel(y=window["y"], x=window["x"], method="nearest")
    edges = float((window["mask"].values != same.values).mean())
    others = np.abs(difference - factor)
    return bool(
        abs(factor) < 0.02
        and edges < 0.03
        and (np.quantile(others, [0.9, 0.99]) < (0.005, 0.2)).all()
    )


def test_without_laws_and_errors_a_window_is_the_same_part_of_the_whole(
    world: World, whole: dict[str, xr.Dataset], windows: dict[str, xr.Dataset]
) -> None:
    """RTC has neither, nor has one step by a law that is given."""
    assert only_balanced(windows["rtc"], whole["rtc"])
    assert (windows["rtc"]["fold_count"].values > 1).mean() > 0.01
    given: dict[str, Any] = {"method": "one-step", "law": "muhleman"}
    all_of_it = sarheight.reconstruct(world.product, world.dem, **(GIVEN | given))
    assert only_balanced(world.window(**given), all_of_it)


def test_scene_statistics_of_a_window_change_little(
    whole: dict[str, xr.Dataset], windows: dict[str, xr.Dataset]
) -> None:
    """Beside the uncertainty that is stated."""
    window = windows["posterior"]
    difference = decibels(window, whole["posterior"])
    assert 0.0 < np.abs(np.median(difference)) < 0.05
    known = np.isfinite(window["gamma0"].values)
    stated = window["gamma0_std"].values[known]
    assert np.quantile(np.abs(difference) / stated, 0.99) < 0.25


def test_what_lies_beside_a_window_takes_part_in_it(
    world: World, whole: dict[str, xr.Dataset], windows: dict[str, xr.Dataset]
) -> None:
    """Cut off at its edges, an elevation model lacks the places that share their pixels."""
    window, box = windows["rtc"], world.grid().boundingbox
    cut = world.whole.sel(x=slice(box.left, box.right), y=slice(box.top, box.bottom))
    alone = sarheight.reconstruct(world.product, cut, method="rtc", coregister="none")
    expected = whole["rtc"]["fold_count"].sel(y=window["y"], x=window["x"], method="nearest")
    wrong = [
        float((found["fold_count"].values != expected.values).mean()) for found in (alone, window)
    ]
    assert wrong[1] < 0.2 * wrong[0]


@pytest.mark.usefixtures("windows")  # libraries are loaded
def test_only_what_a_window_needs_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = ProductFiles.read_window

    def counted(*given: Any, **options: Any) -> np.ndarray[Any, Any]:  # noqa: ANN401
        numbers = original(*given, **options)
        read.append(numbers.nbytes)
        return numbers

    monkeypatch.setattr(ProductFiles, "read_window", counted)
    before = _bytes_read()
    window = world.window()
    total = _bytes_read() - before
    west, south, east, north = window.attrs["statistics_extent"]
    area = (east - west) * (north - south)
    assert (east - west) >= SIDE * POSTING + 2 * STATISTICS_MARGIN
    # Pixels of 10 m of two bytes, in lines and samples that are turned by 10 degrees, with 64
    # around them.
    assert sum(read) < 2.0 * (np.sqrt(1.4 * area) + 2000.0) ** 2 / 100.0
    assert sum(read) < 0.75 * 2 * PIXELS**2
    small = sum(each.stat().st_size for each in world.product.rglob("*") if each.suffix != ".tiff")
    if before:
        # Heights are read again, farther around the window, where relief needs it.
        assert total - sum(read) < small + 3 * world.dem.stat().st_size + 600_000
        assert total - sum(read) < 6_000_000


def _bytes_read() -> int:
    """Return how many bytes this process has read so far; 0 where the system does not say."""
    counts = Path("/proc/self/io")
    return int(counts.read_text("ascii").split()[1]) if counts.exists() else 0


def test_a_window_over_http_takes_few_requests(
    world: World,
    windows: dict[str, xr.Dataset],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """One for each small file, three for a measurement, and one for 8 MiB of its lines."""
    alone(monkeypatch, tmp_path)
    local = windows["posterior"]
    with running() as site:
        for file in world.product.rglob("*"):
            if file.is_file():
                name = file.relative_to(world.product).as_posix()
                site.add(f"/{NAME}/{name}", file.read_bytes(), etag='"1"')
        found = sarheight.reconstruct(f"{site.url}/{NAME}", world.dem, grid=world.grid(), **GIVEN)
        ways = {request.method for request in site.requests}
        names = [request.path.rpartition("/")[2] for request in site.requests]
    assert ways == {"GET"}
    assert len(names) <= 8
    assert sum(name.endswith(".tiff") for name in names) <= 3
    for name in local.data_vars:
        np.testing.assert_array_equal(found[name].values, local[name].values, err_msg=name)


def test_a_window_is_said_in_several_ways(
    world: World,
    windows: dict[str, xr.Dataset],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a grid, by its edges, by a raster on it, and by bounds: the same bits."""
    monkeypatch.chdir(tmp_path)
    expected = windows["rtc"]
    box = world.grid().boundingbox
    command = ("reconstruct", world.product, "--dem", world.dem, "--vertical", "ellipsoidal")
    command += ("--coregister", "none", "--method", "rtc", "--variables", "gamma0")
    edges = (box.left, box.bottom, box.right, box.top)
    done = passing(*command, "--crs", CRS, "--resolution", 30, "--extent", *edges, "-o", "edges.nc")
    assert f"the result has {SIDE} x {SIDE} cells of 30 m in {CRS}" in done.stderr
    passing(*command, "--like", "edges.nc", "-o", "like.nc")
    for name in ("edges.nc", "like.nc"):
        found = open_result(name)
        np.testing.assert_array_equal(found["gamma0"].values, expected["gamma0"].values)
        assert list(found.attrs["statistics_extent"]) == expected.attrs["statistics_extent"]
    record = read_provenance("edges.nc")
    assert record["parameters"]["grid"]["bounds"] == list(edges)
    assert json.loads(found.attrs["parameters"])["grid"]["shape"] == [SIDE, SIDE]
    assert all("sha256_ends" in each for each in record["inputs"].values())
    settings = run("info", "edges.nc", "--config").stdout
    (tmp_path / "run.toml").write_text(
        settings.replace(NAME, str(world.product)).replace("dem.tif", str(world.dem))
    )
    passing("reconstruct", "--config", "run.toml", "-o", "again.nc")
    again = open_result("again.nc")["gamma0"]
    np.testing.assert_array_equal(again.values, expected["gamma0"].values)


def test_bounds_are_a_window_on_the_grid_of_the_elevation_model(
    world: World, whole: dict[str, xr.Dataset]
) -> None:
    bounds = (9.995, 45.995, 10.005, 46.005)
    for heights in (world.dem, world.whole, world.whole[::-1]):
        window = sarheight.reconstruct(
            world.product, heights, bounds=bounds, method="rtc", coregister="none",
            **({} if heights is not world.dem else {"vertical": "ellipsoidal"}),
        )  # fmt: skip
        assert 20 < window.sizes["x"] < 40
        assert only_balanced(window, whole["rtc"])
        assert (window["y"][0] < window["y"][1]) == (
            heights is not world.dem and float(heights["y"][0]) < float(heights["y"][1])
        )


def test_a_window_at_the_edge_of_the_elevation_model_takes_what_there_is(world: World) -> None:
    window = sarheight.reconstruct(
        world.product, world.dem, grid=world.grid(row=60, column=50), method="rtc", **GIVEN
    )
    west, _, _, north = window.attrs["statistics_extent"]
    assert west == pytest.approx(float(world.whole.x[0]) - 0.5 * POSTING)
    assert north == pytest.approx(float(world.whole.y[0]) + 0.5 * POSTING)
    assert np.isfinite(window["gamma0"].values).any()


@pytest.mark.parametrize("method", [PosteriorMean(), Reallocation(), RTC()])
def test_an_elevation_model_cut_to_the_surroundings_gives_the_same(
    world: World,
    method: Any,  # noqa: ANN401
) -> None:
    scene = sarheight.open_image(world.product)
    cells = slice(260, 320), slice(250, 310)
    rows, columns = surroundings(scene, world.whole, cells, method)
    assert rows.start < cells[0].start and rows.stop > cells[0].stop  # noqa: PT018
    assert columns.stop - columns.start < CELLS
    turned = surroundings(
        scene, world.whole[::-1], (slice(CELLS - 320, CELLS - 260), cells[1]), method
    )
    assert turned == (slice(CELLS - rows.stop, CELLS - rows.start), columns)
    if isinstance(method, PosteriorMean):
        return  # its errors rest on the scene
    loaded = replace(scene, image=scene.image.compute())
    law = None if isinstance(method, RTC) else Muhleman()
    one, other = (
        reconstruct(loaded, heights, law=law, method=method, variables=("gamma0", "mask"))
        for heights in (world.whole, world.whole.isel(y=rows, x=columns))
    )
    inside = {"y": world.whole.y[cells[0]], "x": world.whole.x[cells[1]]}
    assert only_balanced(other.sel(inside), one)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"crs": CRS}, OptionError, "found grid beside crs"),
        ({"like": ("a.tif",)}, OptionError, "found grid beside like"),
        ({"grid": GeoBox((9, 9), GeoBox.from_bbox((0, 0, 9, 9), CRS, shape=(9, 3)).affine, CRS)},
         OptionError, "expected one with square cells and north up"),
        ({"grid": "EPSG:32632"}, TypeError, "found a grid of type str, expected a GeoBox"),
        ({"grid": GeoBox.from_bbox((0, 0, 900, 900), CRS, resolution=30.0)},
         DemError, "does not meet the target grid"),
        ({"grid": None, "extent": (0, 0, 90, 90)}, OptionError, "pass crs and resolution, too"),
        ({"grid": None, "extent": (0, 0, 90, 90), "crs": CRS, "resolution": 30, "align": 15},
         OptionError, "it says where edges of cells lie: omit align"),
        ({"grid": None, "extent": (0, 0, 91, 90), "crs": CRS, "resolution": 30},
         DemError, "expected edges a whole number of cells apart"),
        ({"grid": None, "extent": (90, 0, 0, 90), "crs": CRS, "resolution": 30},
         DemError, "expected edges a whole number of cells apart"),
        ({"grid": None, "bounds": (20.0, 45.0, 20.1, 45.1)}, DemError, "meets the bounds"),
    ],
)  # fmt: skip
def test_what_is_no_window_is_refused(
    world: World, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    given = {"grid": world.grid()} | GIVEN | options
    with pytest.raises(error, match=re.escape(words)):
        sarheight.reconstruct(world.product, world.dem, **given)


def test_a_window_beside_the_image_is_refused(world: World, tmp_path: Path) -> None:
    far = world.whole.assign_coords(x=world.whole.x + 50_000.0)
    far.rio.to_raster(tmp_path / "far.tif")
    bounds = elevations.open_dem(tmp_path / "far.tif").rio.transform_bounds(4326)
    with pytest.raises(GeometryError, match="No cell of the DEM falls into the image"):
        sarheight.reconstruct(world.product, tmp_path / "far.tif", bounds=bounds, **GIVEN)
    said = failing(
        2, "reconstruct", world.product, "--dem", world.dem, "--extent", 0, 0, 90, 90, "-o", "a.nc"
    )
    assert "--extent: edges are in units of a reference system: pass --crs" in said
