"""Heights: from sea level to the ellipsoid, voids, and depressions."""

from __future__ import annotations

import heapq
import os
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyproj
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from sarheight.dem import (
    assume_ellipsoidal,
    check_dem,
    condition,
    fill_voids,
    open_dem,
    to_ellipsoidal,
)
from sarheight.errors import (
    DemError,
    GeoidGridMissingError,
    MissingLibraryError,
    VerticalDatumError,
)
from tests.conftest import shared_data
from tests.dems import array, degree_array, rough, utm_array

# Geoid


def plane(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Undulation that a bilinear grid holds exactly."""
    return 48.0 + 0.2 * (longitude - 10.0) - 0.1 * (latitude - 47.0)


def write_gtx(path: Path) -> Path:
    """NOAA .gtx grid of `plane` over the whole Earth (big-endian, southern row first)."""
    south, west, step, rows, columns = -90.0, -180.0, 5.0, 37, 73
    latitude, longitude = south + step * np.arange(rows), west + step * np.arange(columns)
    grid = plane(*np.meshgrid(longitude, latitude))
    head = struct.pack(">4d2i", south, west, step, step, rows, columns)
    path.write_bytes(head + grid.astype(">f4").tobytes())
    return path


@pytest.fixture
def proj_folder(tmp_path: Path) -> Iterator[Path]:
    """Folder where PROJ looks for grids, besides that of the user."""
    folder = tmp_path / "proj"
    folder.mkdir()
    before = pyproj.datadir.get_data_dir()
    database = next(
        Path(part) / "proj.db"
        for part in before.split(os.pathsep)
        if (Path(part) / "proj.db").exists()
    )
    (folder / "proj.db").symlink_to(database)
    network = pyproj.network.is_network_enabled()
    pyproj.network.set_network_enabled(False)
    pyproj.datadir.set_data_dir(str(folder))
    yield folder
    pyproj.datadir.set_data_dir(before)
    pyproj.network.set_network_enabled(network)


@pytest.mark.parametrize("kind", [str, Path])
def test_the_geoid_is_added(tmp_path: Path, kind: type):
    """Ellipsoidal height = orthometric height + undulation; voids stay void."""
    heights = rough(0, 5, 6)
    heights[1, 3] = np.nan
    dem = degree_array(heights)
    ellipsoidal = to_ellipsoidal(dem, kind(write_gtx(tmp_path / "plane geoid.gtx")))
    undulation = plane(*np.meshgrid(dem["x"], dem["y"]))
    np.testing.assert_allclose(ellipsoidal, heights + undulation, atol=1e-3)
    assert ellipsoidal.attrs["vertical_datum"] == "ellipsoid"
    assert ellipsoidal.attrs["standard_name"] == "height_above_reference_ellipsoid"
    assert "plane geoid.gtx" in ellipsoidal.attrs["history"]
    assert check_dem(ellipsoidal).identical(ellipsoidal)


def test_the_geoid_beyond_the_antimeridian(tmp_path: Path):
    dem = degree_array(np.zeros((3, 4))).assign_coords(x=[179.5, 179.75, 180.0, 180.25])
    there = to_ellipsoidal(dem, write_gtx(tmp_path / "geoid.gtx"))
    here = plane(-179.75, dem["y"].values)
    np.testing.assert_allclose(there[:, 3], here, atol=1e-3)


def test_missing_grid_says_how_to_get_it(proj_folder: Path):
    if any(Path(pyproj.datadir.get_user_data_dir()).glob("*egm*")):
        pytest.skip("this user has installed geoid grids")
    for geoid in ("EGM2008", "EPSG:5773", "no_such_grid.gtx", "EGM96"):
        with pytest.raises(GeoidGridMissingError, match=r"pyproj sync.*proj-data.*net") as raised:
            to_ellipsoidal(degree_array(rough(3, 4, 4)), geoid)
    assert "us_nga_egm96_15.tif" in str(raised.value)
    assert isinstance(raised.value, OSError)
    assert "sarheight fetch geoid EGM96" in raised.value.file_advice
    assert proj_folder.exists()


@pytest.mark.parametrize(
    ("crs", "attrs", "geoid"),
    [
        ("EPSG:4326", {}, "EGM96"),
        ("EPSG:4326", {}, "egm 96"),
        ("EPSG:4326", {}, "EPSG:5773"),
        ("EPSG:4326", {}, pyproj.CRS("EPSG:5773")),
        ("EPSG:4326", {"vertical_datum": "EGM96 geoid"}, None),
        ("EPSG:4326+5773", {}, None),
        ("EPSG:9707", {}, "EGM96"),
        ("EPSG:32632+5773", {}, None),
        ("EPSG:25832+5773", {}, None),
    ],
)
def test_known_geoids(
    proj_folder: Path, crs: str, attrs: dict[str, str], geoid: str | pyproj.CRS | None
):
    """By name, by reference system, or stated by the DEM itself."""
    write_gtx(proj_folder / "egm96_15.gtx")
    heights = rough(4, 4, 5)
    projected = "25832" in crs or "32632" in crs
    y = 5.2e6 - 30 * np.arange(4) if projected else 47.0 - 0.01 * np.arange(4)
    x = 5e5 + 30 * np.arange(5) if projected else 10.0 + 0.01 * np.arange(5)
    dem = array(heights, y, x, crs, **attrs)
    ellipsoidal = check_dem(dem) if geoid is None else to_ellipsoidal(dem, geoid)
    longitude, latitude = np.meshgrid(x, y)
    if projected:
        place = pyproj.Transformer.from_crs("EPSG:32632", "EPSG:4326", always_xy=True)
        longitude, latitude = place.transform(longitude, latitude)
    np.testing.assert_allclose(ellipsoidal - heights, plane(longitude, latitude), atol=2e-3)
    assert not pyproj.CRS(ellipsoidal.rio.crs.to_wkt()).is_compound


def test_constant_undulation():
    dem = degree_array(rough(5, 4, 4))
    ellipsoidal = to_ellipsoidal(dem, -32.5)
    np.testing.assert_allclose(ellipsoidal, dem - 32.5)
    assert ellipsoidal.attrs["undulation_m"] == -32.5
    assert "constant" in ellipsoidal.attrs["history"]


def test_what_is_stated_can_be_overruled():
    dem = degree_array(rough(7, 4, 4), crs="EPSG:4326+5773")
    declared = assume_ellipsoidal(dem)
    np.testing.assert_array_equal(declared, dem)
    assert "it stated EGM96" in declared.attrs["history"]


PLAIN = degree_array(rough(8, 4, 4))
EGM96 = degree_array(rough(7, 4, 4), crs="EPSG:4326+5773")


@pytest.mark.parametrize(
    ("dem", "geoid", "error", "message"),
    [
        (PLAIN, None, VerticalDatumError, "does not state"),
        (PLAIN, "potato", VerticalDatumError, "not known"),
        (PLAIN, "EPSG:4326", VerticalDatumError, "no vertical part"),
        (PLAIN, "ellipsoid", VerticalDatumError, "assume_ellipsoidal"),
        (PLAIN, 5773, DemError, "not those of the Earth"),
        (assume_ellipsoidal(PLAIN), "EGM96", VerticalDatumError, "already"),
        (EGM96, "EGM2008", VerticalDatumError, r"EGM96.*EGM2008"),
    ],
)
def test_geoids_that_are_none(
    dem: xr.DataArray, geoid: str | float | None, error: type[DemError], message: str
):
    with pytest.raises(error, match=message):
        to_ellipsoidal(dem, geoid)


def test_a_geoid_of_another_place(tmp_path: Path):
    small = tmp_path / "small.gtx"
    head = struct.pack(">4d2i", 0.0, 0.0, 1.0, 1.0, 3, 3)
    small.write_bytes(head + np.full((3, 3), 10.0, dtype=">f4").tobytes())
    with pytest.raises(DemError, match="does not cover"):
        to_ellipsoidal(PLAIN, small)


def test_real_egm96_if_it_is_installed():
    """Undulations at the corners of the 15' grid, as published with EGM96."""
    dem = array(np.zeros((2, 2)), np.array([0.25, 0.0]), np.array([0.0, 0.25]), "EPSG:4326")
    try:
        ellipsoidal = to_ellipsoidal(dem, "EGM96")
    except GeoidGridMissingError:
        pytest.skip("the EGM96 grid is not installed")
    assert float(ellipsoidal.sel(y=0.0, x=0.0)) == pytest.approx(17.16, abs=0.01)


# Voids


@given(seed=st.integers(0, 99), share=st.floats(0.0, 0.6), distance=st.floats(40.0, 400.0))
def test_filling_touches_voids_only(seed: int, share: float, distance: float):
    heights = rough(seed, 12, 15)
    heights[np.random.default_rng(seed).random(heights.shape) < share] = np.nan
    heights[0, 0] = 100.0
    dem = utm_array(heights)
    filled = fill_voids(dem, max_distance=distance)
    known = np.isfinite(heights)
    np.testing.assert_array_equal(filled.values[known], heights[known])
    left = int(np.isnan(filled).sum())
    assert filled.attrs["voids_left"] == left
    assert filled.attrs["voids_filled"] == int((~known).sum()) - left
    assert f"{left} left" in filled.attrs["history"]
    inside = filled.values[np.isfinite(filled.values)]
    assert inside.min() >= np.nanmin(heights) - 1e-3
    assert inside.max() <= np.nanmax(heights) + 1e-3


def test_distance_limits_what_is_filled():
    heights = np.full((21, 41), np.nan, dtype=np.float32)
    heights[:, 0] = 500.0
    filled = fill_voids(utm_array(heights), max_distance=300.0)
    np.testing.assert_allclose(filled[10, :10], 500.0)
    assert np.isnan(filled[:, 12:]).all()


def test_real_voids():
    path = shared_data("dem", "srtm3_bernese_alps_N46_E008.tif")
    dem = open_dem(path, vertical="ellipsoidal", bounds=(8.0, 46.3, 8.5, 46.6))
    voids = int(dem.isnull().sum())
    assert voids > 1000
    filled = fill_voids(dem, max_distance=3000.0)
    assert filled.attrs["voids_filled"] + filled.attrs["voids_left"] == voids
    assert filled.attrs["voids_filled"] > 0.9 * voids
    assert 200.0 < float(filled.min()) < float(filled.max()) < 4400.0


# Depressions


def priority_flood(heights: np.ndarray) -> np.ndarray:
    """Barnes' filling from the edge inwards, as an independent truth."""
    filled = heights.copy()
    rows, columns = heights.shape
    done = np.zeros(heights.shape, dtype=bool)
    front: list[tuple[float, int, int]] = []
    for row in range(rows):
        for column in range(columns):
            if row in (0, rows - 1) or column in (0, columns - 1):
                heapq.heappush(front, (float(heights[row, column]), row, column))
                done[row, column] = True
    while front:
        level, row, column = heapq.heappop(front)
        for r in range(max(row - 1, 0), min(row + 2, rows)):
            for c in range(max(column - 1, 0), min(column + 2, columns)):
                if not done[r, c]:
                    done[r, c] = True
                    filled[r, c] = max(filled[r, c], level)
                    heapq.heappush(front, (float(filled[r, c]), r, c))
    return filled


class _RichArray(np.ndarray):
    """Array with attributes, like richdem's."""


def _rdarray(heights: np.ndarray, no_data: float) -> np.ndarray:
    grid = heights.view(_RichArray)
    grid.no_data = no_data
    return grid


def _by_eight_neighbours(change: Callable[[np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
    def changed(grid: np.ndarray, topology: str) -> np.ndarray:
        assert topology == "D8"
        return change(np.asarray(grid))

    return changed


FAKE_RICHDEM = SimpleNamespace(
    rdarray=_rdarray,
    FillDepressions=_by_eight_neighbours(priority_flood),
    BreachDepressions=_by_eight_neighbours(lambda grid: np.minimum(grid, 1000.0)),
)


@given(seed=st.integers(0, 999), shape=st.tuples(st.integers(3, 14), st.integers(3, 14)))
def test_filling_is_the_same_with_richdem_and_without(seed: int, shape: tuple[int, int]):
    heights = np.round(rough(seed, *shape), -2)
    heights[np.random.default_rng(seed).random(shape) < 0.1] = np.nan
    heights[0, 0] = 100.0
    dem = utm_array(heights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "richdem", None)
        without = condition(dem)
        patch.setitem(sys.modules, "richdem", FAKE_RICHDEM)
        with_it = condition(dem)
    np.testing.assert_array_equal(without, with_it)
    np.testing.assert_array_equal(np.isnan(without), np.isnan(heights))
    assert (without >= heights).values[np.isfinite(heights)].all()


def test_real_richdem_agrees():
    pytest.importorskip("richdem", exc_type=ImportError, reason="richdem is not installed")
    dem = utm_array(rough(10, 60, 70))
    np.testing.assert_array_equal(condition(dem), priority_flood(dem.values))


def test_a_pit_fills_to_its_lowest_rim(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "richdem", None)
    heights = np.full((7, 7), 1000.0, dtype=np.float32)
    heights[3, 3] = 900.0
    heights[1:3, 1:3] = 980.0
    heights[0, 0] = 950.0
    filled = condition(utm_array(heights))
    assert float(filled[3, 3]) == 980.0
    assert "1 cells changed" in filled.attrs["history"]
    np.testing.assert_array_equal(condition(filled), filled)


def test_breaching_needs_richdem(monkeypatch: pytest.MonkeyPatch):
    dem = utm_array(rough(11, 6, 6))
    monkeypatch.setitem(sys.modules, "richdem", None)
    with pytest.raises(MissingLibraryError, match="richdem"):
        condition(dem, "breach")
    monkeypatch.setitem(sys.modules, "skimage.morphology", None)
    with pytest.raises(MissingLibraryError, match=r"sarheight\[condition\]"):
        condition(dem, "fill")
    monkeypatch.setitem(sys.modules, "richdem", FAKE_RICHDEM)
    assert float(condition(dem, "breach").max()) <= 1000.0


def test_settings_that_are_none():
    with pytest.raises(DemError, match="magic"):
        condition(utm_array(rough(12, 6, 6)), "magic")
    with pytest.raises(DemError, match="shorter than"):
        fill_voids(utm_array(rough(9, 4, 4)), max_distance=10.0)
